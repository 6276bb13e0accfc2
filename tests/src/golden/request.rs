//! A line of the section `requests`: who asks what.

use serde_json::{Value, json};
use weir::plan::Scope;

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
    /// `as ACCOUNT from NAMESPACE`.
    Account(String, String),
    /// `at NAMESPACE/GATEWAY[:LISTENER]`.
    At {
        namespace: String,
        gateway: String,
        listener: Option<String>,
    },
    From(String),
    /// `into NAMESPACE/ACCOUNT`: the proxy before that workload.
    Into(String, String),
    /// A proxy of connections: `from NAMESPACE tcp ROOT`, `at NAMESPACE/GATEWAY tcp LISTENER`, or
    /// `into NAMESPACE/ACCOUNT ... tcp PORT`.
    Tcp(Box<Who>, String),
}

impl Who {
    /// Whether this proxy stands before a workload.
    pub fn is_inbound(&self) -> bool {
        match self {
            Who::Into(..) => true,
            Who::Tcp(who, _) => who.is_inbound(),
            Who::Anyone | Who::Account(..) | Who::At { .. } | Who::From(_) => false,
        }
    }

    pub fn scope(&self) -> Scope {
        match self {
            Who::Anyone => Scope::Producers,
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

    /// The plugin configuration of that proxy; backends' clusters have the names that cases use, for
    /// connections behind `tcp/`.
    pub fn plugin(&self, control_plane: &str) -> String {
        let mut keys = json!({
            "control_plane": control_plane,
            "cluster": "{service}.{namespace}:{port}",
        });
        self.add_keys(&mut keys);
        keys.to_string()
    }

    fn add_keys(&self, keys: &mut Value) {
        match self {
            Who::Anyone => {}
            Who::From(namespace) => keys["namespace"] = namespace.as_str().into(),
            Who::Account(account, namespace) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
            }
            Who::Into(namespace, account) => {
                keys["namespace"] = namespace.as_str().into();
                keys["service_account"] = account.as_str().into();
                keys["direction"] = "inbound".into();
            }
            Who::At {
                namespace,
                gateway,
                listener,
            } => {
                keys["gateway"] = format!("{namespace}/{gateway}").into();
                if let Some(listener) = listener {
                    keys["listener"] = listener.as_str().into();
                }
            }
            Who::Tcp(who, to) => {
                who.add_keys(keys);
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
                let (gateway, listener) = match gateway.split_once(':') {
                    Some((gateway, listener)) => (gateway, Some(listener.to_owned())),
                    None => (gateway, None),
                };
                let who = Who::At {
                    namespace: namespace.into(),
                    gateway: gateway.into(),
                    listener,
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
