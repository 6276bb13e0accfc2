//! A part of an object that is not in force as written: the object, the field, the cause, the effect on traffic, and the
//! remedy.
//!
//! The same value is for `weir check`, the log, Events and the status of objects. [`messages`] has all texts.

pub mod messages;

use std::fmt;

use self::messages::Message;

/// The kind and the name of an object, and its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The file with the object; empty for an object of a cluster.
    pub source: String,
    /// The kind. If two API groups have the kind, the group follows it (`HTTPRoute.policy.linkerd.io`).
    /// Empty for a whole file.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    /// The beginning of the identities of the rules of this object. `@` or `:` follows it.
    pub fn identity(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    /// A problem of this object at `path`.
    pub fn problem(&self, path: impl Into<String>, message: Message) -> Problem {
        let Message {
            code,
            reason,
            cause,
            effect,
            remedy,
        } = message;
        Problem {
            object: self.clone(),
            path: path.into(),
            reason,
            cause,
            effect,
            remedy,
            code,
            about: About::Object,
        }
    }

    /// A problem at `spec.parentRefs[INDEX]`, or at `field` of it (with its dot).
    pub fn problem_of_parent(&self, index: usize, field: &str, message: Message) -> Problem {
        let path = format!("spec.parentRefs[{index}]{field}");
        self.problem(path, message).about(About::Parent(index))
    }

    /// A problem at `spec.rules[RULE]`, or at `field` of it (with its dot).
    pub fn problem_of_rule(&self, rule: usize, field: &str, message: Message) -> Problem {
        let path = format!("spec.rules[{rule}]{field}");
        self.problem(path, message).about(About::Rule(rule))
    }

    /// A problem at `spec.rules[RULE].backendRefs[BACKEND]`, or at `field` of it (with its dot).
    pub fn problem_of_backend(
        &self,
        (rule, backend): (usize, usize),
        field: &str,
        message: Message,
    ) -> Problem {
        let path = format!("spec.rules[{rule}].backendRefs[{backend}]{field}");
        let about = About::BackendRef { rule, backend };
        self.problem(path, message).about(about)
    }
}

/// `KIND NAMESPACE/NAME`, without the parts that are absent.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match (self.namespace.as_str(), self.name.as_str()) {
            (_, "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// The kind of a problem. The names are the reasons of conditions in Gateway API, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A backend's Service, or its port on a route, does not exist.
    BackendNotFound,
    /// A backend, or another object that is named, of a kind that cannot be one.
    InvalidKind,
    /// A port whose protocol the route cannot be carried by.
    UnsupportedProtocol,
    /// A reference into another namespace that nothing permits.
    RefNotPermitted,
    /// A route's parent, its listener or its port does not exist or cannot be one.
    NoMatchingParent,
    NotAllowedByListeners,
    NoMatchingListenerHostname,
    /// A field or a value that Weir does not support; the object is not in force, or its rule or share is
    /// answered with an error, as the message says.
    UnsupportedValue,
    /// A field or a value that is wrong; the object is not in force.
    InvalidValue,
    /// Two filters that cannot both be done.
    IncompatibleFilters,
    /// A known kind at a version that is not known.
    UnknownVersion,
    /// A whole file that cannot be read.
    Unreadable,
    /// Another object decides here.
    Conflicted,
    /// The Service that a split is about does not exist.
    RootNotFound,
    /// A Service lacks a port that a split needs.
    PortNotFound,
    /// No backend is left that could get traffic.
    NoTraffic,
    /// A host without a port does not say which one is meant.
    AmbiguousPort,
    /// What stands before it leaves no request to it.
    Unreachable,
    /// It is for clients of its own namespace alone.
    OwnNamespaceOnly,
    /// The same object stands in two places, or the same backend twice.
    Duplicate,
    /// An object, or a part of one, that another one names does not exist.
    ReferenceNotFound,
    /// It would cost proxies more than a limit allows.
    OverBudget,
    /// No ServiceAccount is known behind a Service, so no client can have permission for it.
    NoAccount,

    // In answers of the control plane, and at its start.
    /// A request that does not show who sends it.
    Unauthorized,
    /// A request for what its sender may not read.
    Forbidden,
    /// What cannot be done now.
    Unavailable,

    // In a running Envoy.
    /// No filter has a plugin configuration of Weir's.
    NoFilter,
    /// A cluster that a filter needs does not exist.
    ClusterNotFound,
    /// A filter stands in a chain for another protocol than its plugin configuration says.
    WrongChain,
    /// A filter gets none of the rules.
    NoRules,
    /// A module that cannot do what a rule asks for.
    Unsupported,
    /// A filter does not know by which listener of its Gateway requests come in.
    ListenerUnknown,
    /// A filter of direction inbound is in a chain that does not verify the certificates of clients.
    InboundUnverified,
    /// A filter of direction inbound is behind a filter that acts on requests.
    InboundNotFirst,
    /// Envoy does not normalize paths, so that a backend may read another path than the one that the filter matched.
    PathsNotNormalized,
    /// A filter lets everything through while it cannot run.
    FailsOpen,
    /// A route takes requests from another one, and lacks its policies.
    PoliciesLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How much of its object is not in force because of a problem. Greater values are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Nothing: the object is served as it is written, and the problem is advice.
    Nothing,
    /// A part that is neither a share, a match, a rule nor a parent.
    Part,
    /// The share of one backend.
    Share,
    /// One match.
    Match,
    /// One rule.
    Rule,
    /// All of it at the parent that the path names.
    Parent,
    Whole,
}

