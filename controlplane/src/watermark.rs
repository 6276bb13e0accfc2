//! How far a replica has read the cluster, so that no proxy goes back in time when it moves to one that lags.
//!
//! Resource versions are comparable within one resource (Kubernetes API concepts, "Resource versions"), so a
//! watermark has one for each. On the wire it is `RESOURCE=VERSION,...`, sorted, resources as `PLURAL.GROUP`, or as
//! `PLURAL.GROUP/NAMESPACE` where each namespace is watched by itself and may lag by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// By resource (`services`, `httproutes.gateway.networking.k8s.io`), the newest resource version that was read.
/// Empty for a source that has none, such as a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark(BTreeMap<String, u64>);

/// Not `RESOURCE=VERSION,...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write RESOURCE=VERSION, with a comma between two")]
pub struct Unreadable;

impl Watermark {
    pub fn set(&mut self, resource: &str, version: u64) {
        self.0.insert(resource.to_owned(), version);
    }

    pub fn get(&self, resource: &str) -> Option<u64> {
        self.0.get(resource).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether whoever is at `self` has seen all that was seen at `other`. A resource that only one of them knows
    /// says nothing: its definition came or went.
    pub fn covers(&self, other: &Watermark) -> bool {
        let mut both = other
            .0
            .iter()
            .filter_map(|(resource, version)| Some((self.get(resource)?, *version)));
        both.all(|(own, other)| own >= other)
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (resource, version)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{resource}={version}")?;
        }
        Ok(())
    }
}

impl FromStr for Watermark {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Watermark, Unreadable> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let entries = parts.map(|part| {
            let (resource, version) = part.split_once('=').ok_or(Unreadable)?;
            Ok((
                resource.to_owned(),
                version.parse().map_err(|_| Unreadable)?,
            ))
        });
        Ok(Watermark(entries.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_compared_by_what_both_know() {
        let of = |text: &str| text.parse::<Watermark>().unwrap();
        let own = of("services=7,gateways.gateway.networking.k8s.io=12");
        assert_eq!(
            own.to_string(),
            "gateways.gateway.networking.k8s.io=12,services=7"
        );
        assert_eq!(of(""), Watermark::default());
        for (other, covered) in [
            ("", true),
            ("services=7", true),
            ("services=8", false),
            ("gone=99", true),
        ] {
            assert_eq!(own.covers(&of(other)), covered, "{other}");
        }
        for wrong in ["services", "services=", "services=-1", "=x"] {
            assert_eq!(wrong.parse::<Watermark>(), Err(Unreadable));
        }
    }
}
