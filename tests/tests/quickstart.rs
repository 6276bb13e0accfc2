//! Runs the commands of the pages that need Kubernetes, one page after the other, in one cluster of `scripts/cluster`.

use weir_tests::pages::{commands, missing_line};
use weir_tests::{dist, typed};

/// The last page uninstalls Weir.
const PAGES: [&str; 5] = [
    CLUSTER,
    "README.md",
    "deploy/README.md",
    "docs/troubleshooting.md",
    "docs/operations.md",
];

const CLUSTER: &str = "tests/cluster/README.md";

/// Makes kubectl, helm and the cluster's kubeconfig available to the commands of the other pages.
const CONNECT: &str = "\
    set +x
    . \"${WEIR_CACHE:-$HOME/.cache/weir}/run/$WEIR_CLUSTER\"
    PATH=$(scripts/cluster build kubernetes):$(scripts/cluster build helm):$PATH
    export KUBECONFIG=\"$kubeconfig\" PATH
    set -x
";

#[test]
fn cluster_commands_run_as_written() {
    for image in ["weir-image.tar", "weir-demo-image.tar"] {
        dist(image);
    }
    let mut script = String::from("exec 2>&1\nset -eu\ntrap 'scripts/cluster down' EXIT\nset -x\n");
    let mut expected = Vec::new();
    for page in PAGES {
        let (commands, output) = commands(page, "run-by=quickstart");
        assert!(!commands.is_empty(), "{page} has no command for a cluster");
        script += &commands;
        if page == CLUSTER {
            script += CONNECT;
        }
        expected.extend(output);
    }
    let output = typed("bash")
        .args(["-c", &script])
        .env("WEIR_CLUSTER", format!("quickstart-{}", std::process::id()))
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}\n{text}");
    assert_eq!(missing_line(&text, &expected), None, "in:\n{text}");
}
