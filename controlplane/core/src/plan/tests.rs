use super::*;
use weir_split::wire::{Backend, Gateway, Literal, Match, Root, Target, Unmatched};

fn set(audience: Audience, hosts: Hosts, rule: &str) -> PlannedSet {
    PlannedSet {
        audience,
        set: HostSet {
            hosts,
            matches: vec![Match {
                rule: rule.to_owned(),
                ..Match::default()
            }],
            unmatched: Unmatched::Pass,
        },
    }
}

fn connections(audience: Audience, to: Destination, rule: &str) -> PlannedConnections {
    let rule = rule.to_owned();
    PlannedConnections {
        audience,
        connections: Connections { to, rule },
    }
}

fn service(service: &str, port: u16) -> Root {
    Root {
        service: service.into(),
        namespace: "shop".into(),
        port,
        default_port: false,
        cluster_ips: vec![],
    }
}

fn root(name: &str, port: u16) -> Hosts {
    Hosts::Root(service(name, port))
}

fn gateway(hostname: Option<&str>) -> Hosts {
    Hosts::Gateway(Gateway {
        hostname: hostname.map(str::to_owned),
        ..Gateway::default()
    })
}

fn plan() -> Plan {
    let own = |namespace: &str| Audience::Namespace(namespace.to_owned());
    let edge = || Audience::Gateway {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let literal = |name: &str| {
        Hosts::Literal(Literal {
            name: name.into(),
            port: 80,
            default_port: true,
            every_port: false,
        })
    };
    let sets = vec![
        set(edge(), gateway(None), "g-any"),
        set(edge(), gateway(Some("*.org")), "g-short"),
        set(edge(), gateway(Some("*.a.org")), "g-long"),
        set(edge(), gateway(Some("z.org")), "g-exact"),
        set(own("front"), literal("a.org"), "literal"),
        set(own("back"), literal("a.org"), "literal-of-back"),
        set(Audience::Edge, literal("a.org"), "literal"),
        set(
            Audience::NamespaceAndEdge("back".into()),
            literal("b.org"),
            "other-literal",
        ),
        set(own("front"), root("b", 80), "consumer"),
        set(Audience::Everyone, root("b", 80), "producer-b80"),
        set(Audience::Everyone, root("b", 81), "producer-b81"),
        set(Audience::Everyone, root("a", 9000), "producer-a"),
    ];
    let tcp = |name: &str, port| Destination::Root(service(name, port));
    let listeners = |name: &str| Destination::Listeners([(name.to_owned(), 6000)].into());
    let connections = vec![
        connections(edge(), listeners("tcp-b"), "g-tcp-b"),
        connections(edge(), listeners("tcp-a"), "g-tcp-a"),
        connections(own("front"), tcp("b", 81), "consumer-tcp"),
        connections(own("tcp"), tcp("c", 90), "tcp-consumer"),
        connections(Audience::Everyone, tcp("c", 91), "producer-c91"),
        connections(Audience::Everyone, tcp("c", 90), "producer-c90"),
        connections(Audience::Everyone, tcp("b", 80), "producer-tcp"),
    ];
    let rule = || Rule {
        backends: vec![Backend::new(1, Target::Status(500))],
        ..Rule::default()
    };
    let of_sets = sets.iter().flat_map(|planned| &planned.set.matches);
    let of_connections = connections.iter().map(|p| &p.connections.rule);
    let identities = of_sets.map(|entry| &entry.rule).chain(of_connections);
    let rules = identities
        .map(|identity| (identity.clone(), rule()))
        .collect();
    Plan::new(sets, connections, rules)
}

/// Returns the identities of the rules in the configuration of a scope, in the order of its hosts and connections.
fn rules_of(requested: &Scope) -> Vec<String> {
    let config = scope(&plan(), requested);
    let identities: Vec<String> = config
        .hosts
        .iter()
        .map(|set| set.matches[0].rule.clone())
        .chain(config.connections.iter().map(|to| to.rule.clone()))
        .collect();
    let mut sorted = identities.clone();
    sorted.sort();
    assert_eq!(config.rules.keys().cloned().collect::<Vec<_>>(), sorted);
    identities
}

#[test]
fn each_scope_sees_its_part() {
    let producers = [
        "producer-a",
        "producer-b80",
        "producer-b81",
        "producer-tcp",
        "producer-c90",
        "producer-c91",
    ];
    assert_eq!(rules_of(&Scope::Producers), producers);
    assert_eq!(rules_of(&Scope::Namespace("far".into())), producers);
    let with = |literals: &[&'static str]| -> Vec<&str> {
        let (hosts, connections) = producers.split_at(3);
        [hosts, literals, connections].concat()
    };
    assert_eq!(
        rules_of(&Scope::Namespace("back".into())),
        with(&["literal-of-back", "other-literal"])
    );
    assert_eq!(
        rules_of(&Scope::Edge),
        with(&["literal", "other-literal"]),
        "the edge has no consumer rules"
    );
    assert_eq!(
        rules_of(&Scope::Namespace("front".into())),
        [
            "producer-a",
            "consumer",
            "literal",
            "consumer-tcp",
            "producer-c90",
            "producer-c91"
        ],
        "consumer rules for requests or connections replace all producer rules of the port"
    );
    assert_eq!(
        rules_of(&Scope::Namespace("tcp".into())).last_chunk(),
        Some(&["producer-tcp", "tcp-consumer", "producer-c91"].map(str::to_owned))
    );
    let gateway = |name: &str| Scope::Gateway {
        namespace: "shop".into(),
        name: name.into(),
    };
    assert_eq!(
        rules_of(&gateway("edge")),
        [
            "g-exact", "g-long", "g-short", "g-any", "g-tcp-a", "g-tcp-b"
        ]
    );
    assert_eq!(rules_of(&gateway("other")), [""; 0]);
    assert_eq!(
        plan().scopes(),
        [
            Scope::Producers,
            Scope::Edge,
            Scope::Namespace("back".into()),
            Scope::Namespace("front".into()),
            Scope::Namespace("tcp".into()),
            gateway("edge")
        ]
        .into()
    );
    assert_eq!(Plan::default().scopes(), [Scope::Producers].into());
}

#[test]
fn rules_are_counted_by_audience() {
    let own = |namespace: &str| Audience::Namespace(namespace.into());
    let counts = plan().rules_by_audience();
    assert_eq!(counts[&Audience::Everyone], 6);
    assert_eq!(counts[&Audience::Edge], 1);
    assert_eq!(counts[&own("front")], 3);
    assert_eq!(counts[&own("back")], 1);
    assert_eq!(counts[&Audience::NamespaceAndEdge("back".into())], 1);
    let ports = ["a.org", "b.org"].map(|host| {
        let hosts = Hosts::Literal(Literal {
            name: host.into(),
            port: 80,
            default_port: true,
            every_port: true,
        });
        set(own("front"), hosts, "one")
    });
    let counts = Plan::new(ports.into(), vec![], BTreeMap::new()).rules_by_audience();
    assert_eq!(counts, [(own("front"), 1)].into());
}

#[test]
fn splits_of_literal_hosts_have_audiences() {
    let literal = |port: u16| {
        Hosts::Literal(Literal {
            name: "a.org".into(),
            port,
            default_port: false,
            every_port: false,
        })
    };
    let rule = |split: &str| format!("TrafficSplit/{split}:80/http");
    let own = |namespace: &str| Audience::Namespace(namespace.into());
    let sets = vec![
        set(own("a"), literal(80), &rule("a/one")),
        set(own("b"), literal(80), &rule("b/two")),
        set(own("b"), literal(81), &rule("b/three")),
        set(Audience::Edge, literal(80), &rule("a/one")),
        set(Audience::Edge, literal(81), &rule("b/three")),
        set(Audience::Everyone, root("web", 80), &rule("a/service")),
    ];
    let split = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let edge = |namespace: &str| Audience::NamespaceAndEdge(namespace.into());
    assert_eq!(
        Plan::new(sets, vec![], BTreeMap::new()).splits_of_literals(),
        [
            (split("a", "one"), edge("a")),
            (split("b", "two"), own("b")),
            (split("b", "three"), edge("b")),
        ]
        .into()
    );
}
