//! The client of `scripts/demo`. It sends a constant load to the bookstore through a proxy, and edits the bookstore's
//! split four times. It prints a table each second, and a verdict at the end.
//!
//! load --samples--> tally --> table      split_file: edits the split like a user

mod load;
mod split_file;
mod table;
mod tally;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::outbound::{Call, Caller};
use load::Load;
use table::Screen;
use tally::{Tally, Window};

/// The two versions, in the order of the weights.
const BACKENDS: [&str; 2] = ["bookstore-v1", "bookstore-v2"];

/// Weights of v1 and v2 after each edit.
const STEPS: [[u64; 2]; 4] = [[100, 0], [90, 10], [50, 50], [0, 100]];

/// The time from an edit until the shares are checked. An edit needs some milliseconds to get to every worker; the rest
/// is for busy machines.
const SETTLE: Duration = Duration::from_millis(500);

/// The time for the proxy and the control plane to start.
const START: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Settings {
    /// The manifest to edit, in the folder of `weir serve`
    #[arg(long)]
    split: PathBuf,
    /// Envoy's listener
    #[arg(long, default_value = "127.0.0.1:15001")]
    proxy: SocketAddr,
    /// Envoy's admin listener
    #[arg(long, default_value = "127.0.0.1:15000")]
    envoy: SocketAddr,
    /// Number of workers of Envoy; each worker picks backends in its own sequence
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// The Host of the requests
    #[arg(long, default_value = "bookstore.bookstore:14001")]
    host: String,
    /// Requests per second
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Seconds between two edits
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the demo. Returns a failure if a request failed, if a share was wrong, or if the proxy got no configuration.
pub async fn run(settings: Settings) -> ExitCode {
    if let Err(missing) = ready(&settings).await {
        eprintln!("weir-demo: {missing}");
        return ExitCode::FAILURE;
    }
    let mut load = Load::start(
        settings.proxy,
        &settings.host,
        settings.rate,
        settings.connections,
    );
    let mut tally = Tally::default();
    let mut screen = Screen::default();
    let mut verdicts = Vec::new();
    let mut last_edit = Instant::now();
    let started = last_edit;
    for weights in STEPS {
        if let Err(error) = split_file::write(&settings.split, weights) {
            eprintln!("weir-demo: {}: {error}", settings.split.display());
            return ExitCode::FAILURE;
        }
        last_edit = Instant::now();
        screen.edited(&settings.split, weights);
        for second in 1..=settings.seconds {
            let end = last_edit + Duration::from_secs(second.into());
            tokio::time::sleep_until(end.into()).await;
            load.drain(|sample| tally.add(sample));
            let second = Window::new(end - Duration::from_secs(1), end);
            let step = Window::new(last_edit, end);
            screen.show(end - started, weights, &tally, second, step);
        }
        // The window starts after [`SETTLE`], so it has no request that was routed with the old weights.
        let judged = Window::new(last_edit + SETTLE, Instant::now());
        verdicts.push(tally.judge(judged, weights, settings.slack()));
    }
    load.stop(|sample| tally.add(sample)).await;

    println!("\n{}", table::summary(&verdicts, &tally));
    match tally.last_to(0) {
        Some(sent) if sent > last_edit => println!(
            "The last request to {} was sent {:.1} ms after the last edit.",
            BACKENDS[0],
            (sent - last_edit).as_secs_f64() * 1000.0
        ),
        _ => println!("No request went to {} after the last edit.", BACKENDS[0]),
    }
    if tally.failed() == 0 && verdicts.iter().all(|verdict| verdict.holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Settings {
    /// Returns the tolerance for the number of requests of a backend in any window. Each worker adds two: less than one
    /// at the start of the window, and less than one at its end. Each connection adds one, because the window may or
    /// may not include its open request.
    fn slack(&self) -> u64 {
        2 * self.workers + u64::from(self.connections)
    }
}

/// Waits until a bookstore answers and the filter has a configuration.
async fn ready(settings: &Settings) -> Result<(), String> {
    let deadline = Instant::now() + START;
    let proxy = Caller::new(Some(settings.proxy));
    let admin = Caller::new(Some(settings.envoy));
    loop {
        let missing = if !configured(&admin).await {
            "the filter in Envoy has no configuration from `weir serve`"
        } else if !answers(&proxy, &settings.host).await {
            "no bookstore answers through Envoy"
        } else {
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(format!("{missing} after {START:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn configured(admin: &Caller) -> bool {
    let path = "/stats?filter=weir_configured";
    let answer = admin.call(Call::get("envoy", path, "watch")).await;
    answer.is_ok_and(|answer| {
        let body = answer.body.trim_ascii_end();
        // The name of the gauge ends with the label of its scope.
        body.starts_with(b"wasmcustom.weir_configured.") && body.ends_with(b": 1")
    })
}

async fn answers(proxy: &Caller, host: &str) -> bool {
    let answer = proxy.call(Call::get(host, "/books-bought", "watch")).await;
    answer.is_ok_and(|answer| answer.status.is_success() && answer.identity().is_some())
}
