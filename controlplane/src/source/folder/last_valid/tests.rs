use super::*;
use weir_core::manifest::object::read;
use weir_core::manifest::problem::Reason;
use weir_core::world::World;

/// A folder whose files are read again and again. A form is the content of an object at one time.
#[derive(Default)]
struct History {
    last_valid: LastValid,
}

impl History {
    /// Reads these files (name, text). Returns the entries in force, and the problems of documents.
    fn after(&mut self, files: &[(&str, &str)]) -> (Vec<Arc<Entry>>, Vec<Problem>) {
        let read: Vec<_> = files
            .iter()
            .map(|(name, text)| {
                let manifests = read(name, text).expect("YAML");
                let entries = manifests.objects.iter().map(|it| Arc::new(Entry::of(it)));
                (*name, entries.collect::<Vec<_>>(), manifests.broken)
            })
            .collect();
        let contents = read.iter().map(|(source, entries, broken)| Contents {
            source,
            entries,
            broken,
        });
        let outcome = self.last_valid.step(&contents.collect::<Vec<_>>());
        self.last_valid = outcome.last_valid;
        (outcome.entries, outcome.problems)
    }

    /// Reads these files. Returns the world, and the problems of documents and objects.
    fn world(&mut self, files: &[(&str, &str)]) -> (World, Vec<Problem>) {
        let (entries, mut problems) = self.after(files);
        let (world, of_world) = World::of(&entries);
        problems.extend(of_world);
        (world, problems)
    }

    fn one(&mut self, text: &str) -> (World, Vec<Problem>) {
        self.world(&[("a.yaml", text)])
    }
}

fn split(edit: impl Fn(&str) -> String) -> String {
    edit(
        "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {name: web, namespace: shop}\nspec: {service: web, backends: [{service: v1, weight: 0}, {service: v2, weight: 100}]}\n",
    )
}

fn weights(world: &World) -> Vec<u64> {
    let splits = world.splits.iter();
    let backends = splits.flat_map(|split| &split.backends);
    backends.map(|backend| backend.weight).collect()
}

#[test]
fn broken_edit_keeps_previous_form() {
    for (from, to) in [
        ("weight: 100", "weight: 10O"),
        ("weight: 100", "weight: -1"),
        ("weight: 100", "weight: 0100"),
        ("weight: 100", "wieght: 100"),
        ("weight: 100", "weight: [100]"),
        ("service: web,", "service: {name: web},"),
        ("backends: [", "backend: ["),
        ("v1alpha4", "v1alpha9"),
        ("v1alpha4", "4"),
        ("smi-spec.io", "smi-specs.io"),
        ("kind: TrafficSplit", "kind: TrafficSplits"),
        ("kind: TrafficSplit", "kind: trafficsplit"),
        ("kind: TrafficSplit\n", ""),
        ("apiVersion: split.smi-spec.io/v1alpha4\n", ""),
        ("kind: TrafficSplit", "kind: 5"),
        ("name: web,", "name: Web_1,"),
        ("name: web,", ""),
        ("name: web,", "name: 1,"),
        ("namespace: shop", "namespace: a.b"),
        ("namespace: shop", "namespace: 5"),
        ("metadata: {name: web, namespace: shop}\n", ""),
        (
            "metadata: {name",
            "metadata: {creationTimestamp: soon, name",
        ),
    ] {
        let mut history = History::default();
        let (world, problems) = history.one(&split(str::to_owned));
        assert_eq!((weights(&world), problems), (vec![0, 100], vec![]));
        let broken = split(|text| text.replace(from, to));
        assert_ne!(broken, split(str::to_owned));
        for _ in 0..2 {
            let (world, problems) = history.one(&broken);
            assert_eq!(weights(&world), [0, 100], "{to}");
            let [problem] = problems.as_slice() else {
                panic!("{to}: {problems:?}")
            };
            assert_eq!(problem.effect.extent, Extent::Nothing, "{problem}");
            assert!(
                problem
                    .message()
                    .contains("the form before this edit stays in force"),
                "{problem}"
            );
        }
        let mended = split(|text| text.replace("weight: 100", "weight: 50"));
        let (world, problems) = history.one(&mended);
        assert_eq!((weights(&world), problems), (vec![0, 50], vec![]), "{to}");
    }
}

