//! The messages of a delta stream (`DeltaDiscoveryRequest` and `DeltaDiscoveryResponse`), with only the fields that Weir
//! reads or writes. An Envoy up to 1.37 sends about 50 KiB of other fields with each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use prost::Message;
use prost::bytes::Buf;

use super::encoded_resource::Resource;

/// Maximum number of bytes of a request. A request for 10,000 clusters after a reconnect has about 1.6 MB.
pub const MAX_REQUEST: usize = 2 << 20;
/// Maximum number of names in a request: names to subscribe, to unsubscribe, and names with a version.
const MAX_NAMES: usize = 50_000;

/// A type of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS.
    Clusters,
    /// EDS.
    Endpoints,
    /// ECDS: filters.
    Extensions,
}

/// A request of a client.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(message, optional, tag = "1")]
    pub node: Option<RequestNode>,
    #[prost(string, tag = "2")]
    pub type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub unsubscribe: Vec<String>,
    /// The versions of the resources that the client has from an earlier stream, by name. Only in the first request for
    /// a type.
    #[prost(btree_map = "string, string", tag = "5")]
    pub versions: BTreeMap<String, String>,
    /// The nonce of the response that this request answers, or empty.
    #[prost(string, tag = "6")]
    pub nonce: String,
    /// Why the client refuses the response.
    #[prost(message, optional, tag = "7")]
    pub error: Option<RequestError>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestNode {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestError {
    #[prost(string, tag = "2")]
    pub message: String,
}

/// A response to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub kind: ResourceType,
    pub nonce: String,
    pub resources: Vec<Resource>,
    pub removed: Vec<Arc<str>>,
}

/// Why the bytes of a request cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the request has more than {MAX_NAMES} names of resources")]
    TooManyNames,
    #[error("the request is not a DeltaDiscoveryRequest: {0}")]
    NotProtobuf(String),
}

impl ResourceType {
    /// All types, in the order in which a stream sends them.
    pub const ALL: [ResourceType; 3] = [
        ResourceType::Clusters,
        ResourceType::Endpoints,
        ResourceType::Extensions,
    ];

    /// Returns None for a type that Weir does not serve.
    pub fn of_url(url: &str) -> Option<ResourceType> {
        ResourceType::ALL.into_iter().find(|it| it.url() == url)
    }

    /// Returns the type URL of the protocol.
    pub fn url(self) -> &'static str {
        match self {
            ResourceType::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceType::Endpoints => {
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
            ResourceType::Extensions => {
                "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
            }
        }
    }

    /// Returns the short name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            ResourceType::Clusters => "cds",
            ResourceType::Endpoints => "eds",
            ResourceType::Extensions => "ecds",
        }
    }
}

impl Request {
    /// Decodes a request. Counts the names first, because a name of one byte needs more than 24 bytes in memory.
    pub fn parse(bytes: &[u8]) -> Result<Request, Unreadable> {
        let unreadable = |error: prost::DecodeError| Unreadable::NotProtobuf(error.to_string());
        if count_names(bytes).map_err(unreadable)? > MAX_NAMES {
            return Err(Unreadable::TooManyNames);
        }
        Request::decode(bytes).map_err(unreadable)
    }
}

/// Returns how many fields with the tags 3, 4 and 5 the message has.
fn count_names(mut rest: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut count: usize = 0;
    while rest.has_remaining() {
        // A key and a length are both variable-length integers.
        let key = prost::decode_length_delimiter(&mut rest)?;
        let size = match key & 7 {
            0 => {
                prost::decode_length_delimiter(&mut rest)?;
                0
            }
            1 => 8,
            5 => 4,
            _ => prost::decode_length_delimiter(&mut rest)?,
        };
        if matches!(key >> 3, 3..=5) {
            count = count.saturating_add(1);
        }
        // The decoder reports a message that is too short.
        rest.advance(size.min(rest.len()));
    }
    Ok(count)
}

impl Response {
    /// Appends the encoded message.
    pub fn encode_into(self, buffer: &mut Vec<u8>) {
        let url = self.kind.url();
        let resources = self.resources.into_iter().map(|resource| WireResource {
            version: resource.version.to_string(),
            body: Some(WireAny {
                type_url: url.to_owned(),
                value: resource.body,
            }),
            name: resource.name.to_string(),
        });
        let message = WireResponse {
            resources: resources.collect(),
            type_url: url.to_owned(),
            nonce: self.nonce,
            removed: self.removed.iter().map(|it| it.to_string()).collect(),
        };
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
    }
}

#[derive(Clone, PartialEq, Message)]
struct WireResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<WireResource>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct WireResource {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    body: Option<WireAny>,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    };
    use envoy_types::pb::google::rpc::Status;

    use super::*;

    #[test]
    fn requests_are_those_of_envoy() {
        let sent = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "a".into(),
                cluster: "b".into(),
                ..Node::default()
            }),
            type_url: ResourceType::Clusters.url().into(),
            resource_names_subscribe: vec!["x".into()],
            resource_names_unsubscribe: vec!["y".into()],
            initial_resource_versions: [("z".to_owned(), "1".to_owned())].into(),
            response_nonce: "5".into(),
            error_detail: Some(Status {
                code: 3,
                message: "no".into(),
                ..Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        };
        let read = Request::parse(&sent.encode_to_vec()).unwrap();
        let expected = Request {
            node: Some(RequestNode { id: "a".into() }),
            type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
            subscribe: vec!["x".into()],
            unsubscribe: vec!["y".into()],
            versions: [("z".to_owned(), "1".to_owned())].into(),
            nonce: "5".into(),
            error: Some(RequestError {
                message: "no".into(),
            }),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn responses_are_those_of_envoy() {
        let sent = Response {
            kind: ResourceType::Endpoints,
            nonce: "7".into(),
            resources: vec![Resource {
                name: "a".into(),
                version: "1".into(),
                body: Bytes::from_static(b"body"),
            }],
            removed: vec!["b".into()],
        };
        let mut bytes = Vec::new();
        sent.encode_into(&mut bytes);
        let read = DeltaDiscoveryResponse::decode(&*bytes).unwrap();
        assert_eq!(read.nonce, "7");
        assert_eq!(read.type_url, ResourceType::Endpoints.url());
        assert_eq!(read.removed_resources, ["b"]);
        let [resource] = read.resources.as_slice() else {
            panic!("{:?}", read.resources);
        };
        assert_eq!([&resource.name, &resource.version], ["a", "1"]);
        let body = resource.resource.as_ref().unwrap();
        assert_eq!(body.type_url, read.type_url);
        assert_eq!(body.value, b"body");
    }

    #[test]
    fn names_are_counted_before_decoding() {
        let subscribe = |count: usize| {
            let subscribe = vec!["x".to_owned(); count];
            let request = Request {
                subscribe,
                ..Request::default()
            };
            Request::parse(&request.encode_to_vec())
        };
        assert_eq!(subscribe(MAX_NAMES).unwrap().subscribe.len(), MAX_NAMES);
        assert_eq!(
            subscribe(MAX_NAMES + 1).unwrap_err(),
            Unreadable::TooManyNames
        );
    }

    #[test]
    fn garbage_is_no_request() {
        for bytes in [&b"\xff"[..], b"\x1a\x05a", b"\x0f", b"\x1a\x01\xff"] {
            assert!(Request::parse(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(Request::parse(b""), Ok(Request::default()));
    }
}
