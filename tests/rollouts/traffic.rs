//! Load on podinfo with the time of each answer, and the weights that Argo Rollouts writes, with their times.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Instant;

use super::installed::Installed;
use super::podinfo::{self, Answer};
use super::release::Place;

/// Many clients, one after the other. Each client sends a hundred requests in one second on one connection.
#[derive(Clone)]
pub struct Load(Vec<String>);

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
        let args: Vec<&str> = self.0.iter().map(String::as_str).collect();
        podinfo::load(weir, place.namespace, &place.pod, &args, is_over)
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
