//! The API server alone: RBAC, tokens, CRDs, restarts and compaction.

use weir_cluster::ApiServer;
use weir_cluster::server::token;

#[test]
fn serves_rbac_and_survives_restarts() {
    let mut server = ApiServer::start_with(&[("alice", &["readers"])]);
    server.route_crds();
    let admin = server.kubectl_client().clone();
    assert!(
        admin
            .run(&["get", "tcproutes.gateway.networking.k8s.io", "-A"])
            .is_empty()
    );
    assert!(
        admin
            .run(&["get", "httproutes.policy.linkerd.io", "-A"])
            .is_empty()
    );

    let alice = server.kubectl_as(&token("alice"));
    let refused = alice.output(&["get", "services"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("Forbidden"),
        "{refused:?}"
    );
    assert!(alice.run(&["auth", "whoami"]).contains("readers"));

    admin.run(&["create", "serviceaccount", "robot"]);
    let review = |audience: Option<&str>| {
        let token = server.account_token("default", "robot", audience);
        let audiences = audience.map(|audience| vec![audience]).unwrap_or_default();
        let review = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": audiences },
        });
        admin.with_input(&["create", "-o", "yaml", "-f", "-"], &review.to_string())
    };
    for audience in [None, Some("weir")] {
        let reviewed = review(audience);
        assert!(reviewed.contains("authenticated: true"), "{reviewed}");
        assert!(
            reviewed.contains("system:serviceaccount:default:robot"),
            "{reviewed}"
        );
    }

    let version = admin.run(&[
        "get",
        "serviceaccount",
        "robot",
        "-o",
        "jsonpath={.metadata.resourceVersion}",
    ]);
    admin.run(&["create", "serviceaccount", "later"]);
    server.kill_apiserver("KILL");
    assert!(!server.kubectl(&["get", "namespaces"]).status.success());
    server.compact_etcd();
    server.start_apiserver();
    let watch = format!(
        "--raw=/api/v1/namespaces/default/serviceaccounts?watch=1&timeoutSeconds=2&resourceVersion={version}"
    );
    let gone = server.kubectl(&["get", &watch]);
    assert!(
        String::from_utf8_lossy(&gone.stdout).contains("\"code\":410"),
        "{gone:?}"
    );

    server.kill_etcd("KILL");
    server.start_etcd();
    admin.run(&["get", "serviceaccount", "robot"]);

    let audit = std::fs::read_to_string(server.audit_log()).expect("the audit log");
    assert!(audit.contains(r#""username":"alice""#));

    server.start_controllers(&["serviceaccount-controller", "namespace-controller"]);
    admin.run(&["create", "namespace", "made"]);
    admin.run(&[
        "wait",
        "--for=create",
        "--timeout=20s",
        "-n",
        "made",
        "serviceaccount/default",
    ]);
}