#[test]
fn broken_object_at_start_is_unused() {
    let broken = split(|text| text.replace("weight: 100", "weight: 10O"));
    let (world, problems) = History::default().one(&broken);
    assert!(world.splits.is_empty());
    assert_eq!(problems[0].effect.extent, Extent::Whole);
}

#[test]
fn deleted_object_is_gone() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let broken = split(|text| text.replace("weight: 100", "weight: x"));
    history.one(&broken);
    let (world, problems) = history.one("");
    assert!(world.splits.is_empty() && problems.is_empty());
    // An object that is created again in a broken form has no previous form.
    let (world, _) = history.one(&broken);
    assert!(world.splits.is_empty());

    history.one(&split(str::to_owned));
    let (world, _) = history.world(&[]);
    assert!(world.splits.is_empty(), "its file is deleted");
}

#[test]
fn other_object_in_place_means_deletion() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    for other in [
        split(|text| text.replace("name: web,", "name: other,")),
        split(|text| {
            text.replace("split.smi-spec.io/v1alpha4", "flagger.app/v1beta1")
                .replace("TrafficSplit", "Canary")
        }),
    ] {
        let mut history = History {
            last_valid: history.last_valid.clone(),
        };
        let (entries, problems) = history.after(&[("a.yaml", &other)]);
        assert!(entries.iter().all(|entry| entry.name() == "other"));
        assert_eq!(problems, []);
    }
}

#[test]
fn every_kind_keeps_previous_form() {
    for (good, from, to) in [
        (
            "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}",
            "port: 80",
            "port: http",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {a: b}}}",
            "a: b",
            "a: 1",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: web}, spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}}",
            "port: 80",
            "port: 80a",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: web}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}], to: [{group: '', kind: Service}]}}",
            "kind: Service",
            "kind: service",
        ),
        (
            "{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: web}, spec: {matches: [{name: m, pathRegex: /a}]}}",
            "/a",
            "'/(a'",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web}, spec: {parentRefs: [{name: edge}], rules: [{matches: [{path: {value: /a}}]}, {matches: [{path: {value: /b}}]}]}}",
            "value: /b",
            "value: b",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web}, spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80}]}]}}",
            "port: 80",
            "port: http",
        ),
        (
            "{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {name: web}, spec: {destination: {kind: ServiceAccount, name: a}, sources: [{kind: ServiceAccount, name: b}], rules: [{kind: TCPRoute, name: t}]}}",
            "sources: [",
            "sources: [1, ",
        ),
    ] {
        let mut history = History::default();
        let (before, _) = history.after(&[("a.yaml", good)]);
        assert!(before[0].is_valid(), "{good}");
        let broken = good.replace(from, to);
        assert_ne!(broken, good);
        let (held, problems) = history.after(&[("a.yaml", &broken)]);
        assert!(problems.is_empty() && held.len() == 1, "{to}");
        assert!(held[0].is_valid(), "{to}: no problem affects traffic");
        let restored = before[0].held_as(&held[0], Effect::previous_form_in_force());
        assert_eq!(restored, *before[0], "{to}: the previous form is in force");
        let (of_world, problems) = World::of(&held);
        let problems = [problems.as_slice(), of_world.problems_of_policy()].concat();
        assert!(!problems.is_empty(), "{to} is reported");
    }
}

#[test]
fn broken_object_may_change_its_file() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let broken = split(|text| text.replace("weight: 100", "weight: x"));
    let (world, problems) = history.world(&[("a.yaml", ""), ("b.yaml", &broken)]);
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems[0].object.source, "b.yaml");
}

