//! Encodes the filter as Envoy's messages: the module, the plugin configuration, and the matcher around the filter.

use axum::body::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::common::matching::v3::ExtensionWithMatcher;
use envoy_types::pb::envoy::extensions::filters::common::matcher::action::v3::SkipFilter;
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm as HttpWasm;
use envoy_types::pb::envoy::extensions::filters::network::wasm::v3::Wasm as NetworkWasm;
use envoy_types::pb::envoy::extensions::matching::input_matchers::runtime_fraction::v3::RuntimeFraction;
use envoy_types::pb::envoy::extensions::wasm::v3::plugin_config::Vm;
use envoy_types::pb::envoy::extensions::wasm::v3::{
    FailurePolicy, PluginConfig, ReloadConfig, VmConfig,
};
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Any, Duration, StringValue};
use envoy_types::pb::xds;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::single_predicate::Matcher as ValueMatcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, SinglePredicate,
};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch as Action;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch};
use envoy_types::pb::xds::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::xds::r#type::matcher::v3::{RegexMatcher, StringMatcher, regex_matcher};
use envoy_types::util::pack_any;
use prost::Message;
use weir_split::MIRROR_HEADERS;

use super::filter_request::{FilterChain, FilterRequest};
use weir_core::envoy::UPSTREAM_FILTER;

/// The id of the VMs of the filter. VMs with this id share the last configuration, also across versions of the module.
const VM_ID: &str = "weir";
/// The runtime key of the switch: 0 turns the filter off.
const SWITCH: &str = "weir.enabled";

/// Returns the encoded `TypedExtensionConfig` of a filter. `plugin` is the JSON of its plugin configuration.
pub fn filter(request: &FilterRequest, plugin: String, module: &Bytes) -> Bytes {
    let config = PluginConfig {
        configuration: Some(pack_any(StringValue { value: plugin })),
        ..plugin_config(&request.name, "", module)
    };
    let config = match request.chain {
        FilterChain::Tcp => pack_any(NetworkWasm {
            config: Some(config),
        }),
        FilterChain::InboundHttp => http_wasm(config),
        FilterChain::OutboundHttp => {
            let fraction = RuntimeFraction {
                runtime_fraction: Some(core::RuntimeFractionalPercent {
                    default_value: Some(FractionalPercent {
                        numerator: 100,
                        denominator: 0,
                    }),
                    runtime_key: SWITCH.into(),
                }),
                ..RuntimeFraction::default()
            };
            let custom = extension("switch", pack_any(fraction));
            let switch = ValueMatcher::CustomMatch(custom);
            skip_unless(":authority", switch, &request.name, http_wasm(config))
        }
    };
    encode(&request.name, config)
}

/// Returns the encoded `TypedExtensionConfig` of the filter for requests to backends. Envoy skips this filter for
/// requests without a mirror.
pub fn upstream_filter(module: &Bytes) -> Bytes {
    let config = plugin_config(UPSTREAM_FILTER, "upstream", module);
    let has_value = ValueMatcher::ValueMatch(StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
            regex: ".+".into(),
            engine_type: Some(regex_matcher::EngineType::GoogleRe2(
                regex_matcher::GoogleRe2 {},
            )),
        })),
        ignore_case: false,
    });
    let [first, _] = MIRROR_HEADERS;
    let config = skip_unless(first, has_value, UPSTREAM_FILTER, http_wasm(config));
    encode(UPSTREAM_FILTER, config)
}

fn encode(name: &str, config: Any) -> Bytes {
    let extension = core::TypedExtensionConfig {
        name: name.into(),
        typed_config: Some(config),
    };
    extension.encode_to_vec().into()
}

fn plugin_config(name: &str, root_id: &str, module: &Bytes) -> PluginConfig {
    let bytes = core::data_source::Specifier::InlineBytes(module.to_vec());
    let local = core::async_data_source::Specifier::Local(core::DataSource {
        specifier: Some(bytes),
        ..core::DataSource::default()
    });
    PluginConfig {
        name: name.into(),
        root_id: root_id.into(),
        failure_policy: FailurePolicy::FailReload.into(),
        reload_config: Some(ReloadConfig {
            backoff: Some(core::BackoffStrategy {
                base_interval: Some(Duration {
                    seconds: 1,
                    nanos: 0,
                }),
                max_interval: None,
            }),
        }),
        vm: Some(Vm::VmConfig(VmConfig {
            vm_id: VM_ID.into(),
            runtime: "envoy.wasm.runtime.v8".into(),
            code: Some(core::AsyncDataSource {
                specifier: Some(local),
            }),
            ..VmConfig::default()
        })),
        ..PluginConfig::default()
    }
}

fn http_wasm(config: PluginConfig) -> Any {
    pack_any(HttpWasm {
        config: Some(config),
    })
}

/// Returns the filter with a matcher: Envoy skips the filter unless the value of the request header matches.
fn skip_unless(header: &str, matcher: ValueMatcher, name: &str, filter: Any) -> Any {
    let input = HttpRequestHeaderMatchInput {
        header_name: header.into(),
    };
    let matches = Predicate {
        match_type: Some(MatchType::SinglePredicate(SinglePredicate {
            input: Some(extension("header", pack_any(input))),
            matcher: Some(matcher),
        })),
    };
    let skip = Action::Action(extension("skip", pack_any(SkipFilter {})));
    let field_matcher = FieldMatcher {
        predicate: Some(Predicate {
            match_type: Some(MatchType::NotMatcher(Box::new(matches))),
        }),
        on_match: Some(OnMatch {
            keep_matching: false,
            on_match: Some(skip),
        }),
    };
    let list = MatcherList {
        matchers: vec![field_matcher],
    };
    pack_any(ExtensionWithMatcher {
        xds_matcher: Some(Matcher {
            matcher_type: Some(MatcherType::MatcherList(list)),
            on_no_match: None,
        }),
        extension_config: Some(core::TypedExtensionConfig {
            name: name.into(),
            typed_config: Some(filter),
        }),
        ..ExtensionWithMatcher::default()
    })
}

fn extension(name: &str, config: Any) -> xds::core::v3::TypedExtensionConfig {
    xds::core::v3::TypedExtensionConfig {
        name: name.into(),
        typed_config: Some(config),
    }
}
