//! The conditions of a match (path, hostname, method, headers, query), and whether a request fits them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::matching::path::PathMatch;
use crate::matching::pattern::{Effort, Pattern, Patterns};
use crate::matching::request_view::RequestView;
use crate::refusal::{Refusal, each, refuse};
use crate::wire;

/// The checked form of [`wire::Match`], without the rule.
#[derive(Debug)]
pub(crate) struct Condition {
    path: PathMatch,
    /// None if the match has no other condition than the path, which is the usual case.
    more: Option<Box<OtherConditions>>,
}

#[derive(Debug)]
struct OtherConditions {
    hostnames: Vec<Hostname>,
    /// The allowed methods. An empty list allows every method.
    methods: Vec<Box<[u8]>>,
    headers: Vec<(Box<str>, Value)>,
    query: Vec<(Box<[u8]>, Value)>,
}

#[derive(Debug)]
enum Value {
    Exact(Box<[u8]>),
    Regex(Arc<Pattern>),
}

/// A hostname of a route or a listener, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hostname {
    Exact(Box<[u8]>),
    /// The text after the star: `.example.com`.
    Wildcard(Box<[u8]>),
}

impl Condition {
    pub(crate) fn compile(
        wire: &wire::Match,
        patterns: &mut Patterns,
    ) -> Result<Condition, Refusal> {
        let path = PathMatch::compile(&wire.path, patterns)?;
        let more = OtherConditions {
            hostnames: each("hostnames", &wire.hostnames, |name| {
                match Hostname::parse(name) {
                    Some(hostname) => Ok(hostname),
                    None => refuse("", format!("invalid hostname {name:?}")),
                }
            })?,
            methods: wire.method.iter().map(method).collect::<Result<_, _>>()?,
            headers: headers(&wire.headers, patterns)?,
            query: each("query", &wire.query, |field| {
                Ok((
                    field.name.as_bytes().into(),
                    Value::compile(&field.value, patterns)?,
                ))
            })?,
        };
        Ok(Condition {
            path,
            more: more.boxed(),
        })
    }

    /// Compiles a permission of an access policy. A permission has no hostnames and no query parameters.
    pub(crate) fn permission(
        wire: &wire::Permission,
        patterns: &mut Patterns,
    ) -> Result<Condition, Refusal> {
        let path = PathMatch::compile(&wire.path, patterns)?;
        let more = OtherConditions {
            hostnames: Vec::new(),
            methods: each("methods", &wire.methods, method)?,
            headers: headers(&wire.headers, patterns)?,
            query: Vec::new(),
        };
        Ok(Condition {
            path,
            more: more.boxed(),
        })
    }

    /// True if the request fits all conditions. `parameters` has the names of the query parameters that any match of
    /// the host set uses, so the query is read only once.
    pub(crate) fn fits<'t>(
        &'t self,
        view: &mut RequestView<'t>,
        parameters: &BTreeSet<Box<[u8]>>,
    ) -> bool {
        (self.path.is_any() || self.path_fits(view))
            && match &self.more {
                None => true,
                Some(more) => more.fits(view, parameters),
            }
    }

    fn path_fits(&self, view: &mut RequestView) -> bool {
        let effort = view.effort;
        self.path.fits(view.path(), effort)
    }

    /// Returns the names of the query parameters in the conditions.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Box<[u8]>> {
        let query = self.more.iter().flat_map(|more| &more.query);
        query.map(|(name, _)| name)
    }
}

impl OtherConditions {
    fn boxed(self) -> Option<Box<OtherConditions>> {
        let OtherConditions {
            hostnames,
            methods,
            headers,
            query,
        } = &self;
        let is_empty =
            hostnames.is_empty() && methods.is_empty() && headers.is_empty() && query.is_empty();
        (!is_empty).then(|| Box::new(self))
    }

    fn fits<'t>(&'t self, view: &mut RequestView<'t>, parameters: &BTreeSet<Box<[u8]>>) -> bool {
        let effort = view.effort;
        let is_one_of = |methods: &[Box<[u8]>], method: Option<&[u8]>| {
            methods.iter().any(|allowed| Some(&**allowed) == method)
        };
        (self.hostnames.is_empty() || any_fits(&self.hostnames, view))
            && (self.methods.is_empty() || is_one_of(&self.methods, view.header(":method")))
            && self.headers.iter().all(|(name, expected)| {
                let value = view.header(name);
                value.is_some_and(|value| expected.fits(value, effort))
            })
            && self.query.iter().all(|(name, expected)| {
                let value = view.parameter(name, parameters);
                value.is_some_and(|value| expected.fits(value, effort))
            })
    }
}

fn any_fits(hostnames: &[Hostname], view: &mut RequestView) -> bool {
    let host = view.host();
    host.is_some_and(|host| hostnames.iter().any(|hostname| hostname.fits(host.name())))
}

impl Value {
    fn compile(wire: &wire::ValueMatch, patterns: &mut Patterns) -> Result<Value, Refusal> {
        Ok(match wire {
            wire::ValueMatch::Exact(value) => Value::Exact(value.as_bytes().into()),
            wire::ValueMatch::Regex(text) => {
                let pattern = patterns.get(text);
                Value::Regex(pattern.map_err(|refusal| refusal.within("value"))?)
            }
        })
    }

    fn fits(&self, value: &[u8], effort: &Effort) -> bool {
        match self {
            Value::Exact(exact) => **exact == *value,
            Value::Regex(pattern) => pattern.fits_within(value, effort),
        }
    }
}

impl Hostname {
    pub(crate) fn parse(name: &str) -> Option<Hostname> {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') => {
                Some(Hostname::Wildcard(suffix.as_bytes().into()))
            }
            None if !name.is_empty() => Some(Hostname::Exact(name.into_bytes().into())),
            _ => None,
        }
    }

    /// True if the host fits this hostname. The star stands for one or more labels.
    fn fits(&self, host: &[u8]) -> bool {
        match self {
            Hostname::Exact(name) => **name == *host,
            Hostname::Wildcard(suffix) => host
                .strip_suffix(&**suffix)
                .is_some_and(|star| !star.is_empty()),
        }
    }
}

fn method(method: &String) -> Result<Box<[u8]>, Refusal> {
    if is_token(method) {
        Ok(method.as_bytes().into())
    } else {
        refuse("method", format!("invalid method {method:?}"))
    }
}

fn headers(
    fields: &[wire::Field],
    patterns: &mut Patterns,
) -> Result<Vec<(Box<str>, Value)>, Refusal> {
    each("headers", fields, |field| {
        let name = match field.name.to_ascii_lowercase().as_str() {
            ":authority" | "host" => ":authority".into(),
            name => header_name(name)?,
        };
        Ok((name, Value::compile(&field.value, patterns)?))
    })
}

/// Returns the name of a header in lower case (RFC 9110, 5.1). Refuses pseudo-headers.
pub(crate) fn header_name(name: &str) -> Result<Box<str>, Refusal> {
    if is_token(name) {
        Ok(name.to_ascii_lowercase().into())
    } else {
        refuse("name", format!("invalid header name {name:?}"))
    }
}

/// True if `text` is a token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}
