//! The newest resources for one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::xds::encoded_resource::Resource;
use crate::xds::message::ResourceType;
use crate::xds::stream_table::ClusterNames;

/// The newest resources for one stream. The stream sends nothing that its scopes do not name.
#[derive(Clone, Copy)]
pub struct Newest<'a> {
    /// For each scope of the stream: the names of the clusters that its document needs.
    pub scopes: &'a [Arc<ClusterNames>],
    /// Returns a cluster of any scope.
    pub clusters: &'a dyn Fn(&str) -> Option<Resource>,
    /// Returns the endpoints of a cluster.
    pub endpoints: &'a dyn Fn(&str) -> Option<Resource>,
    /// The filters of this stream. None for a filter that the stream may not send now. The bodies are empty, because a
    /// filter is large: the caller encodes it when it sends a response.
    pub extensions: &'a BTreeMap<Arc<str>, Option<Resource>>,
}

impl<'a> Newest<'a> {
    /// Returns the clusters that a scope of the stream names.
    pub(super) fn named_clusters(self) -> impl Iterator<Item = &'a Arc<str>> {
        self.scopes.iter().flat_map(|names| names.iter())
    }

    /// Returns the shared copy of a name. Returns None if the stream is not allowed to send it.
    pub(super) fn name(self, kind: ResourceType, name: &str) -> Option<&'a Arc<str>> {
        match kind {
            ResourceType::Clusters | ResourceType::Endpoints => {
                self.scopes.iter().find_map(|names| names.get(name))
            }
            ResourceType::Extensions => self.extensions.get_key_value(name).map(|(name, _)| name),
        }
    }

    /// Returns None if there is no such resource, or if the stream is not allowed to send it.
    pub(super) fn resource(self, kind: ResourceType, name: &str) -> Option<Resource> {
        self.name(kind, name)?;
        match kind {
            ResourceType::Clusters => (self.clusters)(name),
            ResourceType::Endpoints => (self.endpoints)(name),
            ResourceType::Extensions => self.extensions.get(name).cloned().flatten(),
        }
    }
}
