//! Renders a configuration for people: one line for each match, backend list and permission.

use std::fmt::Write as _;

use weir_split::wire;

use super::outcome::{Change, changes};

pub fn render(text: &mut String, config: &wire::Config) {
    let wire::Config {
        version: _,
        hosts,
        listeners,
        connections,
        rules,
        access,
    } = config;
    // If a Gateway has one listener, every host belongs to this listener, so its name adds nothing.
    if listeners.len() > 1 {
        let listeners: Vec<_> = listeners.iter().map(render_listener).collect();
        let _ = writeln!(text, "# listeners {}", listeners.join(", "));
    }
    for set in hosts {
        let wire::HostSet {
            hosts,
            matches,
            unmatched,
        } = set;
        let _ = writeln!(text, "# {}", render_hosts(hosts, listeners.len()));
        for conditions in matches {
            let _ = writeln!(text, "#   {}", render_match(conditions));
        }
        if *unmatched == wire::Unmatched::NotFound {
            text.push_str("#   else 404\n");
        }
    }
    for wire::Connections { to, rule } in connections {
        let to = match to {
            wire::Destination::Root(root) => render_root(root, false),
            wire::Destination::Listeners(ports) => format!("listeners {}", render_ports(ports)),
        };
        let _ = writeln!(text, "# connections to {to} -> {rule}");
    }
    for (identity, rule) in rules {
        render_rule(text, identity, rule);
    }
    match access {
        Some(wire::Access::Grants(grants)) => render_access(text, grants),
        Some(wire::Access::Everyone) => text.push_str("# everyone may reach everything\n"),
        None => {}
    }
}

fn portless(yes: bool) -> &'static str {
    if yes { " and without port" } else { "" }
}

fn render_root(root: &wire::Root, is_default: bool) -> String {
    let wire::Root {
        service,
        namespace,
        port,
        default_port: _,
        cluster_ips,
    } = root;
    let ips = match cluster_ips.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join(", ")),
    };
    format!("{service}.{namespace}:{port}{}{ips}", portless(is_default))
}

fn render_ports(ports: &std::collections::BTreeMap<String, u16>) -> String {
    let ports = ports.iter().map(|(name, port)| format!("{name}:{port}"));
    ports.collect::<Vec<_>>().join(", ")
}

/// Returns `https:443 *.example.com`.
fn render_listener((name, listener): (&String, &wire::Listener)) -> String {
    let wire::Listener { port, hostname } = listener;
    let hostname = hostname.iter().map(|hostname| format!(" {hostname}"));
    format!("{name}:{port}{}", hostname.collect::<String>())
}

/// `listeners` is the number of the Gateway's listeners.
fn render_hosts(hosts: &wire::Hosts, listeners: usize) -> String {
    match hosts {
        wire::Hosts::Root(root) => render_root(root, root.default_port),
        wire::Hosts::Literal(wire::Literal {
            name,
            port,
            default_port,
            every_port,
        }) => {
            let others = if *every_port {
                " and at every other port"
            } else {
                ""
            };
            format!("literally {name}:{port}{}{others}", portless(*default_port))
        }
        wire::Hosts::Gateway(wire::Gateway { hostname, ports }) => {
            let host = match hostname {
                None => "every host".into(),
                Some(hostname) => format!("host {hostname}"),
            };
            let names: Vec<_> = ports.keys().map(String::as_str).collect();
            let ports = match listeners {
                0 | 1 => String::new(),
                _ => format!(" (listeners {})", names.join(", ")),
            };
            format!("{host}{ports}")
        }
    }
}

fn render_path(path: &Option<wire::PathMatch>) -> String {
    match path {
        None => "any path".into(),
        Some(wire::PathMatch::Regex(path)) => format!("like {path}"),
        Some(wire::PathMatch::Exact(path)) => format!("exactly {path}"),
        Some(wire::PathMatch::Prefix(path)) => format!("below {path}"),
    }
}

fn render_fields(text: &mut String, before: &str, fields: &[wire::Field]) {
    for wire::Field { name, value } in fields {
        let _ = match value {
            wire::ValueMatch::Exact(value) => write!(text, ", {before}{name} = {value}"),
            wire::ValueMatch::Regex(value) => write!(text, ", {before}{name} like {value}"),
        };
    }
}

/// Returns `GET below /a, x-user = a, ?page like 1.*, host *.example (listener http) -> RULE`.
fn render_match(conditions: &wire::Match) -> String {
    let wire::Match {
        path,
        method,
        headers,
        query,
        hostnames,
        listeners,
        rule,
    } = conditions;
    let mut text = String::new();
    if let Some(method) = method {
        let _ = write!(text, "{method} ");
    }
    text.push_str(&render_path(path));
    render_fields(&mut text, "", headers);
    render_fields(&mut text, "?", query);
    if !hostnames.is_empty() {
        let _ = write!(text, ", host {}", hostnames.join(" or "));
    }
    if !listeners.is_empty() {
        let _ = write!(text, " (listener {})", listeners.join(", "));
    }
    format!("{text} -> {rule}")
}

