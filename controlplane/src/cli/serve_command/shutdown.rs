//! The end of the process: receives signals, and tells the other tasks that the process ends.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir::publish::Current;
use weir_core::manifest::problem::messages::start as messages;

/// Time until Kubernetes has removed a replica that is not ready from the endpoints of its Service, with a margin.
const LEAVING: Duration = Duration::from_secs(5);
/// Time for the last answers and status writes after `ending` is cancelled.
const LAST_ANSWERS: Duration = Duration::from_millis(800);

/// SIGTERM first makes this replica not ready (`leaving`), and ends the process later (`ending`). SIGINT ends the
/// process at once.
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

    /// Waits for a signal, and then for `last_tasks`. `is_replica` is true if clients find this process through a
    /// Service, which contains only ready replicas. Returns Err if the source of objects has stopped: then the sender
    /// of `current` is gone.
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
