//! The form of a rollout in the annotations of the Lease.

use std::collections::BTreeMap;

use super::{Rollout, RolloutShare};

/// The hash of the module.
pub const HASH: &str = "weir.dev/filter-hash";
/// The share in percent.
pub const SHARE: &str = "weir.dev/filter-share";
/// Why the rollout has stopped. An operator removes this annotation to continue.
pub const STOPPED: &str = "weir.dev/filter-stopped";

impl Rollout {
    /// Returns None if there is no hash, or if the share is invalid.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Option<Rollout> {
        Some(Rollout {
            target: annotations.get(HASH)?.clone(),
            share: annotations.get(SHARE)?.parse::<RolloutShare>().ok()?,
            stopped: annotations.get(STOPPED).cloned(),
        })
    }

    /// Writes this rollout into the annotations, and leaves other annotations alone.
    pub fn write_annotations(&self, annotations: &mut BTreeMap<String, String>) {
        annotations.insert(HASH.into(), self.target.clone());
        annotations.insert(SHARE.into(), self.share.to_string());
        match &self.stopped {
            Some(reason) => annotations.insert(STOPPED.into(), reason.clone()),
            None => annotations.remove(STOPPED),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_keep_the_rollout() {
        let rollout = Rollout {
            target: "abc".into(),
            share: "12.5".parse().unwrap(),
            stopped: Some("a trap".into()),
        };
        let mut annotations = BTreeMap::from([("other".to_owned(), "kept".to_owned())]);
        rollout.write_annotations(&mut annotations);
        assert_eq!(
            Rollout::from_annotations(&annotations),
            Some(rollout.clone())
        );
        let resumed = Rollout {
            stopped: None,
            ..rollout
        };
        resumed.write_annotations(&mut annotations);
        assert_eq!(Rollout::from_annotations(&annotations), Some(resumed));
        assert_eq!(annotations.get("other").unwrap(), "kept");
        assert_eq!(Rollout::from_annotations(&BTreeMap::new()), None);
    }
}
