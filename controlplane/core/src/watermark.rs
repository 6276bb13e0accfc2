//! A watermark has the newest resource versions that a replica has read from the cluster. Proxies send the watermark of
//! their configuration. A replica with older versions sends no configuration, so the proxy keeps its newer one.
//!
//! Resource versions can be compared within one resource (Kubernetes API concepts, "Resource versions"), so a watermark
//! has one version for each resource. The text of a watermark is `RESOURCE=VERSION,...`, sorted. A resource is
//! `PLURAL.GROUP`, or `PLURAL.GROUP/NAMESPACE` if each namespace has a watch of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A client's watermark may have resources that this replica does not watch. The parser keeps at most this many of
/// them, because the replica may find their CustomResourceDefinitions before the client's poll ends.
const MAX_UNKNOWN: usize = 16;
/// The most bytes in the name of a resource that this replica does not watch.
const MAX_NAME: usize = 256;

/// The newest resource version that a replica has read, for each resource (`services`,
/// `httproutes.gateway.networking.k8s.io`). A source without resource versions, such as a folder, has an empty
/// watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark(BTreeMap<Arc<str>, Version>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Version {
    read: u64,
    /// The version of the newest change of an object; None if unknown. A bookmark raises `read`, but not `changed`.
    changed: Option<u64>,
}

impl Version {
    /// Returns the version that clients get: `changed`, or `read` if `changed` is unknown.
    fn for_clients(self) -> u64 {
        self.changed.unwrap_or(self.read)
    }
}

/// The error of a text that is not `RESOURCE=VERSION,...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write RESOURCE=VERSION, and a comma between two entries")]
pub struct Unreadable;

impl Watermark {
    /// Records that the replica has read everything up to this version.
    pub fn set(&mut self, resource: &str, version: u64) {
        self.0.entry(resource.into()).or_default().read = version;
    }

    /// Records the version of the newest change that the replica has read.
    pub fn set_changed(&mut self, resource: &str, version: u64) {
        self.0.entry(resource.into()).or_default().changed = Some(version);
    }

    /// Returns the version of this resource for clients.
    pub fn get(&self, resource: &str) -> Option<u64> {
        self.0.get(resource).map(|version| version.for_clients())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses a client's watermark. Keeps the resources that `watched` has, and at most 16 other resources, because a
    /// client could send many invented names.
    pub fn of_client(text: &str, watched: &Watermark) -> Result<Watermark, Unreadable> {
        let mut watermark = Watermark::default();
        let mut unknown = 0_usize;
        for entry in entries(text) {
            let (resource, version) = entry?;
            let name = match watched.0.get_key_value(resource) {
                Some((name, _)) => name.clone(),
                None if watermark.0.contains_key(resource) => continue,
                None if unknown < MAX_UNKNOWN && resource.len() <= MAX_NAME => {
                    unknown += 1;
                    resource.into()
                }
                None => continue,
            };
            watermark.0.entry(name).or_default().read = version;
        }
        Ok(watermark)
    }

    /// Removes the resources that `watched` does not have.
    pub fn only(mut self, watched: &Watermark) -> Watermark {
        self.0.retain(|name, _| watched.0.contains_key(name));
        self
    }

    /// True if the replica of `self` has read every change that the replica of `other` has read. Ignores a resource
    /// that only one of the two watermarks has, because the definition of this resource was added or removed.
    pub fn covers(&self, other: &Watermark) -> bool {
        let mut both = other
            .0
            .iter()
            .filter_map(|(resource, version)| Some((self.0.get(resource)?, version)));
        both.all(|(own, other)| own.read.max(own.for_clients()) >= other.for_clients())
    }

    /// True if `other` has a resource that `self` does not have. The cluster has removed the definition of this
    /// resource, or this replica has not read it yet. False if `self` is the empty watermark of a folder.
    pub fn lacks(&self, other: &Watermark) -> bool {
        let mut resources = other.0.keys();
        !self.is_empty() && resources.any(|it| !self.0.contains_key(it))
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (resource, version)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{resource}={}", version.for_clients())?;
        }
        Ok(())
    }
}

impl FromStr for Watermark {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Watermark, Unreadable> {
        let mut watermark = Watermark::default();
        for entry in entries(text) {
            let (resource, version) = entry?;
            watermark.set(resource, version);
        }
        Ok(watermark)
    }
}

fn entries(text: &str) -> impl Iterator<Item = Result<(&str, u64), Unreadable>> {
    let parts = text.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(|part| {
        let (resource, version) = part.split_once('=').ok_or(Unreadable)?;
        Ok((resource, version.parse().map_err(|_| Unreadable)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_compare_common_resources() {
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
        assert!(own.lacks(&of("gone=99,services=1")));
        assert!(!own.lacks(&of("services=8")) && !own.lacks(&of("")));
        // The watermark of a folder is empty.
        assert!(!of("").lacks(&own));
        for wrong in ["services", "services=", "services=-1", "=x"] {
            assert_eq!(wrong.parse::<Watermark>(), Err(Unreadable));
        }
    }

    #[test]
    fn invented_resource_names_are_bounded() {
        let watched: Watermark = "services=7,httproutes=9".parse().unwrap();
        let of = |text: &str| Watermark::of_client(text, &watched).unwrap();
        let made_up: String = (0..4_000).map(|number| format!("r{number}=1,")).collect();
        let parsed = of(&format!("{made_up}services=8"));
        assert_eq!(parsed.0.len(), MAX_UNKNOWN + 1);
        assert_eq!(parsed.get("services"), Some(8));
        assert!(
            watched.lacks(&parsed),
            "the replica may soon find one of them"
        );
        assert_eq!(parsed.only(&watched).to_string(), "services=8");
        assert_eq!(of(&"same=1,".repeat(4_000)).0.len(), 1);
        assert!(of(&format!("{}=1", "r".repeat(MAX_NAME + 1))).is_empty());
        // `of_client` shares the name of a watched resource, and does not copy it.
        let (name, _) = watched.0.get_key_value("services").unwrap();
        let parsed = of("services=8");
        let (kept, _) = parsed.0.get_key_value("services").unwrap();
        assert!(Arc::ptr_eq(name, kept));
        assert_eq!(Watermark::of_client("services", &watched), Err(Unreadable));
    }

    #[test]
    fn covers_ignores_versions_of_bookmarks() {
        let at = |read: u64, changed: u64| {
            let mut watermark = Watermark::default();
            watermark.set("services", read);
            watermark.set_changed("services", changed);
            watermark
        };
        let (early, late) = (at(7, 7), at(90, 7));
        assert_eq!(late.to_string(), "services=7");
        assert!(early.covers(&late) && late.covers(&early));
        // `listed` is a replica that started after a deletion at version 9. It has read up to version 90, but its list
        // has no change after version 7.
        let (deleted, listed) = (at(9, 9), at(90, 7));
        assert!(listed.covers(&deleted) && !early.covers(&deleted));
    }
}
