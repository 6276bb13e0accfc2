//! Renders a configuration as JSON bytes, and computes the revision of these bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_split::wire::Config;

use super::backends::{cluster_name, services_of};
use crate::digest::sha256;

/// A configuration document: a configuration as JSON. Equal bodies have the same revision on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedConfig {
    /// The first 32 hexadecimal digits of the SHA-256 of the body.
    pub revision: String,
    /// JSON text.
    pub body: Arc<[u8]>,
    /// The names of the clusters of all backends and mirrors in the document.
    pub clusters: Arc<BTreeSet<Arc<str>>>,
}

/// The error of a document that cannot express some rules in the requested version. Weir renders no document without
/// these rules, because requests would go to the wrong backends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} of the configuration format cannot express {}", rules.join(", "))]
pub struct NeedsNewerVersion {
    pub version: u32,
    /// Identities of rules. An identity begins with the kind, namespace and name of its object.
    pub rules: Vec<String>,
}

/// A function that returns the identities of the rules that a document of a version cannot express. Production code
/// uses [`features_after`].
pub type FeaturesAfter = fn(&Config, u32) -> BTreeSet<String>;

/// Returns an empty set, because version 1 is the only version.
pub fn features_after(_: &Config, _: u32) -> BTreeSet<String> {
    BTreeSet::new()
}

/// Renders a configuration as a document of `version`.
pub fn render_in(
    config: Config,
    version: u32,
    features_after: FeaturesAfter,
) -> Result<RenderedConfig, NeedsNewerVersion> {
    let newer = features_after(&config, version);
    if !newer.is_empty() {
        let rules = newer.into_iter().collect();
        return Err(NeedsNewerVersion { version, rules });
    }
    Ok(render(&Config { version, ..config }))
}

fn render(config: &Config) -> RenderedConfig {
    // Cannot fail: all keys are strings, and JSON can express all numbers of a configuration.
    let body = serde_json::to_vec(config).unwrap_or_default();
    let mut revision = sha256(&body);
    revision.truncate(32);
    let services = services_of(config);
    let clusters = services.iter().map(|it| Arc::from(cluster_name(it)));
    RenderedConfig {
        revision,
        body: body.into(),
        clusters: Arc::new(clusters.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configs_have_equal_revisions() {
        let config = |version| Config {
            version,
            ..Config::default()
        };
        assert_eq!(render(&config(1)), render(&config(1)));
        assert_ne!(render(&config(1)).revision, render(&config(2)).revision);
        assert_eq!(render(&config(1)).revision.len(), 32);
    }
}
