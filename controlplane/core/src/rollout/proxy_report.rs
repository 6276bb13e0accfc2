//! What the streams and the polls of a proxy report about its module.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::owner::Owner;
use crate::status::proxy::{MAX_OF_NAMESPACE, MAX_PROXIES, Proxy, StreamModule};

/// What a replica knows about one proxy with an open stream that gets its filter from the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyReport {
    /// A text that identifies the proxy.
    pub proxy: String,
    /// The hash of the module that the proxy has accepted; empty without such a module.
    pub module: String,
    /// Time since the proxy accepted `module`.
    pub accepted: Duration,
    /// The hash of a module that the proxy has refused, and the message of the proxy.
    pub refused: Option<(String, String)>,
    /// Time since the last poll of the proxy ended. Zero while a poll is open.
    pub unpolled: Duration,
    /// The number of VMs that ended without notice, since the process of the proxy started.
    pub traps: u64,
}

/// Returns the text that identifies a proxy: the node id, and the owner of its token.
pub fn proxy_name(node: &str, owner: &Owner) -> String {
    match &owner.namespace {
        None => node.to_owned(),
        Some(namespace) => format!("{node} ({namespace}, {})", owner.name),
    }
}

/// Joins the streams and the polls of each proxy. A proxy with several streams has the module of the stream that
/// accepted its module last.
pub fn proxy_reports(
    streams: impl Iterator<Item = StreamModule>,
    proxies: &[Proxy],
) -> Vec<ProxyReport> {
    let mut polls: BTreeMap<(&Owner, &str), Polls> = BTreeMap::new();
    for proxy in proxies {
        let polls = polls.entry((&proxy.owner, &proxy.node)).or_insert(Polls {
            unpolled: u64::MAX,
            traps: 0,
        });
        polls.unpolled = polls.unpolled.min(proxy.unpolled);
        polls.traps = polls.traps.max(proxy.traps);
    }
    let counts = ListCounts::of(proxies);
    let mut reports: BTreeMap<String, ProxyReport> = BTreeMap::new();
    for stream in streams {
        let name = proxy_name(&stream.node, &stream.owner);
        let polls = polls.get(&(&stream.owner, stream.node.as_str()));
        let report = ProxyReport {
            proxy: name.clone(),
            module: stream.module,
            accepted: Duration::from_secs(stream.accepted),
            refused: stream.refused,
            unpolled: Duration::from_secs(match polls {
                Some(polls) => polls.unpolled,
                None if counts.is_full_for(&stream.owner) => 0,
                // A proxy that has never polled should have polled when it accepted the module.
                None => stream.accepted,
            }),
            traps: polls.map_or(0, |it| it.traps),
        };
        let other = reports.get(&name);
        if other.is_none_or(|other| report.accepted < other.accepted) {
            reports.insert(name, report);
        }
    }
    reports.into_values().collect()
}

struct Polls {
    unpolled: u64,
    traps: u64,
}

/// How many proxies are listed. A replica that lists too many proxies does not list further ones, although they poll.
struct ListCounts<'p> {
    all: usize,
    by_owner: BTreeMap<&'p Owner, usize>,
    by_namespace: BTreeMap<&'p str, usize>,
}

impl<'p> ListCounts<'p> {
    fn of(proxies: &'p [Proxy]) -> ListCounts<'p> {
        let mut counts = ListCounts {
            all: proxies.len(),
            by_owner: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
        };
        for proxy in proxies {
            *counts.by_owner.entry(&proxy.owner).or_default() += 1;
            if let Some(namespace) = proxy.owner.namespace.as_deref() {
                *counts.by_namespace.entry(namespace).or_default() += 1;
            }
        }
        counts
    }

    /// True if a replica may not list a further proxy of this owner.
    fn is_full_for(&self, owner: &Owner) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or_default();
        let namespace = owner.namespace.as_deref();
        let of_namespace = namespace.and_then(|it| self.by_namespace.get(it));
        self.all >= MAX_PROXIES
            || of_owner >= owner.limit()
            || of_namespace.is_some_and(|it| *it >= MAX_OF_NAMESPACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Scope;

    fn proxy(node: &str, unpolled: u64, traps: u64) -> Proxy {
        Proxy {
            instance: "i".into(),
            owner: Owner::default(),
            node: node.into(),
            scope: Scope::Producers,
            applied: String::new(),
            watermark: String::new(),
            refused: String::new(),
            is_lean: false,
            behind: 0,
            silent: 0,
            closed: None,
            unpolled,
            traps,
            gaps: Default::default(),
        }
    }

    fn stream(node: &str, module: &str, accepted: u64) -> StreamModule {
        StreamModule {
            node: node.into(),
            module: module.into(),
            accepted,
            ..StreamModule::default()
        }
    }

    #[test]
    fn polls_belong_to_their_streams() {
        let proxies = [proxy("a", 7, 1), proxy("a", 0, 2), proxy("other", 0, 0)];
        let streams = [
            stream("a", "old", 9),
            stream("a", "new", 5),
            stream("b", "new", 30),
        ];
        let reports = proxy_reports(streams.into_iter(), &proxies);
        let [a, b] = reports.try_into().unwrap();
        assert_eq!(
            (a.proxy.as_str(), a.module.as_str(), a.traps),
            ("a", "new", 2)
        );
        assert_eq!(a.unpolled, Duration::ZERO);
        // This proxy has never polled.
        assert_eq!(
            (b.proxy.as_str(), b.unpolled),
            ("b", Duration::from_secs(30))
        );
    }

    #[test]
    fn proxies_beyond_the_limit_count_polled() {
        let owner = Owner::of_pod("shop", "1");
        let of_owner = |number: usize| Proxy {
            owner: owner.clone(),
            ..proxy(&format!("other-{number}"), 0, 0)
        };
        let unpolled = |count: usize| {
            let proxies: Vec<_> = (0..count).map(of_owner).collect();
            let stream = StreamModule {
                owner: owner.clone(),
                ..stream("a", "new", 30)
            };
            let [report] = proxy_reports([stream].into_iter(), &proxies)
                .try_into()
                .unwrap();
            report.unpolled.as_secs()
        };
        assert_eq!(unpolled(owner.limit() - 1), 30);
        assert_eq!(unpolled(owner.limit()), 0);
    }

    #[test]
    fn names_have_the_owner() {
        let owner = Owner::of_pod("shop", "1");
        assert_eq!(proxy_name("a", &owner), "a (shop, pod 1)");
        assert_eq!(proxy_name("a", &Owner::default()), "a");
    }
}
