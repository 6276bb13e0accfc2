//! The rule of a connection.

use super::*;

#[test]
fn connection_finds_its_rule() {
    let config = r#"{"connections":[
        {"to":{"root":{"service":"db","namespace":"shop","port":3306,"cluster_ips":["10.0.0.1","fd00::1"]}},"rule":"db"},
        {"to":{"root":{"service":"late","namespace":"shop","port":3306,"cluster_ips":["10.0.0.1"]}},"rule":"b"},
        {"to":{"listeners":{"one":1000,"two":2000}},"rule":"a"},
        {"to":{"listeners":{"two":2000,"three":3000}},"rule":"b"}],
        "rules":{"db":{"backends":[DB]},"a":{"backends":[A]},"b":{"backends":[{"weight":1,"to":{"status":500}}]}}}"#;
    let config = config.replace("DB", &to("db")).replace('A', &to("a"));
    let db = wire::Service {
        name: "db".into(),
        namespace: "shop".into(),
        port: 3306,
    };
    let nowhere = wire::Service {
        port: 1,
        ..db.clone()
    };
    let plain = Site::default();
    let root = |root: &wire::Service| Site {
        root: Some(root.clone()),
        ..Site::default()
    };
    let listener = |name: &str| Site {
        listeners: Listeners::One(name.into()),
        ..Site::default()
    };
    for (site, destination, expected) in [
        (&plain, Some(("10.0.0.1", 3306)), "db"),
        (&plain, Some(("::ffff:10.0.0.1", 3306)), "db"),
        (&plain, Some(("FD00:0::1", 3306)), "db"),
        (&plain, Some(("10.0.0.1", 3307)), "ordinary"),
        (&plain, Some(("10.0.0.2", 3306)), "ordinary"),
        (&plain, Some(("10.0.0.9", 1000)), "a"),
        (&plain, Some(("10.0.0.9", 2000)), "a"),
        (&plain, Some(("10.0.0.9", 3000)), "500"),
        (&plain, Some(("not an address", 3306)), "ordinary"),
        (&plain, None, "ordinary"),
        (&root(&db), None, "db"),
        (&root(&db), Some(("10.0.0.9", 1000)), "db"),
        (&root(&nowhere), Some(("10.0.0.1", 3306)), "ordinary"),
        (&listener("two"), None, "a"),
        (&listener("three"), Some(("10.0.0.1", 3306)), "500"),
        (&listener("four"), Some(("10.0.0.1", 1000)), "ordinary"),
    ] {
        let mut live = live(&config, site);
        assert_eq!(
            words(&live.connect(destination)),
            expected,
            "{site:?} {destination:?}"
        );
    }
    let sidecar = Site {
        ordinary_route_serves_root: true,
        ..root(&db)
    };
    let own = config.replace(
        r#""name":"db","namespace":"shop","port":80"#,
        r#""name":"db","namespace":"shop","port":3306"#,
    );
    assert_eq!(words(&live(&own, &sidecar).connect(None)), "ordinary");
}
