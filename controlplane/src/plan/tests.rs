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
    let literal = Hosts::Literal(Literal {
        name: "a.org".into(),
        port: 80,
        default_port: true,
        every_port: false,
    });
    let sets = vec![
        set(edge(), gateway(None), "g-any"),
        set(edge(), gateway(Some("*.org")), "g-short"),
        set(edge(), gateway(Some("*.a.org")), "g-long"),
        set(edge(), gateway(Some("z.org")), "g-exact"),
        set(own("front"), literal, "literal"),
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

fn led_to(asked: &Scope) -> Vec<String> {
    let config = scope(&plan(), asked);
    let led_to: Vec<String> = config
        .hosts
        .iter()
        .map(|set| set.matches[0].rule.clone())
        .chain(config.connections.iter().map(|to| to.rule.clone()))
        .collect();
    let mut sorted = led_to.clone();
    sorted.sort();
    assert_eq!(config.rules.keys().cloned().collect::<Vec<_>>(), sorted);
    led_to
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
    assert_eq!(led_to(&Scope::Producers), producers);
    assert_eq!(led_to(&Scope::Namespace("back".into())), producers);
    assert_eq!(
        led_to(&Scope::Namespace("front".into())),
        [
            "producer-a",
            "consumer",
            "literal",
            "consumer-tcp",
            "producer-c90",
            "producer-c91"
        ],
        "a consumer's rule of either kind stands for the whole port"
    );
    assert_eq!(
        led_to(&Scope::Namespace("tcp".into())).last_chunk(),
        Some(&["producer-tcp", "tcp-consumer", "producer-c91"].map(str::to_owned))
    );
    let gateway = |name: &str| Scope::Gateway {
        namespace: "shop".into(),
        name: name.into(),
    };
    assert_eq!(
        led_to(&gateway("edge")),
        [
            "g-exact", "g-long", "g-short", "g-any", "g-tcp-a", "g-tcp-b"
        ]
    );
    assert_eq!(led_to(&gateway("other")), [""; 0]);
    assert_eq!(
        plan().scopes(),
        [
            Scope::Producers,
            Scope::Namespace("front".into()),
            Scope::Namespace("tcp".into()),
            gateway("edge")
        ]
        .into()
    );
    assert_eq!(Plan::default().scopes(), [Scope::Producers].into());
}
