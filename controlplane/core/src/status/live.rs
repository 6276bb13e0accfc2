//! Computes the condition `weir.dev/Live` of an object. The condition shows how many proxies need the object, and how
//! many of them run its current generation.
//!
//! Each proxy has a watermark, with a version for each resource (kind of objects). The proxy runs all objects of this
//! resource up to this version. So later changes of other objects do not change the condition.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use weir_split::module;

use super::cluster_gaps::ClusterGap;
use super::condition::{Condition, LIVE, Status};
use super::{Evidence, short};
use crate::manifest::problem::ObjectRef;
use crate::plan::{Audience, Scope, Share};
use crate::status::proxy::Proxy;
use crate::status::subject::Subject;
use crate::watermark::Watermark;

pub const PENDING: &str = "Pending";
pub const REFUSED: &str = "Refused";
/// The reason if a proxy has loaded a module of the filter that cannot do what the object requires.
pub const UNSUPPORTED: &str = "Unsupported";

/// The reason if a proxy lacks a cluster that the object needs.
pub const NO_CLUSTER: &str = "NoCluster";

/// The reason if the object is live, except on failed proxies of other namespaces. The condition is still true.
pub const ELSEWHERE: &str = "MissingElsewhere";

/// Maximum number of proxies that a message names.
const MAX_NAMED: usize = 3;

/// All proxies, sorted by node and instance, with their parsed watermarks.
pub struct Fleet<'p> {
    proxies: Vec<(&'p Proxy, Watermark)>,
    /// A cache by audience and resource, because thousands of objects have the same audience and resource.
    followers: RefCell<BTreeMap<(Audience, String), Followers<'p>>>,
}

type Followers<'p> = Rc<[Follower<'p>]>;

#[derive(Clone, Copy)]
struct Follower<'p> {
    proxy: &'p Proxy,
    /// The proxy runs all objects of one resource up to this version. None if the version is unknown.
    version: Option<u64>,
}

impl<'p> Fleet<'p> {
    pub fn new(proxies: &'p [Proxy]) -> Fleet<'p> {
        let mut proxies: Vec<&Proxy> = proxies.iter().collect();
        proxies.sort_by_key(|proxy| proxy.sort_key());
        let with_watermark =
            |proxy: &'p Proxy| (proxy, proxy.watermark.parse().unwrap_or_default());
        Fleet {
            proxies: proxies.into_iter().map(with_watermark).collect(),
            followers: RefCell::default(),
        }
    }

    fn followers(&self, audience: &Audience, resource: &str) -> Followers<'p> {
        let key = (audience.clone(), resource.to_owned());
        if let Some(followers) = self.followers.borrow().get(&key) {
            return followers.clone();
        }
        let followers = self.of(audience).map(|(proxy, watermark)| Follower {
            proxy,
            version: watermark.get(resource),
        });
        let followers: Followers = followers.collect();
        self.followers.borrow_mut().insert(key, followers.clone());
        followers
    }

    /// Returns the proxies that an object with this audience applies to.
    pub fn of(&self, audience: &Audience) -> impl Iterator<Item = &(&'p Proxy, Watermark)> {
        self.proxies
            .iter()
            .filter(move |(proxy, _)| audience.concerns(&proxy.scope))
    }
}