/// The part of a route that a problem is about. Numbers are places in the lists of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// The object, or a part that has no variant of its own.
    #[default]
    Object,
    /// An entry of `spec.parentRefs`.
    Parent(usize),
    /// An entry of `spec.rules`, or a part of it.
    Rule(usize),
    /// The Service that an entry of `backendRefs` names; its weight and its filters are a part of the rule.
    BackendRef { rule: usize, backend: usize },
}

/// What a problem means for traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effect {
    pub extent: Extent,
    /// A clause without a full stop: `the object is not in force`.
    pub words: String,
}

impl Effect {
    pub fn new(extent: Extent, words: impl Into<String>) -> Effect {
        let words = words.into();
        Effect { extent, words }
    }

    /// The object does nothing at all.
    pub fn not_in_force() -> Effect {
        Effect::new(Extent::Whole, "the object is not in force")
    }
}

/// One part of an object that is not in force as written. `weir check` prints problems in this order: source, object, path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    pub object: ObjectRef,
    /// Field path such as `spec.rules[0].backendRefs[1].port`; empty for the whole object.
    pub path: String,
    pub reason: Reason,
    /// What is wrong.
    pub cause: String,
    /// What it means for traffic.
    pub effect: Effect,
    /// What to write.
    pub remedy: String,
    /// The message's name in [`messages`].
    pub code: &'static str,
    pub about: About,
}

impl Problem {
    /// The same problem where it means something else for traffic.
    pub fn with_effect(self, effect: Effect) -> Problem {
        Problem { effect, ..self }
    }

    pub fn of_parent(self) -> Problem {
        let effect = Effect::new(Extent::Parent, "the route is not in force at this parent");
        self.with_effect(effect)
    }

    pub fn of_whole(self) -> Problem {
        self.with_effect(Effect::not_in_force())
    }

    /// The same problem about this part of its object.
    pub fn about(self, about: About) -> Problem {
        Problem { about, ..self }
    }

    /// The place in `spec.rules` of the rule that it is about.
    pub fn rule(&self) -> Option<usize> {
        match self.about {
            About::Rule(rule) | About::BackendRef { rule, .. } => Some(rule),
            About::Object | About::Parent(_) => None,
        }
    }

    /// What is wrong, without what follows from it: `FILE: KIND NAMESPACE/NAME PATH: Reason: cause`, without absent
    /// parts.
    pub fn head(&self) -> String {
        let join = |parts: &[String], between: &str| {
            let parts = parts.iter().filter(|part| !part.is_empty());
            parts.map(String::as_str).collect::<Vec<_>>().join(between)
        };
        let place = [plain(&self.object.to_string()), plain(&self.path)];
        let parts = [
            plain(&self.object.source),
            join(&place, " "),
            self.reason.to_string(),
            plain(&self.cause),
        ];
        join(&parts, ": ")
    }

    /// `CAUSE: EFFECT; REMEDY`.
    pub fn message(&self) -> String {
        let Problem {
            cause,
            effect,
            remedy,
            ..
        } = self;
        format!("{cause}: {}; {remedy}", effect.words)
    }
}

/// One line: `FILE: KIND NAMESPACE/NAME PATH: Reason: cause: effect; remedy`, without absent parts.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [effect, remedy] = [&self.effect.words, &self.remedy].map(|text| plain(text));
        write!(f, "{}: {effect}; {remedy}", self.head())
    }
}

/// The text on one line, without control characters, and with at most 400 characters. Texts of objects may have line breaks
/// and commands for a terminal.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 400;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut characters = text.chars();
    let mut plain: String = characters
        .by_ref()
        .take(LONGEST)
        .map(|c| match c.is_control() || is_invisible(c) {
            true => '\u{fffd}',
            false => c,
        })
        .collect();
    if characters.next().is_some() {
        plain.push('…');
    }
    plain
}

/// Characters of Unicode's category Cf: they have no shape, and some change the order in which others are shown.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reason: Reason, cause: &str, remedy: &str) -> Message {
        Message {
            code: "test",
            reason,
            cause: cause.to_owned(),
            effect: Effect::not_in_force(),
            remedy: remedy.to_owned(),
        }
    }

    #[test]
    fn problem_is_one_line() {
        let object = ObjectRef {
            source: "a\n.yaml".into(),
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "x\nFAKE: all good\u{1b}[2J".into(),
        };
        let long = "9".repeat(5_000);
        let line = object
            .problem("spec.a\nb", said(Reason::InvalidValue, &long, "correct it"))
            .to_string();
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        assert!(line.chars().count() < 600, "{line}");
    }

    #[test]
    fn invisible_characters_are_replaced() {
        let said = said(
            Reason::InvalidValue,
            "a\u{202e}b\u{200b}c\u{2066}d\u{feff}é→",
            "correct it",
        );
        let line = ObjectRef::default().problem("", said).to_string();
        assert!(
            line.contains("a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}é→"),
            "{line}"
        );
    }

    #[test]
    fn one_line_without_absent_parts() {
        let file = ObjectRef {
            source: "dir/a.yaml".into(),
            ..ObjectRef::default()
        };
        assert_eq!(
            file.problem("", said(Reason::Unreadable, "line 3:\n  bad", "correct it"))
                .to_string(),
            "dir/a.yaml: Unreadable: line 3: bad: the object is not in force; correct it"
        );
        let split = ObjectRef {
            source: String::new(),
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        assert_eq!(
            split
                .problem(
                    "spec.service",
                    said(Reason::InvalidValue, "empty", "name one")
                )
                .to_string(),
            "TrafficSplit shop/web spec.service: InvalidValue: empty: the object is not in force; name one"
        );
        let bad = file.problem("", said(Reason::Unreadable, "bad", "correct it"));
        assert_eq!(bad.head(), "dir/a.yaml: Unreadable: bad");
    }
}
