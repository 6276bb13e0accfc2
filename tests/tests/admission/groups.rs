//! HTTPRouteGroups and the objects of the access policy: valid objects, and edits that must be refused.

use crate::cluster::{Broken, Cluster, Refusal, Write, broken, broken_edit, parse};

/// Valid groups: the version, and all fields except the metadata.
const RIGHT: [(&str, &str); 11] = [
    (
        "v1alpha1",
        "matches: [{ name: metrics, pathRegex: /metrics, methods: [GET] }, { name: all, pathRegex: '.*', methods: ['*'] }]",
    ),
    (
        "v1alpha2",
        "matches: [{ name: agents, headers: [{ user-agent: '.*Android.*' }, { client-app: bookbuyer }] }]",
    ),
    (
        "v1alpha3",
        "spec: { matches: [{ name: agents, headers: { user-agent: '.*Android.*', x-user: '.+' } }] }",
    ),
    (
        "v1alpha4",
        "spec: { matches: [{ name: everything }, { name: buy, pathRegex: '.*a-book.*new', methods: [GET, PATCH], headers: [{ host: '.*' }] }] }",
    ),
    // A YAML dumper may write null for an absent field.
    (
        "v1alpha4",
        "spec: { matches: [{ name: hdr, pathRegex: null, methods: null, headers: { x-canary: 'true' } }] }",
    ),
    (
        "v1alpha4",
        "spec: { matches: [{ name: hdr, pathRegex: '', methods: [], headers: null }] }\nstatus: null",
    ),
    (
        "v1alpha4",
        "spec: { matches: [{ name: '', headers: { ':authority': shop.example.com } }] }",
    ),
    // These expressions look like look-around or back-references, but are valid.
    (
        "v1alpha4",
        r"spec: { matches: [{ name: a, pathRegex: '/a\(\?!x(?:y|z)(?i)[(]((a)b)\d+(?P<n>x)(?<m>y)', headers: { a: '((a)|(?:b))\(\?=x[?]\\1' } }] }",
    ),
    (
        "v1alpha4",
        r"spec: { matches: [{ name: a, pathRegex: '/v[12](/.*)?', headers: { a: '^a$' } }, { name: b, headers: { cookie: '(.*; )?canary=always(;.*)?' } }] }",
    ),
    (
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: {} }, { name: b, headers: [] }] }",
    ),
    (
        "v1alpha3",
        "spec: { matches: [{ name: same }, { name: same }] }",
    ),
];

const BOTH_PLACES: Refusal = Some("Too many: 5");
const LOOK_AROUND: Refusal = Some("look-around in a regular expression is not supported");
const NAMES_OF_HEADERS: Refusal = Some("is not the name of a header");
const SCHEMA_OF_HEADERS: Refusal =
    Some("write_an_expression_without_look_around_and_back_references");
const HEADERS: Refusal = Some("Write headers: { x-canary: \"true\" }, with the values in quotes");
const NOT_AN_EXPRESSION: Refusal =
    Some("a pathRegex is not a regular expression, or has look-around");
const BACK_REFERENCE: Refusal = Some("back-references and");

