//! A line of the section `requests`: who asks what.

use serde_json::{Value, json};
use weir_core::plan::Scope;

/// A question of a case, and the answer that the case expects.
pub struct Request {
    pub who: Who,
    /// What the case asks, in words, each with one space before the next.
    pub text: String,
    pub question: Question,
    pub expected: String,
}

pub enum Question {
    Http(Http),
    /// A connection: to `SERVICE.NAMESPACE:PORT`, or by a listener of a Gateway.
    Tcp(String),
    /// What comes in to a workload, from this ServiceAccount (`NAMESPACE/NAME`) or from nobody who has one.
    Inbound(Option<String>, Http),
    /// A connection that comes in, to this port.
    InboundTcp(Option<String>, u16),
}

/// One HTTP request as a client sends it.
pub struct Http {
    pub method: String,
    pub host: String,
    pub path: String,
    /// Several lines of one name stand in order. Names are as the client writes them.
    pub headers: Vec<(String, String)>,
}

impl Http {
    /// Its headers, in order.
    pub fn lines(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}

/// Whose proxy a request goes through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Anyone,
    /// `everywhere`: an edge with the splits of hosts of every namespace.
    Everywhere,
    /// `as ACCOUNT from NAMESPACE`.
    Account(String, String),
    /// `at NAMESPACE/GATEWAY[:LISTENERS]`.
    At {
        namespace: String,
        gateway: String,
        listeners: Told,
    },
    From(String),
    /// `into NAMESPACE/ACCOUNT`: the proxy before that workload.
    Into(String, String),
    /// A proxy of connections: `from NAMESPACE tcp ROOT`, `at NAMESPACE/GATEWAY tcp LISTENER`, or
    /// `into NAMESPACE/ACCOUNT ... tcp PORT`.
    Tcp(Box<Who>, String),
}

/// What the plugin configuration of a Gateway's proxy says of listeners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Nothing,
    One(String),
    /// `LISTENER[+LISTENER]...[|LISTENER...]... via LISTENER`: one set of names for each socket.
    Sockets {
        sockets: Vec<Vec<String>>,
        /// The socket by which requests come in; None is one that the plugin configuration does not have.
        via: Option<usize>,
    },
}

impl Told {
    fn add_keys(&self, keys: &mut Value, socket: u16) {
        match self {
            Told::Nothing => {}
            Told::One(listener) => keys["listener"] = listener.as_str().into(),
            Told::Sockets { sockets, via } => {
                // Ports of the other sockets are never asked.
                for (other, (index, names)) in (1u16..).zip(sockets.iter().enumerate()) {
                    let port = if *via == Some(index) { socket } else { other };
                    keys["listeners"][port.to_string()] = json!(names);
                }
            }
        }
    }

    /// `rest` are the words that follow.
    fn parse<'a, 'w>(written: Option<&str>, rest: &'a [&'w str]) -> Option<(Told, &'a [&'w str])> {
        let Some(written) = written else {
            return Some((Told::Nothing, rest));
        };
        let ["via", via, rest @ ..] = rest else {
            let is_one = !written.contains(['|', '+']);
            return is_one.then(|| (Told::One(written.to_owned()), rest));
        };
        let names = |socket: &str| -> Vec<String> { socket.split('+').map(Into::into).collect() };
        let sockets: Vec<_> = written.split('|').map(names).collect();
        let has_name = |names: &Vec<String>| names.iter().any(|name| name == via);
        let found = sockets.iter().position(has_name);
        let is_meant = found.is_some() || *via == "unlisted";
        is_meant.then_some((
            Told::Sockets {
                sockets,
                via: found,
            },
            rest,
        ))
    }
}

impl Who {
    /// Whether its listener needs a port that its plugin configuration names.
    pub fn names_its_socket(&self) -> bool {
        let Who::At { listeners, .. } = self else {
            return false;
        };
        matches!(listeners, Told::Sockets { .. })
    }

    /// Whether this proxy stands before a workload.
    pub fn is_inbound(&self) -> bool {
        match self {
            Who::Into(..) => true,
            Who::Tcp(who, _) => who.is_inbound(),
            Who::Anyone | Who::Everywhere | Who::Account(..) | Who::At { .. } | Who::From(_) => {
                false
            }
        }
    }

