//! Edits that break an object, and valid edits. Each edit has its expected effect on live traffic.

/// Which form of the object the control plane must serve after an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The form before the edit, and the log reports a problem.
    Before,
    /// The form before the edit, without a problem, because the edit changes nothing that matters for traffic.
    BeforeSilently,
    /// The edit is valid. Requests to `host` move to the backend with the identity `to`.
    Moved {
        host: &'static str,
        to: &'static str,
    },
}

/// What the API server must do with the edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// `kubectl apply` fails and prints these words.
    Refused(&'static str),
    /// The API server accepts the edit, and no traffic moves.
    Taken,
    /// The API server accepts the edit, and the edit moves traffic as in a folder.
    Moves,
    /// The test does not apply this edit in a cluster.
    NoSuchEdit,
}

pub struct Edit {
    pub name: &'static str,
    pub file: &'static str,
    /// The text to replace. If the text is empty, the edit deletes the file.
    pub from: &'static str,
    pub to: &'static str,
    pub serves: Serves,
    /// Words that the control plane must log when it serves a folder.
    pub log_words: &'static str,
    pub admission: Admission,
}

pub const SPLIT: &str = "apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: web, namespace: default }
spec:
  service: web
  backends:
  - { service: web-v1, weight: 0 }
  - { service: web-v2, weight: 100 }
";

pub const GROUP: &str = "apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: all, namespace: default }
spec:
  matches:
  - { name: all, pathRegex: '/.*', headers: { x-load: 'yes' }, methods: [GET] }
";

pub const MATCHED: &str = "apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: ab, namespace: default }
spec:
  service: ab
  matches: [{ apiGroup: specs.smi-spec.io, kind: HTTPRouteGroup, name: all }]
  backends:
  - { service: ab-v1, weight: 0 }
  - { service: ab-v2, weight: 100 }
";

pub const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: api, namespace: default }
spec:
  parentRefs: [{ group: '', kind: Service, name: api, port: 80 }]
  rules:
  - matches: [{ path: { type: RegularExpression, value: '/.*' } }]
    timeouts: { request: 10s }
    filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-one, value: a }] } }]
    backendRefs:
    - { name: api-v1, port: 80, weight: 0 }
    - { name: api-v2, port: 80, weight: 100 }
";

pub const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: web-v1, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: api-v1, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: api-v2, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: ab, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: ab-v1, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: ab-v2, namespace: default }
spec: { ports: [{ port: 80 }] }
";

pub const LAST_BACKEND: &str = "apiVersion: v1
kind: Service
metadata: { name: web-v2, namespace: default }
spec: { ports: [{ port: 80 }] }
";

pub const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata: { name: default }
";

/// The manifests before each edit. They send all traffic to the backends `v2`.
pub const FILES: [(&str, &str); 7] = [
    ("split.yaml", SPLIT),
    ("group.yaml", GROUP),
    ("matched.yaml", MATCHED),
    ("route.yaml", ROUTE),
    ("services.yaml", SERVICES),
    ("web-v2.yaml", LAST_BACKEND),
    ("namespace.yaml", NAMESPACE),
];