fn render_rule(text: &mut String, identity: &str, rule: &wire::Rule) {
    let wire::Rule {
        backends,
        filters,
        timeouts,
        retry,
        called,
    } = rule;
    let backends: Vec<_> = backends.iter().map(render_backend).collect();
    let backends = match backends.as_slice() {
        [] => "no backend".into(),
        some => some.join(", "),
    };
    let _ = writeln!(text, "# {identity} = {backends}");
    if let Some(wire::Called { service, accounts }) = called {
        let accounts = match accounts.as_slice() {
            [] => "an account whose name this proxy must not get".to_owned(),
            some => some.join(" or "),
        };
        let _ = writeln!(text, "#   needs permission for {service} as {accounts}");
    }
    for line in render_filters(filters.as_deref()) {
        let _ = writeln!(text, "#   {line}");
    }
    let wire::Timeouts {
        request,
        backend_request,
    } = timeouts;
    if let Some(limit) = request {
        let _ = writeln!(text, "#   timeout {limit} ms");
    }
    if let Some(limit) = backend_request {
        let _ = writeln!(text, "#   timeout of each try {limit} ms");
    }
    if let Some(wire::Retry { attempts, codes }) = retry {
        let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
        let after = match codes.as_slice() {
            [] => String::new(),
            some => format!(" after {}", some.join(", ")),
        };
        let _ = writeln!(text, "#   retries {attempts}{after}");
    }
}

/// Returns `9 web-v1.default:80 as default/web (request {x-a: b})`.
fn render_backend(backend: &wire::Backend) -> String {
    let wire::Backend {
        weight,
        to,
        filters,
        accounts,
    } = backend;
    let mut text = match to {
        wire::Target::Service(service) => format!("{weight} {service}"),
        wire::Target::Status(status) => format!("{weight} {status}"),
    };
    if !accounts.is_empty() {
        let _ = write!(text, " as {}", accounts.join(" or "));
    }
    let filters = render_filters(filters.as_deref());
    if !filters.is_empty() {
        let _ = write!(text, " ({})", filters.join("; "));
    }
    text
}

/// Returns one line for each filter.
fn render_filters(filters: Option<&wire::Filters>) -> Vec<String> {
    let Some(filters) = filters else {
        return Vec::new();
    };
    let wire::Filters {
        request_headers,
        response_headers,
        rewrite,
        redirect,
        mirrors,
    } = filters;
    let mut lines = Vec::new();
    if !request_headers.is_empty() {
        lines.push(format!("request {}", changes(&edits(request_headers))));
    }
    if !response_headers.is_empty() {
        lines.push(format!("response {}", changes(&edits(response_headers))));
    }
    if let Some(wire::Rewrite { hostname, path }) = rewrite {
        let parts = parts([
            ("host", hostname.clone()),
            ("path", path.as_ref().map(render_edit)),
        ]);
        lines.push(format!("rewrite {parts}"));
    }
    if let Some(redirect) = redirect {
        let wire::Redirect {
            scheme,
            hostname,
            port,
            path,
            status,
        } = redirect;
        let parts = parts([
            ("scheme", scheme.clone()),
            ("host", hostname.clone()),
            ("port", port.map(|port| port.to_string())),
            ("path", path.as_ref().map(render_edit)),
        ]);
        lines.push(format!("redirect {status} {parts}").trim_end().to_owned());
    }
    lines.extend(mirrors.iter().map(render_mirror));
    lines
}

/// Returns `copies 20/100 of the requests to web-v2.default:80 as default/web`.
fn render_mirror(mirror: &wire::Mirror) -> String {
    let wire::Mirror {
        to,
        fraction,
        accounts,
    } = mirror;
    let share = match fraction {
        None => "all".to_owned(),
        Some(wire::Fraction {
            numerator,
            denominator,
        }) => format!("{numerator}/{denominator} of the"),
    };
    let mut text = format!("copies {share} requests to {to}");
    if !accounts.is_empty() {
        let _ = write!(text, " as {}", accounts.join(" or "));
    }
    text
}

fn parts<const N: usize>(parts: [(&str, Option<String>); N]) -> String {
    let parts = parts.into_iter();
    let parts = parts.filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn render_edit(edit: &wire::PathEdit) -> String {
    match edit {
        wire::PathEdit::Full(path) => format!("to {path}"),
        wire::PathEdit::Prefix(wire::PrefixEdit {
            prefix,
            replacement,
        }) => format!("from {prefix:?} to {replacement:?}"),
    }
}

fn edits(edits: &wire::HeaderEdits) -> Vec<Change> {
    let wire::HeaderEdits { set, add, remove } = edits;
    let set = set.iter().cloned();
    let set = set.map(|header| Change::Set(header.name, header.value));
    let add = add.iter().cloned();
    let add = add.map(|header| Change::Add(header.name, header.value));
    let remove = remove.iter().cloned().map(Change::Remove);
    set.chain(add).chain(remove).collect()
}

fn render_access(text: &mut String, grants: &std::collections::BTreeMap<String, Vec<wire::Grant>>) {
    if grants.is_empty() {
        text.push_str("# no client may reach any workload\n");
    }
    for (destination, grants) in grants {
        let _ = writeln!(text, "# into {destination}");
        for wire::Grant {
            by,
            sources,
            requests,
            ports,
        } in grants
        {
            let mut allowed: Vec<_> = requests.iter().map(render_permission).collect();
            match ports.as_deref() {
                None => {}
                Some([]) => allowed.push("tcp to every port".into()),
                Some(ports) => {
                    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                    allowed.push(format!("tcp to {}", ports.join(", ")));
                }
            }
            let sources = sources.join(", ");
            let _ = writeln!(text, "#   {sources}: {} ({by})", allowed.join(" | "));
        }
    }
}

fn render_permission(permission: &wire::Permission) -> String {
    let wire::Permission {
        path,
        methods,
        headers,
    } = permission;
    let mut text = methods.join(" ");
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&render_path(path));
    render_fields(&mut text, "", headers);
    text
}
