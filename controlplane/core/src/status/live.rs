//! The condition `weir.dev/Live`: how many of the proxies that an object applies to run the object as it is now.
//!
//! A proxy whose watermark for the object's resource is at some version runs every object of that resource that was
//! written up to that version. Later changes of other objects make no difference.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use weir_split::module;

use super::condition::{Condition, LIVE, Status};
use super::{Evidence, short};
use crate::manifest::problem::ObjectRef;
use crate::plan::{Audience, Scope, Share};
use crate::status::proxy::Proxy;
use crate::status::subject::Subject;
use crate::watermark::Watermark;

pub const PENDING: &str = "Pending";
pub const REFUSED: &str = "Refused";
/// A proxy has loaded a module of the filter that cannot do what the object asks for.
pub const UNSUPPORTED: &str = "Unsupported";

/// The object is live, except on proxies of other namespaces that are not waited for.
pub const ELSEWHERE: &str = "MissingElsewhere";

/// Most proxies that a message names.
const NAMED: usize = 3;

/// The proxies by node and instance, with their watermarks read.
pub struct Fleet<'p> {
    proxies: Vec<(&'p Proxy, Watermark)>,
    /// A cache by audience and resource, because thousands of objects have the same ones.
    followed: RefCell<BTreeMap<(Audience, String), Followers<'p>>>,
}

type Followers<'p> = Rc<[Followed<'p>]>;

/// A proxy, and how far it has everything of one resource in force.
#[derive(Clone, Copy)]
struct Followed<'p> {
    proxy: &'p Proxy,
    version: Option<u64>,
}

impl<'p> Fleet<'p> {
    pub fn new(proxies: &'p [Proxy]) -> Fleet<'p> {
        let mut proxies: Vec<&Proxy> = proxies.iter().collect();
        proxies.sort_by_key(|proxy| proxy.place());
        let read = |proxy: &'p Proxy| (proxy, proxy.watermark.parse().unwrap_or_default());
        Fleet {
            proxies: proxies.into_iter().map(read).collect(),
            followed: RefCell::default(),
        }
    }

    fn followed(&self, audience: &Audience, resource: &str) -> Followers<'p> {
        let key = (audience.clone(), resource.to_owned());
        if let Some(known) = self.followed.borrow().get(&key) {
            return known.clone();
        }
        let of_audience = self.of(audience).map(|(proxy, read)| Followed {
            proxy,
            version: read.get(resource),
        });
        let followed: Followers = of_audience.collect();
        self.followed.borrow_mut().insert(key, followed.clone());
        followed
    }

    /// The proxies that an object of this audience applies to.
    pub fn of(&self, audience: &Audience) -> impl Iterator<Item = &(&'p Proxy, Watermark)> {
        self.proxies
            .iter()
            .filter(move |(proxy, _)| audience.concerns(&proxy.scope))
    }
}

impl Evidence<'_> {
    pub(super) fn live(&self, subject: &Subject, audience: &Audience) -> Condition {
        let concerned = self.fleet.followed(audience, &subject.resource);
        let all = concerned.len();
        let edited = self.edited.of(&subject.object);
        let cannot = |it: &&Followed| it.proxy.is_lean && !edited.is_empty();
        let is_behind = |it: &&Followed| it.version.is_none_or(|known| known < subject.since);
        let lacks = |it: &&Followed| cannot(it) || is_behind(it);
        let lacks: Vec<&Followed> = concerned.iter().filter(lacks).collect();
        let count = format!("on {} of {all} proxies", all.saturating_sub(lacks.len()));
        if let Some(why) = self.held_back(subject) {
            let message =
                format!("{count}: no proxy is given it, for proxies would refuse it: {why}");
            return Condition::new(LIVE, Status::False, REFUSED, short(&message));
        }
        if all == 0 {
            let whose = match audience {
                Audience::Everyone => "for a namespace".to_owned(),
                Audience::Namespace(namespace) => format!("for namespace {namespace}"),
                Audience::NamespaceAndEdge(namespace) => {
                    format!("for namespace {namespace} or for every namespace")
                }
                Audience::Edge => "for every namespace".to_owned(),
                Audience::Gateway { namespace, name } => format!("for Gateway {namespace}/{name}"),
            };
            let message = format!("{count}: none has asked for a configuration {whose}");
            return Condition::new(LIVE, Status::False, "NoProxies", message);
        }
        // A proxy of another namespace may lie about itself, so this object does not wait for it for ever.
        let own = &subject.object.namespace;
        let is_ignored = |it: &&Followed| {
            let has_failed = !it.proxy.refused.is_empty() || cannot(it) || it.proxy.is_stuck();
            has_failed && !weighs(it.proxy, own, audience)
        };
        let (ignored, lacks): (Vec<&Followed>, Vec<&Followed>) =
            lacks.into_iter().partition(is_ignored);
        if lacks.is_empty() {
            return match ignored.len() {
                0 => Condition::new(LIVE, Status::True, "Live", count),
                ignored => {
                    let message = format!("{count}: {}", without_it(ignored));
                    Condition::new(LIVE, Status::True, ELSEWHERE, message)
                }
            };
        }
        let is_refusing = |it: &&Followed| !it.proxy.refused.is_empty();
        let refusing: Vec<&Proxy> = proxies_of(lacks.iter().copied().filter(is_refusing));
        let lean: Vec<&Proxy> = proxies_of(lacks.iter().copied().filter(cannot));
        let (reason, said) = if !refusing.is_empty() {
            let refusal =
                |proxy: &Proxy| format!("{} refuses {}", who(proxy), short(&proxy.refused));
            let others = |count| format!("{} refused it", have(count));
            (
                REFUSED,
                listed(&refusing, lacks.len(), own, refusal, others),
            )
        } else if !lean.is_empty() {
            let message = without_edits(&lean, own, &edited, &subject.object);
            (UNSUPPORTED, message)
        } else {
            let waiting = proxies_of(lacks.iter().copied());
            let listed = listed(&waiting, lacks.len(), own, who, of_others);
            (PENDING, format!("waiting for {listed}"))
        };
        let beside = match ignored.len() {
            0 => String::new(),
            ignored => format!("; {}", without_it(ignored)),
        };
        Condition::new(
            LIVE,
            Status::False,
            reason,
            format!("{count}: {said}{beside}"),
        )
    }
}

