//! A configuration as bytes, and the revision that names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_split::wire::Config;

use crate::digest::sha256;

/// What is served. Equal content has the equal revision on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// 32 hexadecimal digits, half of the SHA-256 of the body.
    pub revision: String,
    /// JSON.
    pub body: Arc<[u8]>,
}

/// Rules that a document of this version cannot say. Leaving them out, or a part of a match, would send
/// requests elsewhere, so there is no document at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} of the configuration cannot say {}", rules.join(", "))]
pub struct NeedsNewerVersion {
    pub version: u32,
    /// Identities, which begin with the kind, namespace and name of their object.
    pub rules: Vec<String>,
}

/// The rules of a configuration that a document of this version cannot say; [`features_after`] outside of tests.
pub type FeaturesAfter = fn(&Config, u32) -> BTreeSet<String>;

/// Version 1 is the only version, and says everything.
pub fn features_after(_: &Config, _: u32) -> BTreeSet<String> {
    BTreeSet::new()
}

/// The configuration as a document of `version`.
pub fn render_in(
    config: Config,
    version: u32,
    features_after: FeaturesAfter,
) -> Result<Rendered, NeedsNewerVersion> {
    let newer = features_after(&config, version);
    if !newer.is_empty() {
        let rules = newer.into_iter().collect();
        return Err(NeedsNewerVersion { version, rules });
    }
    Ok(render(&Config { version, ..config }))
}

fn render(config: &Config) -> Rendered {
    // Cannot fail: the configuration has string keys and no number that JSON lacks.
    let body = serde_json::to_vec(config).unwrap_or_default();
    let mut revision = sha256(&body);
    revision.truncate(32);
    Rendered {
        revision,
        body: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_alone_decides() {
        let config = |version| Config {
            version,
            ..Config::default()
        };
        assert_eq!(render(&config(1)), render(&config(1)));
        assert_ne!(render(&config(1)).revision, render(&config(2)).revision);
        assert_eq!(render(&config(1)).revision.len(), 32);
    }
}
