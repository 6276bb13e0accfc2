//! Installs Weir in a cluster from the image of `scripts/image`, with kustomize and with Helm.

use std::process::Command;

use weir_cluster::programs::go_program;
use weir_cluster::server::ADMIN;
use weir_cluster::{Cluster, Images};
use weir_tests::{dist, root};

/// Runs kubectl in the repository's root.
fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    ran(cluster.kubectl().command().args(args))
}

fn helm(cluster: &Cluster, args: &[&str]) -> String {
    let kubeconfig = cluster.kubeconfig(ADMIN);
    ran(Command::new(go_program("helm", "helm"))
        .args(args)
        .args(["--namespace", "weir-system", "--kubeconfig"])
        .arg(kubeconfig))
}

fn ran(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

const WAIT: [&str; 6] = [
    "rollout",
    "status",
    "--namespace=weir-system",
    "--timeout=120s",
    "deployment",
    "weir",
];

fn certificate(cluster: &Cluster) -> String {
    let path = "jsonpath={.data.tls\\.crt}";
    kubectl(
        cluster,
        &["get", "secret", "-n", "weir-system", "weir-tls", "-o", path],
    )
}

#[test]
fn kustomize_and_helm_become_ready() {
    let mut images = Images::default();
    images.archive(&dist("weir-image.tar")).expect("an image");
    let cluster = Cluster::start(images);

    kubectl(&cluster, &["apply", "-k", "deploy"]);
    kubectl(&cluster, &WAIT);
    // The namespace enforces the restricted level, and both replicas run.
    let level = "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}";
    assert_eq!(
        kubectl(&cluster, &["get", "namespace", "weir-system", "-o", level]),
        "restricted"
    );
    let ready = "jsonpath={.status.readyReplicas}";
    assert_eq!(
        kubectl(
            &cluster,
            &[
                "get",
                "deployment",
                "-n",
                "weir-system",
                "weir",
                "-o",
                ready
            ]
        ),
        "2"
    );
    // A second run of the Job keeps the certificate.
    let before = certificate(&cluster);
    kubectl(
        &cluster,
        &[
            "delete",
            "job",
            "-n",
            "weir-system",
            "weir-certificate",
            "--ignore-not-found",
        ],
    );
    kubectl(&cluster, &["apply", "-k", "deploy"]);
    kubectl(
        &cluster,
        &[
            "wait",
            "job/weir-certificate",
            "-n",
            "weir-system",
            "--for=condition=Complete",
            "--timeout=60s",
        ],
    );
    assert_eq!(certificate(&cluster), before);
    kubectl(&cluster, &["delete", "-k", "deploy", "--timeout=120s"]);

    kubectl(&cluster, &["create", "namespace", "weir-system"]);
    kubectl(
        &cluster,
        &[
            "label",
            "namespace",
            "weir-system",
            "pod-security.kubernetes.io/enforce=restricted",
        ],
    );
    helm(
        &cluster,
        &[
            "install",
            "weir",
            "deploy/chart",
            "--wait",
            "--timeout=120s",
        ],
    );
    kubectl(&cluster, &WAIT);
    let before = certificate(&cluster);
    helm(
        &cluster,
        &[
            "upgrade",
            "weir",
            "deploy/chart",
            "--wait",
            "--timeout=120s",
            "--set=replicas=3",
        ],
    );
    kubectl(&cluster, &WAIT);
    assert_eq!(certificate(&cluster), before);
    helm(&cluster, &["uninstall", "weir", "--wait", "--timeout=60s"]);
}
