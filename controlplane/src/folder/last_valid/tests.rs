use super::*;
use crate::object::read;
use crate::problem::Reason;
use crate::world::World;

/// Files and what is in force of them, over time.
#[derive(Default)]
struct History {
    last_valid: LastValid,
}

impl History {
    /// The names in force after these files (name, text), and the problems.
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

    /// The world, and all problems with objects in themselves.
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
fn every_broken_edit_of_a_split_keeps_the_form_before_it() {
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
fn at_a_start_there_is_no_older_form() {
    let broken = split(|text| text.replace("weight: 100", "weight: 10O"));
    let (world, problems) = History::default().one(&broken);
    assert!(world.splits.is_empty());
    assert_eq!(problems[0].effect.extent, Extent::Whole);
}

#[test]
fn a_deleted_object_is_gone() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let broken = split(|text| text.replace("weight: 100", "weight: x"));
    history.one(&broken);
    let (world, problems) = history.one("");
    assert!(world.splits.is_empty() && problems.is_empty());
    // And what comes back broken has no older form.
    let (world, _) = history.one(&broken);
    assert!(world.splits.is_empty());

    history.one(&split(str::to_owned));
    let (world, _) = history.world(&[]);
    assert!(world.splits.is_empty(), "its file is deleted");
}

#[test]
fn another_object_in_its_place_is_no_broken_edit() {
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
fn every_kind_is_held() {
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
            "{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: web}, spec: {from: [], to: []}}",
            "to: []",
            "to: {}",
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
        assert!(held[0].is_valid(), "{to}: its problems are advice");
        let restored = before[0].held_as(&held[0], still_in_force());
        assert_eq!(restored, *before[0], "{to}: the older form");
        let (of_world, problems) = World::of(&held);
        let problems = [problems.as_slice(), of_world.problems_of_policy()].concat();
        assert!(!problems.is_empty(), "{to} is told of");
    }
}

#[test]
fn a_broken_object_that_moves_to_another_file_is_known_again() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let broken = split(|text| text.replace("weight: 100", "weight: x"));
    let (world, problems) = history.world(&[("a.yaml", ""), ("b.yaml", &broken)]);
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems[0].object.source, "b.yaml");
}

#[test]
fn of_two_equal_objects_the_first_counts_and_is_held() {
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
    assert_eq!(weights(&world), [0, 100], "a document that is no object");
    let (world, _) = history.world(&[("b.yaml", &second)]);
    assert_eq!(weights(&world), [0, 7], "the first is deleted");
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
    // The second is deleted and the first loses its name.
    let (world, problems) = history.one(&split(|text| text.replace("name: web, ", "")));
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems.len(), 1);
}

#[test]
fn a_document_that_is_indented_by_mistake_is_still_the_object() {
    let mut history = History::default();
    history.one(&split(str::to_owned));
    let indented = split(|text| format!("all:\n  {}", text.replace('\n', "\n  ")));
    let (world, problems) = history.one(&indented);
    assert_eq!(weights(&world), [0, 100]);
    assert_eq!(problems[0].effect, still_in_force());
    let (_, problems) = History::default().one(&indented);
    assert_eq!(problems, [], "at a start it is not Weir's business");
}

#[test]
fn a_list_without_items_stands_for_all_that_was_in_it() {
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
    // One of the two is broken, the other one deleted.
    let (entries, _) = history.after(&[("a.yaml", &format!("{head}- 5\n"))]);
    let names: Vec<_> = entries.iter().map(|entry| entry.name()).collect();
    assert_eq!(names, ["a"]);
    let (entries, problems) = history.after(&[("a.yaml", &head.replace("items:", "items: []"))]);
    assert!(entries.is_empty() && problems.is_empty());
}
