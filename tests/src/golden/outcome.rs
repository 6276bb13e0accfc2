//! Sends the request of a golden case to the core (`weir_split`), and counts the decisions. The request is repeated
//! until the counts are exact.

use std::collections::BTreeMap;

use weir_split::{Decision, Edit, Live, Plugin, Table, wire};

use super::request::{Http, Question, Request};

/// The port of the socket at which requests arrive. No listener of a case has this port.
const SOCKET: u16 = 10_000;

/// The result of one or more equal requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// `SERVICE.NAMESPACE:PORT`, or the status of a broken backend; None if the filter chose no backend.
    pub backend: Option<String>,
    pub action: Action,
    /// Edits of the request's headers in order, including `:path` and `:authority`.
    pub request: Vec<Change>,
    pub response: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Takes the ordinary route.
    Untouched,
    /// Reaches the workload.
    Allowed,
    Backend,
    Answer(u16),
    Redirect(u16, String),
    Denied,
    /// 500: the filter cannot tell at which listener the request arrived.
    UnknownListener,
}

/// One edit of a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    Set(String, String),
    Add(String, String),
    Remove(String),
}

impl From<&Edit> for Change {
    fn from(edit: &Edit) -> Change {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        match edit {
            Edit::Set(name, value) => Change::Set(name.to_string(), text(value)),
            Edit::Add(name, value) => Change::Add(name.to_string(), text(value)),
            Edit::Remove(name) => Change::Remove(name.to_string()),
        }
    }
}

/// The number of requests for each outcome.
pub type Outcomes = BTreeMap<Outcome, u64>;

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Returns the sum of the weights, divided by their greatest common divisor.
pub fn reduced_total(rule: &wire::Rule) -> u64 {
    let weights = rule.backends.iter().map(|backend| backend.weight);
    let total: u64 = weights.clone().sum();
    total / weights.fold(0, gcd).max(1)
}

/// Sends as many requests as the reduced total of the rule, so that the counts are exact.
pub fn outcomes(request: &Request, config: &wire::Config) -> Outcomes {
    let plugin = Plugin::parse(request.proxy.plugin("weir", SOCKET).as_bytes()).expect("a plugin");
    let mut live = Live::new(1, plugin.until_configured);
    live.install(Table::compile(config, &plugin.site).expect("a configuration that compiles"));
    let mut outcomes = Outcomes::new();
    let mut requests = 0;
    let mut total = 1;
    while requests < total {
        let (outcome, rule) = ask(&mut live, &request.question);
        if let Some(rule) = rule {
            total = reduced_total(&config.rules[&rule]).max(1);
        }
        *outcomes.entry(outcome).or_default() += 1;
        requests += 1;
    }
    outcomes
}

/// Decides one request. Returns the outcome and the identity of the rule.
fn ask(live: &mut Live, question: &Question) -> (Outcome, Option<String>) {
    let is_inbound = matches!(question, Question::Inbound(..) | Question::InboundTcp(..));
    let decided = match question {
        Question::Http(http) => live.decide(
            http.host.as_bytes(),
            || Some(SOCKET),
            |name| value(http, name),
        ),
        Question::Tcp(_) => live.connect(None),
        Question::Inbound(peer, http) => {
            let read = |name: &str| value(http, name);
            live.admit(|| peer.clone(), http.host.as_bytes(), read)
        }
        Question::InboundTcp(peer, port) => live.admit_connection(peer.as_deref(), *port),
    };
    let rule = decided.rule.map(str::to_owned);
    let action = match decided.decision {
        Decision::Ordinary if is_inbound => Action::Allowed,
        Decision::Ordinary => Action::Untouched,
        Decision::Cluster(_) => Action::Backend,
        Decision::Answer(status) => Action::Answer(status),
        Decision::Redirect(status, location) => Action::Redirect(status, location),
        Decision::Denied(_) => Action::Denied,
        Decision::UnknownListener(_) => Action::UnknownListener,
    };
    let response = decided.response.iter().flat_map(|edits| edits.iter());
    let mut outcome = Outcome {
        backend: None,
        action,
        request: decided.request.iter().map(Change::from).collect(),
        response: response.map(Change::from).collect(),
    };
    live.take_picks(|_, backend, _| outcome.backend = Some(backend.to_owned()));
    (outcome, rule)
}

/// Returns the value of a header. Joins lines with equal names with commas, as a proxy does.
fn value(http: &Http, name: &str) -> Option<Vec<u8>> {
    let one = |text: &str| Some(text.as_bytes().to_vec());
    match name {
        ":authority" => one(&http.host),
        ":path" => one(&http.path),
        ":method" => one(&http.method),
        ":scheme" => one("http"),
        _ => {
            let lines = http.headers.iter();
            let lines = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let values: Vec<_> = lines.map(|(_, value)| value.as_str()).collect();
            (!values.is_empty()).then(|| values.join(",").into_bytes())
        }
    }
}

/// Returns the outcomes as text: `web-v1.default:80 9 {x-a: b}, web-v2.default:80 1`. If all outcomes have the same
/// edits, the edits come once, after `each`.
pub fn render(outcomes: &Outcomes) -> String {
    let mut common = None;
    if outcomes.len() > 1 {
        let mut extras = outcomes.keys().map(extra);
        let first = extras.next().unwrap_or_default();
        if !first.is_empty() && extras.all(|other| other == first) {
            common = Some(first);
        }
    }
    let mut shares: Vec<_> = outcomes
        .iter()
        .map(|(outcome, count)| {
            let extra = match common {
                Some(_) => String::new(),
                None => extra(outcome),
            };
            match (&outcome.backend, &outcome.action) {
                (Some(backend), Action::Redirect(status, location)) => {
                    format!("{backend} {count} ({status} {location}){extra}")
                }
                (Some(backend), Action::Denied) => format!("{backend} {count} (denied){extra}"),
                (Some(backend), _) => format!("{backend} {count}{extra}"),
                (None, Action::Untouched) => format!("untouched{extra}"),
                (None, Action::Allowed) => "allowed".into(),
                (None, Action::Backend) => unreachable!("a cluster without a pick"),
                (None, Action::Answer(status)) => format!("{status}{extra}"),
                (None, Action::Redirect(status, location)) => format!("{status} {location}{extra}"),
                (None, Action::Denied) => format!("denied{extra}"),
                (_, Action::UnknownListener) => "500 listener unknown".into(),
            }
        })
        .collect();
    shares.extend(common.map(|extra| format!("each{extra}")));
    shares.join(", ")
}

/// Returns the edits of an outcome: ` {x-a: b} answers {x-f: g}`. `answers` comes before the edits of the response.
/// Returns an empty text if there are no edits.
fn extra(outcome: &Outcome) -> String {
    let mut text = String::new();
    if !outcome.request.is_empty() {
        text = format!(" {}", changes(&outcome.request));
    }
    if !outcome.response.is_empty() {
        text = format!("{text} answers {}", changes(&outcome.response));
    }
    text
}

/// Returns edits as text. `{x-a: b, +x-c: d, -x-e}` sets `x-a` to `b`, adds the value `d` to `x-c`, and removes `x-e`.
pub fn changes(changes: &[Change]) -> String {
    let changes = changes.iter().map(|change| match change {
        Change::Set(name, value) => format!("{name}: {value}"),
        Change::Add(name, value) => format!("+{name}: {value}"),
        Change::Remove(name) => format!("-{name}"),
    });
    format!("{{{}}}", changes.collect::<Vec<_>>().join(", "))
}
