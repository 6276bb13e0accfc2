//! Decides whether a request fits a match (section 1.4).

use super::{Call, Match, Path, Request, Value};

impl Match {
    /// Section 1.4: all conditions must hold.
    pub fn fits(&self, request: &Request) -> bool {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path_fits = match &self.path {
            None => true,
            Some(Path::Exact(expected)) => path == expected,
            Some(Path::Prefix(expected)) => is_below(path, expected),
            Some(Path::Regex(pattern)) => pattern.is_all_of(path),
        };
        path_fits
            && self
                .call
                .as_ref()
                .is_none_or(|expected| expected.fits(request))
            && self.method.as_ref().is_none_or(|it| *it == request.method)
            && self
                .headers
                .iter()
                .all(|expected| expected.value.fits(header(request, &expected.name)))
            && self
                .query
                .iter()
                .all(|expected| expected.value.fits(parameter(query, &expected.name)))
    }
}

impl Call {
    fn fits(&self, request: &Request) -> bool {
        call(request).is_some_and(|(service, method)| {
            let fits = |expected: &Option<Value>, is: &str| {
                let expected = expected.as_ref();
                expected.is_none_or(|expected| expected.fits(Some(is.to_owned())))
            };
            fits(&self.service, service) && fits(&self.method, method)
        })
    }
}

/// Returns the service and the method of a gRPC call `/SERVICE/METHOD`.
pub fn call(request: &Request) -> Option<(&str, &str)> {
    let (service, method) = request.path.strip_prefix('/')?.split_once('/')?;
    let is_call = !service.is_empty() && !method.is_empty() && !method.contains(['/', '?']);
    is_call.then_some((service, method))
}

impl Value {
    fn fits(&self, value: Option<String>) -> bool {
        match (self, value) {
            (_, None) => false,
            (Value::Exact(expected), Some(value)) => *expected == value,
            (Value::Regex(pattern), Some(value)) => pattern.is_all_of(&value),
        }
    }
}

/// True if the path begins with the elements of the prefix. A slash at the end of the prefix has no effect.
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

/// Returns the value of a header. Ignores the case of its name, and joins lines with equal names with commas (RFC 9110,
/// 5.3).
pub fn header(request: &Request, name: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("host") {
        return Some(request.host.clone());
    }
    let lines = request.headers.iter();
    let lines = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    let values: Vec<_> = lines.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Returns the value of a query parameter. Names are case-sensitive. If several parameters have the name, the first one
/// counts.
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
