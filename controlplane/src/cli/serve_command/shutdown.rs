//! The end of the process: signals, and what waits for them.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir::publish::Current;
use weir_core::manifest::problem::messages::start as messages;

/// Time until the endpoints of a Service no longer contain a replica that is not ready, with a margin.
const LEAVING: Duration = Duration::from_secs(5);
/// Time for the last answers and status writes after the end has begun.
const LAST_ANSWERS: Duration = Duration::from_millis(800);

/// SIGTERM first makes this replica not ready (`leaving`), and ends it later (`ending`). SIGINT ends it at once.
pub struct Shutdown {
    pub leaving: CancellationToken,
    pub ending: CancellationToken,
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    pub fn listen() -> io::Result<Shutdown> {
        Ok(Shutdown {
            leaving: CancellationToken::new(),
            ending: CancellationToken::new(),
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when every answer has ended. `is_replica` is true if clients find this process by its readiness. Returns
    /// Err if the source of objects has stopped, because then the sender of `current` is gone.
    pub async fn wait(
        mut self,
        mut current: watch::Receiver<Current>,
        is_replica: bool,
        last_tasks: impl Future,
    ) -> io::Result<()> {
        let source_stopped = async { while current.changed().await.is_ok() {} };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => self.ending.cancel(),
            () = source_stopped => {
                return Err(io::Error::other(messages::watcher_stopped().to_string()));
            }
        }
        tracing::info!("ending");
        self.leaving.cancel();
        if is_replica && !self.ending.is_cancelled() {
            // Until this time the endpoints of the Service may still send clients to this replica.
            tokio::select! {
                () = tokio::time::sleep(LEAVING) => {}
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
        self.ending.cancel();
        let _ = tokio::time::timeout(LAST_ANSWERS, last_tasks).await;
        Ok(())
    }
}
