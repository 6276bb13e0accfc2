//! A constant load: a fixed rate over a fixed number of connections, with one sample for each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use super::BACKENDS;
use crate::outbound::{Call, Caller};

/// A request and its result.
pub struct Sample {
    pub sent: Instant,
    pub took: Duration,
    /// Index into [`BACKENDS`]; None if no bookstore answered.
    pub backend: Option<usize>,
    /// The reason of a failure. Every result except status 2xx from a bookstore is a failure.
    pub failure: Option<String>,
}

pub struct Load {
    samples: UnboundedReceiver<Sample>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub fn start(proxy: SocketAddr, host: &str, rate: u32, connections: u32) -> Load {
        let (sender, samples) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let period = Duration::from_secs(1) * connections / rate;
        for nth in 0..connections {
            tokio::spawn(send(
                Caller::new(Some(proxy)),
                host.to_owned(),
                period * nth / connections,
                period,
                sender.clone(),
                stop.clone(),
            ));
        }
        Load { samples, stop }
    }

    /// Passes on the samples since the last call.
    pub fn drain(&mut self, mut each: impl FnMut(Sample)) {
        while let Ok(sample) = self.samples.try_recv() {
            each(sample);
        }
    }

    /// Stops sending and waits for open requests.
    pub async fn stop(mut self, mut each: impl FnMut(Sample)) {
        self.stop.store(true, Relaxed);
        while let Some(sample) = self.samples.recv().await {
            each(sample);
        }
    }
}

/// One connection. Like the bookbuyer, it alternates between looking and buying.
async fn send(
    caller: Caller,
    host: String,
    delay: Duration,
    period: Duration,
    samples: UnboundedSender<Sample>,
    stop: Arc<AtomicBool>,
) {
    tokio::time::sleep(delay).await;
    let mut pace = tokio::time::interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for path in ["/books-bought", "/buy-a-book/new"].into_iter().cycle() {
        pace.tick().await;
        if stop.load(Relaxed) {
            return;
        }
        let sent = Instant::now();
        let answer = caller.call(Call::get(&host, path, "bookbuyer")).await;
        let took = sent.elapsed();
        let (backend, failure) = match answer {
            Err(error) => (None, Some(error.to_string())),
            Ok(answer) => {
                let identity = answer.identity();
                let backend = BACKENDS.iter().position(|name| identity == Some(name));
                let failure = if !answer.status.is_success() {
                    Some(answer.status.to_string())
                } else if backend.is_none() {
                    Some("the answer is not from a known bookstore".to_owned())
                } else {
                    None
                };
                (backend, failure)
            }
        };
        let sample = Sample {
            sent,
            took,
            backend,
            failure,
        };
        if samples.send(sample).is_err() {
            return;
        }
    }
}
