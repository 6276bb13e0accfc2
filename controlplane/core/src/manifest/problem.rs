//! A problem means that Weir does not use a part of an object as the user wrote it. Each problem has the object, the
//! field, the cause, the effect on traffic, and the remedy.
//!
//! `weir check`, the log, Events and the status of objects show the same problems. Module [`messages`] has all texts.

pub mod messages;

use std::fmt;

use self::messages::Message;

/// The kind and the name of an object, and its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The file with the object; empty for an object of a cluster.
    pub source: String,
    /// The kind; empty for a whole file. `HTTPRoute.policy.linkerd.io` and `TCPRoute.specs.smi-spec.io` contain the
    /// group, because Gateway API has kinds with the same names.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    /// Returns `KIND/NAMESPACE/NAME`. The identity of each rule of this object begins with this text.
    pub fn identity(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    /// Returns a problem of this object at `path`.
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

    /// Returns a problem at the path `spec.parentRefs[INDEX]FIELD`. `field` is empty or begins with a dot.
    pub fn problem_of_parent(&self, index: usize, field: &str, message: Message) -> Problem {
        let path = format!("spec.parentRefs[{index}]{field}");
        self.problem(path, message).about(About::Parent(index))
    }

    /// Returns a problem at the path `spec.rules[RULE]FIELD`. `field` is empty or begins with a dot.
    pub fn problem_of_rule(&self, rule: usize, field: &str, message: Message) -> Problem {
        let path = format!("spec.rules[{rule}]{field}");
        self.problem(path, message).about(About::Rule(rule))
    }

    /// Returns a problem at the path `spec.rules[RULE].backendRefs[BACKEND]FIELD`. `field` is empty or begins with a
    /// dot.
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

    /// Returns a problem of the Service of a filter RequestMirror. The filter belongs to the rule, or to one of its
    /// backends. `field` is the field in `requestMirror.backendRef`; it is empty or begins with a dot.
    pub fn problem_of_mirror(
        &self,
        (rule, backend, filter): (usize, Option<usize>, usize),
        field: &str,
        message: Message,
    ) -> Problem {
        let of_backend = backend.map(|backend| format!(".backendRefs[{backend}]"));
        let of_backend = of_backend.unwrap_or_default();
        let path = format!(
            "spec.rules[{rule}]{of_backend}.filters[{filter}].requestMirror.backendRef{field}"
        );
        let about = About::Mirror {
            rule,
            backend,
            filter,
        };
        self.problem(path, message).about(about)
    }
}

/// Writes `KIND NAMESPACE/NAME`, without the parts that are absent.
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

