use weir_split::wire::{
    self, Access, Connections, Destination, HostSet, Hosts, Literal, Unmatched,
};

use super::*;
use crate::xds::lazy_cluster::cluster_in;
use weir_core::manifest::object;
use weir_core::plan::{Audience, PlannedConnections, PlannedSet, Scope};

fn split(weight: u64) -> Snapshot {
    let text = format!(
        "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {{name: web}}
spec: {{service: web, backends: [{{service: web, weight: {weight}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}]}}
"
    );
    object::read("test.yaml", &text).unwrap().into()
}

fn published(current: &mut watch::Receiver<Current>) -> Arc<Published> {
    match &*current.borrow_and_update() {
        Current::Plan(published) => published.clone(),
        Current::Nothing { why } => panic!("{why}"),
    }
}

#[test]
fn only_changed_plans_are_published() {
    let metrics = Arc::new(Metrics::default());
    let mut publisher = Publisher::new(metrics.clone(), Policy::Unstated);
    let mut current = publisher.subscribe();
    publisher.publish(split(1));
    let first = published(&mut current).rendered(&Scope::Producers, 1);
    let mut again = split(1);
    again.objects.reverse();
    publisher.publish(again);
    publisher.hold_back("ignored once a plan is in force", &[]);
    assert!(!current.has_changed().unwrap());
    publisher.publish(split(2));
    assert_ne!(
        published(&mut current).rendered(&Scope::Producers, 1),
        first
    );
    assert_eq!(metrics.revisions_published.get(), 2);
}

#[test]
fn unknown_scopes_are_not_cached() {
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let mut current = publisher.subscribe();
    publisher.publish(split(1));
    let published = published(&mut current);
    let producers = published.rendered(&Scope::Producers, 1).unwrap();
    for number in 0..10 {
        let name = format!("n{number}");
        let namespace = published.rendered(&Scope::Namespace(name.clone()), 1);
        // Namespaces without rules share one copy with `Scope::Producers`.
        assert!(Arc::ptr_eq(&namespace.unwrap().body, &producers.body));
        let namespace = "shop".to_owned();
        let gateway = Scope::Gateway { namespace, name };
        assert_ne!(published.rendered(&gateway, 1).unwrap(), producers);
    }
    assert_eq!(published.cached_scopes().len(), 1);
}

#[test]
fn rules_elsewhere_count_only_readable_rules() {
    let text = "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: host, namespace: shop}
spec: {service: shop.example.com, backends: [{service: web, weight: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let mut current = publisher.subscribe();
    publisher.publish(object::read("test.yaml", text).unwrap().into());
    let published = published(&mut current);
    let namespace = |name: &str| Scope::Namespace(name.into());
    let rules = |asked: Scope, reader: Option<&str>| {
        let rendered = published.rendered(&asked, wire::VERSION).unwrap();
        let config: wire::Config = serde_json::from_slice(&rendered.body).unwrap();
        let elsewhere = published.rules_elsewhere(&asked, reader);
        (config.rules.len(), elsewhere)
    };
    assert_eq!(rules(Scope::Producers, None), (0, 1));
    assert_eq!(rules(namespace("other"), None), (0, 1));
    assert_eq!(rules(namespace("other"), Some("other")), (0, 0));
    assert_eq!(rules(Scope::Producers, Some("shop")), (0, 1));
    assert_eq!(rules(namespace("shop"), None), (1, 0));
    assert_eq!(rules(Scope::Edge, None), (1, 0));
}

#[test]
fn invalid_plans_are_refused() {
    let missing = || "no such rule".to_owned();
    let match_without_rule = wire::Match {
        rule: missing(),
        ..wire::Match::default()
    };
    let audience = || Audience::Gateway {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let set = PlannedSet {
        audience: audience(),
        set: HostSet {
            hosts: Hosts::Literal(Literal {
                name: "a".into(),
                port: 80,
                default_port: false,
                every_port: false,
            }),
            matches: vec![match_without_rule],
            unmatched: Unmatched::NotFound,
        },
    };
    let connections = PlannedConnections {
        audience: audience(),
        connections: Connections {
            to: Destination::Listeners(BTreeMap::new()),
            rule: missing(),
        },
    };
    let invalid_grant = Access::Grants([("no-slash".to_owned(), vec![])].into());
    let plan = |sets, connections| Plan::new(sets, connections, BTreeMap::new());
    for (plan, expected) in [
        (plan(vec![set], vec![]), ["edge", "no such rule"]),
        (plan(vec![], vec![connections]), ["edge", "no such rule"]),
        (
            plan(vec![], vec![]).with_access(invalid_grant),
            ["no-slash", "write NAMESPACE/NAME"],
        ),
    ] {
        let refused = Published::compile(plan, document::features_after);
        let refused = refused.err().unwrap().to_string();
        let contains = |part: &&str| refused.contains(*part);
        assert!(expected.iter().all(contains), "{refused}");
    }
}

#[test]
fn clusters_are_there_before_the_plan() {
    let manifests = |address: &str, protocol: &str| {
        let text = format!(
            "{{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: web}}, spec: {{service: web, backends: [{{service: web, weight: 1}}]}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{ports: [{{port: 80, appProtocol: {protocol}}}]}}}}
---
{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a, labels: {{kubernetes.io/service-name: web}}}}, addressType: IPv4, ports: [{{port: 8080}}], endpoints: [{{addresses: [{address}]}}]}}
"
        );
        Snapshot::from(object::read("a.yaml", &text).unwrap())
    };
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let catalog = publisher.catalog();
    let name = "web.default.svc.cluster.local:80";
    let version = || catalog.endpoints(name).unwrap().version;
    publisher.publish(manifests("10.0.0.1", "http"));
    let rendered = published(&mut publisher.subscribe())
        .rendered(&Scope::Producers, 1)
        .unwrap();
    assert_eq!(
        Vec::from_iter(rendered.clusters.iter().map(|it| &**it)),
        [name]
    );
    let mut clusters = catalog.clusters();
    assert_eq!(
        Vec::from_iter(clusters.borrow_and_update().keys().map(|it| &**it)),
        [name]
    );
    let first = version();
    // The plan stays the same, but the endpoints and then the cluster change.
    let mut cluster = || cluster_in(&clusters.borrow_and_update(), name).unwrap();
    let http = cluster();
    publisher.publish(manifests("10.0.0.2", "http"));
    assert_ne!(first, version());
    assert_eq!(http, cluster());
    publisher.publish(manifests("10.0.0.2", "grpc"));
    assert_ne!(http, cluster());
    assert_eq!(publisher.metrics().revisions_published.get(), 1);
}

#[test]
fn partial_document_keeps_needed_grants() {
    let rule = |version: &str| {
        let service = Service {
            name: version.into(),
            namespace: "shop".into(),
            port: 80,
        };
        let mut backend = wire::Backend::new(1, wire::Target::Service(service));
        backend.accounts = vec![format!("shop/{version}")];
        wire::Rule {
            backends: vec![backend],
            ..wire::Rule::default()
        }
    };
    let grant = |source: &str| wire::Grant {
        by: "shop/target".into(),
        sources: vec![source.into()],
        requests: vec![],
        ports: None,
    };
    let published = |version: &str, source: &str| {
        let set = PlannedSet {
            audience: Audience::Namespace("front".into()),
            set: HostSet {
                hosts: Hosts::Literal(Literal {
                    name: "a.org".into(),
                    port: 80,
                    default_port: true,
                    every_port: false,
                }),
                matches: vec![wire::Match {
                    rule: "one".into(),
                    ..wire::Match::default()
                }],
                unmatched: Unmatched::Pass,
            },
        };
        let grants = ["v1", "v2"].map(|it| (format!("shop/{it}"), vec![grant(source)]));
        let plan = Plan::new(vec![set], vec![], [("one".into(), rule(version))].into());
        let plan = plan.with_access(Access::Grants(grants.into()));
        Published::compile(plan, document::features_after).unwrap()
    };
    let front = Scope::Namespace("front".into());
    let present = published("v1", "front/client").rendered(&front, wire::VERSION);
    let present = present.unwrap();
    let missing = weir_core::plan::partial::MissingClusters {
        awaited: ["v2.shop.svc.cluster.local:80".into()].into(),
        ..Default::default()
    };
    // With the second source, the plan revokes the permission of the client.
    for (source, expected) in [("front/client", vec!["shop/v1"]), ("far/client", vec![])] {
        let new = published("v2", source);
        let present = Some((present.revision.as_str(), &*present.body));
        let document = new.partial(&front, wire::VERSION, present, &missing);
        let config: wire::Config = serde_json::from_slice(&document.unwrap().body).unwrap();
        let Some(Access::Grants(grants)) = config.access else {
            panic!("no grants for {source}");
        };
        assert_eq!(Vec::from_iter(grants.keys()), expected);
        assert_eq!(config.rules["one"].backends[0].accounts, expected);
    }
}