#[test]
fn first_of_two_copies_stays() {
    let second = split(|text| text.replace("weight: 100", "weight: 7"));
    for to in ["weight: x", "weight: 0100"] {
        let mut history = History::default();
        history.world(&[("a.yaml", &split(str::to_owned)), ("b.yaml", &second)]);
        let broken = split(|text| text.replace("weight: 100", to));
        let (world, problems) = history.world(&[("a.yaml", &broken), ("b.yaml", &second)]);
        assert_eq!(weights(&world), [0, 100], "{to}");
        let reasons: Vec<_> = problems.iter().map(|it| it.reason).collect();
        assert_eq!(reasons, [Reason::InvalidValue, Reason::Duplicate], "{to}");
    }
    let mut history = History::default();
    history.world(&[("a.yaml", &split(str::to_owned)), ("b.yaml", &second)]);
    let broken = split(|text| text.replace("v1alpha4", "v1alpha9"));
    let (world, _) = history.world(&[("a.yaml", &broken), ("b.yaml", &second)]);
    assert_eq!(weights(&world), [0, 100], "the first copy is unreadable");
    let (world, _) = history.world(&[("b.yaml", &second)]);
    assert_eq!(weights(&world), [0, 7], "the first copy is deleted");
}

#[test]
fn one_document_stands_for_one_object() {
    let two = format!(
        "{}---\n{}",
        split(str::to_owned),
        split(|text| text
            .replace("name: web,", "name: other,")
            .replace("100", "7"))
    );
    let mut history = History::default();
    history.one(&two);
    // The edit deletes the second object, and removes the name of the first.
    let (world, problems) = history.one(&split(|text| text.replace("name: web, ", "")));
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems.len(), 1);
}

#[test]
fn indented_document_keeps_its_object() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let indented = split(|text| format!("all:\n  {}", text.replace('\n', "\n  ")));
    let (world, problems) = history.one(&indented);
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems[0].effect, Effect::previous_form_in_force());
    let (_, problems) = History::default().one(&indented);
    assert_eq!(problems, [], "ignored without a previous form");
}

#[test]
fn list_without_items_keeps_its_objects() {
    let item = |name: &str| {
        format!(
            "- {{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n"
        )
    };
    let head = "apiVersion: v1\nkind: List\nitems:\n";
    let mut history = History::default();
    history.after(&[("a.yaml", &format!("{head}{}{}", item("a"), item("b")))]);
    let (entries, problems) = history.after(&[("a.yaml", head)]);
    let names: Vec<_> = entries.iter().map(|entry| entry.name()).collect();
    assert_eq!((names, problems.len()), (vec!["a", "b"], 1));
    // The edit breaks one item, and deletes the other item.
    let (entries, _) = history.after(&[("a.yaml", &format!("{head}- 5\n"))]);
    let names: Vec<_> = entries.iter().map(|entry| entry.name()).collect();
    assert_eq!(names, ["a"]);
    let (entries, problems) = history.after(&[("a.yaml", &head.replace("items:", "items: []"))]);
    assert!(entries.is_empty() && problems.is_empty());
}

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80, weight: 100}]}]}\n";
const GRPC: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: web, namespace: shop}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80}]}]}\n";
const TARGET: &str = "apiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\nmetadata: {name: web, namespace: shop}\nspec: {destination: {kind: ServiceAccount, name: a}, sources: [{kind: ServiceAccount, name: b}], rules: [{kind: TCPRoute, name: t}]}\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n";

