//! An API server with the CRDs of the kinds that Weir reads and with a namespace `shop`, and helpers for tests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use weir_cluster::ApiServer;
use weir_cluster::server::token;
use weir_tests::root;

pub const LIVE: &str = "weir.dev/Live";
const CONTROLLER: &str = "weir.dev/gateway-controller";

pub struct Scene {
    pub server: ApiServer,
}

/// A request to the API server, from its audit log.
pub struct Request {
    pub verb: String,
    pub user: String,
    pub name: String,
    pub subresource: String,
    /// The time of the answer.
    pub at: Timestamp,
    /// The HTTP status of the answer. If the client ends during a write, the status is 504, but the API server may have
    /// stored the object.
    pub code: u64,
}

impl Request {
    pub fn is_status_write(&self) -> bool {
        self.subresource == "status" && self.code == 200
    }
}

impl Scene {
    /// Starts the API server. `users` have all rights, like the administrator.
    pub fn new(users: &[&str]) -> Scene {
        let users: Vec<(&str, &[&str])> = users
            .iter()
            .map(|user| (*user, ["system:masters"].as_slice()))
            .collect();
        let server = ApiServer::start_with(&users);
        server.route_crds();
        server.crds(&[&root().join("deploy/crds")]);
        server
            .kubectl_client()
            .run(&["create", "namespace", "shop"]);
        Scene { server }
    }

    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.server.kubeconfig(&token(user))
    }

    /// Runs kubectl in the namespace `shop`; panics if it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.server
            .kubectl_client()
            .run(&[args, &["-n", "shop"]].concat())
    }

    pub fn apply(&self, yaml: &str) {
        self.server.apply(yaml);
    }

    pub fn services(&self, names: &[&str]) {
        let service = |name: &&str| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {{ ports: [{{ port: 80 }}] }}\n"
            )
        };
        let all: Vec<String> = names.iter().map(service).collect();
        self.apply(&all.join("---\n"));
    }

    /// Applies a route of the Service `web`.
    pub fn route(&self, name: &str, backends: &str) {
        self.apply(&route(name, backends));
    }

    pub fn split(&self, name: &str, backends: &str) {
        self.apply(&split(name, backends));
    }

    /// Returns the arguments of the kubectl command in docs/status.md that waits for this object.
    pub fn documented(&self, object: &str) -> String {
        let page = std::fs::read_to_string(root().join("docs/status.md"));
        let page = page.expect("docs/status.md");
        let lines = page
            .lines()
            .filter_map(|line| line.strip_prefix("kubectl "));
        let mut found = lines.filter(|line| line.ends_with(object));
        found
            .next()
            .unwrap_or_else(|| panic!("no command for {object}"))
            .to_owned()
    }

    /// Runs kubectl with these arguments. Removes quotes as a shell does.
    pub fn wait(&self, command: &str) {
        let plain = command.replace('\'', "");
        let args: Vec<&str> = plain.split(' ').chain(["--timeout=20s"]).collect();
        self.kubectl(&args);
    }

    /// Returns the text of the route as the API server sends it.
    pub fn raw(&self, route: &str) -> String {
        let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/{route}");
        self.server.kubectl_client().run(&["get", "--raw", &path])
    }

    pub fn get(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", kind, name, "-o", "json"]);
        serde_json::from_str(&text).expect("an object")
    }

    /// Returns the time between the last change of an object and the next write of its status. Both times are from the
    /// audit log.
    pub fn status_delay(&self, resource: &str, name: &str) -> Duration {
        let mut writes = self.audit(resource);
        writes.retain(|it| it.name == name && it.verb == "patch" && it.code == 200);
        let is_change = |it: &Request| it.subresource.is_empty();
        let changed = writes.iter().rposition(is_change).expect("a change");
        let status = writes
            .get(changed + 1)
            .expect("a status write after the change");
        status.at.duration_since(writes[changed].at).unsigned_abs()
    }

    /// Returns the name of the object for each status write after this time.
    pub fn status_writes(&self, resource: &str, after: Timestamp) -> Vec<String> {
        let writes = self.audit(resource).into_iter();
        let writes = writes.filter(|it| it.is_status_write() && it.at > after);
        writes.map(|it| it.name).collect()
    }

    /// Returns the requests for a resource, in the order of their answers.
    pub fn audit(&self, resource: &str) -> Vec<Request> {
        let log = std::fs::read_to_string(self.server.audit_log()).expect("the audit log");
        let events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
        let of_resource = events.filter(|event| event["objectRef"]["resource"] == resource);
        let request = |event: Value| {
            let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
            Request {
                verb: text(&event["verb"]),
                user: text(&event["user"]["username"]),
                name: text(&event["objectRef"]["name"]),
                subresource: text(&event["objectRef"]["subresource"]),
                at: text(&event["stageTimestamp"]).parse().expect("a time"),
                code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            }
        };
        of_resource.map(request).collect()
    }

    /// Calls `ask` with the object until `ask` returns a value; panics after ten seconds.
    pub fn until<T>(&self, kind: &str, name: &str, ask: impl Fn(&Value) -> Option<T>) -> T {
        self.until_within(Duration::from_secs(10), kind, name, ask)
    }

    pub fn until_within<T>(
        &self,
        time: Duration,
        kind: &str,
        name: &str,
        ask: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            let object = self.get(kind, name);
            if let Some(answer) = ask(&object) {
                return answer;
            }
            assert!(
                start.elapsed() < time,
                "the status of {kind} {name}: {:#}",
                object["status"]
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Returns this condition of a split. If the object is a route, returns the condition of the first parent that has it.
/// Ignores entries of other controllers.
pub fn condition(object: &Value, kind: &str) -> Option<Value> {
    let status = &object["status"];
    let of_parents = status["parents"].as_array().into_iter().flatten();
    let own = of_parents.filter(|it| it["controllerName"] == CONTROLLER);
    let lists = own
        .map(|it| &it["conditions"])
        .chain([&status["conditions"]]);
    let all = lists.filter_map(Value::as_array).flatten();
    all.into_iter().find(|it| it["type"] == kind).cloned()
}

pub fn route(name: &str, backends: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: shop }}
spec:
  parentRefs: [{{ group: \"\", kind: Service, name: web, port: 80 }}]
  rules: [{{ backendRefs: {backends} }}]
"
    )
}

pub fn split(name: &str, backends: &str) -> String {
    format!(
        "apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{ name: {name}, namespace: shop }}
spec:
  service: {name}
  backends: {backends}
"
    )
}
