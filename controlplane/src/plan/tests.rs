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

fn root(service: &str, port: u16) -> Hosts {
    Hosts::Root(Root {
        service: service.into(),
        namespace: "shop".into(),
        port,
        default_port: false,
        cluster_ips: vec![],
    })
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
    let rule = || Rule {
        backends: vec![Backend::new(1, Target::Status(500))],
        ..Rule::default()
    };
    let identities = sets.iter().flat_map(|planned| &planned.set.matches);
    let rules = identities
        .map(|entry| (entry.rule.clone(), rule()))
        .collect();
    Plan::new(sets, rules)
}

fn led_to(asked: &Scope) -> Vec<String> {
    let config = scope(&plan(), asked);
    let led_to: Vec<String> = config
        .hosts
        .iter()
        .map(|set| set.matches[0].rule.clone())
        .collect();
    let mut sorted = led_to.clone();
    sorted.sort();
    assert_eq!(config.rules.keys().cloned().collect::<Vec<_>>(), sorted);
    led_to
}

#[test]
fn each_scope_sees_its_part() {
    let producers = ["producer-a", "producer-b80", "producer-b81"];
    assert_eq!(led_to(&Scope::Producers), producers);
    assert_eq!(led_to(&Scope::Namespace("back".into())), producers);
    assert_eq!(
        led_to(&Scope::Namespace("front".into())),
        ["producer-a", "consumer", "producer-b81", "literal"]
    );
    let gateway = |name: &str| Scope::Gateway {
        namespace: "shop".into(),
        name: name.into(),
    };
    assert_eq!(
        led_to(&gateway("edge")),
        ["g-exact", "g-long", "g-short", "g-any"]
    );
    assert_eq!(led_to(&gateway("other")), [""; 0]);
    assert_eq!(
        plan().scopes(),
        [
            Scope::Producers,
            Scope::Namespace("front".into()),
            gateway("edge")
        ]
    );
    assert_eq!(Plan::default().scopes(), [Scope::Producers]);
}