/// Asserts that the only object of `good` stays in force when the file becomes `broken`, with one problem.
fn stays(good: &str, broken: &str) {
    assert_ne!(good, broken);
    let mut history = History::default();
    let (before, problems) = history.after(&[("a.yaml", good)]);
    assert_eq!((before.len(), problems), (1, vec![]));
    for _ in 0..2 {
        let (held, problems) = history.after(&[("a.yaml", broken)]);
        let [entry] = held.as_slice() else {
            panic!("{broken}: {held:?}")
        };
        assert_eq!(entry.kind, before[0].kind, "{broken}");
        assert_eq!(
            (entry.namespace(), entry.name()),
            ("shop", "web"),
            "{broken}"
        );
        assert!(
            entry.held_as(&before[0], Effect::previous_form_in_force()) == **entry,
            "{broken}"
        );
        let problems = [problems.as_slice(), entry.problems()].concat();
        let [problem] = problems.as_slice() else {
            panic!("{broken}: {problems:?}")
        };
        assert_eq!(problem.effect, Effect::previous_form_in_force(), "{broken}");
    }
    let (mended, problems) = history.after(&[("a.yaml", good)]);
    assert_eq!((mended, problems), (before, vec![]), "{broken}");
}

#[test]
fn unreadable_name_keeps_the_object() {
    for good in [ROUTE, GRPC, TARGET] {
        for (from, to) in [
            ("name: web,", "name: Web_1,"),
            ("name: web,", "name: 5,"),
            ("name: web,", ""),
            ("name: web,", "nmae: web,"),
            ("namespace: shop", "namespace: a.b"),
            ("namespace: shop", "namespace: 5"),
            ("metadata: {name: web, namespace: shop}\n", ""),
            ("metadata:", "metdata:"),
            ("metadata: {name: web, namespace: shop}", "metadata: web"),
        ] {
            stays(good, &good.replace(from, to));
        }
    }
}

#[test]
fn wrong_kind_or_group_keeps_form() {
    let split = split(str::to_owned);
    for (good, from, to) in [
        (GRPC, "GRPCRoute", "HttpRoute"),
        (GRPC, "GRPCRoute", "GrpcRoutes"),
        (&*split, "kind: TrafficSplit", "kind: HTTPRouteGroup"),
        (
            &*split,
            "split.smi-spec.io/v1alpha4",
            "smi-spec.io/v1alpha4",
        ),
        (&*split, "split.smi-spec.io/v1alpha4", "v1"),
        (&*split, "split.smi-spec.io/v1alpha4", "core/v1"),
        (&*split, "split.smi-spec.io/v1alpha4", "split.smi-spec.io"),
        (ROUTE, "gateway.networking.k8s.io/v1", "v1"),
        (
            ROUTE,
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io",
        ),
        (
            ROUTE,
            "gateway.networking.k8s.io/v1",
            "Gateway.Networking.K8S.io/v1",
        ),
        (
            ROUTE,
            "gateway.networking.k8s.io/v1",
            "gateway.networking.k8s.io/V1",
        ),
        (ROUTE, "gateway.networking.k8s.io/v1", "core/v1"),
        (ROUTE, "gateway.networking.k8s.io/v1", "apps/v1"),
        (
            ROUTE,
            "gateway.networking.k8s.io/v1",
            "policy.linkerd.io/v1",
        ),
        (ROUTE, "HTTPRoute", "TrafficSplit"),
        (ROUTE, "HTTPRoute", "Route"),
        (TARGET, "access.smi-spec.io", "smi-spec.io"),
        (TARGET, "access.smi-spec.io", "access.smi-specs.io"),
        (TARGET, "TrafficTarget", "TrafficTargets"),
        (SERVICE, "apiVersion: v1", "apiVersion: core/v1"),
        (SERVICE, "apiVersion: v1", "apiVersion: apps/v1"),
        (SERVICE, "kind: Service", "kind: Servce"),
    ] {
        stays(good, &good.replace(from, to));
    }
}

#[test]
fn valid_object_in_place_means_deletion() {
    for (good, other) in [
        (ROUTE, SERVICE),
        (ROUTE, GRPC),
        (SERVICE, ROUTE),
        (
            ROUTE,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}}",
        ),
        (
            ROUTE,
            "{apiVersion: v1, kind: Secret, metadata: {name: web, namespace: shop}}",
        ),
        (
            ROUTE,
            "{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: web, namespace: shop}}",
        ),
        (
            SERVICE,
            "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web, namespace: shop}}",
        ),
    ] {
        let mut history = History::default();
        let (before, _) = history.after(&[("a.yaml", good)]);
        let (entries, problems) = history.after(&[("a.yaml", other)]);
        let is_gone = entries.iter().all(|entry| entry.kind != before[0].kind);
        assert!(is_gone, "{other}: {entries:?}");
        assert_eq!(problems, [], "{other}");
    }
}