    pub fn scope(&self) -> Scope {
        match self {
            Who::Anyone => Scope::Producers,
            Who::Everywhere => Scope::Edge,
            Who::Account(_, namespace) | Who::From(namespace) | Who::Into(namespace, _) => {
                Scope::Namespace(namespace.clone())
            }
            Who::At {
                namespace, gateway, ..
            } => Scope::Gateway {
                namespace: namespace.clone(),
                name: gateway.clone(),
            },
            Who::Tcp(who, _) => who.scope(),
        }
    }

    /// The plugin configuration of that proxy, whose requests come in at the port `socket`; backends' clusters have
    /// the names that cases use, for connections behind `tcp/`.
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
            Who::Anyone => {}
            Who::Everywhere => keys["namespace"] = "*".into(),
            Who::From(namespace) => keys["namespace"] = namespace.as_str().into(),
            Who::Account(account, namespace) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
            }
            Who::Into(namespace, account) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
                keys["direction"] = "inbound".into();
                keys["trust_domain"] = "cluster.local".into();
            }
            Who::At {
                namespace,
                gateway,
                listeners,
            } => {
                keys["gateway"] = format!("{namespace}/{gateway}").into();
                listeners.add_keys(keys, socket);
            }
            Who::Tcp(who, to) => {
                who.add_keys(keys, socket);
                keys["protocol"] = "tcp".into();
                keys["cluster"] = "tcp/{service}.{namespace}:{port}".into();
                match &**who {
                    Who::Into(namespace, account) => {
                        keys["root"] = format!("{account}.{namespace}:{to}").into();
                    }
                    Who::At { .. } => keys["listener"] = to.as_str().into(),
                    _ => keys["root"] = to.as_str().into(),
                }
            }
        }
    }

    /// Parses the first words; what follows them is handed back.
    fn parse<'a, 'w>(words: &'a [&'w str]) -> Option<(Who, &'a [&'w str])> {
        Some(match words {
            ["anyone", rest @ ..] => (Who::Anyone, rest),
            ["everywhere", rest @ ..] => (Who::Everywhere, rest),
            ["from", namespace, rest @ ..] => (Who::From((*namespace).into()), rest),
            ["as", account, "from", namespace, rest @ ..] => {
                (Who::Account((*account).into(), (*namespace).into()), rest)
            }
            ["into", workload, rest @ ..] => {
                let (namespace, account) = workload.split_once('/')?;
                (Who::Into(namespace.into(), account.into()), rest)
            }
            ["at", gateway, rest @ ..] => {
                let (namespace, gateway) = gateway.split_once('/')?;
                let (gateway, written) = match gateway.split_once(':') {
                    Some((gateway, written)) => (gateway, Some(written)),
                    None => (gateway, None),
                };
                let (listeners, rest) = Told::parse(written, rest)?;
                let who = Who::At {
                    namespace: namespace.into(),
                    gateway: gateway.into(),
                    listeners,
                };
                (who, rest)
            }
            _ => return None,
        })
    }
}

/// How a case calls a scope.
pub fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Producers => "anyone".into(),
        Scope::Edge => "everywhere".into(),
        Scope::Namespace(namespace) => format!("from {namespace}"),
        Scope::Gateway { namespace, name } => format!("at {namespace}/{name}"),
    }
}

impl Request {
    /// `# QUESTION -> ANSWER`, the answer not yet there when the line is new.
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
        let (mut who, rest) = Who::parse(&words)?;
        let http = |method: &str, host: &str, path: &str| {
            path.starts_with('/').then(|| Http {
                method: method.into(),
                host: host.into(),
                path: path.into(),
                headers: headers.clone(),
            })
        };
        let question = match (&who, rest) {
            (Who::Into(..), ["by", peer, rest @ ..]) => {
                let peer = (*peer != "nobody").then(|| (*peer).to_owned());
                // Who comes in names a host too, which grants may ask for.
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
            Question::Tcp(to) => who = Who::Tcp(Box::new(who), to.clone()),
            Question::InboundTcp(_, port) => who = Who::Tcp(Box::new(who), port.to_string()),
            Question::Http(_) | Question::Inbound(..) => {}
        }
        Some(Request {
            who,
            question,
            expected: expected.trim().into(),
            text,
        })
    }
}

/// `name: value, name: "a value, with a comma"`.
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