/// The reason of a problem. A variant has the name of the condition reason of Gateway API with the same meaning, if
/// there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The Service of a backend does not exist, or the Service of a route's backend does not have the port.
    BackendNotFound,
    /// A reference, for example to a backend, has a kind that is not allowed there.
    InvalidKind,
    /// The protocol of a port does not fit the kind of the route.
    UnsupportedProtocol,
    /// A reference into another namespace has no permission.
    RefNotPermitted,
    /// The parent of a route, or the listener or port of this parent, does not exist or cannot have routes.
    NoMatchingParent,
    /// No listener of the Gateway allows the kind or the namespace of the route.
    NotAllowedByListeners,
    /// No listener of the Gateway has a hostname of the route.
    NoMatchingListenerHostname,
    /// Weir does not support a field or a value.
    UnsupportedValue,
    /// A field or a value is wrong.
    InvalidValue,
    /// Two filters cannot work together.
    IncompatibleFilters,
    /// Weir knows the kind, but not the version.
    UnknownVersion,
    /// A whole file cannot be read.
    Unreadable,
    /// Another object already routes the same requests or connections.
    Conflicted,
    /// The Service in `spec.service` of a split does not exist.
    RootNotFound,
    /// A Service lacks a port that a split needs.
    PortNotFound,
    /// No backend can get traffic.
    NoTraffic,
    /// A host has no port, and several ports are possible.
    AmbiguousPort,
    /// An object or a rule gets no requests, because all requests that it matches go to other objects or rules.
    Unreachable,
    /// An object is only for clients of its own namespace.
    OwnNamespaceOnly,
    /// The same object is in two places, or an object names the same backend twice.
    Duplicate,
    /// An object refers to something that does not exist: another object, or a part of an object.
    ReferenceNotFound,
    /// An object would cost proxies more than a limit allows.
    OverBudget,
    /// The ServiceAccount of the pods behind a Service is unknown, so no client can have permission for the Service.
    NoAccount,

    // The next reasons are for error responses of the control plane, and for problems at its start.
    /// The client of a request did not authenticate.
    Unauthorized,
    /// The client has no permission to read what it requests.
    Forbidden,
    /// The control plane cannot answer now, or cannot start.
    Unavailable,
    /// Proxies do not run the current generation of an object yet.
    NotLive,

    /// `weir bootstrap` leaves a part of an Envoy's configuration as it is.
    NotEdited,

    // The next reasons are for problems of a running Envoy.
    /// No filter has a plugin configuration of Weir.
    NoFilter,
    /// A cluster that a filter needs does not exist.
    ClusterNotFound,
    /// The cluster of a backend has no endpoints.
    NoEndpoints,
    /// The filter chain and the plugin configuration of its filter have different protocols.
    WrongChain,
    /// A filter gets no rules.
    NoRules,
    /// A rule requires something that the wasm module of a filter cannot do.
    Unsupported,
    /// A filter does not know which listener of its Gateway receives a request.
    ListenerUnknown,
    /// A filter of direction inbound is in a chain that does not verify the certificates of clients.
    InboundUnverified,
    /// A filter that acts on requests runs before a filter of direction inbound.
    InboundNotFirst,
    /// Envoy does not normalize paths, so a backend may see another path than the filter.
    PathsNotNormalized,
    /// Envoy lets all requests through while a filter cannot run.
    FailsOpen,
    /// After a trap of the filter, a worker serves no requests and no connections.
    FailsClosed,
    /// A route gets requests of another route, but does not have the policies of this other route.
    PoliciesLost,
    /// A route does not copy the requests that the filter draws for mirrors.
    NotMirrored,
    /// Backends see the headers in which the filter names the clusters of mirrors.
    MirrorHeadersVisible,
    /// A request with a large body may wait for the copy to a mirror.
    MirrorDelays,
    /// The filter does not run for any request of a virtual host.
    FilterDisabled,
    /// Routes read the routing header, but their connection manager has no filter of Weir.
    FilterMissing,
    /// The filter comes by ECDS, and has not arrived.
    FilterAwaited,
    /// A listener or cluster waits for other resources.
    Warming,
    /// The filter cannot know the destination of connections.
    NoDestination,
    /// The filter for connections is in a chain without a TCP proxy.
    NoTcpProxy,
    /// A later filter writes the cluster of connections.
    ClusterOverwritten,
    /// No rule is for the root of a filter.
    NoRuleOfRoot,
    /// The matcher around the filter skips requests.
    FilterSkipped,
    /// Two filters of Weir decide for the same requests.
    FilterTwice,
    /// Requests with an upgrade, such as WebSocket requests, skip the filter of Weir.
    UpgradeNotSplit,
    /// A later filter removes the routing header.
    HeaderRemoved,
    /// A later filter writes the routing header.
    HeaderOverwritten,
    /// A later filter writes a header that the matches of rules read.
    WrittenTooLate,
    /// A client can write the routing header.
    HeaderFromClients,
    /// Envoy does not run the filter.
    FilterRefused,
    /// The filter has other rules in force than the plan.
    OtherRules,
    /// A filter has never had a configuration.
    NotConfigured,
    /// A filter gets no answers of the control plane.
    PollsFail,
    /// A runtime key switches the splits off.
    SwitchedOff,
    /// Envoy does not read the value of a runtime key.
    SwitchIgnored,
    /// The runtime key of the switch cannot change while Envoy runs.
    SwitchFixed,
    /// No route reads the routing header.
    NoHeaderRoute,
    /// No virtual host has the host of a rule.
    NoVirtualHost,
    /// A route that reads the routing header gets no requests.
    HeaderRouteUnreachable,
    /// A route reads the routing header for only some of its requests.
    HeaderRouteInPart,
    /// A route that reads the routing header takes requests without the header.
    HeaderRouteTakesAll,
    /// Backends get the routing header.
    HeaderLeaks,
    /// Envoy should answer the requests of a route itself, but the filter answers them first.
    OwnRouteTaken,
    /// Envoy and the filter make the same edits.
    EditedTwice,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The part of an object that Weir does not use for traffic because of a problem. Later variants are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Weir uses the whole object. The problem is only advice.
    Nothing,
    /// A part for which this enum has no more exact variant.
    Part,
    /// The requests or connections of one backend, or the copies for one mirror.
    Share,
    /// One match.
    Match,
    /// One rule.
    Rule,
    /// The whole route at one parent. The path of the problem contains the index of this parent.
    Parent,
    Whole,
}