impl Evidence<'_> {
    pub(super) fn live(&self, subject: &Subject, audience: &Audience) -> Condition {
        let followers = self.fleet.followers(audience, &subject.resource);
        let all = followers.len();
        let edited = self.edited.of(&subject.object);
        let cannot = |it: &&Follower| it.proxy.is_lean && !edited.is_empty();
        let clusters = self.cluster_users.of(&subject.object);
        let gap = |it: &Follower<'_>| has_gap(it.proxy, &clusters);
        let is_behind = |it: &&Follower| it.version.is_none_or(|version| version < subject.since);
        let lacks = |it: &&Follower| cannot(it) || is_behind(it) || gap(it);
        let lacking = followers.iter().filter(lacks);
        let lacking: Vec<&Follower> = lacking.collect();
        let count = format!("on {} of {all} proxies", all.saturating_sub(lacking.len()));
        if let Some(why) = self.held_back(subject) {
            let message = format!(
                "{count}: the configuration with this object is not sent to proxies, because they would refuse it: {why}"
            );
            return Condition::new(LIVE, Status::False, REFUSED, short(&message));
        }
        if all == 0 {
            let audience = match audience {
                Audience::Everyone => "for a namespace".to_owned(),
                Audience::Namespace(namespace) => format!("for namespace {namespace}"),
                Audience::NamespaceAndEdge(namespace) => {
                    format!("for namespace {namespace} or for every namespace")
                }
                Audience::Edge => "for every namespace".to_owned(),
                Audience::Gateway { namespace, name } => format!("for Gateway {namespace}/{name}"),
            };
            let message = format!("{count}: no proxy requests a configuration {audience}");
            return Condition::new(LIVE, Status::False, "NoProxies", message);
        }
        // A proxy of another namespace may report a wrong state. So the condition ignores such a proxy if it has failed
        // or is stuck.
        let own = &subject.object.namespace;
        let is_ignored = |it: &&Follower| {
            let has_failed = !it.proxy.refused.is_empty()
                || cannot(it)
                || it.proxy.is_stuck()
                || gap_of(it.proxy, &clusters).is_some_and(|(_, gap)| gap.is_failure());
            has_failed && !is_awaited(it.proxy, own, audience)
        };
        let (ignored, lacking): (Vec<&Follower>, Vec<&Follower>) =
            lacking.into_iter().partition(is_ignored);
        if lacking.is_empty() {
            return match ignored.len() {
                0 => Condition::new(LIVE, Status::True, "Live", count),
                ignored => {
                    let message = format!("{count}: {}", without_it(ignored));
                    Condition::new(LIVE, Status::True, ELSEWHERE, message)
                }
            };
        }
        let refusing = lacking.iter().filter(|it| !it.proxy.refused.is_empty());
        let refusing: Vec<&Proxy> = proxies_of(refusing.copied());
        let lean: Vec<&Proxy> = proxies_of(lacking.iter().copied().filter(cannot));
        let without_cluster = lacking.iter().copied().filter(|it| gap(it));
        let without_cluster: Vec<&Proxy> = proxies_of(without_cluster);
        let (reason, message) = if !refusing.is_empty() {
            let refusal =
                |proxy: &Proxy| format!("{} refuses {}", who(proxy), short(&proxy.refused));
            let others = |count| format!("{} refused it", have(count));
            (
                REFUSED,
                listed(&refusing, lacking.len(), own, refusal, others),
            )
        } else if !lean.is_empty() {
            let message = without_edits(&lean, own, &edited, &subject.object);
            (UNSUPPORTED, message)
        } else if !without_cluster.is_empty() {
            let describe = |proxy: &Proxy| describe_gap(proxy, &clusters);
            let others = others_without_cluster;
            let message = listed(&without_cluster, lacking.len(), own, describe, others);
            (NO_CLUSTER, message)
        } else {
            let waiting = proxies_of(lacking.iter().copied());
            let listed = listed(&waiting, lacking.len(), own, who, count_others);
            (PENDING, format!("waiting for {listed}"))
        };
        let note = match ignored.len() {
            0 => String::new(),
            ignored => format!("; {}", without_it(ignored)),
        };
        Condition::new(
            LIVE,
            Status::False,
            reason,
            format!("{count}: {message}{note}"),
        )
    }
}

fn gap_of<'g>(proxy: &'g Proxy, clusters: &BTreeSet<&'g str>) -> Option<(&'g str, &'g ClusterGap)> {
    proxy.gaps.first_of(clusters.iter().copied())
}

fn has_gap(proxy: &Proxy, clusters: &BTreeSet<&str>) -> bool {
    proxy.gaps.first_of(clusters.iter().copied()).is_some()
}

/// Returns which cluster the proxy lacks, the effect and the remedy.
fn describe_gap(proxy: &Proxy, clusters: &BTreeSet<&str>) -> String {
    let who = who(proxy);
    let Some((name, gap)) = gap_of(proxy, clusters) else {
        return who;
    };
    let cluster = match name {
        "" => "a cluster".to_owned(),
        name => format!("cluster {name}"),
    };
    match gap {
        ClusterGap::NoStream => format!(
            "{who} has no stream for clusters (ADS): it does not get {cluster} and keeps its rules for this cluster; \
             write ads_config and cds_config with the cluster of weir serve into its bootstrap, or look at its log"
        ),
        ClusterGap::Awaited => {
            format!(
                "{who} has not accepted {cluster} yet: it keeps its rules for this cluster for at most 15 seconds"
            )
        }
        ClusterGap::Late => format!(
            "{who} has not accepted {cluster} within 15 seconds: there the requests for this backend get an error; if \
             Envoy's /clusters lacks the cluster, write the scope of the proxy into weir-filters of its ads_config, or \
             else look at its log"
        ),
        ClusterGap::Refused(message) => short(&format!(
            "{who} refuses {cluster} ({message}): there the requests for this backend get an error; correct the \
             annotations of the Service and the policies for it"
        )),
    }
}

/// Returns the text `N proxies of other namespaces lack a cluster of this object`.
fn others_without_cluster(count: usize) -> String {
    let lack = if count == 1 { "lacks" } else { "lack" };
    format!("{} {lack} a cluster of this object", count_others(count))
}