/// Invalid edits: the version, all fields except the metadata, words of the schema's refusal, words of the policy's
/// refusal.
const BROKEN: [Broken; 36] = [
    broken(
        "v1alpha1",
        "spec: { matches: [{ name: a }] }",
        Some("has its matches at the top, not under spec"),
        Some("v1alpha1 has its matches at the top, not under spec"),
    ),
    broken(
        "v1alpha2",
        "spec: { matches: [{ name: a, pathRegex: null, methods: null, headers: { x-canary: 'true' } }] }",
        Some("has its matches at the top, not under spec"),
        Some("v1alpha2 has its matches at the top, not under spec"),
    ),
    broken(
        "v1alpha3",
        "matches: [{ name: a }]",
        Some("has its matches under spec, not at the top"),
        Some("v1alpha3 has its matches under spec, not at the top"),
    ),
    broken(
        "v1alpha4",
        "matches: [{ name: a }]",
        Some("Write them as spec.matches"),
        Some("Write them as spec.matches"),
    ),
    broken(
        "v1alpha4",
        "matches: [{ name: a }]\nspec: { matches: [{ name: a }] }",
        BOTH_PLACES,
        Some("v1alpha4 has its matches under spec"),
    ),
    broken(
        "v1alpha4",
        "status: null",
        Some("spec: Required value"),
        Some("no list of 1 to 256 matches"),
    ),
    broken(
        "v1alpha4",
        "spec: {}",
        Some("matches: Required value"),
        Some("no list of 1 to 256 matches"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [] }",
        Some("at least 1 item"),
        Some("no list of 1 to 256 matches"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: { name: a } }",
        Some("must be of type array"),
        Some("no list of 1 to 256 matches"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [a] }",
        Some("must be of type object"),
        Some("no list of 1 to 256 matches"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ pathRegex: / }] }",
        Some("name: Required value"),
        Some("a match has no name"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegx: / }] }",
        Some("matches[0]: Too many"),
        Some("unknown field pathRegx"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegex: /, method: [GET] }] }",
        Some("matches[0]: Too many"),
        Some("unknown field method"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a }], match: [x] }",
        Some("spec: Too many"),
        Some("unknown field match"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, methods: [get] }] }",
        Some("Unsupported value: \"get\""),
        Some("get is not a method"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, methods: [GET, FETCH] }] }",
        Some("Unsupported value: \"FETCH\""),
        Some("FETCH is not a method"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, methods: GET }] }",
        Some("must be of type array"),
        Some("resulted in error"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: { x-canary: true, x-version: 2 } }] }",
        Some("headers.x-canary in body must be of type string"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: [{ x-canary: true }] }] }",
        Some("must be of type string"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: [{ a: b, c: d }] }] }",
        Some("headers[0]: Too many"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: [x] }] }",
        Some("must be of type object"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: 'x: y' }] }",
        Some("matches[0].headers"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: 3 }] }",
        Some("matches[0].headers"),
        HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: true }] }",
        Some("matches[0].headers"),
        HEADERS,
    ),
    // A schema does not check the keys of a map.
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: { 'x canary': always } }] }",
        None,
        NAMES_OF_HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: [{ '': always }] }] }",
        None,
        NAMES_OF_HEADERS,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegex: 3 }] }",
        Some("must be of type string"),
        Some("a pathRegex is not text"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegex: '/(?!admin).*' }] }",
        NOT_AN_EXPRESSION,
        LOOK_AROUND,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegex: '/(a' }] }",
        Some("missing closing )"),
        Some("missing closing )"),
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, pathRegex: '/[a' }] }",
        Some("missing closing ]"),
        Some("missing closing ]"),
    ),
    broken(
        "v1alpha4",
        r"spec: { matches: [{ name: a, pathRegex: '(a)\1' }] }",
        NOT_AN_EXPRESSION,
        BACK_REFERENCE,
    ),
    broken(
        "v1alpha4",
        r"spec: { matches: [{ name: a, pathRegex: '\pL+' }] }",
        Some("\\p, \\P"),
        BACK_REFERENCE,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: { a: '(?!x)y' } }] }",
        SCHEMA_OF_HEADERS,
        LOOK_AROUND,
    ),
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: [{ a: '((?<=x)y)' }] }] }",
        SCHEMA_OF_HEADERS,
        LOOK_AROUND,
    ),
    broken(
        "v1alpha4",
        r"spec: { matches: [{ name: a, headers: { a: '(x)\1' } }] }",
        SCHEMA_OF_HEADERS,
        BACK_REFERENCE,
    ),
    // Schema rules cannot check a field that may be a map or a list, and a pattern cannot count brackets.
    broken(
        "v1alpha4",
        "spec: { matches: [{ name: a, headers: { a: '(x' } }] }",
        None,
        Some("missing closing )"),
    ),
];

