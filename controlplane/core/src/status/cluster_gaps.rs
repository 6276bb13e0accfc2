//! The clusters that a proxy lacks. Only a proxy that gets its clusters from Weir can lack a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum number of clusters in [`ClusterGaps`].
const MAX_CLUSTERS: usize = 16;
/// Maximum number of characters in a message of Envoy.
const MAX_MESSAGE: usize = 300;

/// Why a proxy does not use a cluster of its new configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterGap {
    /// Weir does not know a stream of this Envoy, so it cannot send the cluster. The proxy keeps its configuration.
    NoStream,
    /// Envoy has not accepted the cluster yet. The rules of the cluster stay as they were.
    Awaited,
    /// Envoy has not accepted the cluster in time. The requests for this backend get an error.
    Late,
    /// Envoy has refused the cluster with this message. The requests for this backend get an error.
    Refused(String),
}

impl ClusterGap {
    /// True if the requests for the backend get an error.
    pub fn is_failure(&self) -> bool {
        matches!(self, ClusterGap::Late | ClusterGap::Refused(_))
    }
}

/// The clusters that a proxy lacks, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGaps {
    clusters: BTreeMap<String, ClusterGap>,
    /// True if the proxy lacks more clusters than `clusters` has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_more: bool,
}

impl ClusterGaps {
    /// Keeps the first `MAX_CLUSTERS` clusters, because a replica keeps the gaps of many proxies.
    pub fn new(clusters: impl IntoIterator<Item = (String, ClusterGap)>) -> ClusterGaps {
        let mut gaps = ClusterGaps::default();
        for (name, gap) in clusters {
            if gaps.clusters.len() >= MAX_CLUSTERS && !gaps.clusters.contains_key(&name) {
                gaps.has_more = true;
                break;
            }
            let gap = match gap {
                ClusterGap::Refused(message) => {
                    ClusterGap::Refused(message.chars().take(MAX_MESSAGE).collect())
                }
                other => other,
            };
            gaps.clusters.insert(name, gap);
        }
        gaps
    }

    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// True if the proxy lacks clusters that this value does not name.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// Returns the first of these clusters that the proxy lacks, with the reason. If the proxy lacks more clusters than
    /// this value has, any cluster may be missing; then the name is empty.
    pub fn first_of<'g>(
        &'g self,
        mut clusters: impl Iterator<Item = &'g str>,
    ) -> Option<(&'g str, &'g ClusterGap)> {
        let mut clusters = clusters.by_ref().peekable();
        clusters.peek()?;
        let found = clusters.find_map(|name| Some((name, self.clusters.get(name)?)));
        let unknown = || Some(("", &ClusterGap::Awaited));
        found.or_else(|| self.has_more.then(unknown).flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clusters_are_cut() {
        let refused = || ClusterGap::Refused("\u{fc}".repeat(1_000));
        let some =
            |count: usize| ClusterGaps::new((0..count).map(|it| (it.to_string(), refused())));
        let all = some(MAX_CLUSTERS);
        assert_eq!(all.first_of(["x"].into_iter()), None);
        assert_eq!(all.first_of([].into_iter()), None);
        let Some(("3", ClusterGap::Refused(message))) = all.first_of(["x", "3"].into_iter()) else {
            panic!("{all:?}");
        };
        assert_eq!(message.chars().count(), MAX_MESSAGE);
        let cut = some(MAX_CLUSTERS + 1);
        assert_eq!(cut.names().count(), MAX_CLUSTERS);
        assert_eq!(
            cut.first_of(["x"].into_iter()),
            Some(("", &ClusterGap::Awaited))
        );
        assert_eq!(cut.first_of([].into_iter()), None);
    }
}
