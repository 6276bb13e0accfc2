use super::*;
use weir_core::api::service::upstream_settings::{OutlierDetection, TcpKeepalive};
use weir_core::upstream::PortSelection;
use weir_split::wire::Service;

fn cluster(discovery: Discovery) -> Cluster {
    Cluster {
        service: Service {
            name: "web".into(),
            namespace: "shop".into(),
            port: 80,
        },
        discovery,
        is_http2: false,
        tls: None,
        policies: UpstreamPolicies::default(),
    }
}

fn slices() -> Cluster {
    cluster(Discovery::Slices(PortSelection {
        port_name: "http".into(),
        prefers_ipv6: false,
    }))
}

#[test]
fn defaults_leave_policies_out() {
    let found = message("web", &slices());
    assert_eq!(found.connect_timeout, Some(duration(5_000)));
    assert_eq!(found.circuit_breakers, None);
    assert_eq!(found.outlier_detection, None);
    assert_eq!(found.upstream_connection_options, None);
    assert_eq!(found.transport_socket, None);
    let eds = found.eds_cluster_config.unwrap().eds_config.unwrap();
    assert_eq!(eds.initial_fetch_timeout, Some(duration(2_000)));
}

#[test]
fn policies_reach_their_fields() {
    let mut with = slices();
    with.policies = UpstreamPolicies {
        connect_timeout: Some(1_500),
        load_balancing: Some(LoadBalancing::LeastRequest),
        limits: upstream_settings::CircuitBreakers {
            connections: Some(1),
            pending_requests: Some(2),
            requests: Some(3),
            retries: Some(4),
        },
        outliers: Some(OutlierDetection {
            consecutive_5xx: Some(5),
            interval: Some(6_000),
            ejection_time: Some(7_000),
            max_ejection_percent: Some(8),
        }),
        keepalive: Some(TcpKeepalive {
            time: Some(9),
            interval: Some(10),
            probes: Some(11),
        }),
    };
    let found = message("web", &with);
    assert_eq!(found.connect_timeout, Some(duration(1_500)));
    assert_eq!(found.lb_policy, i32::from(LbPolicy::LeastRequest));
    let limits = found.circuit_breakers.unwrap().thresholds[0];
    assert_eq!(limits.max_connections, Some(count(1)));
    assert_eq!(limits.max_pending_requests, Some(count(2)));
    assert_eq!(limits.max_requests, Some(count(3)));
    assert_eq!(limits.max_retries, Some(count(4)));
    let outliers = found.outlier_detection.unwrap();
    assert_eq!(outliers.consecutive_5xx, Some(count(5)));
    assert_eq!(outliers.interval, Some(duration(6_000)));
    assert_eq!(outliers.base_ejection_time, Some(duration(7_000)));
    assert_eq!(outliers.max_ejection_percent, Some(count(8)));
    let keepalive = found.upstream_connection_options.unwrap();
    let keepalive = keepalive.tcp_keepalive.unwrap();
    assert_eq!(keepalive.keepalive_time, Some(count(9)));
    assert_eq!(keepalive.keepalive_interval, Some(count(10)));
    assert_eq!(keepalive.keepalive_probes, Some(count(11)));
}

#[test]
fn version_is_hash_of_content() {
    let name: Arc<str> = "web".into();
    let names = Discovery::Names([("host.example".into(), 443)].into());
    for cluster in [slices(), cluster(names)] {
        let first = cluster_resource(&name, &cluster);
        assert_eq!(first.version.len(), 32);
        assert_eq!(first, cluster_resource(&name, &cluster));
        let other = Cluster {
            is_http2: true,
            ..cluster
        };
        assert_ne!(first.version, cluster_resource(&name, &other).version);
    }
}
