use super::*;

fn object(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        source: String::new(),
        kind: "TrafficSplit".into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn costly(namespace: &str, name: &str, year: i16) -> Costly {
    let created = format!("{}-01-01T00:00:00Z", 2000 + year).parse().ok();
    let object = object(namespace, name);
    Costly {
        age: Seniority::new(&object, created),
        object,
        written: 1,
    }
}

const LIMITS: Limits = Limits {
    object: 100,
    namespace: 250,
    scope: 650,
    namespace_expressions: 10,
    scope_expressions: 25,
};

/// The objects that are over a limit, as `NAMESPACE/NAME CODE`. Each of `objects` is namespace, name, year and bytes.
fn out(objects: &[(&str, &str, i16, u64)], audience: impl Fn(&str) -> Audience) -> Vec<String> {
    let costs = |object: &ObjectRef| -> Parts {
        let same = |it: &&(&str, &str, i16, u64)| it.0 == object.namespace && it.1 == object.name;
        let bytes = objects.iter().find(same).map_or(0, |it| it.3);
        [(audience(&object.namespace), Cost::of_bytes(bytes).into())].into()
    };
    let forward: Vec<Costly> = objects.iter().map(|it| costly(it.0, it.1, it.2)).collect();
    let mut backward = forward.clone();
    backward.reverse();
    let problems = over(forward, &LIMITS, costs);
    assert_eq!(
        problems,
        over(backward, &LIMITS, costs),
        "the order of the input shows"
    );
    let line = |it: &Problem| format!("{}/{} {}", it.object.namespace, it.object.name, it.code);
    problems.iter().map(line).collect()
}

fn everyone(_: &str) -> Audience {
    Audience::Everyone
}

#[test]
fn nothing_is_over_at_the_limits() {
    let objects = [
        ("a", "x", 1, 100),
        ("a", "y", 2, 100),
        ("a", "z", 3, 50),
        ("b", "x", 1, 100),
    ];
    assert_eq!(out(&objects, everyone), [""; 0]);
}

#[test]
fn an_object_over_its_limit_leaves_the_others_alone() {
    let objects = [("a", "x", 1, 101), ("a", "y", 2, 100), ("a", "z", 3, 100)];
    assert_eq!(out(&objects, everyone), ["a/x over_object"]);
}

#[test]
fn the_youngest_of_a_namespace_over_its_limit_are_out() {
    let objects = [
        ("a", "x", 3, 100),
        ("a", "y", 2, 100),
        ("a", "z", 1, 100),
        ("a", "w", 4, 1),
        ("b", "x", 9, 100),
    ];
    assert_eq!(
        out(&objects, everyone),
        ["a/x over_namespace", "a/w over_namespace"]
    );
}

#[test]
fn the_costliest_namespaces_lose_their_youngest_objects_over_a_scope_limit() {
    // All namespaces together may have 400: 650 less the 250 that are kept for the namespace of the scope.
    let objects = [
        ("a", "1", 1, 100),
        ("a", "2", 2, 100),
        ("b", "1", 1, 100),
        ("b", "2", 2, 50),
        ("c", "1", 9, 40),
        ("d", "1", 1, 30),
    ];
    // There are 420. Namespace a has the most, 200, so its youngest object is left out.
    assert_eq!(out(&objects, everyone), ["a/2 over_scope"]);
}

#[test]
fn the_own_objects_of_a_namespace_never_take_the_place_of_others() {
    let objects = [
        ("a", "1", 1, 100),
        ("a", "2", 2, 100),
        ("b", "1", 1, 100),
        ("b", "2", 2, 100),
        ("c", "1", 1, 100),
        ("c", "2", 2, 100),
        ("c", "3", 3, 50),
    ];
    let audience = |namespace: &str| match namespace {
        "c" => Audience::Namespace("c".into()),
        _ => Audience::Everyone,
    };
    assert_eq!(out(&objects, audience), [""; 0]);
}

#[test]
fn a_gateway_has_a_limit_of_its_own() {
    let gateway = |_: &str| Audience::Gateway {
        namespace: "g".into(),
        name: "edge".into(),
    };
    let objects = [
        ("a", "1", 1, 100),
        ("a", "2", 2, 100),
        ("a", "3", 3, 40),
        ("b", "1", 1, 100),
        ("b", "2", 2, 100),
        ("b", "3", 3, 40),
        ("c", "1", 1, 100),
        ("c", "2", 2, 100),
    ];
    assert_eq!(out(&objects, gateway), ["b/3 over_scope"]);
}

#[test]
fn expressions_have_limits_of_their_own() {
    let objects = || {
        let names = [("a", 1), ("b", 2), ("c", 3), ("d", 4)];
        let of = |(namespace, year)| {
            [
                costly(namespace, "x", year),
                costly(namespace, "y", year + 1),
            ]
        };
        names.into_iter().flat_map(of).collect::<Vec<_>>()
    };
    let cost = |expressions: u64| {
        move |object: &ObjectRef| -> Parts {
            let expressions = if object.name == "x" { 3 } else { expressions };
            let cost = Cost {
                bytes: 1,
                expressions,
            };
            [(Audience::Everyone, cost.into())].into()
        }
    };
    let codes = |problems: Vec<Problem>| problems.iter().map(|it| it.code).collect::<Vec<_>>();
    assert_eq!(
        codes(over(objects(), &LIMITS, cost(8))),
        ["over_namespace_expressions"; 4]
    );
    // All namespaces together may have 15: the four keep 3 each, and one keeps 3 more.
    assert_eq!(
        codes(over(objects(), &LIMITS, cost(3))),
        ["over_scope_expressions"; 3]
    );
}

#[test]
fn the_cost_of_objects_that_cannot_fit_is_not_computed() {
    let many = (0..1_000).map(|number| costly("a", &format!("{number:04}"), 1));
    let mut asked = 0;
    let cost = |_: &ObjectRef| {
        asked += 1;
        Parts::from([(Audience::Everyone, Cost::of_bytes(100).into())])
    };
    assert_eq!(over(many.collect(), &LIMITS, cost).len(), 998);
    assert_eq!(asked, 3);
}

#[test]
fn numbers_of_bytes() {
    for (text, bytes) in [("1", 1), ("2Ki", 2 << 10), ("16Mi", 16 << 20)] {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
    }
    for text in ["", "0", "-1", "1M", "1 Mi", "Mi", "18446744073709551615Mi"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
}

/// What other namespaces decide of an object counts where it is, and not against the limits of its author.
#[test]
fn what_other_namespaces_add_to_objects_is_bounded_by_what_the_scope_has_left() {
    let objects = || {
        let of_a = ["1", "2", "3"].map(|name| costly("a", name, name.parse().unwrap()));
        let of_others = ["b", "c"].map(|namespace| costly(namespace, "everyone", 1));
        of_a.into_iter().chain(of_others).collect::<Vec<_>>()
    };
    let out = |more: [u64; 3], everyone: u64| {
        let costs = |object: &ObjectRef| -> Parts {
            let own = Cost::of_bytes(80);
            let more = match object.name.as_str() {
                "1" => more[0],
                "2" => more[1],
                "3" => more[2],
                _ => return [(Audience::Everyone, Cost::of_bytes(everyone).into())].into(),
            };
            let all = own.and(Cost::of_bytes(more));
            [(Audience::Namespace("a".into()), Part { own, all })].into()
        };
        let problems = over(objects(), &LIMITS, costs);
        let line = |it: &Problem| format!("{} {}", it.object.name, it.code);
        problems.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(out([100, 150, 0], 50), [""; 0]);
    // As much as a namespace may cost; one that is too large leaves the rest to others.
    assert_eq!(out([100, 151, 0], 50), ["2 over_elsewhere"]);
    assert_eq!(out([1_000, 150, 100], 50), ["1 over_elsewhere"]);
    // The objects of others have 200 of the 400 that are shared.
    assert_eq!(out([100, 101, 100], 100), ["2 over_elsewhere"]);
}
