//! On how many of the proxies that it concerns an object is in force as it is now.
//!
//! A proxy that has put in force all that was read up to some resource version of the object's kind runs every object
//! that was written before it: a change elsewhere makes no difference.

use super::condition::{Condition, LIVE, Status};
use super::{Evidence, short};
use crate::plan::{Audience, Scope};
use crate::proxy::Proxy;
use crate::subject::Subject;
use crate::watermark::Watermark;

/// Proxies that are named of those that lag behind.
const NAMED: usize = 3;

/// The proxies by node and instance, with their watermarks read.
pub struct Fleet<'p>(Vec<(&'p Proxy, Watermark)>);

impl<'p> Fleet<'p> {
    pub fn new(proxies: &'p [Proxy]) -> Fleet<'p> {
        let mut proxies: Vec<&Proxy> = proxies.iter().collect();
        proxies.sort_by_key(|it| (&it.node, &it.instance, &it.scope));
        let read = |proxy: &'p Proxy| (proxy, proxy.watermark.parse().unwrap_or_default());
        Fleet(proxies.into_iter().map(read).collect())
    }

    /// Those that what is for this audience concerns.
    pub fn of(&self, audience: &Audience) -> impl Iterator<Item = &(&'p Proxy, Watermark)> {
        self.0
            .iter()
            .filter(move |(proxy, _)| match (audience, &proxy.scope) {
                (Audience::Everyone, Scope::Producers | Scope::Namespace(_)) => true,
                (Audience::Namespace(own), Scope::Namespace(asked)) => own == asked,
                (
                    Audience::Gateway { namespace, name },
                    Scope::Gateway {
                        namespace: asked_namespace,
                        name: asked_name,
                    },
                ) => namespace == asked_namespace && name == asked_name,
                _ => false,
            })
    }
}

impl Evidence<'_> {
    pub(super) fn live(&self, subject: &Subject, audience: &Audience) -> Condition {
        let concerned = self.fleet.of(audience);
        let (has, lacks): (Vec<_>, Vec<_>) = concerned.partition(|(_, read)| {
            let known = read.get(&subject.resource);
            known.is_some_and(|known| known >= subject.since)
        });
        let all = has.len() + lacks.len();
        let count = format!("on {} of {all} proxies", has.len());
        if let Some(why) = self.held_back(subject) {
            let message =
                format!("{count}: no proxy is given it, for proxies would refuse it: {why}");
            return Condition::new(LIVE, Status::False, "Refused", short(&message));
        }
        if all == 0 {
            let whose = match audience {
                Audience::Everyone => "for a namespace".to_owned(),
                Audience::Namespace(namespace) => format!("for namespace {namespace}"),
                Audience::Gateway { namespace, name } => format!("for Gateway {namespace}/{name}"),
            };
            let message = format!("{count}: none has asked for a configuration {whose}");
            return Condition::new(LIVE, Status::False, "NoProxies", message);
        }
        if lacks.is_empty() {
            return Condition::new(LIVE, Status::True, "Live", count);
        }
        let refusing = |it: &&&(&Proxy, Watermark)| !it.0.refused.is_empty();
        let (reason, named): (_, Vec<String>) = match lacks.iter().any(|it| refusing(&it)) {
            true => {
                let refusing = lacks.iter().filter(refusing);
                let said = refusing
                    .map(|(proxy, _)| format!("{} refuses {}", who(proxy), short(&proxy.refused)));
                ("Refused", said.take(NAMED).collect())
            }
            false => {
                let waiting = lacks.iter().map(|(proxy, _)| who(proxy));
                ("Pending", waiting.take(NAMED).collect())
            }
        };
        let more = match lacks.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(", and {more} more without it"),
        };
        let verb = if reason == "Pending" {
            "waiting for "
        } else {
            ""
        };
        let message = format!("{count}: {verb}{}{more}", named.join(", "));
        Condition::new(LIVE, Status::False, reason, message)
    }
}

pub fn not_in_force() -> Condition {
    let message = "on no proxy: it is not in force, see Accepted";
    Condition::new(LIVE, Status::False, "NotInForce", message)
}

/// `node NODE (instance INSTANCE, SCOPE)`.
fn who(proxy: &Proxy) -> String {
    let scope = match &proxy.scope {
        Scope::Producers => "without a scope".to_owned(),
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
