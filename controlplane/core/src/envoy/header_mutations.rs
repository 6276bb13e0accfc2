//! The request headers that a filter of Envoy removes or writes, if the configuration of the filter names them.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_split::Pattern;

use super::dump_fields::{items, text};
use super::lua_code::request_code;

#[derive(Debug, Default)]
pub struct HeaderMutations {
    removed: Vec<NameMatcher>,
    /// Names in lower case.
    pub written: BTreeSet<String>,
    /// Names in lower case. After these headers are written, Envoy does not choose the route again.
    pub written_after_routing: BTreeSet<String>,
}

/// A condition on the name of a header. A text is in lower case.
#[derive(Debug)]
enum NameMatcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Box<Pattern>),
}

impl NameMatcher {
    /// Reads an envoy.type.matcher.v3.StringMatcher. Returns None for a regular expression that Weir cannot read.
    fn read(matcher: &Value) -> Option<NameMatcher> {
        let text = |key| {
            let text = matcher.get(key)?.as_str()?;
            Some(text.to_ascii_lowercase())
        };
        let exact = text("exact").map(NameMatcher::Exact);
        let prefix = || text("prefix").map(NameMatcher::Prefix);
        let suffix = || text("suffix").map(NameMatcher::Suffix);
        let contains = || text("contains").map(NameMatcher::Contains);
        let regex = || {
            let regex = matcher.pointer("/safe_regex/regex")?.as_str()?;
            let pattern = Pattern::compile(regex).ok()?;
            Some(NameMatcher::Regex(Box::new(pattern)))
        };
        let text = exact.or_else(prefix).or_else(suffix).or_else(contains);
        text.or_else(regex)
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            NameMatcher::Exact(text) => name == text,
            NameMatcher::Prefix(text) => name.starts_with(text.as_str()),
            NameMatcher::Suffix(text) => name.ends_with(text.as_str()),
            NameMatcher::Contains(text) => name.contains(text.as_str()),
            NameMatcher::Regex(pattern) => pattern.fits(name.as_bytes()),
        }
    }
}

impl HeaderMutations {
    /// Reads the configuration of an HTTP filter. `kind` is its package, such as `header_mutation`; `overrides` are the
    /// configurations of the filter on routes and virtual hosts.
    pub fn of_filter<'v>(
        kind: &str,
        config: &'v Value,
        overrides: impl Iterator<Item = &'v Value>,
    ) -> HeaderMutations {
        let mut mutations = HeaderMutations::default();
        match kind {
            "header_mutation" => {
                const LIST: &str = "/mutations/request_mutations";
                mutations.add_list(config.pointer(LIST));
                for config in overrides {
                    let mut on_route = HeaderMutations::default();
                    on_route.add_list(config.pointer(LIST));
                    mutations.written_after_routing.extend(on_route.written);
                }
            }
            "lua" => {
                let sources = config.get("source_codes").unwrap_or(&Value::Null);
                let codes = [config].into_iter().chain(overrides).flat_map(|config| {
                    let code = |key: &str| config.pointer(key).and_then(Value::as_str);
                    let default = code("/default_source_code/inline_string");
                    default
                        .or_else(|| code("/inline_code"))
                        .or_else(|| code("/source_code/inline_string"))
                        .or_else(|| {
                            // A route names one of the sources of the filter.
                            let name = config.get("name")?.as_str()?;
                            let source = sources.get(name)?.get("inline_string")?;
                            source.as_str()
                        })
                });
                codes.for_each(|code| mutations.add_lua(&request_code(code)));
            }
            "jwt_authn" => {
                let providers = config.get("providers").and_then(Value::as_object);
                for provider in providers.into_iter().flat_map(|it| it.values()) {
                    mutations.write(&text(provider, "forward_payload_header"));
                    for claim in items(provider, "claim_to_headers") {
                        mutations.write(&text(claim, "header_name"));
                    }
                }
            }
            "ext_authz" => {
                let answer = config.pointer("/http_service/authorization_response");
                let answer = answer.unwrap_or(&Value::Null);
                for key in [
                    "allowed_upstream_headers",
                    "allowed_upstream_headers_to_append",
                ] {
                    let patterns = answer.get(key).unwrap_or(&Value::Null);
                    items(patterns, "patterns").for_each(|it| mutations.write(&text(it, "exact")));
                }
            }
            "api_key_auth" => {
                let forwarding = config.get("forwarding").unwrap_or(&Value::Null);
                mutations.write(&text(forwarding, "header"));
            }
            "basic_auth" => mutations.write(&text(config, "forward_username_header")),
            _ => {}
        }
        mutations
    }

    /// Reads a list of envoy.config.common.mutation_rules.v3.HeaderMutation.
    pub fn add_list(&mut self, list: Option<&Value>) {
        for mutation in list.and_then(Value::as_array).into_iter().flatten() {
            let removed = mutation.get("remove").and_then(Value::as_str);
            let removed = removed.map(|name| NameMatcher::Exact(name.to_ascii_lowercase()));
            let by_match = mutation.pointer("/remove_on_match/key_matcher");
            self.removed.extend(removed);
            self.removed.extend(by_match.and_then(NameMatcher::read));
            if let Some(header) = mutation.pointer("/append/header") {
                self.write(&text(header, "key"));
            }
        }
    }

    fn write(&mut self, name: &str) {
        if !name.is_empty() {
            self.written.insert(name.to_ascii_lowercase());
        }
    }

    /// Finds calls such as `headers():remove("x-user")`. Calls without a literal name are not found.
    fn add_lua(&mut self, code: &str) {
        for (call, removes) in [(":remove(", true), (":add(", false), (":replace(", false)] {
            for rest in code.split(call).skip(1) {
                let rest = rest.trim_start();
                let Some(quote @ ('"' | '\'')) = rest.chars().next() else {
                    continue;
                };
                let name = rest.split(quote).nth(1).unwrap_or_default();
                if removes {
                    let name = name.to_ascii_lowercase();
                    self.removed.push(NameMatcher::Exact(name));
                } else {
                    self.write(name);
                }
            }
        }
    }

    /// True if the header is removed. `name` must be in lower case.
    pub fn removes(&self, name: &str) -> bool {
        self.removed.iter().any(|matcher| matcher.fits(name))
    }
}
