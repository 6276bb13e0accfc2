//! Parses a line of the section `requests`: a proxy and a request.

use serde_json::{Value, json};
use weir_core::plan::Scope;

/// A request of a case with its expected answer.
pub struct Request {
    pub proxy: Proxy,
    /// The request as the case writes it, with single spaces.
    pub text: String,
    pub question: Question,
    pub expected: String,
}

pub enum Question {
    Http(Http),
    /// A connection to `SERVICE.NAMESPACE:PORT`, or at a listener of a Gateway.
    Tcp(String),
    /// A request to a workload. The client is a ServiceAccount (`NAMESPACE/NAME`) or anonymous.
    Inbound(Option<String>, Http),
    /// A connection to this port of a workload.
    InboundTcp(Option<String>, u16),
}

/// One HTTP request as a client sends it.
pub struct Http {
    pub method: String,
    pub host: String,
    pub path: String,
    /// Headers in order. Names may repeat, and keep the client's spelling.
    pub headers: Vec<(String, String)>,
}

impl Http {
    /// Returns the headers in order.
    pub fn lines(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}

/// The proxy that a request goes through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    Anyone,
    /// `everywhere`: an edge with the host splits of every namespace.
    Everywhere,
    /// `as ACCOUNT from NAMESPACE`.
    Account(String, String),
    /// `at NAMESPACE/GATEWAY[:LISTENERS]`.
    At {
        namespace: String,
        gateway: String,
        listeners: ListenerNames,
    },
    From(String),
    /// `into NAMESPACE/ACCOUNT`: the proxy in front of this workload.
    Into(String, String),
    /// A proxy for TCP connections: `from NAMESPACE tcp ROOT`, `at NAMESPACE/GATEWAY tcp LISTENER`, or `into
    /// NAMESPACE/ACCOUNT ... tcp PORT`.
    Tcp(Box<Proxy>, String),
}

/// The listeners in the plugin configuration of a Gateway's proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenerNames {
    Unset,
    One(String),
    /// `LISTENER[+LISTENER]...[|LISTENER...]... via LISTENER`: the listeners of each socket.
    Sockets {
        sockets: Vec<Vec<String>>,
        /// The socket of the request; None if the plugin configuration does not have this socket.
        via: Option<usize>,
    },
}

impl ListenerNames {
    fn add_keys(&self, keys: &mut Value, socket: u16) {
        match self {
            ListenerNames::Unset => {}
            ListenerNames::One(listener) => keys["listener"] = listener.as_str().into(),
            ListenerNames::Sockets { sockets, via } => {
                // No request arrives at the other sockets, so their ports do not matter.
                for (other, (index, names)) in (1u16..).zip(sockets.iter().enumerate()) {
                    let port = if *via == Some(index) { socket } else { other };
                    keys["listeners"][port.to_string()] = json!(names);
                }
            }
        }
    }

    /// `listeners` is the text after the colon, and `rest` contains the words after the Gateway.
    fn parse<'a, 'w>(
        listeners: Option<&str>,
        rest: &'a [&'w str],
    ) -> Option<(ListenerNames, &'a [&'w str])> {
        let Some(listeners) = listeners else {
            return Some((ListenerNames::Unset, rest));
        };
        let ["via", via, rest @ ..] = rest else {
            let is_one = !listeners.contains(['|', '+']);
            return is_one.then(|| (ListenerNames::One(listeners.to_owned()), rest));
        };
        let names = |socket: &str| -> Vec<String> { socket.split('+').map(Into::into).collect() };
        let sockets: Vec<_> = listeners.split('|').map(names).collect();
        let has_name = |names: &Vec<String>| names.iter().any(|name| name == via);
        let found = sockets.iter().position(has_name);
        let is_meant = found.is_some() || *via == "unlisted";
        is_meant.then_some((
            ListenerNames::Sockets {
                sockets,
                via: found,
            },
            rest,
        ))
    }
}

impl Proxy {
    /// True if the plugin configuration names the port of the socket at which requests arrive.
    pub fn names_its_socket(&self) -> bool {
        let Proxy::At { listeners, .. } = self else {
            return false;
        };
        matches!(listeners, ListenerNames::Sockets { .. })
    }

    /// True if this proxy is in front of a workload.
    pub fn is_inbound(&self) -> bool {
        match self {
            Proxy::Into(..) => true,
            Proxy::Tcp(proxy, _) => proxy.is_inbound(),
            Proxy::Anyone
            | Proxy::Everywhere
            | Proxy::Account(..)
            | Proxy::At { .. }
            | Proxy::From(_) => false,
        }
    }

    pub fn scope(&self) -> Scope {
        match self {
            Proxy::Anyone => Scope::Producers,
            Proxy::Everywhere => Scope::Edge,
            Proxy::Account(_, namespace) | Proxy::From(namespace) | Proxy::Into(namespace, _) => {
                Scope::Namespace(namespace.clone())
            }
            Proxy::At {
                namespace, gateway, ..
            } => Scope::Gateway {
                namespace: namespace.clone(),
                name: gateway.clone(),
            },
            Proxy::Tcp(proxy, _) => proxy.scope(),
        }
    }

    /// Returns the plugin configuration of the proxy. Requests arrive at the proxy's port `socket`. The cluster of a
    /// backend has the name `SERVICE.NAMESPACE:PORT`, or `tcp/SERVICE.NAMESPACE:PORT` for connections.
    pub fn plugin(&self, control_plane: &str, socket: u16) -> String {
        let mut keys = json!({
            "control_plane": control_plane,
            "cluster": "{service}.{namespace}:{port}",
        });
        self.add_keys(&mut keys, socket);
        keys.to_string()
    }