const fn broken(
    name: &'static str,
    file: &'static str,
    edit: [&'static str; 2],
    log_words: &'static str,
    admission: Admission,
) -> Edit {
    let [from, to] = edit;
    Edit {
        name,
        file,
        from,
        to,
        serves: Serves::Before,
        log_words,
        admission,
    }
}

use Admission::{Moves, NoSuchEdit, Refused, Taken};

pub const EDITS: [Edit; 47] = [
    broken(
        "a letter in a weight",
        "split.yaml",
        ["weight: 100", "weight: 10O"],
        "10O",
        Refused("10O"),
    ),
    broken(
        "a negative weight",
        "split.yaml",
        ["weight: 100", "weight: -1"],
        "-1",
        Refused("weight"),
    ),
    broken(
        "no weight at all",
        "split.yaml",
        [", weight: 100", ""],
        "weight",
        Refused("weight"),
    ),
    broken(
        "an empty weight",
        "split.yaml",
        ["weight: 100", "weight: ''"],
        "weight",
        Refused("weight"),
    ),
    broken(
        "a weight that is a list",
        "split.yaml",
        ["weight: 100", "weight: [100]"],
        "weight",
        Refused("weight"),
    ),
    broken(
        "a weight that is true",
        "split.yaml",
        ["weight: 100", "weight: true"],
        "true",
        Refused("weight"),
    ),
    broken(
        "a weight that is too large",
        "split.yaml",
        ["weight: 100", "weight: '1e99'"],
        "1e99",
        Refused("weight"),
    ),
    broken(
        "a weight that is too fine",
        "split.yaml",
        ["weight: 100", "weight: 0.00001"],
        "thousandth",
        Refused("weight"),
    ),
    broken(
        "a misspelled weight",
        "split.yaml",
        ["weight: 100", "wieght: 100"],
        "wieght",
        Refused("backends[1]"),
    ),
    broken(
        "an unknown field of the spec",
        "split.yaml",
        ["  backends:", "  backend: []\n  backends:"],
        "backend",
        Refused("backend"),
    ),
    broken(
        "misspelled backends",
        "split.yaml",
        ["  backends:", "  bakends:"],
        "backends",
        Refused("backends"),
    ),
    broken(
        "backends that are a map",
        "split.yaml",
        [
            "  - { service: web-v1, weight: 0 }\n  - { service: web-v2, weight: 100 }",
            "    service: web-v2",
        ],
        "backends",
        Refused("backends"),
    ),
    broken(
        "an unknown version",
        "split.yaml",
        ["v1alpha4", "v1alpha9"],
        "v1alpha9",
        Refused("v1alpha9"),
    ),
    broken(
        "a renamed kind",
        "split.yaml",
        ["kind: TrafficSplit", "kind: TrafficSplits"],
        "TrafficSplits",
        Refused("TrafficSplits"),
    ),
    broken(
        "a misspelled group",
        "split.yaml",
        ["split.smi-spec.io", "split.smi-specs.io"],
        "split.smi-specs.io",
        Refused("split.smi-specs.io"),
    ),
    broken(
        "an empty service",
        "split.yaml",
        ["service: web\n", "service: ''\n"],
        "service",
        Refused("service"),
    ),
    broken(
        "a service that is a map",
        "split.yaml",
        ["service: web\n", "service: { name: web }\n"],
        "service: web",
        Refused("service"),
    ),
    broken(
        "a service with a named port",
        "split.yaml",
        ["service: web\n", "service: web:http\n"],
        "http",
        Refused("port"),
    ),
    broken(
        "a service that is not a name",
        "split.yaml",
        ["service: web\n", "service: we_b\n"],
        "we_b",
        Refused("service"),
    ),
    broken(
        "a backend that is not a name",
        "split.yaml",
        ["service: web-v2", "service: web_v2"],
        "web_v2",
        Refused("service"),
    ),
    broken(
        "a duplicate key",
        "split.yaml",
        ["  service: web\n", "  service: web\n  service: web\n"],
        "twice",
        Refused("service"),
    ),
    broken(
        "a number that YAML 1.1 reads as octal",
        "split.yaml",
        ["weight: 100", "weight: 0100"],
        "0100",
        NoSuchEdit,
    ),
    broken(
        "half a file",
        "split.yaml",
        [", weight: 100 }\n", ", wei"],
        "split.yaml",
        Refused("error"),
    ),
    broken(
        "a tab",
        "split.yaml",
        ["  service: web\n", "\tservice: web\n"],
        "split.yaml",
        Refused("error"),
    ),
    broken(
        "an unrendered template",
        "split.yaml",
        ["weight: 100 }", "weight: {{ .Values.weight }} }"],
        "render it first",
        Refused("error"),
    ),
    broken(
        "a reference to another kind",
        "matched.yaml",
        ["kind: HTTPRouteGroup", "kind: HTTPRouteGrup"],
        "HTTPRouteGrup",
        Refused("HTTPRouteGroup"),
    ),
    broken(
        "a reference to another API group",
        "matched.yaml",
        ["apiGroup: specs.smi-spec.io", "apiGroup: spec.smi-spec.io"],
        "spec.smi-spec.io",
        Refused("specs.smi-spec.io"),
    ),
    broken(
        "matches in a version without matches",
        "matched.yaml",
        ["v1alpha4", "v1alpha1"],
        "matches",
        Refused("matches"),
    ),
    broken(
        "a bad regular expression of a group",
        "group.yaml",
        ["'/.*'", "'/(.*'"],
        "/(.*",
        Refused("regular expression"),
    ),
    broken(
        "look-around in a group",
        "group.yaml",
        ["'/.*'", "'/(?!x).*'"],
        "look",
        Refused("regular expression"),
    ),
    broken(
        "a header without quotes",
        "group.yaml",
        ["'yes'", "true"],
        "quotes",
        Refused("headers"),
    ),
    broken(
        "an unknown method",
        "group.yaml",
        ["[GET]", "[GTE]"],
        "GTE",
        Refused("GTE"),
    ),
    broken(
        "a group with the fields of another version",
        "group.yaml",
        ["spec:\n  matches:\n  - {", "matches:\n  - {"],
        "matches",
        Refused("matches"),
    ),
    broken(
        "a bad regular expression of a route",
        "route.yaml",
        ["'/.*'", "'/(?=x).*'"],
        "look",
        Refused("regular expression"),
    ),
    broken(
        "an unsupported filter",
        "route.yaml",
        [
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-one, value: a }] } }]",
            "filters: [{ type: CORS, cors: { allowOrigins: ['*'] } }]",
        ],
        "CORS",
        Refused("CORS"),
    ),
    broken(
        "an edit of a connection header",
        "route.yaml",
        ["name: x-one", "name: transfer-encoding"],
        "transfer-encoding",
        Refused("transfer-encoding"),
    ),
    broken(
        "a bad duration",
        "route.yaml",
        ["request: 10s", "request: 10 seconds"],
        "10 seconds",
        Refused("timeouts"),
    ),
    broken(
        "a duration that is a number",
        "route.yaml",
        ["request: 10s", "request: 10"],
        "10s",
        Refused("timeouts"),
    ),
    broken(
        "an unknown field of a rule",
        "route.yaml",
        ["timeouts:", "timeout:"],
        "timeout",
        Refused("timeout"),
    ),
    broken(
        "a port that is a name",
        "route.yaml",
        ["api-v2, port: 80", "api-v2, port: http"],
        "port",
        Refused("port"),
    ),
    broken(
        "a weight that is text",
        "route.yaml",
        ["weight: 100", "weight: '100%'"],
        "100%",
        Refused("weight"),
    ),
    broken(
        "parents that are a map",
        "route.yaml",
        [
            "parentRefs: [{ group: '', kind: Service, name: api, port: 80 }]",
            "parentRefs: { name: api }",
        ],
        "parentRefs",
        Refused("parentRefs"),
    ),
    broken(
        "a Service port with a letter",
        "web-v2.yaml",
        ["port: 80", "port: 8O"],
        "8O",
        Refused("port"),
    ),
    Edit {
        name: "a deleted namespace object",
        file: "namespace.yaml",
        from: "",
        to: "",
        serves: Serves::BeforeSilently,
        log_words: "",
        admission: NoSuchEdit,
    },
    Edit {
        name: "a new name",
        file: "split.yaml",
        from: "name: web,",
        to: "name: web-2,",
        serves: Serves::BeforeSilently,
        log_words: "",
        admission: Taken,
    },
    Edit {
        name: "a deleted Service",
        file: "web-v2.yaml",
        from: "",
        to: "",
        serves: Serves::Moved {
            host: "web",
            to: "root",
        },
        log_words: "web-v2",
        admission: Moves,
    },
    Edit {
        name: "a deleted split",
        file: "split.yaml",
        from: "",
        to: "",
        serves: Serves::Moved {
            host: "web",
            to: "ordinary",
        },
        log_words: "",
        admission: Moves,
    },
];

impl Edit {
    /// The file after the edit; None if the edit deletes the file.
    pub fn text(&self) -> Option<String> {
        let before = text(self.file);
        if self.from.is_empty() {
            return None;
        }
        assert!(
            before.contains(self.from),
            "{}: {:?} is not in {}",
            self.name,
            self.from,
            self.file
        );
        Some(before.replacen(self.from, self.to, 1))
    }
}

/// Text of one of the manifests.
pub fn text(file: &str) -> &'static str {
    let found = FILES.iter().find(|(name, _)| *name == file);
    found.unwrap_or_else(|| panic!("no {file}")).1
}
