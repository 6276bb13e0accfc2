//! Keys for sets of hosts. In a sorted list, the keys of a set's subsets come directly after the key of the set.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::manifest::hostname::Hostname;
use crate::translate::precedence::HostRank;

/// The hosts of one hostname, as a string. The string has the labels of the hostname from last to first:
/// `com.example.a` for `a.example.com`. The key of `*.example.com` ends with a dot (`com.example.`). The key of every
/// host is empty.
///
/// If two keys have a host in common, the longer key begins with the shorter key. The shorter key has more hosts and
/// comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey(String);

impl HostKey {
    pub fn new(hostname: Option<&Hostname>) -> HostKey {
        let reversed = |name: &str| name.rsplit('.').collect::<Vec<_>>().join(".");
        HostKey(match hostname {
            None => String::new(),
            Some(Hostname::Exact(name)) => reversed(name),
            Some(Hostname::Wildcard(suffix)) => format!("{}.", reversed(suffix)),
        })
    }

    /// Returns the hostname; None means every host.
    pub fn hostname(&self) -> Option<String> {
        let name = self.0.rsplit('.').collect::<Vec<_>>().join(".");
        match name.strip_prefix('.') {
            _ if name.is_empty() => None,
            Some(suffix) => Some(format!("*.{suffix}")),
            None => Some(name),
        }
    }

    pub fn contains(&self, other: &HostKey) -> bool {
        self == other || self.is_wide() && other.0.starts_with(&self.0)
    }

    /// Returns the common hosts of both keys; None if they have no host in common.
    pub fn intersect(&self, other: &HostKey) -> Option<HostKey> {
        if self.contains(other) {
            Some(other.clone())
        } else {
            other.contains(self).then(|| self.clone())
        }
    }

    /// Returns the keys that contain all hosts of this key. The first key is this key itself. The last key means every
    /// host.
    pub fn outwards(&self) -> impl Iterator<Item = &str> {
        let inner = self.0.strip_suffix('.').unwrap_or(&self.0);
        let dots = inner.rmatch_indices('.').map(|(dot, _)| dot);
        let wider = dots.filter_map(|dot| self.0.get(..=dot));
        let every = (!self.0.is_empty()).then_some("");
        [self.0.as_str()].into_iter().chain(wider).chain(every)
    }

    pub fn rank(&self) -> HostRank {
        match self.0.len() {
            0 => HostRank::Any,
            length if self.is_wide() => HostRank::Wildcard(Reverse(length)),
            _ => HostRank::Exact,
        }
    }

    /// True for the key of a wildcard hostname, and for the key of every host.
    fn is_wide(&self) -> bool {
        self.0.is_empty() || self.0.ends_with('.')
    }
}

impl Borrow<str> for HostKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A map from hosts to values.
#[derive(Clone, Debug)]
pub struct HostMap<T>(BTreeMap<HostKey, T>);

impl<T> Default for HostMap<T> {
    fn default() -> HostMap<T> {
        HostMap(BTreeMap::new())
    }
}

impl<T: Copy> HostMap<T> {
    /// Inserts a value if the key has no value yet.
    pub fn insert(&mut self, hosts: HostKey, value: T) {
        self.0.entry(hosts).or_insert(value);
    }

    /// Returns the value of a key that has a host in common with `hosts`. If there are several such keys, returns the
    /// value of the key with the most hosts.
    pub fn find_overlapping(&self, hosts: &HostKey) -> Option<T> {
        let around: Vec<&str> = hosts.outwards().collect();
        let around = around.into_iter().rev().find_map(|key| self.0.get(key));
        let within = || {
            let (key, value) = self.0.range(hosts.clone()..).next()?;
            hosts.contains(key).then_some(value)
        };
        around.or_else(within).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> HostKey {
        HostKey::new(Hostname::parse(text).as_ref())
    }

    #[test]
    fn key_keeps_its_hostname() {
        for text in ["a", "a.example.com", "*.example.com", "*.com"] {
            assert_eq!(key(text).hostname().as_deref(), Some(text));
        }
        assert_eq!(HostKey::new(None).hostname(), None);
    }

    #[test]
    fn wider_keys_come_first() {
        let ordered = ["", "*.com", "*.b.com", "a.b.com"].map(key);
        for (place, wide) in ordered.iter().enumerate() {
            for narrow in &ordered[place..] {
                assert!(
                    wide.contains(narrow) && wide <= narrow,
                    "{wide:?} {narrow:?}"
                );
                assert_eq!(wide.intersect(narrow).as_ref(), Some(narrow));
                assert!(wide == narrow || !narrow.contains(wide));
                assert!(narrow.outwards().any(|around| around == wide.0));
            }
        }
        let around: Vec<&str> = ordered[3].outwards().collect();
        assert_eq!(around, ["com.b.a", "com.b.", "com.", ""]);
        assert_eq!(key("*.com").outwards().collect::<Vec<_>>(), ["com.", ""]);
        assert_eq!(key("").outwards().collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn wildcard_does_not_contain_its_apex() {
        for (a, b) in [
            ("*.b.com", "b.com"),
            ("*.b.com", "a.bb.com"),
            ("a.com", "b.com"),
        ] {
            assert_eq!(key(a).intersect(&key(b)), None, "{a} {b}");
        }
    }

    #[test]
    fn overlapping_hosts_are_found() {
        let mut map = HostMap::default();
        map.insert(key("*.b.com"), 1);
        map.insert(key("x.org"), 2);
        for (hosts, expected) in [
            ("a.b.com", Some(1)),
            ("*.a.b.com", Some(1)),
            ("*.com", Some(1)),
            ("b.com", None),
            ("*.org", Some(2)),
            ("x.org", Some(2)),
            ("y.org", None),
            ("", Some(1)),
        ] {
            assert_eq!(map.find_overlapping(&key(hosts)), expected, "{hosts}");
        }
    }
}
