use serde_json::{Value, json};

use crate::envoy::{EnvoyDump, Finding, findings};
use crate::plan::Plan;

const TYPED: &str = "type.googleapis.com/envoy.extensions";

/// Returns a part of the `/config_dump` of `envoy-config/inbound-mtls.yaml`, with this plugin configuration.
fn dump(plugin: Value) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
    let wasm = json!({ "name": "weir", "typed_config": {
        "@type": format!("{TYPED}.filters.http.wasm.v3.Wasm"),
        "config": {
            "name": "weir",
            "failure_policy": "FAIL_RELOAD",
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": plugin.to_string(),
            },
        },
    } });
    let router = json!({ "name": "router", "typed_config": {
        "@type": format!("{TYPED}.filters.http.router.v3.Router"),
    } });
    let manager = json!({ "name": "manager", "typed_config": {
        "@type": format!("{TYPED}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "http_filters": [wasm, router],
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    } });
    let tls = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": format!("{TYPED}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {
            "tls_certificates": [{ "certificate_chain": { "filename": "certs/tls.crt" } }],
            "validation_context": { "trusted_ca": { "filename": "certs/ca.crt" } },
        },
        "require_client_certificate": true,
    } });
    let listener = json!({
        "name": "inbound",
        "filter_chains": [{ "filters": [manager], "transport_socket": tls }],
    });
    json!({ "configs": [
        { "@type": kind("Clusters"), "static_clusters": [{ "cluster": { "name": "weir" } }] },
        { "@type": kind("Listeners"), "static_listeners": [{ "listener": listener }] },
    ] })
}

fn inbound() -> Value {
    dump(json!({
        "control_plane": "weir", "direction": "inbound",
        "namespace": "bookstore", "service_account": "bookstore", "trust_domain": "cluster.local",
    }))
}

fn lines(dump: &Value) -> Vec<String> {
    let running = EnvoyDump::read(dump).unwrap();
    let found = findings(&running, &Plan::default());
    found.iter().map(Finding::to_string).collect()
}

/// Returns the findings after `change` changed a part of the filter chain. `part` is a JSON pointer.
fn changed(mut dump: Value, part: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let chain = format!("/configs/1/static_listeners/0/listener/filter_chains/0{part}");
    change(dump.pointer_mut(&chain).unwrap());
    lines(&dump)
}

const TLS: &str = "/transport_socket/typed_config";
const MANAGER: &str = "/filters/0/typed_config";

fn remove(part: &mut Value, key: &str) {
    part.as_object_mut().unwrap().remove(key);
}

#[test]
fn shipped_inbound_listener_is_secure() {
    assert_eq!(lines(&inbound()), [""; 0]);
    // The certificate authority may come from SDS or from a custom validator.
    let sds = json!({ "name": "ca" });
    for context in [
        json!({ "validation_context_sds_secret_config": sds }),
        json!({ "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": [] },
            "validation_context_sds_secret_config": sds,
        } }),
        json!({ "validation_context": { "custom_validator_config": { "name": "spiffe" } } }),
    ] {
        let found = changed(inbound(), TLS, |tls| {
            tls["common_tls_context"] = context.clone()
        });
        assert_eq!(found, [""; 0], "{context}");
    }
}

/// The settings may be in a secret that the listener refers to by name.
#[test]
fn secret_without_verification_is_found() {
    let authority = json!({ "trusted_ca": { "filename": "certs/ca.crt" } });
    let mut untrusted = authority.clone();
    untrusted["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
    let names_only = json!({ "match_typed_subject_alt_names": [] });
    let name = json!({ "name": "ca" });
    let alone = json!({ "validation_context_sds_secret_config": name });
    let combined = json!({ "combined_validation_context": {
        "default_validation_context": { "match_typed_subject_alt_names": [] },
        "validation_context_sds_secret_config": name,
    } });
    let is_untrusted = "has trust_chain_verification: ACCEPT_UNTRUSTED";
    let no_authority = "names no authority for the certificates of clients";
    for (list, context, expected) in [
        ("static_secrets", &authority, None),
        ("dynamic_active_secrets", &authority, None),
        ("static_secrets", &untrusted, Some(is_untrusted)),
        ("dynamic_active_secrets", &untrusted, Some(is_untrusted)),
        ("static_secrets", &names_only, Some(no_authority)),
        ("dynamic_active_secrets", &names_only, Some(no_authority)),
    ] {
        for reference in [&alone, &combined] {
            let secret = json!({ "name": "ca", "validation_context": context });
            let mut dump = inbound();
            dump["configs"].as_array_mut().unwrap().push(json!({
                "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
                list: [{ "name": "ca", "secret": secret }],
            }));
            let found = changed(dump, TLS, |tls| {
                tls["common_tls_context"] = (*reference).clone();
            });
            assert_eq!(found.len(), usize::from(expected.is_some()), "{found:?}");
            let expected = expected.unwrap_or_default();
            assert!(
                found.iter().all(|line| line.contains(expected)),
                "{found:?}"
            );
        }
    }
}

#[test]
fn unverified_clients_are_found() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, &str); 6] = [
        (
            "",
            |chain| remove(chain, "transport_socket"),
            "has no TLS: no client has an identity",
        ),
        (
            TLS,
            |tls| {
                tls["common_tls_context"]["validation_context"]["trust_chain_verification"] =
                    json!("ACCEPT_UNTRUSTED");
            },
            "remove the line \"trust_chain_verification: ACCEPT_UNTRUSTED\"",
        ),
        (
            TLS,
            |tls| {
                tls["common_tls_context"] = json!({ "combined_validation_context": {
                    "default_validation_context": { "trust_chain_verification": "ACCEPT_UNTRUSTED" },
                    "validation_context_sds_secret_config": { "name": "ca" },
                } });
            },
            "has trust_chain_verification: ACCEPT_UNTRUSTED: a client can write any name",
        ),
        (
            TLS,
            |tls| remove(&mut tls["common_tls_context"], "validation_context"),
            "names no authority for the certificates of clients",
        ),
        (
            TLS,
            |tls| tls["common_tls_context"]["validation_context"] = json!({}),
            "write \"validation_context: { trusted_ca: { filename: certs/ca.crt } }\" into",
        ),
        (
            TLS,
            |tls| remove(tls, "require_client_certificate"),
            "write \"require_client_certificate: true\" into its DownstreamTlsContext",
        ),
    ];
    for (part, change, said) in cases {
        let found = changed(inbound(), part, change);
        assert_eq!(found.len(), 1, "{said}: {found:?}");
        let begin = "envoy, listener inbound: InboundUnverified: the filter chain of a filter with direction inbound ";
        assert!(found[0].starts_with(begin), "{found:?}");
        assert!(found[0].contains(said), "{found:?}");
    }
}