fn proxies_of<'f, 'p: 'f>(followers: impl Iterator<Item = &'f Follower<'p>>) -> Vec<&'p Proxy> {
    followers.map(|it| it.proxy).collect()
}

fn count_others(count: usize) -> String {
    match count {
        1 => "1 proxy of another namespace".to_owned(),
        more => format!("{more} proxies of other namespaces"),
    }
}

fn have(count: usize) -> String {
    let have = if count == 1 { "has" } else { "have" };
    format!("{} {have}", count_others(count))
}

/// Returns the part of a message about `count` proxies that the condition ignores.
fn without_it(count: usize) -> String {
    format!(
        "{} refused it, cannot serve it, or {} not run the current configuration for a minute; requests there may still use old rules",
        have(count),
        if count == 1 { "has" } else { "have" },
    )
}

/// Describes at most [`MAX_NAMED`] of these proxies. If [`is_shown`] is false for all of them, the text has only their
/// number. The text ends with the number of the other proxies without the object; `all` is the number of all proxies
/// without the object.
fn listed(
    proxies: &[&Proxy],
    all: usize,
    own: &str,
    describe: impl Fn(&Proxy) -> String,
    others: impl Fn(usize) -> String,
) -> String {
    let shown = proxies.iter().filter(|proxy| is_shown(proxy, own));
    let shown: Vec<String> = shown.take(MAX_NAMED).map(|proxy| describe(proxy)).collect();
    let (text, count) = match shown.len() {
        0 => (others(proxies.len()), proxies.len()),
        count => (shown.join(", "), count),
    };
    match all.saturating_sub(count) {
        0 => text,
        more => format!("{text}, and {more} more without this object"),
    }
}

/// Returns the namespace of the proxy's owner, or else the namespace of the proxy's scope. Returns None if neither of
/// them has a namespace.
fn home(proxy: &Proxy) -> Option<&str> {
    let owner = proxy.owner.namespace.as_deref();
    owner.or_else(|| proxy.scope.namespace())
}

/// True if the status of an object in namespace `own` may show the name of this proxy and the reason of its refusal.
fn is_shown(proxy: &Proxy, own: &str) -> bool {
    home(proxy).is_none_or(|home| home == own)
}

/// True if the condition of an object in namespace `own` waits for this proxy without a time limit. Such a proxy
/// belongs to the namespace of the object, to the namespace of the audience, or to an operator.
fn is_awaited(proxy: &Proxy, own: &str, audience: &Audience) -> bool {
    proxy
        .owner
        .namespace
        .as_deref()
        .is_none_or(|home| home == own || audience.namespace() == Some(home))
}

/// Returns the message about proxies with `weir-lean.wasm`: the affected requests, their response, and the remedy.
fn without_edits(
    lean: &[&Proxy],
    own: &str,
    edited: &BTreeSet<&Share>,
    object: &ObjectRef,
) -> String {
    let shown = lean.iter().filter(|proxy| is_shown(proxy, own));
    let named: Vec<String> = shown.take(MAX_NAMED).map(|proxy| who(proxy)).collect();
    let more = match (lean.len().saturating_sub(named.len()), named.len()) {
        (0, _) => String::new(),
        (more, 0) => count_others(more),
        (more, _) => format!(", and {more} more"),
    };
    let shares = edited.iter().take(MAX_NAMED).map(|share| match share {
        Share::Redirect => "of a rule that redirects".to_owned(),
        Share::Backend { name, .. } => format!("for backend {name}"),
    });
    let shares: BTreeSet<String> = shares.collect();
    let shares: Vec<String> = shares.into_iter().collect();
    let others = match edited.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(", and of {more} more backends or rules,"),
    };
    format!(
        "weir-lean.wasm cannot edit response headers, and is loaded by {}{more}: there the requests {}{others} are \
         answered {}; load weir.wasm instead of weir-lean.wasm",
        named.join(", "),
        shares.join(", "),
        module::status_without_edits(&object.identity()),
    )
}

/// Returns the condition of an object that proxies do not use because of its problems.
pub fn not_in_force() -> Condition {
    let message = "on no proxy: the object is not in force, see the condition Accepted";
    Condition::new(LIVE, Status::False, "NotInForce", message)
}

/// Returns the text `node NODE (instance INSTANCE, SCOPE)`.
fn who(proxy: &Proxy) -> String {
    let scope = match &proxy.scope {
        Scope::Producers => "without a scope".to_owned(),
        Scope::Edge => "every namespace".to_owned(),
        Scope::Namespace(namespace) => format!("namespace {namespace}"),
        Scope::Gateway { namespace, name } => format!("Gateway {namespace}/{name}"),
    };
    let node = match proxy.node.as_str() {
        "" => "without a name",
        node => node,
    };
    short(&format!(
        "node {node} (instance {}, {scope})",
        proxy.instance
    ))
}