#[test]
fn remedy_names_gateway_api_group() {
    for api_version in ["v1", "gateway.networking.k8s.io"] {
        let text = ROUTE.replace("gateway.networking.k8s.io/v1", api_version);
        let manifests = read("a.yaml", &text).unwrap();
        let refused = manifests.objects.iter().filter_map(|it| it.refused.clone());
        let problems: Vec<Problem> = refused.chain(manifests.problems()).collect();
        let remedy = "write apiVersion: gateway.networking.k8s.io/v1";
        assert_eq!((problems.len(), &*problems[0].remedy), (1, remedy));
    }
}

#[test]
fn only_new_problems_keep_previous_form() {
    let rules = |first: &str, second: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web}}\nspec:\n  parentRefs: [{{name: edge}}]\n  rules:\n  - backendRefs: [{{name: a, port: 80, weight: {first}}}]\n  - matches: [{{path: {{value: {second}}}}}]\n    backendRefs: [{{name: b, port: 80}}]\n"
        )
    };
    let mut history = History::default();
    let (start, _) = history.after(&[("a.yaml", &rules("100", "b"))]);
    assert!(!start[0].is_valid() && start[0].is_served());
    // The problem of the second rule is not new. The problem of the first rule is new.
    let (held, _) = history.after(&[("a.yaml", &rules("10O", "b"))]);
    let extents = held[0].problems().iter().map(|it| it.effect.extent);
    let extents: Vec<_> = extents.filter(|it| *it > Extent::Nothing).collect();
    assert!(!extents.is_empty() && extents.iter().all(|it| *it < Extent::Whole));
    assert!(start[0].held_as(&held[0], Effect::previous_form_in_force()) == *start[0]);
    // Without a new problem the edit is in force.
    let (taken, _) = history.after(&[("a.yaml", &rules("50", "b"))]);
    assert!(taken[0].held_as(&start[0], Effect::previous_form_in_force()) != *taken[0]);
    let (taken, _) = history.after(&[("a.yaml", &rules("50", "/b"))]);
    assert!(taken[0].is_valid());
    let (held, _) = history.after(&[("a.yaml", &rules("50", "b"))]);
    assert!(taken[0].held_as(&held[0], Effect::previous_form_in_force()) == *taken[0]);
}

#[test]
fn object_never_in_force_is_unused() {
    let mut history = History::default();
    history.one(&split(|text| text.replace("100", "10O")));
    let (world, problems) = history.one(&split(|text| text.replace("weight: 0}", "wight: 0}")));
    assert!(world.splits.is_empty());
    assert_eq!(problems[0].effect.extent, Extent::Whole);
}

#[test]
fn identified_document_keeps_form_across_files() {
    let good = split(str::to_owned);
    let broken = good.replace("kind: TrafficSplit", "kind: TrafficSplt");
    let mut history = History::default();
    history.one(&good);
    for _ in 0..2 {
        let (world, problems) = history.world(&[("b.yaml", &broken)]);
        assert_eq!(weights(&world), [0, 100]);
        assert_eq!(problems[0].effect, Effect::previous_form_in_force());
    }
    let mut history = History::default();
    history.one(&format!("{SERVICE}---\n{good}"));
    let (world, _) = history.world(&[("a.yaml", SERVICE), ("b.yaml", &broken)]);
    assert_eq!(
        weights(&world),
        [0, 100],
        "the object moves out of a file with two documents"
    );
    // A valid object in another file replaces the previous form.
    let other = good.replace("weight: 100", "weight: 7");
    let (world, _) = history.world(&[("b.yaml", &broken), ("m.yaml", &other)]);
    assert_eq!(weights(&world), [0, 7]);
}

