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
        min_bytes: 1,
    }
}

const LIMITS: Limits = Limits {
    object: 100,
    namespace: 250,
    scope: 650,
    namespace_expressions: 10,
    scope_expressions: 25,
};

/// Returns the objects that are left out, as `NAMESPACE/NAME CODE`. Each item of `objects` has a namespace, a name, the
/// year of creation, and a cost in bytes.
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
        "the result depends on the order of the input"
    );
    let line = |it: &Problem| format!("{}/{} {}", it.object.namespace, it.object.name, it.code);
    problems.iter().map(line).collect()
}

fn everyone(_: &str) -> Audience {
    Audience::Everyone
}

#[test]
fn objects_at_the_limits_fit() {
    let objects = [
        ("a", "x", 1, 100),
        ("a", "y", 2, 100),
        ("a", "z", 3, 50),
        ("b", "x", 1, 100),
    ];
    assert_eq!(out(&objects, everyone), [""; 0]);
}

#[test]
fn object_over_limit_affects_no_other() {
    let objects = [("a", "x", 1, 101), ("a", "y", 2, 100), ("a", "z", 3, 100)];
    assert_eq!(out(&objects, everyone), ["a/x over_object"]);
}

#[test]
fn youngest_objects_of_namespace_are_dropped() {
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
fn costliest_namespace_loses_objects_first() {
    // The limit for objects of all namespaces is 400 bytes: 650 for the scope, minus 250 for one namespace.
    let objects = [
        ("a", "1", 1, 100),
        ("a", "2", 2, 100),
        ("b", "1", 1, 100),
        ("b", "2", 2, 50),
        ("c", "1", 9, 40),
        ("d", "1", 1, 30),
    ];
    // The sum is 420 bytes. Namespace a has the most bytes (200), so its youngest object is left out.
    assert_eq!(out(&objects, everyone), ["a/2 over_scope"]);
}

#[test]
fn own_objects_displace_no_others() {
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
fn gateway_has_its_own_limit() {
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
fn expressions_have_their_own_limits() {
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
    // The limit for all namespaces is 15 expressions, and the objects have 24. So 9 are left out, which are 3 objects.
    assert_eq!(
        codes(over(objects(), &LIMITS, cost(3))),
        ["over_scope_expressions"; 3]
    );
}

#[test]
fn full_namespace_computes_no_more_costs() {
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
fn byte_sizes_are_parsed() {
    for (text, bytes) in [("1", 1), ("2Ki", 2 << 10), ("16Mi", 16 << 20)] {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
    }
    for text in ["", "0", "-1", "1M", "1 Mi", "Mi", "18446744073709551615Mi"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
}

/// Services of other namespaces add to the cost of an object. The added cost counts toward the limit of the scope, and
/// not toward the limits of the object and of its namespace.
#[test]
fn cost_from_other_namespaces_is_limited() {
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
            let all = own.plus(Cost::of_bytes(more));
            [(Audience::Namespace("a".into()), CostShare { own, all })].into()
        };
        let problems = over(objects(), &LIMITS, costs);
        let line = |it: &Problem| format!("{} {}", it.object.name, it.code);
        problems.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(out([100, 150, 0], 50), [""; 0]);
    // The limit for all added costs together is 250 bytes, the limit of a namespace. An object that does not fit uses
    // none of these bytes.
    assert_eq!(out([100, 151, 0], 50), ["2 over_elsewhere"]);
    assert_eq!(out([1_000, 150, 100], 50), ["1 over_elsewhere"]);
    // Objects of other namespaces use 200 of the 400 shared bytes. So 200 bytes remain for the added costs.
    assert_eq!(out([100, 101, 100], 100), ["2 over_elsewhere"]);
}
