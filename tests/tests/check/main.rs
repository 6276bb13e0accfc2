//! Tests `weir check` on broken input. The printed line must name the file, the object, the field, the cause and the
//! remedy. A valid split in the same folder must still be translated.

mod cases;
mod last_valid;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_tests::{dist, root};

/// Objects in every folder of these tests: a valid split, and objects that the broken objects refer to.
const GOOD: &str = r#"
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Service, metadata: { name: good }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v1 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web-v2 }, spec: { ports: [{ port: 80 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: admin }, spec: { ports: [{ port: 8080 }] } }
- { apiVersion: v1, kind: Service, metadata: { name: web, namespace: other }, spec: { ports: [{ port: 80 }] } }
- apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: { name: edge }
  spec:
    gatewayClassName: weir
    listeners: [{ name: http, port: 80, protocol: HTTP, hostname: "*.example.com" }]
- apiVersion: split.smi-spec.io/v1alpha4
  kind: TrafficSplit
  metadata: { name: good }
  spec: { service: good, backends: [{ service: web-v1, weight: 1 }] }
"#;
const GOOD_RULE: &str = "\"TrafficSplit/default/good:80/http\"";

/// Address space in KiB that one run may use.
const MEMORY: u32 = 500_000;
/// Time that one run may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each block has a name, YAML documents, and the expected line after `->`. In the expected line ` .. ` stands for any
/// text. Some documents have only the fields of the spec, after a word for the object: `split:` for a TrafficSplit,
/// `route:` for an HTTPRoute of the Service `web`, `edge:` for an HTTPRoute of the Gateway `edge`.
const OBJECTS: &str = r#"
a negative weight
split: service: web, backends: [{ service: web-v1, weight: -1 }, { service: web-v2, weight: 101 }]
-> TrafficSplit default/split spec.backends[0].weight: InvalidValue: the weight -1 is negative: .. ; write 0 for no traffic

a word as weight
split: service: web, backends: [{ service: web-v1, weight: abc }]
-> TrafficSplit default/split spec.backends[0].weight: InvalidValue: the weight "abc" is not a number: .. ; write a number

a weight that is not a number
split: service: web, backends: [{ service: web-v1, weight: .nan }]
-> TrafficSplit default/split spec.backends[0].weight: InvalidValue: .. ; write a number

a missing weight
split: service: web, backends: [{ service: web-v1, weight: 0 }, { service: web-v2 }]
-> TrafficSplit default/split spec.backends[1].weight: InvalidValue: the backend has no weight, and no other .. ; write a weight

a list as weight
split: service: web, backends: [{ service: web-v1, weight: [1] }]
-> TrafficSplit default/split spec.backends[0].weight: InvalidValue: .. ; write a number

weights that are all zero
split: service: web, backends: [{ service: web-v1, weight: 0 }, { service: web-v2, weight: 0 }]
-> TrafficSplit default/split spec.backends: NoTraffic: .. go to Service default/web itself; give a backend a weight above 0

weights with a sum of 2^63
split: service: web, backends: [{ service: web-v1, weight: 9223372036854775807 }, { service: web-v2, weight: 1 }]
-> TrafficSplit default/split spec.backends: InvalidValue: the total of the weights is 2^63 or more: .. ; write smaller weights

a backend whose Service is missing
split: service: web, backends: [{ service: web-v1, weight: 1 }, { service: web-v3, weight: 1 }]
-> TrafficSplit default/split spec.backends[1].service: BackendNotFound: there is no Service default/web-v3: .. ; create the Service

a backend without the port of the split
split: service: web, backends: [{ service: admin, weight: 1 }, { service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.backends[0].service: PortNotFound: Service default/admin has no TCP port 80 (it has 8080), .. ; add port 80 to

a split of a missing Service
split: service: shop, backends: [{ service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.service: RootNotFound: there is no Service default/shop: the split is not in force; create the Service

a split of a missing port
split: service: "web:9090", backends: [{ service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.service: PortNotFound: Service default/web has no TCP port 9090; it has 80: .. ; write one of these ports

a split of a Service in another namespace
split: service: web.other, backends: [{ service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.service: RefNotPermitted: Service web is in namespace "other", but the split is in namespace "default": .. ; write metadata.namespace: other

an empty service field
split: service: "", backends: [{ service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.service: InvalidValue: no service is named: .. ; write the name of the Service

a service field that is not a host
split: service: "shop!.example.com", backends: [{ service: web-v1, weight: 1 }]
-> TrafficSplit default/split spec.service: InvalidValue: .. shop!.example.com .. ; write the name of a Service

two splits of one Service: the older one wins
{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: a, creationTimestamp: "2024-02-01T00:00:00Z" }, spec: { service: web, backends: [{ service: web-v1, weight: 1 }] } }
---
{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: b, creationTimestamp: "2024-01-01T00:00:00Z" }, spec: { service: web, backends: [{ service: web-v1, weight: 1 }] } }
-> TrafficSplit default/a spec.service: Conflicted: TrafficSplit default/b already routes every request of this split at port 80 of Service default/web: .. ; take one of the two out

two splits of one Service with the same age: the split whose name comes first wins
{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: b, creationTimestamp: "2024-01-01T00:00:00Z" }, spec: { service: web, backends: [{ service: web-v1, weight: 1 }] } }
---
{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: a, creationTimestamp: "2024-01-01T00:00:00Z" }, spec: { service: web, backends: [{ service: web-v1, weight: 1 }] } }
-> TrafficSplit default/b spec.service: Conflicted: TrafficSplit default/a already routes every request of this split at port 80 of Service default/web: .. ; take one of the two out

a split and a route on one Service
split: service: web, backends: [{ service: web-v1, weight: 1 }]
---
route: rules: [{ backendRefs: [{ name: web-v1, port: 80 }] }]
-> TrafficSplit default/split spec.service: Conflicted: HTTPRoute default/route already routes every request at port 80 of Service default/web: .. ; take one of the two out

an unknown version of a split
{ apiVersion: split.smi-spec.io/v1alpha5, kind: TrafficSplit, metadata: { name: split }, spec: {} }
-> TrafficSplit default/split apiVersion: UnknownVersion: split.smi-spec.io/v1alpha5 is not known; use v1alpha1, v1alpha2, v1alpha3, v1alpha4

a missing spec
{ apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: { name: split } }
-> TrafficSplit default/split: InvalidValue: the field "spec" is missing: .. ; add spec

missing backends
split: service: web
-> TrafficSplit default/split spec.backends: InvalidValue: no backends are named: .. ; write backends

an empty list of backends
split: service: web, backends: []
-> TrafficSplit default/split spec.backends: NoTraffic: .. ; give a backend

backends that are not a list
split: service: web, backends: web-v1
-> TrafficSplit default/split spec.backends: InvalidValue: the field "backends" is the text "web-v1" where a list is expected: .. ; write a list

an unknown field of a split
split: service: web, backends: [{ service: web-v1, weight: 1, subset: v2 }]
-> TrafficSplit default/split spec.backends[0].subset: InvalidValue: unknown field subset: .. ; correct the name

a missing HTTPRouteGroup
split: service: web, backends: [{ service: web-v1, weight: 1 }], matches: [{ kind: HTTPRouteGroup, name: beta }]
-> TrafficSplit default/split spec.matches[0].name: ReferenceNotFound: .. no HTTPRouteGroup default/beta

a duplicate object
split: service: web, backends: [{ service: web-v1, weight: 1 }]
---
split: service: web, backends: [{ service: web-v2, weight: 1 }]
-> TrafficSplit default/split: Duplicate: the object is in .. broken.yaml .. ; take one of them out

a missing name
{ apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {}, spec: {} }
-> TrafficSplit documents[0].metadata.name: InvalidValue: this TrafficSplit has no name; write metadata.name

an invalid name
{ apiVersion: v1, kind: Service, metadata: { name: Web_1 }, spec: { ports: [{ port: 80 }] } }
-> Service default/Web_1 metadata.name: InvalidValue: "Web_1" is not a name for a Service; use lower-case letters

an invalid namespace
{ apiVersion: v1, kind: Service, metadata: { name: api, namespace: a.b }, spec: { ports: [{ port: 80 }] } }
-> Service a.b/api metadata.namespace: InvalidValue: "a.b" is not a namespace; use lower-case letters

an invalid time
{ apiVersion: v1, kind: Service, metadata: { name: api, creationTimestamp: yesterday }, spec: { ports: [{ port: 80 }] } }
-> Service default/api metadata.creationTimestamp: InvalidValue: "yesterday" is not a time; write it like

a missing kind
{ apiVersion: v1, metadata: { name: web } }
-> documents[0].kind: InvalidValue: this document has no kind; write its kind

a list as document
- a
- b
-> documents[0]: InvalidValue: this document is not an object; write apiVersion, kind and metadata

a word as document
hello
-> documents[0]: InvalidValue: this document is not an object; write apiVersion, kind and metadata

a port that is a word
{ apiVersion: v1, kind: Service, metadata: { name: api }, spec: { ports: [{ port: http }] } }
-> Service default/api spec.ports[0].port: InvalidValue: the field "port" is the text "http" where a number is expected: .. ; write the port's number

an unknown version of a route
{ apiVersion: policy.linkerd.io/v1beta1, kind: HTTPRoute, metadata: { name: route }, spec: {} }
-> HTTPRoute.policy.linkerd.io default/route apiVersion: UnknownVersion: policy.linkerd.io/v1beta1 is not known; use v1beta2, v1beta3

an unknown field of a route
route: rules: [{ backendRef: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].backendRef: InvalidValue: unknown field backendRef: requests of this rule are answered 500; correct the name

an unsupported filter
route: rules: [{ filters: [{ type: ExtensionRef, extensionRef: { group: a, kind: B, name: c } }], backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].filters[0].type: UnsupportedValue: the filter ExtensionRef is not supported: requests of this rule are answered 500; take the filter ExtensionRef out

an invalid header name
route: rules: [{ matches: [{ headers: [{ name: a b, value: b }] }], backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].matches[0].headers[0].name: InvalidValue: "a b" .. : this match fits no request; use letters

an invalid regular expression
route: rules: [{ matches: [{ path: { type: RegularExpression, value: '/(a' } }], backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].matches[0].path.value: InvalidValue: .. unclosed group: this match fits no request; write it in the syntax of RE2

a path without slash
route: rules: [{ matches: [{ path: { value: shop } }], backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].matches[0].path.value: InvalidValue: "shop" does not begin with /: this match fits no request; write /shop

a backend of an unknown kind
route: rules: [{ backendRefs: [{ kind: Bucket, group: example.com, name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0]: InvalidKind: web-v1 is of kind Bucket.example.com, .. : requests for this backend are answered 500; name a Service

a route's backend whose Service is missing
route: rules: [{ backendRefs: [{ name: web-v3, port: 80 }, { name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0]: BackendNotFound: there is no Service default/web-v3: requests for this backend are answered 500; create the Service

a route's backend without port
route: rules: [{ backendRefs: [{ name: web-v1 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0]: BackendNotFound: the backend names no port of Service default/web-v1: .. ; write port: 80

a port above 65535
route: rules: [{ backendRefs: [{ name: web-v1, port: 65616 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0].port: InvalidValue: port is 65616, which is not a number from 1 to 65535: requests for this backend are answered 500; write the number

a weight above 1000000
route: rules: [{ backendRefs: [{ name: web-v1, port: 80, weight: 1000001 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0].weight: InvalidValue: the weight 1000001 is above 1000000: .. ; write whole numbers from 0 to 1000000

a backend in another namespace without a grant
edge: hostnames: [a.example.com], rules: [{ backendRefs: [{ name: web, namespace: other, port: 80 }] }]
-> HTTPRoute default/route spec.rules[0].backendRefs[0]: RefNotPermitted: no ReferenceGrant .. Service other/web: .. ; create a ReferenceGrant

a host name with a port
edge: hostnames: ["a.example.com:80"], rules: [{ backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.hostnames[0]: InvalidValue: "a.example.com:80" has a port: the object is not in force; write the hostname without the port: a.example.com

a host name that no listener has
edge: hostnames: [a.example.org], rules: [{ backendRefs: [{ name: web-v1, port: 80 }] }]
-> HTTPRoute default/route spec.parentRefs[0]: NoMatchingListenerHostname: .. Gateway default/edge has a hostname of this route; write a hostname that a listener has

a Gateway that does not exist
{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: route }, spec: { parentRefs: [{ name: nowhere }] } }
-> HTTPRoute default/route spec.parentRefs[0]: NoMatchingParent: there is no Gateway default/nowhere; create the Gateway

a listener that does not exist
{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: route }, spec: { parentRefs: [{ name: edge, sectionName: https }] } }
-> HTTPRoute default/route spec.parentRefs[0]: NoMatchingParent: Gateway default/edge has no listener named https: .. ; write sectionName: http

a route that the listener does not admit
{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: route, namespace: other }, spec: { parentRefs: [{ name: edge, namespace: default }] } }
-> HTTPRoute other/route spec.parentRefs[0]: NotAllowedByListeners: .. Gateway default/edge .. namespace other; change allowedRoutes

an invalid host name of a listener
{ apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: { name: inner }, spec: { gatewayClassName: weir, listeners: [{ name: http, port: 80, protocol: HTTP, hostname: "a_b:80" }] } }
-> Gateway default/inner spec.listeners[0].hostname: InvalidValue: "a_b:80" is not a host name: no route is in force for the hosts of this listener; write a name without port

hostnames of a Linkerd route
{ apiVersion: policy.linkerd.io/v1beta2, kind: HTTPRoute, metadata: { name: route }, spec: { parentRefs: [{ group: core, kind: Service, name: web }], hostnames: [shop.example.com] } }
-> HTTPRoute.policy.linkerd.io default/route spec.hostnames[0]: UnsupportedValue: .. is not a name of Service default/web

a bracket that is not closed
kind: [Service
-> Unreadable: .. line .. ; correct the YAML

a tab as indentation
apiVersion: v1
	kind: Service
-> Unreadable: .. ; correct the YAML

a duplicate key
{ apiVersion: v1, kind: Service, kind: Namespace, metadata: { name: web } }
-> Unreadable: the key kind is there twice, at line 1 and at line 1; remove one of the two

an alias without an anchor
kind: *nothing
-> Unreadable: an alias (*NAME) has no anchor (&NAME) before it, at line 1, column 7: .. ; write &NAME before

an alias inside its own anchor
kind: &a [*a]
-> Unreadable: an alias (*NAME) is inside the value of its own anchor (&NAME), at line 1, column 11: .. ; write a value instead

a key that is not text
kind: { ~: 1 }
-> Unreadable: a key is not a text, at line 1, column 9: .. ; write a text before the colon
"#;

struct Broken {
    name: String,
    file: &'static str,
    content: Vec<u8>,
    expected: String,
}

fn of_objects() -> impl Iterator<Item = Broken> {
    OBJECTS.trim().split("\n\n").map(|block| {
        let (name, rest) = block.split_once('\n').expect("a name");
        let (documents, expected) = rest.split_once("\n-> ").expect("an expected line");
        let documents = documents.split("\n---\n").map(document);
        Broken {
            name: name.into(),
            file: "broken.yaml",
            content: documents.collect::<Vec<_>>().join("\n---\n").into(),
            expected: expected.into(),
        }
    })
}

/// Returns a document of [`OBJECTS`] as YAML with apiVersion, kind and metadata.
fn document(text: &str) -> String {
    let (group, kind, name, parent) = match text.split_once(": ") {
        Some(("split", _)) => ("split.smi-spec.io/v1alpha4", "TrafficSplit", "split", ""),
        Some(("route", _)) => (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "route",
            r#"parentRefs: [{ group: "", kind: Service, name: web }], "#,
        ),
        Some(("edge", _)) => (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "route",
            "parentRefs: [{ name: edge }], ",
        ),
        _ => return text.into(),
    };
    let (_, spec) = text.split_once(": ").expect("a spec");
    format!(
        "{{ apiVersion: {group}, kind: {kind}, metadata: {{ name: {name} }}, spec: {{ {parent}{spec} }} }}"
    )
}

/// Files that are not UTF-8 text, that do not parse, or that are too large.
fn of_files() -> impl Iterator<Item = Broken> {
    const YAML: &str = "Unreadable: .. ; correct the YAML";
    const BOMB: &str =
        "Unreadable: the file is nested too deeply, or grows too large .. ; use fewer levels";
    const LARGE: &str = "Unreadable: the file is larger than 16 MiB; split the file";
    const DEEP: &str = "Unreadable: the file is nested too deeply .. ; use fewer levels";
    const ENDS: &str = "Unreadable: .. line 1 .. ; correct the JSON";
    const NOT_JSON: &str = "Unreadable: .. ; correct the JSON";
    const LATIN: &str = "Unreadable: the file is not UTF-8 text at byte 5; save the file in UTF-8";
    const UTF_16: &str = "Unreadable: the file is not UTF-8 text at byte 0; save the file in UTF-8";
    let laughs = (1..12).fold("a0: &a0 [lol, lol, lol]\n".to_owned(), |text, level| {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        format!("{text}a{level}: &a{level} [{before}]\n")
    });
    let large = "key: value\n---\n".repeat((20 << 20) / 15 + 1);
    let deep = "[".repeat(100_000);
    let files: [(&str, &str, Vec<u8>, &str); 9] = [
        ("a YAML bomb", "broken.yaml", laughs.into(), BOMB),
        ("20 MiB", "broken.yaml", large.into(), LARGE),
        ("deep YAML", "broken.yml", deep.clone().into(), BOMB),
        ("deep JSON", "broken.json", deep.into(), DEEP),
        ("NUL bytes", "broken.yaml", vec![0; 4096], YAML),
        ("Latin-1", "broken.yaml", b"# caf\xe9\n".into(), LATIN),
        ("UTF-16", "broken.yaml", b"\xff\xfek\0".into(), UTF_16),
        ("half a JSON", "broken.json", b"{ \"a\": 1".into(), ENDS),
        ("YAML as JSON", "broken.json", b"kind: A".into(), NOT_JSON),
    ];
    files
        .into_iter()
        .map(|(name, file, content, expected)| Broken {
            name: name.into(),
            file,
            content,
            expected: expected.into(),
        })
}

/// Runs `dist/weir COMMAND DIR` within [`MEMORY`] and [`PATIENCE`].
fn weir(command: &str, dir: &Path) -> Output {
    let start = Instant::now();
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -v "$0" && exec "$@""#, &MEMORY.to_string()])
        .arg(dist("weir"))
        .arg(command)
        .arg(dir)
        .output()
        .expect("sh");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// True if the line matches `expected`, where ` .. ` stands for any text. The line may name an effect between the cause
/// and the remedy, even if `expected` does not.
fn is_as_expected(line: &str, expected: &str) -> bool {
    let expected = if expected.contains(" .. ; ") {
        expected.to_owned()
    } else {
        expected.replacen("; ", " .. ; ", 1)
    };
    let mut parts = expected.split(" .. ");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    parts.all(|part| {
        let found = rest.find(part);
        rest = found.map_or("", |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

#[test]
fn broken_input_gets_one_problem_line() {
    let cases: Vec<_> = of_objects().chain(of_files()).collect();
    let count = cases.len();
    let mut failures = Vec::new();
    for Broken {
        name,
        file,
        content,
        expected,
    } in cases
    {
        let dir = TempDir::new().expect("a folder");
        std::fs::write(dir.path().join(file), content).expect("a manifest");
        std::fs::write(dir.path().join("good.yaml"), GOOD).expect("a manifest");
        let checked = weir("check", dir.path());
        let printed = text(&checked.stdout);
        let prefix = format!("{}: ", dir.path().join(file).display());
        let translated = weir("translate", dir.path());

        let line = printed.strip_prefix(&prefix).unwrap_or_default();
        let is_one_line = printed.lines().count() == 1;
        let keep_open = text(&translated.stdout).contains(GOOD_RULE);
        if checked.status.code() != Some(1)
            || !is_one_line
            || !is_as_expected(line, &expected)
            || !checked.stderr.is_empty()
            || !translated.status.success()
            || !keep_open
            || text(&translated.stderr) != printed
        {
            failures.push(format!(
                "{name} ({}, the good split is translated: {keep_open})\n  expected {prefix}{expected}\n  got      {printed}{}",
                checked.status,
                text(&checked.stderr)
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} kinds of broken input:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count >= 20, "{count}");
    println!("{count} kinds of broken input");
}

#[test]
fn broken_document_keeps_rest_of_file() {
    let dir = TempDir::new().expect("a folder");
    let broken = document("split: service: web, backends: [{ service: web-v1, weight: -1 }]");
    let file = dir.path().join("all.yaml");
    std::fs::write(file, format!("{broken}\n---{GOOD}")).expect("a manifest");
    assert_eq!(weir("check", dir.path()).status.code(), Some(1));
    assert!(text(&weir("translate", dir.path()).stdout).contains(GOOD_RULE));
}

#[test]
fn problems_are_lines_in_file_order() {
    let dir = TempDir::new().expect("a folder");
    let negative = document("split: service: web, backends: [{ service: web-v1, weight: -1 }]");
    for (file, content) in [
        ("b.yaml", "hello"),
        ("a.yaml", &negative),
        ("c.json", "{"),
        ("good.yaml", GOOD),
    ] {
        std::fs::write(dir.path().join(file), content).expect("a manifest");
    }
    let printed = text(&weir("check", dir.path()).stdout);
    let files: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split(": ").next())
        .map(|path| Path::new(path).file_name().and_then(|name| name.to_str()))
        .collect();
    assert_eq!(
        files,
        [Some("a.yaml"), Some("b.yaml"), Some("c.json")],
        "{printed}"
    );
}

#[test]
fn valid_folder_exits_0_silently() {
    let dir = TempDir::new().expect("a folder");
    std::fs::write(dir.path().join("good.yaml"), GOOD).expect("a manifest");
    let guides = ["osm", "kong"].map(|guide| root().join("tests/manifests").join(guide));
    for folder in [dir.path(), &guides[0], &guides[1]] {
        let checked = weir("check", folder);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        assert!(checked.stdout.is_empty(), "{checked:?}");
    }
}

#[test]
fn unreadable_folder_exits_2() {
    let dir = TempDir::new().expect("a folder");
    let missing = dir.path().join("missing");
    for command in ["check", "translate"] {
        let output = weir(command, &missing);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&*missing.to_string_lossy()), "{said}");
        assert!(said.contains("cannot be read"), "{said}");
    }
}
