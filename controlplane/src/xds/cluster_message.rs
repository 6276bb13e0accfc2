//! Encodes the cluster of a backend as `envoy.config.cluster.v3.Cluster`.
//!
//! The encoding is the same on every replica, because the version of a resource is the hash of its bytes. So a message
//! has at most one entry in each map: the order of a map is random.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster as ClusterMessage, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Http1ProtocolOptions, Http2ProtocolOptions,
    TcpKeepalive, TransportSocket, TypedExtensionConfig,
};
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};
use envoy_types::util::pack_any;

use super::encoded_resource::Resource;
use super::endpoints_message::{load_assignment, named_assignment};
use weir_core::api::backend_tls_policy::CertificateName;
use weir_core::api::service::upstream_settings::{self, LoadBalancing, UpstreamPolicies};
use weir_core::upstream::endpoints::Endpoints;
use weir_core::upstream::{Cluster, Discovery, Tls, Verification};

/// The default of [`UpstreamPolicies::connect_timeout`] in milliseconds. It is the default of Envoy, too.
const CONNECT_TIMEOUT: u64 = 5_000;
/// How long a proxy waits for the endpoints of a new cluster. While it waits, it acknowledges no other new cluster.
const ENDPOINTS_TIMEOUT: u64 = 2_000;
/// Time limit of one DNS query, and number of queries. A DNS server that does not answer must not hold back the
/// acknowledgement of other clusters for long. With the defaults of Envoy (5 s, 4 queries) it could do so for
/// 75 s.
const DNS_TIMEOUT_SECONDS: u64 = 1;
const DNS_TRIES: u32 = 2;
/// The file with the certificates of the operating system in Debian, Ubuntu, Alpine and the images of Envoy. Envoy does
/// not implement the field `system_root_certs`. A proxy without the file refuses the cluster.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Returns the resource of a cluster. `name` is the name of the cluster.
///
/// The cluster has no health checks, so Envoy removes an endpoint at once when the endpoint is no longer in the answer
/// of EDS. The field `ignore_health_on_host_removal` would change nothing without health checks.
pub fn cluster_resource(name: &Arc<str>, cluster: &Cluster) -> Resource {
    Resource::of(name.clone(), &message(name, cluster))
}

fn message(name: &str, cluster: &Cluster) -> ClusterMessage {
    let mut message = ClusterMessage {
        name: name.to_owned(),
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), http_options(cluster))].into(),
        transport_socket: cluster.tls.as_deref().map(tls_socket),
        ..ClusterMessage::default()
    };
    set_discovery(&mut message, &cluster.discovery);
    set_policies(&mut message, &cluster.policies);
    message
}

fn set_discovery(message: &mut ClusterMessage, discovery: &Discovery) {
    let kind = match discovery {
        Discovery::Slices(_) => {
            message.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(ConfigSource {
                    initial_fetch_timeout: Some(duration(ENDPOINTS_TIMEOUT)),
                    resource_api_version: ApiVersion::V3.into(),
                    config_source_specifier: Some(ConfigSourceSpecifier::Ads(
                        AggregatedConfigSource::default(),
                    )),
                    ..ConfigSource::default()
                }),
                ..EdsClusterConfig::default()
            });
            DiscoveryType::Eds
        }
        Discovery::Addresses(addresses) => {
            let all = addresses.iter().copied().collect();
            let endpoints = Endpoints::from([("".into(), all)]);
            message.load_assignment = Some(load_assignment(&message.name, &endpoints));
            DiscoveryType::Static
        }
        Discovery::Names(names) => {
            message.load_assignment = Some(named_assignment(&message.name, names));
            message.dns_lookup_family = DnsLookupFamily::V4Preferred.into();
            message.typed_dns_resolver_config = Some(TypedExtensionConfig {
                name: "envoy.network.dns_resolver.cares".to_owned(),
                typed_config: Some(pack_any(CaresDnsResolverConfig {
                    query_timeout_seconds: Some(UInt64Value {
                        value: DNS_TIMEOUT_SECONDS,
                    }),
                    query_tries: Some(count(DNS_TRIES)),
                    ..CaresDnsResolverConfig::default()
                })),
            });
            DiscoveryType::StrictDns
        }
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
}

fn set_policies(message: &mut ClusterMessage, policies: &UpstreamPolicies) {
    let timeout = policies.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    message.connect_timeout = Some(duration(timeout));
    let policy = match policies.load_balancing {
        None | Some(LoadBalancing::RoundRobin) => LbPolicy::RoundRobin,
        Some(LoadBalancing::LeastRequest) => LbPolicy::LeastRequest,
        Some(LoadBalancing::Random) => LbPolicy::Random,
    };
    message.lb_policy = policy.into();
    message.circuit_breakers = circuit_breakers(policies.limits);
    message.outlier_detection = policies.outliers.map(|it| OutlierDetection {
        consecutive_5xx: it.consecutive_5xx.map(count),
        interval: it.interval.map(duration),
        base_ejection_time: it.ejection_time.map(duration),
        max_ejection_percent: it.max_ejection_percent.map(count),
        // By default Envoy also compares the rates of success of the endpoints. No annotation names this.
        enforcing_success_rate: Some(count(0)),
        ..OutlierDetection::default()
    });
    message.upstream_connection_options = policies.keepalive.map(|it| UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive {
            keepalive_probes: it.probes.map(count),
            keepalive_time: it.time.map(count),
            keepalive_interval: it.interval.map(count),
        }),
        ..UpstreamConnectionOptions::default()
    });
}

fn circuit_breakers(limits: upstream_settings::CircuitBreakers) -> Option<CircuitBreakers> {
    let is_set = limits != upstream_settings::CircuitBreakers::default();
    is_set.then(|| CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limits.connections.map(count),
            max_pending_requests: limits.pending_requests.map(count),
            max_requests: limits.requests.map(count),
            max_retries: limits.retries.map(count),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    })
}

fn http_options(cluster: &Cluster) -> Any {
    let protocol = if cluster.is_http2 {
        ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
    } else {
        ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
    };
    pack_any(HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(protocol),
            },
        )),
        ..HttpProtocolOptions::default()
    })
}

fn tls_socket(tls: &Tls) -> TransportSocket {
    let verification = tls.verification.as_ref().map(validation_context);
    let context = UpstreamTlsContext {
        sni: tls.server_name.clone().into(),
        common_tls_context: verification.map(|it| CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(it)),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}

fn validation_context(verification: &Verification) -> CertificateValidationContext {
    let authorities = match &verification.authorities {
        Some(certificates) => Specifier::InlineString(certificates.to_string()),
        None => Specifier::Filename(SYSTEM_CERTIFICATES.to_owned()),
    };
    CertificateValidationContext {
        trusted_ca: Some(DataSource {
            specifier: Some(authorities),
            ..DataSource::default()
        }),
        match_typed_subject_alt_names: verification.names.iter().map(name_matcher).collect(),
        ..CertificateValidationContext::default()
    }
}

fn name_matcher(name: &CertificateName) -> SubjectAltNameMatcher {
    let (kind, text) = match name {
        CertificateName::Hostname(name) => (SanType::Dns, name),
        CertificateName::Uri(uri) => (SanType::Uri, uri),
    };
    SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(text.clone().into())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    }
}

fn count(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// Returns a duration of the protocol. The milliseconds of a setting are at most one day.
fn duration(milliseconds: u64) -> Duration {
    Duration {
        seconds: i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(milliseconds % 1_000).unwrap_or_default() * 1_000_000,
    }
}

#[cfg(test)]
mod tests;
