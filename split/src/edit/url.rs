//! Edits of a request's URL: HTTPPathModifier and HTTPRequestRedirectFilter of Gateway API v1.

use crate::decision::Decision;
use crate::matching::path::rest_of;
use crate::matching::request_view::RequestView;
use crate::plugin::is_dns_name;
use crate::refusal::{Refusal, refuse};
use crate::wire;

/// Maximum bytes of a `location`. Clients do not follow a longer `location`. Percent-encoding turns one byte into three
/// bytes.
const MAX_LOCATION: usize = 64 << 10;

/// The checked form of [`wire::PathEdit`]. The new path begins with a slash. Without the slash, the path of a redirect
/// would become a part of the host name.
#[derive(Clone, Debug)]
pub(crate) enum PathEdit {
    Full(Box<[u8]>),
    /// The prefix and its replacement, both without a slash at the end.
    Prefix {
        prefix: Box<[u8]>,
        replacement: Box<[u8]>,
    },
}

impl PathEdit {
    pub(crate) fn compile(edit: &wire::PathEdit) -> Result<PathEdit, Refusal> {
        Ok(match edit {
            wire::PathEdit::Full(path) => PathEdit::Full(encoded_path("full", path)?),
            wire::PathEdit::Prefix(edit) => {
                let replacement = encoded_path("prefix.replacement", &edit.replacement)?;
                PathEdit::Prefix {
                    prefix: edit.prefix.trim_end_matches('/').as_bytes().into(),
                    replacement: without_last_slashes(&replacement).into(),
                }
            }
        })
    }

    /// Returns the new path for `path`. Neither path has a query.
    pub(crate) fn apply(&self, path: &[u8]) -> Vec<u8> {
        match self {
            PathEdit::Full(full) => full.to_vec(),
            PathEdit::Prefix {
                prefix,
                replacement,
            } => match rest_of(path, prefix) {
                Some(rest) if !(rest.is_empty() && replacement.is_empty()) => {
                    [&**replacement, rest].concat()
                }
                Some(_) => b"/".to_vec(),
                // This cannot happen, because the only match of the rule requires this prefix.
                None => path.to_vec(),
            },
        }
    }
}

fn without_last_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    let length = end.and_then(|last| last.checked_add(1)).unwrap_or(0);
    path.get(..length).unwrap_or_default()
}

/// Returns the path with a slash in front. Bytes that a path cannot have are percent-encoded.
fn encoded_path(field: &str, path: &str) -> Result<Box<[u8]>, Refusal> {
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return refuse(field, "a path must not have control characters");
    }
    let mut encoded = Vec::with_capacity(path.len());
    if !path.starts_with('/') {
        encoded.push(b'/');
    }
    for byte in path.bytes() {
        if matches!(byte, b'?' | b'#') {
            push_encoded(&mut encoded, byte);
        } else {
            push_visible(&mut encoded, byte);
        }
    }
    Ok(encoded.into())
}

/// Adds a byte to the text. A byte that is not visible ASCII is percent-encoded, because the value of a header must not
/// have such a byte.
fn push_visible(text: &mut Vec<u8>, byte: u8) {
    if byte.is_ascii_graphic() {
        text.push(byte);
    } else {
        push_encoded(text, byte);
    }
}

fn push_encoded(text: &mut Vec<u8>, byte: u8) {
    let digit = |four: u8| b"0123456789ABCDEF".get(usize::from(four)).copied();
    text.push(b'%');
    text.extend(digit(byte >> 4));
    text.extend(digit(byte & 15));
}

/// Checks a hostname that replaces the hostname of a request.
pub(crate) fn new_host(hostname: &str) -> Result<Box<str>, Refusal> {
    let hostname = hostname.to_ascii_lowercase();
    if is_dns_name(&hostname) {
        Ok(hostname.into())
    } else {
        refuse("hostname", format!("invalid hostname {hostname:?}"))
    }
}

/// The checked form of [`wire::Redirect`].
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    status: u16,
    scheme: Option<Scheme>,
    hostname: Option<Box<str>>,
    port: Option<u16>,
    path: Option<PathEdit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn parse(text: &[u8]) -> Option<Scheme> {
        match text {
            _ if text.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
            _ if text.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Redirect {
    pub(crate) fn compile(redirect: &wire::Redirect) -> Result<Redirect, Refusal> {
        let status = redirect.status;
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return refuse(
                "status",
                format!("{status} is not the status of a redirect"),
            );
        }
        let scheme = match &redirect.scheme {
            None => None,
            Some(name) => match Scheme::parse(name.as_bytes()) {
                None => return refuse("scheme", format!("{name:?} is not http or https")),
                scheme => scheme,
            },
        };
        if redirect.port == Some(0) {
            return refuse("port", "the port must not be 0");
        }
        let hostname = redirect.hostname.as_deref().map(new_host).transpose()?;
        let path = redirect.path.as_ref().map(PathEdit::compile).transpose();
        Ok(Redirect {
            status,
            scheme,
            hostname,
            port: redirect.port,
            path: path.map_err(|refusal| refusal.within("path"))?,
        })
    }

    /// Returns the redirect for one request. `listener` is the port of the listener that got the request. For an
    /// unknown listener, pass None: then the port in the Host header counts.
    ///
    /// The answer is 400 if the Host header is not a hostname, and 414 if the location is too long.
    pub(crate) fn decide(
        &self,
        view: &mut RequestView,
        listener: Option<u16>,
    ) -> Decision<'static> {
        let scheme = self.scheme.or_else(|| {
            let scheme = view.header(":scheme")?;
            Scheme::parse(scheme)
        });
        let scheme = scheme.unwrap_or(Scheme::Http);
        let mut location = Vec::from(scheme.name());
        location.extend(b"://");
        let host = view.host();
        let host_port = host.and_then(|host| host.port);
        match (&self.hostname, host) {
            (Some(hostname), _) => location.extend(hostname.bytes()),
            (None, Some(host)) => {
                for byte in host.name() {
                    match byte {
                        // These bytes would end the host.
                        b'/' | b'?' | b'#' | b'@' | b'\\' | b'%' => {
                            push_encoded(&mut location, *byte)
                        }
                        byte => push_visible(&mut location, *byte),
                    }
                }
            }
            // A location needs a host.
            (None, None) => return Decision::Answer(400),
        }
        let port = match (self.port, self.scheme) {
            (Some(port), _) => port,
            (None, Some(scheme)) => scheme.port(),
            (None, None) => listener.or(host_port).unwrap_or(scheme.port()),
        };
        if port != scheme.port() {
            location.extend(format!(":{port}").bytes());
        }
        let path = view.path();
        let path = match &self.path {
            Some(edit) => edit.apply(path),
            None => path.to_vec(),
        };
        if path.first() != Some(&b'/') {
            location.push(b'/');
        }
        for byte in path.iter().chain(view.query()) {
            if location.len() >= MAX_LOCATION {
                return Decision::Answer(414);
            }
            push_visible(&mut location, *byte);
        }
        // The location has only visible ASCII, so it is UTF-8.
        Decision::Redirect(self.status, String::from_utf8(location).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
