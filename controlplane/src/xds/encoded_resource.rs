//! A resource of the xDS protocol, encoded for the wire.

use std::sync::Arc;

use axum::body::Bytes;
use prost::Message;
use weir_core::digest::sha256;

/// A message of the xDS protocol with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The name of the cluster, also for endpoints.
    pub name: Arc<str>,
    /// The hash of the body, in hexadecimal digits. It is equal on every replica.
    pub version: Arc<str>,
    /// The encoded message, without the `Any` around it.
    pub body: Bytes,
}

impl Resource {
    /// Encodes a message. Equal messages must have equal bytes, so a map of the message may have at most one entry: the
    /// order of its entries is random.
    pub fn of(name: Arc<str>, message: &impl Message) -> Resource {
        let body = message.encode_to_vec();
        let mut version = sha256(&body);
        version.truncate(32);
        Resource {
            name,
            version: version.into(),
            body: body.into(),
        }
    }
}