#[test]
fn broken_copy_changes_nothing() {
    let form = |weight: &str| split(|text| text.replace("weight: 100", weight));
    for copy in ["weight: x", "weight: 0100"] {
        let mut history = History::default();
        history.world(&[("m.yaml", &form("weight: 100"))]);
        for weight in ["weight: 100", "weight: 50"] {
            let files = [("a.yaml", &*form(copy)), ("m.yaml", &*form(weight))];
            for history in [&mut history, &mut History::default()] {
                let (world, problems) = history.world(&files);
                assert_eq!(format!("weight: {}", weights(&world)[1]), weight);
                let [problem] = problems.as_slice() else {
                    panic!("{problems:?}")
                };
                let expected = "the object in \"m.yaml\" is in force";
                assert_eq!(
                    (&*problem.object.source, &*problem.effect.words),
                    ("a.yaml", expected)
                );
            }
        }
    }
}

#[test]
fn broken_list_or_item_keeps_objects() {
    let item = |text: &str| format!("- {{{}}}\n", text.trim().replace('\n', ", "));
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}{}",
        item(SERVICE),
        item(ROUTE)
    );
    for (from, to) in [
        ("kind: List", "kind: Lst"),
        ("kind: List", "kind: list"),
        ("kind: List", "kind: Lists"),
        ("kind: List", "kind: Anything"),
        ("kind: List\n", ""),
        ("apiVersion: v1\nkind: List\n", ""),
        ("\nitems:", "\nitms:"),
        (&*item(ROUTE), "- null\n"),
        (&*item(SERVICE), "-\n"),
    ] {
        let mut history = History::default();
        history.after(&[("a.yaml", &list)]);
        let broken = list.replace(from, to);
        assert_ne!(broken, list);
        let (entries, problems) = history.after(&[("a.yaml", &broken)]);
        assert_eq!((entries.len(), problems.len()), (2, 1), "{broken}");
        assert_eq!(
            problems[0].effect,
            Effect::previous_form_in_force(),
            "{broken}"
        );
    }
}

#[test]
fn broken_document_finds_object_by_name() {
    let two = |first: &str, second: &str| format!("{first}---\n{second}");
    let named = |name: &str| split(|text| text.replace("name: web,", &format!("name: {name},")));
    let mut history = History::default();
    history.one(&two(&named("a"), &named("b")));
    let broken = named("b").replace("kind: TrafficSplit", "kind: TrafficSplt");
    let (entries, _) = history.after(&[("a.yaml", &broken)]);
    let names: Vec<_> = entries.iter().map(|entry| entry.name()).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn many_broken_documents_take_little_time() {
    let many = |kind: &str, metadata: fn(usize) -> String| {
        let one = |index| {
            format!(
                "---\napiVersion: split.smi-spec.io/v1alpha4\nkind: {kind}\nmetadata: {{{}}}\nspec: {{service: web, backends: []}}\n",
                metadata(index)
            )
        };
        (0..3_000).map(one).collect::<String>()
    };
    let name: fn(usize) -> String = |index| format!("name: w{index}");
    let good = many("TrafficSplit", name);
    for broken in [
        many("TrafficSplt", name),
        many("TrafficSplit", |_| "name: Web_1".to_owned()),
        many("TrafficSplit", |_| String::new()),
    ] {
        let mut history = History::default();
        let (before, _) = history.after(&[("a.yaml", &good)]);
        let read = read("a.yaml", &broken).unwrap();
        let contents = [Contents {
            source: "a.yaml",
            entries: &[],
            broken: &read.broken,
        }];
        let start = std::time::Instant::now();
        let outcome = history.last_valid.step(&contents);
        assert_eq!(outcome.entries.len(), before.len());
        assert!(start.elapsed().as_millis() < 1_500, "{:?}", start.elapsed());
    }
}
