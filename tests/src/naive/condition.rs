//! Whether a request is what a match asks for (1.4).

use super::{Call, Match, Path, Request, Value};

impl Match {
    /// 1.4: everything that is written has to hold.
    pub fn fits(&self, request: &Request) -> bool {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path_fits = match &self.path {
            None => true,
            Some(Path::Exact(wanted)) => path == wanted,
            Some(Path::Prefix(wanted)) => is_below(path, wanted),
            Some(Path::Regex(pattern)) => pattern.is_all_of(path),
        };
        path_fits
            && self.call.as_ref().is_none_or(|wanted| wanted.fits(request))
            && self.method.as_ref().is_none_or(|it| *it == request.method)
            && self
                .headers
                .iter()
                .all(|wanted| wanted.value.fits(header(request, &wanted.name)))
            && self
                .query
                .iter()
                .all(|wanted| wanted.value.fits(parameter(query, &wanted.name)))
    }
}

impl Call {
    fn fits(&self, request: &Request) -> bool {
        call(request).is_some_and(|(service, method)| {
            let fits = |wanted: &Option<Value>, is: &str| {
                let wanted = wanted.as_ref();
                wanted.is_none_or(|wanted| wanted.fits(Some(is.to_owned())))
            };
            fits(&self.service, service) && fits(&self.method, method)
        })
    }
}

/// Service and method of a gRPC call, which is `/SERVICE/METHOD`.
pub fn call(request: &Request) -> Option<(&str, &str)> {
    let (service, method) = request.path.strip_prefix('/')?.split_once('/')?;
    let is_call = !service.is_empty() && !method.is_empty() && !method.contains(['/', '?']);
    is_call.then_some((service, method))
}

impl Value {
    fn fits(&self, value: Option<String>) -> bool {
        match (self, value) {
            (_, None) => false,
            (Value::Exact(wanted), Some(value)) => *wanted == value,
            (Value::Regex(pattern), Some(value)) => pattern.is_all_of(&value),
        }
    }
}

/// Element by element between the slashes; a slash at the end of the prefix counts for nothing.
fn is_below(path: &str, prefix: &str) -> bool {
    let elements = |text: &str| -> Vec<String> {
        let mut elements: Vec<_> = text.split('/').skip(1).map(str::to_owned).collect();
        if elements.last().is_some_and(String::is_empty) {
            elements.pop();
        }
        elements
    };
    elements(path).starts_with(&elements(prefix))
}

/// Names in any case; several lines are one value with commas (RFC 9110, 5.3).
pub fn header(request: &Request, name: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("host") {
        return Some(request.host.clone());
    }
    let lines = request.headers.iter();
    let lines = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    let values: Vec<_> = lines.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Names as they are written; the first of several counts.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(own) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        decoded.push(match first {
            '+' => ' ',
            '%' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                char::from(u8::from_str_radix(digits, 16).expect("two digits"))
            }
            other => other,
        });
    }
    decoded
}
