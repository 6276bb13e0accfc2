//! Starts an API server with CRDs of Weir or of other projects, and sends requests to it like a controller.

use std::time::{Duration, Instant};

use hyper::Request;
use serde_json::{Value, json};
use weir_cluster::ApiServer;
use weir_tests::{objects, root};

pub struct Cluster {
    pub server: ApiServer,
    client: kube::Client,
}

/// `Try` is a dry run. `Store` stores the object.
#[derive(Clone, Copy, PartialEq)]
pub enum Write {
    Try,
    Store,
}

/// Group, kind and plural name of the SMI kinds. CRDs of other projects for these kinds accept any fields.
const FOREIGN: [(&str, &str, &str); 2] = [
    ("split.smi-spec.io", "TrafficSplit", "trafficsplits"),
    ("specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups"),
];

/// Template for kubectl, which prints `GROUP/VERSION KIND` for each served version of each CRD.
const KINDS: &str = r#"go-template={{range .items}}{{$crd := .}}{{range .spec.versions}}{{if .served}}{{$crd.spec.group}}/{{.name}} {{$crd.spec.names.kind}}{{"\n"}}{{end}}{{end}}{{end}}"#;

impl Cluster {
    async fn start() -> Cluster {
        let server = ApiServer::start();
        for (namespace, label) in [("labelled", "enabled"), ("unlabelled", "disabled")] {
            server.apply(&format!(
                "{{ apiVersion: v1, kind: Namespace, metadata: {{ name: {namespace}, labels: {{ weir.dev/admission: {label} }} }} }}"
            ));
        }
        let kubeconfig = server.kubeconfig(weir_cluster::server::ADMIN);
        let client = weir_cluster::server::client(&kubeconfig).await;
        Cluster {
            server,
            client: client.expect("a client"),
        }
    }

    pub async fn with_shipped_kinds() -> Cluster {
        let cluster = Cluster::start().await;
        cluster.server.crds(&[&root().join("deploy/crds")]);
        cluster
    }

    /// Installs the released CRDs of Gateway API, and SMI CRDs that accept any fields.
    pub async fn with_foreign_kinds() -> Cluster {
        let cluster = Cluster::start().await;
        cluster.server.route_crds();
        for (group, kind, plural) in FOREIGN {
            let name = format!("{plural}.{group}");
            let definition = foreign(group, kind, plural).to_string();
            cluster.server.apply(&definition);
            let established = ["wait", "--for=condition=Established", "crd", &name];
            cluster.server.kubectl_client().run(&established);
        }
        cluster
    }

    /// Installs the admission policies, and waits until each of them refuses an invalid object.
    pub async fn policies(&self) {
        let folder = root().join("deploy/admission").display().to_string();
        let kubectl = self.server.kubectl_client();
        kubectl.run(&["apply", "--server-side", "-k", &folder]);
        for broken in [
            "{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: x }, spec: {} }",
            "{ apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: { name: x }, spec: {} }",
            "{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: x }, spec: { hostnames: [1.2.3.4] } }",
            "{ apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: { name: x }, spec: { useDefaultGateways: All, rules: [{ backendRefs: [{ name: a, port: 80 }] }] } }",
        ] {
            self.refused_in_the_end("labelled", broken).await;
        }
    }

    /// Returns `GROUP/VERSION KIND` for each served version of each CRD.
    pub fn kinds(&self) -> Vec<String> {
        let names = self
            .server
            .kubectl_client()
            .run(&["get", "crd", "-o", KINDS]);
        names.lines().map(str::to_owned).collect()
    }