/// The part of a route that a problem is about. Numbers are indexes in the lists of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// The object, or a part that has no variant of its own.
    #[default]
    Object,
    /// An entry of `spec.parentRefs`.
    Parent(usize),
    /// An entry of `spec.rules`, or a part of it.
    Rule(usize),
    /// The Service in an entry of `backendRefs`. Problems of the weight or the filters of an entry have
    /// [`About::Rule`].
    BackendRef { rule: usize, backend: usize },
    /// The Service of a filter RequestMirror. Without a `backend`, the filter belongs to the rule.
    Mirror {
        rule: usize,
        backend: Option<usize>,
        filter: usize,
    },
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

    /// Returns the effect of a problem of an edit. Weir keeps the form of the object before the edit.
    pub fn previous_form_in_force() -> Effect {
        Effect::new(Extent::Nothing, "the form before this edit stays in force")
    }

    /// Returns the effect of a problem that keeps the whole object from traffic.
    pub fn not_in_force() -> Effect {
        Effect::new(Extent::Whole, "the object is not in force")
    }
}

/// A part of an object that Weir does not use as the user wrote it. Problems are sorted by file, object and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    pub object: ObjectRef,
    /// Field path such as `spec.rules[0].backendRefs[1].port`; empty for the whole object.
    pub path: String,
    pub reason: Reason,
    /// What is wrong.
    pub cause: String,
    /// What the problem means for traffic.
    pub effect: Effect,
    /// What to write.
    pub remedy: String,
    /// The name of the message in [`messages`].
    pub code: &'static str,
    pub about: About,
}

impl Problem {
    /// True if the object is in force as the user wrote it, so that the problem is advice.
    pub fn is_warning(&self) -> bool {
        self.effect.extent == Extent::Nothing && self.effect != Effect::previous_form_in_force()
    }

    /// Returns the same problem with another effect on traffic.
    pub fn with_effect(self, effect: Effect) -> Problem {
        Problem { effect, ..self }
    }

    /// Returns the same problem with the effect `the route is not in force at this parent`.
    pub fn of_parent(self) -> Problem {
        let effect = Effect::new(Extent::Parent, "the route is not in force at this parent");
        self.with_effect(effect)
    }

    /// Returns the same problem with the effect of [`Effect::not_in_force`].
    pub fn of_whole(self) -> Problem {
        self.with_effect(Effect::not_in_force())
    }

    /// Returns the same problem, but about another part of the object.
    pub fn about(self, about: About) -> Problem {
        Problem { about, ..self }
    }

    /// Returns the index of the problem's rule in `spec.rules`; None if the problem is not in a rule.
    pub fn rule(&self) -> Option<usize> {
        match self.about {
            About::Rule(rule) | About::BackendRef { rule, .. } | About::Mirror { rule, .. } => {
                Some(rule)
            }
            About::Object | About::Parent(_) => None,
        }
    }

    /// Returns the text `FILE: KIND NAMESPACE/NAME PATH: Reason: cause`, without the effect and the remedy. Absent
    /// parts are left out.
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

    /// Returns the text `CAUSE: EFFECT; REMEDY`.
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

/// Writes one line: `FILE: KIND NAMESPACE/NAME PATH: Reason: cause: effect; remedy`. Absent parts are left out.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [effect, remedy] = [&self.effect.words, &self.remedy].map(|text| plain(text));
        write!(f, "{}: {effect}; {remedy}", self.head())
    }
}

/// Returns the text as one line of at most 400 characters. `…` replaces the rest of a longer text. U+FFFD replaces
/// control characters and invisible characters, because texts from objects may have commands for a terminal.
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

/// True for format characters (Unicode category Cf), and for the line and paragraph separators. These characters have
/// no shape, and some of them change the order in which other characters are shown.
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
    fn absent_parts_are_left_out() {
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
