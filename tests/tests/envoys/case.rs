//! One case: a file with a comment and changes of `base.yaml`. The comment describes the configuration. It has the
//! requests with their answers, the findings of `weir check --envoy`, and its exit code:
//!
//! ```text
//! # A sentence about the configuration.
//! #
//! # requests:
//! #   GET shop.example.com/ (x-team: red) 10 times: 5 v1, 5 v2 with x-weir-cluster
//! # findings:
//! #   envoy, listener edge: Reason: cause: effect; remedy
//! # exit code: 1
//! ```
//!
//! An answer is the name of a backend, or a status if no backend answered with 200. `with x-weir-cluster` means that
//! the backend has received this header. If the numbers are random, the answers are `some v1, some v2`. A request goes
//! to the listener `edge`. A request for `other!shop.example.com` goes to the listener `other`, and a request for
//! `admin!...` goes to the admin interface.

use serde_json::Value;

use super::change::Change;

/// Longest line of a comment.
const WIDTH: usize = 120;

#[derive(Debug)]
pub struct Case {
    pub about: Vec<String>,
    pub requests: Vec<Sent>,
    pub findings: Vec<String>,
    pub exit_code: i32,
    pub changes: Vec<Change>,
    /// The lines below the comment.
    body: String,
}

/// Equal requests, and their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub host: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub times: usize,
    /// `5 v1, 5 v2`, or one answer without its number.
    pub answers: String,
}

impl Case {
    pub fn read(text: &str) -> Case {
        let comment: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#'))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        let body: Vec<&str> = text.lines().skip(comment.len()).collect();
        let mut case = Case {
            about: Vec::new(),
            requests: Vec::new(),
            findings: Vec::new(),
            exit_code: 0,
            changes: changes(&body.join("\n")),
            body: body.join("\n"),
        };
        let mut section = "";
        for line in comment {
            match line {
                "requests:" | "findings:" => section = line,
                line if line.starts_with("exit code: ") => {
                    case.exit_code = line["exit code: ".len()..].parse().expect("an exit code");
                }
                line if section == "requests:" => case.requests.push(Sent::read(line.trim())),
                line if section == "findings:" => match line.strip_prefix("    ") {
                    Some(more) => {
                        let last = case.findings.last_mut().expect("a finding");
                        *last = format!("{last} {more}");
                    }
                    None => case.findings.push(line.trim().to_owned()),
                },
                line => case.about.push(line.to_owned()),
            }
        }
        case
    }

    /// Returns the text of the file.
    pub fn text(&self) -> String {
        let mut lines = self.about.clone();
        lines.push("requests:".into());
        lines.extend(self.requests.iter().map(|it| format!("  {}", it.text())));
        if !self.findings.is_empty() {
            lines.push("findings:".into());
            lines.extend(self.findings.iter().flat_map(|it| wrapped(it)));
        }
        lines.push(format!("exit code: {}", self.exit_code));
        let comment = lines.iter().map(|line| format!("# {line}"));
        let comment: Vec<String> = comment.map(|line| line.trim_end().to_owned()).collect();
        format!("{}\n{}\n", comment.join("\n"), self.body)
    }
}

fn changes(body: &str) -> Vec<Change> {
    if body.trim().is_empty() {
        return Vec::new();
    }
    let changes: Value = serde_saphyr::from_str(body).expect("YAML");
    serde_json::from_value(changes).expect("changes")
}

/// Returns the lines of a finding in a comment. The lines after the first are indented further.
fn wrapped(finding: &str) -> Vec<String> {
    let mut lines = vec![String::from(" ")];
    for word in finding.split(' ') {
        let last = lines.last_mut().expect("a line");
        if last.len() + word.len() + 3 > WIDTH && last.trim() != "" {
            lines.push(format!("    {word}"));
        } else {
            *last = format!("{last} {word}");
        }
    }
    lines
}

impl Sent {
    fn read(line: &str) -> Sent {
        let (request, answers) = line.rsplit_once(": ").expect("`REQUEST: ANSWERS`");
        let (request, times) = match request.strip_suffix(" times") {
            Some(request) => {
                let (request, times) = request.rsplit_once(' ').expect("a number");
                (request, times.parse().expect("a number"))
            }
            None => (request, 1),
        };
        let (request, headers) = match request.split_once(" (") {
            Some((request, headers)) => (request, headers.trim_end_matches(')')),
            None => (request, ""),
        };
        let headers = headers.split(", ").filter_map(|it| it.split_once(": "));
        let (method, url) = request.split_once(' ').expect("a method");
        let (host, path) = url.split_once('/').expect("a path");
        Sent {
            method: method.into(),
            host: host.into(),
            path: format!("/{path}"),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            times,
            answers: answers.into(),
        }
    }

    /// Returns the name of the listener.
    pub fn listener(&self) -> String {
        let listener = self.host.split_once('!').map(|(listener, _)| listener);
        listener.unwrap_or("edge").to_owned()
    }

    pub fn authority(&self) -> &str {
        let authority = self.host.split_once('!').map(|(_, authority)| authority);
        authority.unwrap_or(&self.host)
    }

    pub fn text(&self) -> String {
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let headers = match headers.is_empty() {
            true => String::new(),
            false => format!(" ({})", headers.join(", ")),
        };
        let times = match self.times {
            1 => String::new(),
            times => format!(" {times} times"),
        };
        let (method, host, path) = (&self.method, &self.host, &self.path);
        format!("{method} {host}{path}{headers}{times}: {}", self.answers)
    }
}