fn proxies_of<'f, 'p: 'f>(followed: impl Iterator<Item = &'f Followed<'p>>) -> Vec<&'p Proxy> {
    followed.map(|it| it.proxy).collect()
}

fn of_others(count: usize) -> String {
    match count {
        1 => "1 proxy of another namespace".to_owned(),
        more => format!("{more} proxies of other namespaces"),
    }
}

fn have(count: usize) -> String {
    let have = if count == 1 { "has" } else { "have" };
    format!("{} {have}", of_others(count))
}

/// The part of a message about `count` proxies that are not waited for.
fn without_it(count: usize) -> String {
    format!(
        "{} refused it, cannot serve it, or {} not followed for a minute; requests there may go as before",
        have(count),
        if count == 1 { "has" } else { "have" },
    )
}

/// Names at most [`NAMED`] of these proxies, if an object of namespace `own` may show their names; else says how many
/// they are. Then says how many more of `all` there are.
fn listed(
    proxies: &[&Proxy],
    all: usize,
    own: &str,
    named: impl Fn(&Proxy) -> String,
    others: impl Fn(usize) -> String,
) -> String {
    let shown = proxies.iter().filter(|proxy| is_shown(proxy, own));
    let shown: Vec<String> = shown.take(NAMED).map(|proxy| named(proxy)).collect();
    let (said, count) = match shown.len() {
        0 => (others(proxies.len()), proxies.len()),
        count => (shown.join(", "), count),
    };
    match all.saturating_sub(count) {
        0 => said,
        more => format!("{said}, and {more} more without it"),
    }
}

/// The namespace of the proxy's owner, else of its scope. None for a proxy of an operator that polls no namespace.
fn home(proxy: &Proxy) -> Option<&str> {
    let owner = proxy.owner.namespace.as_deref();
    owner.or_else(|| proxy.scope.namespace())
}

/// Whether the status of an object of namespace `own` may show the name of this proxy and the reason of its refusal.
fn is_shown(proxy: &Proxy, own: &str) -> bool {
    home(proxy).is_none_or(|home| home == own)
}

/// Whether an object of namespace `own` waits for this proxy without a time limit. It does for proxies of its own
/// namespace, for proxies of the Gateway or namespace that it is for, and for proxies of an operator.
fn weighs(proxy: &Proxy, own: &str, audience: &Audience) -> bool {
    proxy.owner.namespace.as_deref().is_none_or(|home| {
        let is_of_gateway = |namespace: &str| namespace == home;
        home == own || audience.namespace().is_some_and(is_of_gateway)
    })
}

/// What the proxies do that have loaded `weir-lean.wasm`, and what to do about it.
fn without_edits(
    lean: &[&Proxy],
    own: &str,
    edited: &BTreeSet<&Share>,
    object: &ObjectRef,
) -> String {
    let shown = lean.iter().filter(|proxy| is_shown(proxy, own));
    let named: Vec<String> = shown.take(NAMED).map(|proxy| who(proxy)).collect();
    let more = match (lean.len().saturating_sub(named.len()), named.len()) {
        (0, _) => String::new(),
        (more, 0) => of_others(more),
        (more, _) => format!(", and {more} more"),
    };
    let shares = edited.iter().take(NAMED).map(|share| match share {
        Share::Redirect => "of a rule that redirects".to_owned(),
        Share::Backend { name, .. } => format!("for backend {name}"),
    });
    let shares: BTreeSet<String> = shares.collect();
    let shares: Vec<String> = shares.into_iter().collect();
    let others = match edited.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and of {more} more shares,"),
    };
    format!(
        "weir-lean.wasm, which cannot edit response headers, is loaded by {}{more}, where the requests {}{others} are \
         answered {}; load weir.wasm instead of weir-lean.wasm",
        named.join(", "),
        shares.join(", "),
        module::status_without_edits(&object.identity()),
    )
}

pub fn not_in_force() -> Condition {
    let message = "on no proxy: it is not in force, see Accepted";
    Condition::new(LIVE, Status::False, "NotInForce", message)
}

/// `node NODE (instance INSTANCE, SCOPE)`.
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