#[test]
fn missing_path_normalization_is_found() {
    let found = changed(inbound(), MANAGER, |manager| {
        remove(manager, "merge_slashes")
    });
    assert_eq!(
        found,
        [
            "envoy, listener inbound: PathsNotNormalized: the connection manager of the filter of direction inbound does \
          not normalize paths: a path such as /books//../admin is checked as written, but the workload may read it \
          as /admin; write these lines into the connection manager: merge_slashes: true"
        ]
    );
    let bare = |manager: &mut Value| {
        for key in [
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
        ] {
            remove(manager, key);
        }
    };
    for (plugin, escaped) in [
        (
            json!({ "control_plane": "weir", "gateway": "kong/kong" }),
            Some("UNESCAPE_AND_REDIRECT"),
        ),
        (
            json!({ "control_plane": "weir", "namespace": "*" }),
            Some("UNESCAPE_AND_REDIRECT"),
        ),
        (
            json!({ "control_plane": "weir", "namespace": "bookbuyer" }),
            None,
        ),
    ] {
        let found = changed(dump(plugin.clone()), MANAGER, bare);
        let end = escaped.map(|escaped| {
            format!(
                "manager: normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: {escaped}"
            )
        });
        assert_eq!(
            found.len(),
            usize::from(end.is_some()),
            "{plugin}: {found:?}"
        );
        assert!(
            found
                .iter()
                .all(|line| line.ends_with(end.as_deref().unwrap_or_default())),
            "{found:?}"
        );
    }
    // KEEP_UNCHANGED is a decision of the operator.
    let found = changed(inbound(), MANAGER, |manager| {
        manager["path_with_escaped_slashes_action"] = json!("KEEP_UNCHANGED");
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn filter_behind_another_is_found() {
    let put_before = |name: &str| {
        let filter = json!({ "name": "other", "typed_config": {
            "@type": format!("{TYPED}.filters.http.{name}"),
        } });
        changed(inbound(), MANAGER, |manager| {
            manager["http_filters"]
                .as_array_mut()
                .unwrap()
                .insert(0, filter);
        })
    };
    assert_eq!(put_before("rbac.v3.RBAC"), [""; 0]);
    for name in [
        "lua.v3.Lua",
        "header_mutation.v3.HeaderMutation",
        "ext_proc.v3.ExternalProcessor",
    ] {
        let found = put_before(name);
        assert_eq!(found.len(), 1, "{found:?}");
        let begin = "envoy, listener inbound: InboundNotFirst: before the filter of direction inbound, http_filters has other: ";
        assert!(found[0].starts_with(begin), "{found:?}");
        assert!(
            found[0].ends_with("put the filter of Weir first into http_filters"),
            "{found:?}"
        );
    }
}

/// If a filter comes from ECDS, the listener contains only the name of the filter.
#[test]
fn discovered_filter_is_checked_in_place() {
    let mut dump = inbound();
    let filters = "/configs/1/static_listeners/0/listener/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = dump.pointer_mut(filters).unwrap().as_array_mut().unwrap();
    let weir = std::mem::replace(
        &mut filters[0],
        json!({ "name": "weir", "config_discovery": {} }),
    );
    let lua = json!({ "name": "lua", "typed_config": { "@type": format!("{TYPED}.filters.http.lua.v3.Lua") } });
    filters.insert(0, lua);
    let ecds = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
        "ecds_filters": [{ "ecds_filter": weir }],
    });
    dump["configs"].as_array_mut().unwrap().push(ecds);
    let found = lines(&dump);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("listener inbound: InboundNotFirst: before the filter of direction inbound, http_filters has lua"),
        "{found:?}"
    );
}

#[test]
fn filter_that_fails_open_is_found() {
    let wasm = "/filters/0/typed_config/http_filters/0/typed_config/config";
    let open = |config: &mut Value| config["failure_policy"] = json!("FAIL_OPEN");
    for (dump, said) in [
        (
            inbound(),
            "while the filter cannot run, every client is let in",
        ),
        (
            dump(json!({ "control_plane": "weir" })),
            "no rule has an effect",
        ),
    ] {
        let found = changed(dump, wasm, open);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(said), "{found:?}");
        assert!(
            found[0].ends_with("write \"failure_policy: FAIL_RELOAD\""),
            "{found:?}"
        );
    }
    let found = changed(inbound(), wasm, |config| config["fail_open"] = json!(true));
    assert_eq!(found.len(), 1, "{found:?}");
}
