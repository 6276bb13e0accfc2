//! Waits for a signal to end the process, and informs the other tasks.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir::publish::Current;
use weir_core::manifest::problem::messages::start as messages;

/// Time from `leaving` to `ending`. During this time Kubernetes removes the replica from the endpoints of its Service.
const LEAVING: Duration = Duration::from_secs(5);
/// Time limit for the last answers and the last status writes.
const LAST_ANSWERS: Duration = Duration::from_millis(800);

/// Two tokens inform the other tasks. In a cluster, SIGTERM cancels `leaving`, and a few seconds later `ending`. In all
/// other cases a signal cancels both tokens at once.
pub struct Shutdown {
    /// After this token is cancelled, the replica is no longer ready.
    pub leaving: CancellationToken,
    /// After this token is cancelled, the servers stop.
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

    /// Waits for a signal, and then for `last_tasks`. Returns Err if the source of objects stops: its task drops the
    /// sender of `current`. `is_replica` is true if clients reach this process through a Service of Kubernetes.
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
            // The Service may still send clients to this replica for a few seconds. A second signal ends this wait.
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
