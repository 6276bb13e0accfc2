//! A mistake in the configuration of an Envoy, with its place.

use std::collections::BTreeSet;
use std::fmt;

use super::virtual_host::VirtualHost;
use crate::manifest::problem::messages::Message;
use crate::manifest::problem::{Extent, plain};
use crate::plan::RuleId;

/// One mistake in the configuration of an Envoy. The derived order is the order in which `weir check` prints findings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub(super) place: FindingPlace,
    /// Identity of the affected rule; None if the finding does not affect a certain rule.
    pub(super) rule: Option<String>,
    pub(super) message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindingPlace {
    Envoy,
    /// The places of filters, as in [`super::Filter::at`].
    Filters(BTreeSet<String>),
    VirtualHost {
        /// Name of the route configuration with the virtual host.
        configuration: String,
        name: String,
        /// Index of the route, for the order of findings.
        route: usize,
    },
}

impl Finding {
    pub(super) fn at(at: &BTreeSet<String>, message: Message) -> Finding {
        Finding {
            place: FindingPlace::Filters(at.clone()),
            rule: None,
            message,
        }
    }

    pub(super) fn of_host(host: &VirtualHost, route: usize, message: Message) -> Finding {
        Finding {
            place: FindingPlace::VirtualHost {
                configuration: host.configuration.clone(),
                name: host.name.clone(),
                route,
            },
            rule: None,
            message,
        }
    }

    /// True if the finding changes no traffic, or may be what the operator wants.
    pub fn is_warning(&self) -> bool {
        self.message.effect.extent == Extent::Nothing
    }

    pub(super) fn of_rule(self, identity: &str) -> Finding {
        let rule = Some(identity.to_owned());
        Finding { rule, ..self }
    }
}

/// Returns `KIND NAMESPACE/NAME` of the object at the beginning of a rule's identity.
fn object(identity: &str) -> String {
    match RuleId::parse(identity) {
        Some(id) => format!("{} {}/{}", id.kind, id.namespace, id.name),
        None => identity.to_owned(),
    }
}

/// Writes one line `PLACE: OBJECT: Reason: cause: effect; remedy`, as [`crate::manifest::problem::Problem`] does.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", plain(&self.place.to_string()))?;
        if let Some(rule) = &self.rule {
            write!(f, "{} (rule {}): ", plain(&object(rule)), plain(rule))?;
        }
        self.message.fmt(f)
    }
}

impl fmt::Display for FindingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingPlace::Envoy => f.write_str("envoy"),
            FindingPlace::Filters(at) => {
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                write!(f, "envoy, {}", at.join(", "))
            }
            FindingPlace::VirtualHost {
                configuration,
                name,
                ..
            } => write!(
                f,
                "envoy, route configuration {configuration}, virtual host {name}"
            ),
        }
    }
}
