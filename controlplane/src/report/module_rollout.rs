//! Rolls out the module of this process to the proxies of all replicas, in waves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use weir_core::metrics::Metrics;
use weir_core::rollout::{Rollout, Wave};

use super::WritePermit;
use super::all_proxies::AllProxies;
use crate::xds::module_file::ModuleReceiver;

/// Time between two decisions.
const STEP: Duration = Duration::from_secs(1);

/// Decides about the rollout while this process may write.
pub struct ModuleRollout {
    pub module: ModuleReceiver,
    pub proxies: Arc<AllProxies>,
    /// The rollout in force. A replica without the Lease reads it from the Lease.
    pub state: watch::Sender<Rollout>,
    pub metrics: Arc<Metrics>,
}

impl ModuleRollout {
    /// Decides for ever, in a process without a Lease.
    pub async fn run_alone(self) {
        let permit = WritePermit {
            term: None,
            identity: String::new(),
        };
        self.run(permit).await;
    }

    pub(super) async fn run(self, permit: WritePermit) {
        let start = Instant::now();
        let mut wave = Wave::default();
        loop {
            let now = Instant::now();
            let reports = self.proxies.module_reports(now);
            let module = self.module.borrow().clone();
            match (module, &reports) {
                (Some(module), Some(reports)) if permit.may_write(now) => {
                    let before = self.state.borrow().clone();
                    if self.proxies.has_silent_replica(now) {
                        wave.begin_pause(now - start);
                    }
                    let next = wave.step(&before, &module.hash, reports, now - start);
                    if next != before {
                        log(&before, &next);
                        self.state.send_replace(next);
                    }
                }
                // Another replica may decide now.
                _ => wave = Wave::default(),
            }
            let is_stopped = self.state.borrow().stopped.is_some();
            self.metrics
                .filter_rollout_stopped
                .set(i64::from(is_stopped));
            sleep(STEP).await;
        }
    }
}

fn log(before: &Rollout, next: &Rollout) {
    let (module, share) = (&next.target, next.share.to_string());
    match &next.stopped {
        Some(reason) if before.stopped.is_none() => tracing::error!(
            %module,
            share,
            "the rollout of the filter has stopped: {reason}; proxies without the new filter keep their filter; to go \
             back, start the previous release of Weir; to continue, remove the annotation weir.dev/filter-stopped from \
             the Lease, or restart weir serve if it has no Lease"
        ),
        Some(_) => {}
        None => {
            tracing::info!(%module, share, "the filter is rolled out to this percentage of the proxies")
        }
    }
}