/// Invalid objects of the two kinds that only the access policy reads: kind, version, all fields except the metadata,
/// and words of the refusal. DEST stands for a destination.
const BROKEN_POLICY: [(&str, &str, &str, &str); 17] = [
    (
        "TCPRoute",
        "v1alpha4",
        "spec: { ports: [80] }",
        "spec: Too many",
    ),
    (
        "TCPRoute",
        "v1alpha4",
        "matches: { ports: [80] }",
        "Too many: 4",
    ),
    (
        "TCPRoute",
        "v1alpha4",
        "spec: { matches: { port: 80 } }",
        "matches: Too many",
    ),
    (
        "TCPRoute",
        "v1alpha4",
        "spec: { matches: { ports: [0] } }",
        "greater than or equal to 1",
    ),
    (
        "TCPRoute",
        "v1alpha4",
        "spec: { matches: { ports: [65536] } }",
        "less than or equal to 65535",
    ),
    (
        "TCPRoute",
        "v1alpha4",
        "spec: { matches: { ports: [http] } }",
        "must be of type integer",
    ),
    (
        "TrafficTarget",
        "v1alpha1",
        "spec: { destination: DEST, sources: [], rules: [] }",
        "has its fields at the top, not under spec",
    ),
    (
        "TrafficTarget",
        "v1alpha2",
        "{ destination: DEST, sources: [], specs: [] }",
        "has its fields under spec, not at the top",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "{ destination: DEST, sources: [], specs: [] }",
        "Write them as spec.destination",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { sources: [], rules: [] }",
        "destination: Required value",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: DEST, sources: [], rules: [], ports: [80] }",
        "spec: Too many",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: { kind: User, name: a }, sources: [], rules: [] }",
        "Write ServiceAccount",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: { kind: ServiceAccount, name: A_b }, sources: [], rules: [] }",
        "is not the name of a ServiceAccount",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: { kind: ServiceAccount, name: a, port: 80 }, sources: [], rules: [] }",
        "Name the port in a TCPRoute",
    ),
    (
        "TrafficTarget",
        "v1alpha2",
        "spec: { destination: { kind: ServiceAccount, name: a, port: 65536 }, sources: [], rules: [] }",
        "Write a number from 1 to 65535",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: DEST, sources: [], rules: [{ kind: HTTPRouteGroup, name: g, matchs: [m] }] }",
        "rules[0]: Too many",
    ),
    (
        "TrafficTarget",
        "v1alpha3",
        "spec: { destination: DEST, sources: [], rules: [{ kind: UDPRoute, name: g }] }",
        "Name an HTTPRouteGroup or a TCPRoute",
    ),
];

pub async fn right_forms_are_stored(cluster: &Cluster, namespace: &str) {
    let headers: Vec<String> = (0..16)
        .map(|i| format!("x-{i}: '[a-z]+-{i}(;.*)?'"))
        .collect();
    let one = format!(
        "{{ name: a, pathRegex: '/v[0-9]+/cart(/.*)?', methods: [GET, POST], headers: {{ {} }} }}",
        headers.join(", ")
    );
    let largest = format!("spec: {{ matches: [{}] }}", vec![one; 256].join(", "));
    for (version, rest) in RIGHT.into_iter().chain([("v1alpha4", largest.as_str())]) {
        let created = cluster
            .create(namespace, &object(version, rest), Write::Try)
            .await;
        assert!(created.is_ok(), "{rest}: {created:?}");
    }
}

/// Tries each edit on a stored group.
pub async fn broken_edits(cluster: &Cluster, namespace: &str, words: impl Fn(&Broken) -> Refusal) {
    let good = object(
        "v1alpha4",
        "spec: { matches: [{ name: good, pathRegex: /good }] }",
    );
    let stored = cluster.create(namespace, &good, Write::Store).await;
    stored.expect("the object is valid");
    let many = format!(
        "spec: {{ matches: [{}] }}",
        vec!["{ name: a }"; 257].join(", ")
    );
    let limits = [broken(
        "v1alpha4",
        many.leak(),
        Some("at most 256"),
        Some("1 to 256 matches"),
    )];
    for case in BROKEN.iter().chain(&limits) {
        let edit = object(case.version, case.edit);
        broken_edit(cluster, namespace, &edit, words(case)).await;
    }
}

pub async fn broken_policy_objects(cluster: &Cluster) {
    for (kind, version, rest, words) in BROKEN_POLICY {
        let group = match kind {
            "TCPRoute" => "specs.smi-spec.io",
            _ => "access.smi-spec.io",
        };
        let rest = rest.replace("DEST", "{ kind: ServiceAccount, name: a }");
        let head = format!("apiVersion: {group}/{version}, kind: {kind}, metadata: {{ name: x }}");
        let rest = rest
            .strip_prefix("{ ")
            .and_then(|rest| rest.strip_suffix(" }"))
            .unwrap_or(&rest);
        let object = parse(&format!("{{ {head}, {rest} }}"));
        let outcome = cluster.create("default", &object, Write::Try).await;
        let message = outcome.expect_err(rest);
        assert!(
            message.contains(words),
            "{words:?} is not in {message:?}: {rest}"
        );
    }
}

pub fn object(version: &str, rest: &str) -> serde_json::Value {
    parse(&format!(
        "apiVersion: specs.smi-spec.io/{version}\nkind: HTTPRouteGroup\nmetadata: {{ name: group }}\n{rest}"
    ))
}
