//! How far a replica has read the cluster, so that no proxy goes back in time when it moves to one that lags.
//!
//! Resource versions are comparable within one resource (Kubernetes API concepts, "Resource versions"), so a
//! watermark has one for each. On the wire it is `RESOURCE=VERSION,...`, sorted, resources as `PLURAL.GROUP`, or as
//! `PLURAL.GROUP/NAMESPACE` where each namespace is watched by itself and may lag by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most resources of a client's watermark that are kept although this replica does not watch them. They are kept while
/// the client's poll is held, because this replica may be about to find the definition of such a resource.
const MAX_UNKNOWN: usize = 16;
/// Most bytes of the name of such a resource: a plural, a group and a namespace.
const MAX_NAME: usize = 256;

/// By resource (`services`, `httproutes.gateway.networking.k8s.io`), the newest resource version that was read.
/// Empty for a source that has none, such as a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark(BTreeMap<Arc<str>, Version>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Version {
    read: u64,
    /// The newest change of an object, as far as it is known.
    changed: Option<u64>,
}

impl Version {
    /// The version that is sent to clients.
    fn told(self) -> u64 {
        self.changed.unwrap_or(self.read)
    }
}

/// Not `RESOURCE=VERSION,...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write RESOURCE=VERSION, with a comma between two")]
pub struct Unreadable;

impl Watermark {
    /// All up to this version has been read.
    pub fn set(&mut self, resource: &str, version: u64) {
        self.0.entry(resource.into()).or_default().read = version;
    }

    /// The newest change of an object up to there was at this version.
    pub fn set_changed(&mut self, resource: &str, version: u64) {
        self.0.entry(resource.into()).or_default().changed = Some(version);
    }

    pub fn get(&self, resource: &str) -> Option<u64> {
        self.0.get(resource).map(|version| version.told())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a client's watermark: the resources that `watched` has, and at most 16 others. The client
    /// chooses the names, so without this bound they could take as many bytes as a request's head.
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

    /// Only the resources that `watched` has.
    pub fn only(mut self, watched: &Watermark) -> Watermark {
        self.0.retain(|name, _| watched.0.contains_key(name));
        self
    }

    /// Whether everything that was read at `other` has been read at `self`. A resource that only one of them has does
    /// not count: its definition was added or removed.
    pub fn covers(&self, other: &Watermark) -> bool {
        let mut both = other
            .0
            .iter()
            .filter_map(|(resource, version)| Some((self.0.get(resource)?, version)));
        both.all(|(own, other)| own.read.max(own.told()) >= other.told())
    }

    /// Whether `other` has a resource that `self` does not have: its definition was removed, or this replica has not
    /// seen it yet. False if `self` is empty, as for a folder.
    pub fn lacks(&self, other: &Watermark) -> bool {
        let is_lacking = |resource: &Arc<str>| !self.0.contains_key(resource);
        !self.is_empty() && other.0.keys().any(is_lacking)
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (resource, version)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{resource}={}", version.told())?;
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
        assert!(own.lacks(&of("gone=99,services=1")));
        assert!(!own.lacks(&of("services=8")) && !own.lacks(&of("")));
        // A folder.
        assert!(!of("").lacks(&own));
        for wrong in ["services", "services=", "services=-1", "=x"] {
            assert_eq!(wrong.parse::<Watermark>(), Err(Unreadable));
        }
    }

    #[test]
    fn few_of_the_names_that_a_client_makes_up_are_kept() {
        let watched: Watermark = "services=7,httproutes=9".parse().unwrap();
        let of = |text: &str| Watermark::of_client(text, &watched).unwrap();
        let made_up: String = (0..4_000).map(|number| format!("r{number}=1,")).collect();
        let read = of(&format!("{made_up}services=8"));
        assert_eq!(read.0.len(), MAX_UNKNOWN + 1);
        assert_eq!(read.get("services"), Some(8));
        assert!(watched.lacks(&read), "one may be about to be found");
        assert_eq!(read.only(&watched).to_string(), "services=8");
        assert_eq!(of(&"same=1,".repeat(4_000)).0.len(), 1);
        assert!(of(&format!("{}=1", "r".repeat(MAX_NAME + 1))).is_empty());
        // A name that is watched is not kept a second time.
        let (name, _) = watched.0.get_key_value("services").unwrap();
        let read = of("services=8");
        let (kept, _) = read.0.get_key_value("services").unwrap();
        assert!(Arc::ptr_eq(name, kept));
        assert_eq!(Watermark::of_client("services", &watched), Err(Unreadable));
    }

    #[test]
    fn replicas_that_know_the_same_cover_each_other_whatever_their_bookmarks() {
        let at = |read: u64, changed: u64| {
            let mut watermark = Watermark::default();
            watermark.set("services", read);
            watermark.set_changed("services", changed);
            watermark
        };
        let (early, late) = (at(7, 7), at(90, 7));
        assert_eq!(late.to_string(), "services=7");
        assert!(early.covers(&late) && late.covers(&early));
        // One that was started after the deletion at 9 has never seen it, but has read further.
        let (deleted, listed) = (at(9, 9), at(90, 7));
        assert!(listed.covers(&deleted) && !early.covers(&deleted));
    }
}
