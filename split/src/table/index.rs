//! Finds the most specific hostname for a host, in the order of Gateway API v1: an exact hostname, then the longest
//! wildcard, then the hostname for every host.

use std::collections::HashMap;

use crate::matching::condition::Hostname;

#[derive(Debug)]
pub(crate) struct HostnameIndex<T> {
    exact: HashMap<Box<[u8]>, T>,
    /// Values of wildcards, by the text after the star: `.example.com`.
    wildcard: HashMap<Box<[u8]>, T>,
    any: Option<T>,
}

impl<T> Default for HostnameIndex<T> {
    fn default() -> HostnameIndex<T> {
        HostnameIndex {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: None,
        }
    }
}

impl<T> HostnameIndex<T> {
    /// Inserts a value. If the hostname already has a value, the old value stays.
    pub(crate) fn insert(&mut self, hostname: &Option<Hostname>, value: T) {
        match hostname {
            Some(Hostname::Exact(name)) => {
                self.exact.entry(name.clone()).or_insert(value);
            }
            Some(Hostname::Wildcard(suffix)) => {
                self.wildcard.entry(suffix.clone()).or_insert(value);
            }
            None => {
                self.any.get_or_insert(value);
            }
        }
    }

    /// Returns the value of the most specific hostname that fits this host. For None, returns the value for every host.
    pub(crate) fn find(&self, name: Option<&[u8]>) -> Option<&T> {
        let named = name.and_then(|name| self.exact.get(name).or_else(|| self.wider(name)));
        named.or(self.any.as_ref())
    }

    /// Returns the value of the most specific hostname that covers all hosts of `hostname`.
    pub(crate) fn covering(&self, hostname: &Option<Hostname>) -> Option<&T> {
        match hostname {
            None => self.any.as_ref(),
            Some(Hostname::Exact(name)) => self.find(Some(name)),
            Some(Hostname::Wildcard(suffix)) => {
                let same = self.wildcard.get(suffix);
                same.or_else(|| self.wider(suffix)).or(self.any.as_ref())
            }
        }
    }

    /// Returns the value of the longest wildcard that fits. The star stands for one or more labels.
    fn wider(&self, name: &[u8]) -> Option<&T> {
        if self.wildcard.is_empty() {
            return None;
        }
        let dots = name.iter().enumerate().skip(1);
        dots.filter(|(_, byte)| **byte == b'.')
            .find_map(|(dot, _)| self.wildcard.get(name.get(dot..)?))
    }

    /// Returns all values with their hostnames as text. The hostname for every host is empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, &T)> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let exact = self.exact.iter();
        let exact = exact.map(move |(name, value)| (text(name), value));
        let wildcard = self.wildcard.iter();
        let wildcard = wildcard.map(move |(suffix, value)| (format!("*{}", text(suffix)), value));
        let any = self.any.iter().map(|value| (String::new(), value));
        exact.chain(wildcard).chain(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(hostnames: &[&str]) -> HostnameIndex<String> {
        let mut index = HostnameIndex::default();
        for hostname in hostnames {
            index.insert(&Hostname::parse(hostname), (*hostname).to_owned());
        }
        index
    }

    #[test]
    fn the_most_specific_hostname_is_found() {
        let all = index(&["a.b.c", "*.b.c", "*.c", ""]);
        for (name, expected) in [
            ("a.b.c", "a.b.c"),
            ("x.b.c", "*.b.c"),
            ("x.a.b.c", "*.b.c"),
            ("b.c", "*.c"),
            ("c", ""),
            (".c", ""),
        ] {
            let found = all.find(Some(name.as_bytes())).unwrap();
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(all.find(None).unwrap(), "");
        assert_eq!(index(&["*.c"]).find(Some(b"c")), None);
    }

    #[test]
    fn covering_hostname_has_all_hosts() {
        let some = index(&["a.b.c", "*.b.c", "*.d"]);
        for (hostname, expected) in [
            ("a.b.c", Some("a.b.c")),
            ("x.b.c", Some("*.b.c")),
            ("*.b.c", Some("*.b.c")),
            ("*.a.b.c", Some("*.b.c")),
            ("*.c", None),
            ("*.x.d", Some("*.d")),
            ("", None),
        ] {
            let found = some.covering(&Hostname::parse(hostname));
            assert_eq!(found.map(String::as_str), expected, "{hostname}");
        }
    }
}
