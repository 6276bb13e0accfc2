//! `hotpath SECONDS NAME=MODULE...` measures, for each module, the CPU time that Envoy's only worker needs for a
//! request. The host of the requests has only weights. `scripts/bench` runs this program.
//!
//! All modules run in one Envoy, and each round sends the same number of requests to each module. Other load on the
//! machine affects all modules alike, so the difference within a round counts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use weir_tests::fault::{Web, document};
use weir_tests::{Bootstrap, Connection, Envoy};

/// Requests for a module in one round, on each of the connections.
const REQUESTS: u32 = 50;
const CONNECTIONS: usize = 8;

struct Module {
    name: String,
    connections: Vec<Connection>,
    /// Microseconds of CPU time for a request, by round.
    measured: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let seconds = Duration::from_secs(seconds.expect("usage: hotpath SECONDS NAME=MODULE..."));
    let named: Vec<(String, PathBuf)> = arguments
        .map(|argument| {
            let (name, path) = argument.split_once('=').expect("NAME=MODULE");
            let path = PathBuf::from(path).canonicalize().expect("a module");
            (name.to_owned(), path)
        })
        .collect();

    let web = Web::start().await;
    let plugin = json!({ "namespace": "default", "initial": document([1, 1]) }).to_string();
    let mut bootstrap: Bootstrap = web.bootstrap(web.v1.address);
    for (name, path) in &named {
        bootstrap = bootstrap.listener(name, &plugin, None).module_of(path);
    }
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let worker = Worker::of(envoy.process.id());
    let mut modules = Vec::new();
    for (name, _) in named {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(envoy.listener(&name)).await);
        }
        modules.push(Module {
            name,
            connections,
            measured: Vec::new(),
        });
    }

    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < seconds {
        let count = modules.len();
        for turn in 0..count {
            // The order changes, so that a module is not always first or always after the same module.
            let index = if round % 2 == 0 {
                turn
            } else {
                count - 1 - turn
            };
            let module = &mut modules[(index + round / 2) % count];
            let before = worker.nanoseconds();
            let mut running = JoinSet::new();
            for mut connection in module.connections.drain(..) {
                running.spawn(async move {
                    for _ in 0..REQUESTS {
                        let answer = connection.get("web", "/").await;
                        assert_eq!(answer.status, 200);
                    }
                    connection
                });
            }
            module.connections = running.join_all().await;
            let requests = f64::from(REQUESTS) * CONNECTIONS as f64;
            let spent = (worker.nanoseconds() - before) as f64 / 1000.0;
            // The first rounds are a warm-up.
            if round >= 4 {
                module.measured.push(spent / requests);
            }
        }
        round += 1;
    }
    envoy.assert_no_traps().await;
    report(&modules);
}

fn report(modules: &[Module]) {
    let base = &modules[0];
    let rounds = base.measured.len();
    println!(
        "{rounds} rounds of {} requests to each:",
        REQUESTS as usize * CONNECTIONS
    );
    println!("  module          us/request   difference (quartiles)   of the request");
    let whole = quartiles(base.measured.clone())[1];
    for module in modules {
        let pairs = module.measured.iter().zip(&base.measured);
        let [low, middle, high] = quartiles(pairs.map(|(this, base)| this - base).collect());
        println!(
            "  {:<15} {:>10.1}   {middle:>+10.2} ({low:+.2} to {high:+.2})   {:>+6.2} % +- {:.2}",
            module.name,
            quartiles(module.measured.clone())[1],
            middle / whole * 100.0,
            // The standard error of a median for normally distributed differences: 1.2533 sigma / sqrt(n), sigma = IQR
            // / 1.349.
            1.2533 * (high - low) / 1.349 / (rounds as f64).sqrt() / whole * 100.0,
        );
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The thread of a process that serves all its requests.
struct Worker(PathBuf);

impl Worker {
    fn of(process: u32) -> Worker {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("/proc");
        let mut paths = tasks.map(|task| task.expect("a thread").path());
        let is_worker = |path: &PathBuf| {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            name.trim() == "wrk:worker_0"
        };
        Worker(paths.find(is_worker).expect("Envoy's worker"))
    }

    /// CPU time so far.
    fn nanoseconds(&self) -> u64 {
        let text = std::fs::read_to_string(self.0.join("schedstat")).expect("schedstat");
        let first = text.split_whitespace().next();
        first.and_then(|text| text.parse().ok()).expect("a number")
    }
}