    fn add_keys(&self, keys: &mut Value, socket: u16) {
        match self {
            Proxy::Anyone => {}
            Proxy::Everywhere => keys["namespace"] = "*".into(),
            Proxy::From(namespace) => keys["namespace"] = namespace.as_str().into(),
            Proxy::Account(account, namespace) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
            }
            Proxy::Into(namespace, account) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
                keys["direction"] = "inbound".into();
                keys["trust_domain"] = "cluster.local".into();
            }
            Proxy::At {
                namespace,
                gateway,
                listeners,
            } => {
                keys["gateway"] = format!("{namespace}/{gateway}").into();
                listeners.add_keys(keys, socket);
            }
            Proxy::Tcp(proxy, to) => {
                proxy.add_keys(keys, socket);
                keys["protocol"] = "tcp".into();
                keys["cluster"] = "tcp/{service}.{namespace}:{port}".into();
                match &**proxy {
                    Proxy::Into(namespace, account) => {
                        keys["root"] = format!("{account}.{namespace}:{to}").into();
                    }
                    Proxy::At { .. } => keys["listener"] = to.as_str().into(),
                    _ => keys["root"] = to.as_str().into(),
                }
            }
        }
    }

    /// Parses the proxy and returns the remaining words.
    fn parse<'a, 'w>(words: &'a [&'w str]) -> Option<(Proxy, &'a [&'w str])> {
        Some(match words {
            ["anyone", rest @ ..] => (Proxy::Anyone, rest),
            ["everywhere", rest @ ..] => (Proxy::Everywhere, rest),
            ["from", namespace, rest @ ..] => (Proxy::From((*namespace).into()), rest),
            ["as", account, "from", namespace, rest @ ..] => {
                (Proxy::Account((*account).into(), (*namespace).into()), rest)
            }
            ["into", workload, rest @ ..] => {
                let (namespace, account) = workload.split_once('/')?;
                (Proxy::Into(namespace.into(), account.into()), rest)
            }
            ["at", gateway, rest @ ..] => {
                let (namespace, gateway) = gateway.split_once('/')?;
                let (gateway, listeners) = match gateway.split_once(':') {
                    Some((gateway, listeners)) => (gateway, Some(listeners)),
                    None => (gateway, None),
                };
                let (listeners, rest) = ListenerNames::parse(listeners, rest)?;
                let proxy = Proxy::At {
                    namespace: namespace.into(),
                    gateway: gateway.into(),
                    listeners,
                };
                (proxy, rest)
            }
            _ => return None,
        })
    }
}

/// Returns the name of a scope in a case.
pub fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Producers => "anyone".into(),
        Scope::Edge => "everywhere".into(),
        Scope::Namespace(namespace) => format!("from {namespace}"),
        Scope::Gateway { namespace, name } => format!("at {namespace}/{name}"),
    }
}

impl Request {
    /// Parses `# REQUEST -> ANSWER`. In a new case the answer may be missing.
    pub fn parse(line: &str) -> Option<Request> {
        let line = line.strip_prefix("# ")?;
        let (question, expected) = line.split_once(" -> ").unwrap_or((line, ""));
        let question = question.trim_end_matches("->");
        let text: Vec<_> = question.split_whitespace().collect();
        let text = text.join(" ");
        let (plain, headers) = match text.split_once(" {") {
            Some((plain, headers)) => (plain, fields(headers.strip_suffix('}')?)?),
            None => (text.as_str(), Vec::new()),
        };
        let words: Vec<_> = plain.split(' ').collect();
        let (mut proxy, rest) = Proxy::parse(&words)?;
        let http = |method: &str, host: &str, path: &str| {
            path.starts_with('/').then(|| Http {
                method: method.into(),
                host: host.into(),
                path: path.into(),
                headers: headers.clone(),
            })
        };
        let question = match (&proxy, rest) {
            (Proxy::Into(..), ["by", peer, rest @ ..]) => {
                let peer = (*peer != "anonymous").then(|| (*peer).to_owned());
                // Inbound requests have a host too, because permissions may depend on the host.
                match rest {
                    ["tcp", port] => Question::InboundTcp(peer, port.parse().ok()?),
                    [host, path] => Question::Inbound(peer, http("GET", host, path)?),
                    [method, host, path] => Question::Inbound(peer, http(method, host, path)?),
                    _ => return None,
                }
            }
            (_, ["tcp", to]) => Question::Tcp((*to).into()),
            (_, [host, path]) => Question::Http(http("GET", host, path)?),
            (_, [method, host, path]) => Question::Http(http(method, host, path)?),
            _ => return None,
        };
        match &question {
            Question::Tcp(to) => proxy = Proxy::Tcp(Box::new(proxy), to.clone()),
            Question::InboundTcp(_, port) => proxy = Proxy::Tcp(Box::new(proxy), port.to_string()),
            Question::Http(_) | Question::Inbound(..) => {}
        }
        Some(Request {
            proxy,
            question,
            expected: expected.trim().into(),
            text,
        })
    }
}

/// Parses `name: value, name: "a value, with a comma"`.
fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once(": ")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(", ").unwrap_or(after.len())),
        };
        fields.push((name.to_owned(), value.to_owned()));
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    Some(fields)
}