    /// Creates the namespace with the admission label, unless it exists.
    pub async fn namespace(&self, name: &str) {
        let metadata = json!({ "name": name, "labels": { "weir.dev/admission": "enabled" } });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        let request =
            Request::post("/api/v1/namespaces").header("content-type", "application/json");
        let request = request
            .body(namespace.to_string().into_bytes())
            .expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// Waits until the API server refuses this object. Policies and labels take effect only after a moment.
    pub async fn refused_in_the_end(&self, namespace: &str, broken: &str) {
        let start = Instant::now();
        let broken = parse(broken);
        while self.create(namespace, &broken, Write::Try).await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(60), "{broken}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn create(
        &self,
        namespace: &str,
        object: &Value,
        write: Write,
    ) -> Result<Value, String> {
        let path = collection(namespace, object);
        self.send("POST", &path, write, object).await
    }

    /// Replaces the stored object by `edit`. Sends the stored resource version, so that the write never conflicts.
    pub async fn replace(&self, namespace: &str, edit: &Value) -> Result<Value, String> {
        let path = path(namespace, edit);
        let mut edit = edit.clone();
        let stored = self.read(namespace, &edit).await;
        edit["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
        self.send("PUT", &path, Write::Store, &edit).await
    }

    /// Returns the stored object with the kind, version and name of `object`.
    pub async fn read(&self, namespace: &str, object: &Value) -> Value {
        let path = path(namespace, object);
        let request = Request::get(path).body(Vec::new()).expect("a request");
        self.client
            .request(request)
            .await
            .expect("the object is stored")
    }

    /// Sends the request like a controller: with `fieldValidation=Ignore` the API server does not refuse unknown
    /// fields.
    async fn send(
        &self,
        method: &str,
        path: &str,
        write: Write,
        object: &Value,
    ) -> Result<Value, String> {
        let dry = if write == Write::Try {
            "&dryRun=All"
        } else {
            ""
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldValidation=Ignore{dry}"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.client
            .request(request)
            .await
            .map_err(|error| match error {
                kube::Error::Api(status) => status.message.clone(),
                other => panic!("{path}: {other}: {object}"),
            })
    }
}

/// Parses a YAML document with one object.
pub fn parse(yaml: &str) -> Value {
    objects(yaml).remove(0)
}

fn collection(namespace: &str, object: &Value) -> String {
    let text = |field: &str| object[field].as_str().expect("text");
    let plural = text("kind").to_lowercase();
    format!(
        "/apis/{}/namespaces/{namespace}/{plural}s",
        text("apiVersion")
    )
}

fn path(namespace: &str, object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().expect("a name");
    format!("{}/{name}", collection(namespace, object))
}

fn foreign(group: &str, kind: &str, plural: &str) -> Value {
    let version = |name: &str| {
        json!({
            "name": name, "served": true, "storage": name == "v1alpha4", "subresources": { "status": {} },
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        })
    };
    let versions = ["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"].map(version);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase() },
            "versions": versions,
        },
    })
}

/// Words that the API server's error message must contain. None if the API server must accept the object.
pub type Refusal = Option<&'static str>;

/// An invalid edit. CRD schemas of Weir and the admission policies may refuse it with different messages.
pub struct Broken {
    pub version: &'static str,
    /// All fields except the metadata.
    pub edit: &'static str,
    pub by_schema: Refusal,
    pub by_policy: Refusal,
}

pub const fn broken(
    version: &'static str,
    edit: &'static str,
    by_schema: Refusal,
    by_policy: Refusal,
) -> Broken {
    Broken {
        version,
        edit,
        by_schema,
        by_policy,
    }
}

/// Sends an edit of a stored object. With `words`, the API server must refuse the edit with these words, and the stored
/// object must not change. Without `words`, the API server must accept the edit.
pub async fn broken_edit(cluster: &Cluster, namespace: &str, edit: &Value, words: Option<&str>) {
    let before = cluster.read(namespace, edit).await;
    match (cluster.replace(namespace, edit).await, words) {
        (Ok(_), None) => {}
        (Ok(_), Some(words)) => panic!("the edit was stored, expected {words:?}: {edit}"),
        (Err(message), None) => panic!("the edit was refused: {message}: {edit}"),
        (Err(message), Some(words)) => {
            assert!(
                message.contains(words),
                "{words:?} is not in {message:?}: {edit}"
            );
            assert_eq!(cluster.read(namespace, edit).await, before, "{edit}");
        }
    }
}
