//! The messages of all problems, of error responses, and of a failed start of `weir serve`. `docs/problems.md` is
//! generated from this list.
//!
//! A message has a cause (what is wrong, in the words of the user who wrote the object), an effect (what the mistake
//! means for traffic) and a remedy (what to write). Callers pass values and do not build sentences.

use std::fmt;

use super::{Effect, Reason, plain};

/// A message with its values filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// The name of the function that returns the message.
    pub code: &'static str,
    pub reason: Reason,
    pub cause: String,
    pub effect: Effect,
    pub remedy: String,
}

impl Message {
    pub fn with_effect(self, effect: Effect) -> Message {
        Message { effect, ..self }
    }
}

/// Writes one line: `Reason: cause: effect; remedy`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cause, effect, remedy] =
            [&self.cause, &self.effect.words, &self.remedy].map(|text| plain(text));
        write!(f, "{}: {cause}: {effect}; {remedy}", self.reason)
    }
}

/// The template of a message. The texts have `{placeholders}` for values.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    pub code: &'static str,
    pub reason: Reason,
    pub cause: &'static str,
    /// The effect on traffic. None if the effect depends on the place of the field. In this case Weir does not use the
    /// object, the rule, the match or the backend that contains the field.
    pub effect: Option<&'static str>,
    pub remedy: &'static str,
}

/// Returns a text with the possible values: `80`, or `one of 80, 443`; `(none)` for an empty list.
pub fn one_of<T: fmt::Display>(possible: impl IntoIterator<Item = T>) -> String {
    let possible: Vec<String> = possible.into_iter().map(|it| it.to_string()).collect();
    match possible.as_slice() {
        [] => "(none)".to_owned(),
        [only] => only.clone(),
        several => format!("one of {}", list(several)),
    }
}

/// Defines a function for each message, and the list `ALL` of their templates.
///
/// `name(values) => Reason, "cause", Extent "effect", "remedy";` or, if the effect depends on the place of the field,
/// `name(values) => Reason, "cause", ByPlace, "remedy";`
macro_rules! messages {
    ($(
        $name:ident($($value:ident),*) => $reason:ident, $cause:literal,
        $extent:ident $($effect:literal)?, $remedy:literal;
    )*) => {
        $(
            pub fn $name($($value: impl std::fmt::Display),*) -> $crate::manifest::problem::messages::Message {
                $crate::manifest::problem::messages::Message {
                    code: stringify!($name),
                    reason: $crate::manifest::problem::Reason::$reason,
                    cause: format!($cause),
                    effect: $crate::manifest::problem::messages::effect!($extent $($effect)?),
                    remedy: format!($remedy),
                }
            }
        )*

        pub const ALL: &[$crate::manifest::problem::messages::Template] = &[$(
            $crate::manifest::problem::messages::Template {
                code: stringify!($name),
                reason: $crate::manifest::problem::Reason::$reason,
                cause: $cause,
                effect: $crate::manifest::problem::messages::effect_template!($($effect)?),
                remedy: $remedy,
            },
        )*];
    };
}

macro_rules! effect {
    (ByPlace) => {
        $crate::manifest::problem::Effect::not_in_force()
    };
    ($extent:ident $words:literal) => {
        $crate::manifest::problem::Effect::new(
            $crate::manifest::problem::Extent::$extent,
            format!($words),
        )
    };
}

macro_rules! effect_template {
    () => {
        None
    };
    ($words:literal) => {
        Some($words)
    };
}

pub(crate) use {effect, effect_template};

/// Returns a text with the values, such as `80, 8080`. A text for more than ten values has the first ten values and
/// the number of the others. Returns `none` for an empty list.
pub fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 10;
    let mut values = values.into_iter();
    let shown: Vec<String> = values
        .by_ref()
        .take(SHOWN)
        .map(|it| it.to_string())
        .collect();
    match (shown.is_empty(), values.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

pub mod access;
pub mod answer;
pub mod backend;
pub mod backend_tls_policy;
pub mod bootstrap;
pub mod budget;
pub mod endpoint_slice;
pub mod envoy;
pub mod field;
pub mod file;
pub mod filter;
pub mod gate;
pub mod gateway;
pub mod group;
pub mod matches;
pub mod object;
pub mod parent;
pub mod route;
pub mod service;
pub mod split;
pub mod start;
pub mod stream;

/// The name of each subject, and the templates of its messages.
pub const ALL: &[(&str, &[Template])] = &[
    ("access", access::ALL),
    ("answer", answer::ALL),
    ("backend", backend::ALL),
    ("bootstrap", bootstrap::ALL),
    ("backend_tls_policy", backend_tls_policy::ALL),
    ("budget", budget::ALL),
    ("endpoint_slice", endpoint_slice::ALL),
    ("envoy", envoy::ALL),
    ("field", field::ALL),
    ("file", file::ALL),
    ("filter", filter::ALL),
    ("gate", gate::ALL),
    ("gateway", gateway::ALL),
    ("group", group::ALL),
    ("matches", matches::ALL),
    ("object", object::ALL),
    ("parent", parent::ALL),
    ("route", route::ALL),
    ("service", service::ALL),
    ("split", split::ALL),
    ("start", start::ALL),
    ("stream", stream::ALL),
];
