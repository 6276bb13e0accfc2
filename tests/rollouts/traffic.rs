//! Load on podinfo with the time of each answer, and the weights that Argo Rollouts writes, with their times.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::installed::Installed;
use super::release::Place;

/// Requests of many clients, one after the other, each with a hundred requests in one second on one connection.
#[derive(Clone)]
pub struct Load(Vec<String>);

/// An answer of podinfo: its version and its status, such as `v1 200`.
pub struct Answer {
    pub at: Instant,
    pub client: usize,
    pub text: String,
}

impl Load {
    pub fn plain() -> Load {
        Load::with(&[])
    }

    /// `args` are more arguments for curl.
    pub fn with(args: &[&str]) -> Load {
        Load(args.iter().map(|it| (*it).to_owned()).collect())
    }

    /// Sends requests until `is_over`.
    pub fn run(&self, weir: &Installed, place: &Place, is_over: &AtomicBool) -> Vec<Answer> {
        let host = format!("Host: podinfo.{}:9898", place.namespace);
        let mut answers = Vec::new();
        for client in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let mut curl = weir
                .cluster
                .command_in(place.namespace, &place.pod, "envoy", "curl");
            curl.args([
                "-sN",
                "--rate",
                "100/s",
                "-w",
                " %{http_code}\\n",
                "-H",
                &host,
            ]);
            curl.args(&self.0).arg("http://127.0.0.1:15001/?[1-100]");
            let mut curl = curl.stdout(Stdio::piped()).spawn().expect("curl");
            let lines = BufReader::new(curl.stdout.take().expect("a pipe")).lines();
            answers.extend(lines.map_while(Result::ok).map(|text| Answer {
                at: Instant::now(),
                client,
                text,
            }));
            curl.wait().expect("curl ends");
        }
        answers
    }
}

/// What Argo Rollouts has written: the weight of the canary, and the names of the rules that it has added to a route.
#[derive(Clone, Debug)]
pub struct WeightState {
    pub at: Instant,
    /// In percent, 0 to 100.
    pub weight: u64,
    rules: String,
}

impl WeightState {
    pub fn has_rule(&self, name: &str) -> bool {
        self.rules.split_whitespace().any(|it| it == name)
    }
}

/// Watches the split or the route of a place.
pub struct WeightWatch {
    kubectl: Child,
    states: JoinHandle<Vec<WeightState>>,
}

impl WeightWatch {
    pub fn start(weir: &Installed, place: &Place) -> WeightWatch {
        let path = match place.kind {
            "trafficsplit" => "{.spec.backends[?(@.service==\"podinfo-canary\")].weight}",
            _ => {
                "{.spec.rules[0].backendRefs[?(@.name==\"podinfo-canary\")].weight} {.spec.rules[*].name}"
            }
        };
        let path = format!("jsonpath={path}{{\"\\n\"}}");
        let mut kubectl: Command = weir.cluster.kubectl().command();
        let mut kubectl = kubectl
            .args([
                "get",
                place.kind,
                "podinfo",
                "-n",
                place.namespace,
                "-w",
                "-o",
                &path,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let lines = BufReader::new(kubectl.stdout.take().expect("a pipe")).lines();
        let states = std::thread::spawn(move || {
            let mut states: Vec<WeightState> = Vec::new();
            for line in lines.map_while(Result::ok) {
                let (weight, rules) = line.split_once(' ').unwrap_or((&line, ""));
                let state = WeightState {
                    at: Instant::now(),
                    weight: weight
                        .parse()
                        .unwrap_or_else(|_| panic!("the weight in {line:?}")),
                    rules: rules.to_owned(),
                };
                let last = states.last().map(|last| (last.weight, &last.rules));
                if last != Some((state.weight, &state.rules)) {
                    states.push(state);
                }
            }
            states
        });
        WeightWatch { kubectl, states }
    }

    pub fn stop(mut self) -> Vec<WeightState> {
        self.kubectl.kill().expect("kubectl ends");
        self.kubectl.wait().expect("kubectl ends");
        self.states.join().expect("the states")
    }
}
