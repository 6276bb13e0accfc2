//! The access policy for requests and connections, outbound and inbound.

use super::*;

const GRANTS: &str = r#""access":{"grants":{"shop/store":[
    {"by":"shop/a","sources":["shop/buyer","shop/other"],
     "requests":[{"path":{"regex":"/buy.*"},"methods":["GET","HEAD"]},{"headers":[{"name":"x-key","value":{"exact":"1"}}]}]},
    {"by":"shop/b","sources":["shop/buyer"],"ports":[81]}]}}"#;

fn buyer() -> Site {
    Site {
        service_account: Some("shop/buyer".into()),
        ..site()
    }
}

fn with_access(accounts: &str) -> String {
    let config = with_matches(&[("one", "")]);
    let config = config.replacen("{", &format!("{{{GRANTS},"), 1);
    config.replace(
        r#"{"weight""#,
        &format!(r#"{{"accounts":{accounts},"weight""#),
    )
}

#[test]
fn backend_needs_a_grant() {
    let store = with_access(r#"["shop/else","shop/store"]"#);
    for (request, expected) in [
        ("GET root /buy/1?x", "one"),
        ("HEAD root /buy", "one"),
        ("POST root /buy", "denied"),
        ("GET root /sell", "denied"),
        ("POST root /sell x-key:1", "one"),
        ("GET elsewhere /sell", "ordinary"),
    ] {
        assert_eq!(
            decide(&mut live(&store, &buyer()), request),
            expected,
            "{request}"
        );
    }
    let other = |account: Option<&str>| Site {
        service_account: account.map(Into::into),
        ..site()
    };
    assert_eq!(
        decide(
            &mut live(&store, &other(Some("shop/other"))),
            "GET root /buy"
        ),
        "one"
    );
    assert_eq!(
        decide(
            &mut live(&store, &other(Some("shop/thief"))),
            "GET root /buy"
        ),
        "denied"
    );
    assert_eq!(
        decide(&mut live(&store, &other(None)), "GET root /buy"),
        "denied"
    );
    assert_eq!(
        decide(&mut live(&with_access("[]"), &buyer()), "GET root /buy"),
        "denied"
    );
}

/// A permission for the request of the client does not cover the edited request.
#[test]
fn edited_request_needs_a_permission() {
    let edited = |filters: &str| {
        let config = with_access(r#"["shop/store"]"#);
        config.replace(
            r#""backends""#,
            &format!(r#""filters":{filters},"backends""#),
        )
    };
    let rewrite = |prefix: &str, replacement: &str| {
        format!(
            r#"{{"rewrite":{{"path":{{"prefix":{{"prefix":"{prefix}","replacement":"{replacement}"}}}}}}}}"#
        )
    };
    let header = |edits: &str| format!(r#"{{"request_headers":{{{edits}}}}}"#);
    for (filters, request, expected) in [
        (rewrite("/buy", "/admin"), "GET root /buy/1?x", "denied"),
        (rewrite("/shop", "/buy"), "GET root /shop/1?x", "one"),
        (rewrite("/shop", "/buy"), "POST root /shop/1", "denied"),
        (
            header(r#""set":[{"name":"x-key","value":"1"}]"#),
            "GET root /sell x-key:2",
            "one",
        ),
        (
            header(r#""add":[{"name":"x-key","value":"1"}]"#),
            "GET root /sell",
            "one",
        ),
        (
            header(r#""add":[{"name":"x-key","value":"1"}]"#),
            "GET root /sell x-key:1",
            "denied",
        ),
        (
            header(r#""remove":["x-key"]"#),
            "GET root /sell x-key:1",
            "denied",
        ),
        (
            header(r#""remove":["x-other"]"#),
            "GET root /sell x-key:1",
            "one",
        ),
    ] {
        let mut live = live(&edited(&filters), &buyer());
        assert_eq!(decide(&mut live, request), expected, "{filters} {request}");
    }

    let host = |filters: &str| {
        let config = edited(filters).replace("x-key", ":authority");
        config.replace(r#"{"exact":"1"}"#, r#"{"exact":"new"}"#)
    };
    let rewrite_host = r#"{"rewrite":{"hostname":"new"}}"#;
    assert_eq!(
        decide(&mut live(&host(rewrite_host), &buyer()), "GET root /"),
        "one"
    );
    let denied = edited(&rewrite("/buy", "/admin"));
    let (text, _) = ask("GET root /buy/1?x", |authority, read| {
        format!(
            "{:?}",
            live(&denied, &buyer())
                .decide(authority, || None, read)
                .decision
        )
    });
    assert!(
        text.contains("shop/buyer to send GET /admin/1 to"),
        "{text}"
    );
}

/// A denied request counts as a pick of its backend. Redirects and errors need no permission.
#[test]
fn denial_names_the_missing_permission() {
    let mut denied = live(&with_access(r#"["shop/store"]"#), &buyer());
    let text = |live: &mut Live, request: &str| {
        ask(request, |authority, read| {
            match live.decide(authority, || None, read).decision {
                Decision::Denied(text) => text,
                other => panic!("{other:?}"),
            }
        })
        .0
    };
    assert_eq!(
        text(&mut denied, "PUT root /buy?secret"),
        "no TrafficTarget allows shop/buyer to send PUT /buy to one.shop:80 (shop/store)"
    );
    let long = text(
        &mut denied,
        &format!("GET root /\r\n\u{e9}{}", "x".repeat(60_000)),
    );
    assert!(
        long.contains(r"GET /\r\n\xc3\xa9xxx") && long.contains("... to one"),
        "{long}"
    );
    assert!(long.len() < 500 && long.bytes().all(|byte| (b' '..127).contains(&byte)));
    let mut picks = 0;
    denied.take_picks(|_, _, count| picks += count);
    assert_eq!(picks, 2);

    let mut unknown = live(
        &with_access("[]"),
        &Site {
            service_account: None,
            ..site()
        },
    );
    assert_eq!(
        text(&mut unknown, "GET root /"),
        "no TrafficTarget allows a client without identity to send GET / to one.shop:80 \
         (no ServiceAccount of its pods has a grant for this proxy)"
    );
    let broken = with_access("[]").replace(
        r#""service":{"name":"one","namespace":"shop","port":80}"#,
        r#""status":500"#,
    );
    assert_eq!(decide(&mut live(&broken, &buyer()), "GET root /"), "500");
}

#[test]
fn inbound_traffic_needs_a_grant() {
    let workload = Site {
        service_account: Some("shop/store".into()),
        ..site()
    };
    let guarded = live(&with_access("[]"), &workload);
    let everyone = with_matches(&[("one", "")]).replacen('{', r#"{"access":"everyone","#, 1);
    let open = live(&everyone, &workload);
    let elsewhere = live(&with_access("[]"), &buyer());
    for (live, peer, request, expected) in [
        (
            &guarded,
            Some("shop/buyer"),
            "GET anything /buy",
            "ordinary",
        ),
        (&guarded, Some("shop/buyer"), "GET anything /sell", "denied"),
        (&guarded, Some("shop/thief"), "GET anything /buy", "denied"),
        (&guarded, None, "GET anything /buy", "denied"),
        (
            &elsewhere,
            Some("shop/buyer"),
            "GET anything /buy",
            "denied",
        ),
        (&open, None, "GET anything /", "ordinary"),
        // The permission for /buy fits this path, but some workloads read it as /sell.
        (&guarded, Some("shop/buyer"), "GET a /buy/..;/sell", "400"),
        (
            &guarded,
            Some("shop/buyer"),
            "GET a /buy/%252e%252e/sell?x",
            "400",
        ),
        (
            &guarded,
            Some("shop/buyer"),
            "GET a /buy/.../x;y?/../",
            "ordinary",
        ),
        (&open, None, "GET anything /..;/", "400"),
    ] {
        let (got, _) = ask(request, |authority, read| {
            words(&live.admit(|| peer.map(str::to_owned), authority, read))
        });
        assert_eq!(got, expected, "{peer:?} {request}");
    }
    for (live, peer, port, expected) in [
        (&guarded, Some("shop/buyer"), 81, "ordinary"),
        (&guarded, Some("shop/buyer"), 80, "denied"),
        (&guarded, Some("shop/other"), 81, "denied"),
        (&guarded, None, 81, "denied"),
        (&open, None, 80, "ordinary"),
    ] {
        assert_eq!(
            words(&live.admit_connection(peer, port)),
            expected,
            "{peer:?} {port}"
        );
    }
    let peer = || panic!("the peer is not needed without a policy");
    assert_eq!(words(&open.admit(peer, b"root", |_| None)), "ordinary");
    let denied = guarded.admit_connection(None, 80).decision;
    let text =
        "no TrafficTarget allows a client without identity to connect to shop/store at port 80";
    assert_eq!(denied, Decision::Denied(text.into()));
}

/// Without the permission for the called Service, the author of a route could send requests of other clients to any
/// backend that these clients may reach.
#[test]
fn called_service_needs_a_permission() {
    let called = |accounts: &str, rest: &str| {
        let called = format!(
            r#""called":{{"service":{{"name":"root","namespace":"evil","port":80}},"accounts":{accounts}}},{rest}"backends""#
        );
        with_access(r#"["shop/store"]"#).replace(r#""backends""#, &called)
    };
    let redirect = r#""filters":{"redirect":{"scheme":"https","status":302}},"#;
    for (accounts, rest, request, expected) in [
        (r#"["shop/store"]"#, "", "GET root /buy", "one"),
        (r#"["evil/web","shop/store"]"#, "", "GET root /buy", "one"),
        (r#"["evil/web"]"#, "", "GET root /buy", "denied"),
        ("[]", "", "GET root /buy", "denied"),
        (r#"["evil/web"]"#, redirect, "GET root /buy", "denied"),
        (r#"["shop/store"]"#, "", "GET root /sell", "denied"),
        (r#"["evil/web"]"#, "", "GET elsewhere /buy", "ordinary"),
    ] {
        let config = called(accounts, rest);
        let got = decide(&mut live(&config, &buyer()), request);
        assert_eq!(got, expected, "{accounts} {rest} {request}");
    }
    let config = called("[]", "");
    let (text, _) = ask("GET root /buy", |authority, read| {
        let mut live = live(&config, &buyer());
        format!("{:?}", live.decide(authority, || None, read).decision)
    });
    assert!(text.contains("GET /buy to root.evil:80"), "{text}");

    // The request as the client sends it needs permission for the Service that the client calls. The request after the
    // filters needs permission for the backend.
    let rewrite = r#""filters":{"rewrite":{"path":{"full":"/buy"}}},"#;
    let rewritten = called(r#"["shop/store"]"#, rewrite);
    assert_eq!(
        decide(&mut live(&rewritten, &buyer()), "GET root /x"),
        "denied"
    );
}

#[test]
fn connections_have_shares_and_permissions() {
    let config = format!(
        r#"{{{GRANTS},"connections":[{{"to":{{"root":{{"service":"db","namespace":"shop","port":81}}}},"rule":"db"}}],
            "rules":{{"db":{{"backends":[
                {{"weight":90,"accounts":["shop/store"],"to":{{"service":{{"name":"v1","namespace":"shop","port":81}}}}}},
                {{"weight":10,"accounts":["shop/store"],"to":{{"service":{{"name":"v2","namespace":"shop","port":82}}}}}}]}}}}}}"#
    );
    let site = Site {
        root: Some(wire::Service {
            name: "db".into(),
            namespace: "shop".into(),
            port: 81,
        }),
        ..buyer()
    };
    let mut live = live(&config, &site);
    let mut words: Vec<_> = (0..100).map(|_| words(&live.connect(None))).collect();
    words.sort();
    words.dedup_by(|a, b| a == b);
    assert_eq!(words, ["denied", "v1"]);
    let mut picks = Vec::new();
    live.take_picks(|rule, backend, count| picks.push(format!("{rule} {backend} {count}")));
    assert_eq!(picks, ["db v1.shop:81 90", "db v2.shop:82 10"]);

    let called = r#""called":{"service":{"name":"db","namespace":"shop","port":82},"accounts":["shop/store"]},"backends""#;
    let other_port = config.replace(r#""backends""#, called);
    let mut live = self::live(&other_port, &site);
    assert!((0..100).all(|_| self::words(&live.connect(None)) == "denied"));
}

#[test]
fn old_permissions_deny_everything() {
    let workload = Site {
        service_account: Some("shop/store".into()),
        ..site()
    };
    let mut guarded = live(&with_access("[]"), &workload);
    let mut client = live(&with_access(r#"["shop/store"]"#), &buyer());
    let admit = |live: &Live| {
        let (got, _) = ask("GET anything /buy", |authority, read| {
            words(&live.admit(|| Some("shop/buyer".into()), authority, read))
        });
        got
    };
    for (is_too_old, admits, sends, elsewhere) in [
        (true, "denied", "denied", "denied"),
        (false, "ordinary", "one", "ordinary"),
    ] {
        guarded.set_access_too_old(is_too_old);
        client.set_access_too_old(is_too_old);
        assert_eq!(admit(&guarded), admits);
        assert_eq!(decide(&mut client, "GET root /buy"), sends);
        assert_eq!(decide(&mut client, "GET elsewhere /buy"), elsewhere);
    }
    client.set_access_too_old(true);
    let denied = client.connect(None).decision;
    let Decision::Denied(why) = denied else {
        panic!("{denied:?}");
    };
    assert!(why.contains("access_max_age"), "{why}");
}

/// The client has permission for the backend, but not always for the mirror.
#[test]
fn mirror_needs_a_grant() {
    for (accounts, path, expected) in [
        (r#"["shop/store"]"#, "/buy", 1),
        (r#"["shop/else"]"#, "/buy", 0),
        ("[]", "/buy", 0),
        // The mirror gets the rewritten request.
        (r#"["shop/store"]"#, "/old", 1),
    ] {
        let mirror = format!(
            r#"{{"to":{{"name":"x","namespace":"shop","port":80}},"accounts":{accounts}}}"#
        );
        let rewrite = match path {
            "/old" => r#""rewrite":{"path":{"full":"/buy"}},"#,
            _ => "",
        };
        let filters = format!(r#"{{"filters":{{{rewrite}"mirrors":[{mirror}]}},"backends""#);
        let config = with_access(r#"["shop/store"]"#).replace(r#"{"backends""#, &filters);
        let mut live = live(&config, &buyer());
        let (mirrors, _) = ask(&format!("GET root {path}"), |authority, read| {
            let decided = live.decide(authority, || None, read);
            assert_eq!(words(&decided), "one", "{path} {accounts}");
            decided.mirrors.len()
        });
        assert_eq!(mirrors, expected, "{path} {accounts}");
    }
}
