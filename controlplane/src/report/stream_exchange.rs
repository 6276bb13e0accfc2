//! Reads the streams and pollers of the other replicas, from their answers to `GET /v1/streams`.
//!
//! A proxy's polls and its stream may reach different replicas. So each replica holds one request at each other replica,
//! which answers when its streams change.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::peers::Peers;
use crate::http1_client::Connection;
use crate::xds::stream_table::{StreamReport, StreamTable};

/// Time between two reads of the addresses of the replicas.
const READ_ADDRESSES: Duration = Duration::from_secs(1);
/// Time for which a replica may hold a request. A short time shows early that the replica is gone.
const WAIT: Duration = Duration::from_secs(2);
/// Time limit of a request.
const ANSWER: Duration = Duration::from_secs(4);
/// Time after a failure until the next request.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct StreamExchange {
    pub streams: Arc<StreamTable>,
    pub peers: Peers,
    /// The name of this replica.
    pub replica: String,
}

/// The task that reads from one address.
struct PeerReader {
    task: AbortHandle,
    does_answer: Arc<AtomicBool>,
}

impl StreamExchange {
    /// Reads from all replicas until the future is dropped.
    pub async fn follow(self) {
        // The set ends its tasks when it is dropped.
        let mut tasks = JoinSet::new();
        let mut readers: HashMap<SocketAddr, PeerReader> = HashMap::new();
        let mut logged = String::new();
        loop {
            let addresses = self.peers.addresses().await;
            // Without the addresses, there may be a replica that has no reader.
            let are_known = addresses.is_ok();
            match addresses {
                Ok(addresses) => {
                    let addresses: BTreeSet<SocketAddr> = addresses.into_iter().collect();
                    self.update_readers(&mut readers, &addresses, &mut tasks);
                    logged.clear();
                }
                Err(failure) => {
                    if failure != logged {
                        tracing::warn!("the streams of other replicas cannot be read: {failure}");
                    }
                    logged = failure;
                }
            }
            let mut readers = readers.values();
            let does_answer = |reader: &PeerReader| reader.does_answer.load(Ordering::Relaxed);
            self.streams
                .set_complete(are_known && readers.all(does_answer));
            sleep(READ_ADDRESSES).await;
        }
    }

    fn update_readers(
        &self,
        readers: &mut HashMap<SocketAddr, PeerReader>,
        addresses: &BTreeSet<SocketAddr>,
        tasks: &mut JoinSet<()>,
    ) {
        readers.retain(|address, reader| {
            let is_listed = addresses.contains(address);
            if !is_listed {
                reader.task.abort();
            }
            is_listed
        });
        for address in addresses {
            readers.entry(*address).or_insert_with(|| {
                let does_answer = Arc::<AtomicBool>::default();
                let reading = self.clone().read(*address, does_answer.clone());
                let task = tasks.spawn(reading);
                PeerReader { task, does_answer }
            });
        }
        while tasks.try_join_next().is_some() {}
    }

    /// Reads from one address. Returns only if it is the address of this replica.
    async fn read(self, address: SocketAddr, does_answer: Arc<AtomicBool>) {
        let mut remote = ReadState {
            streams: self.streams.clone(),
            name: String::new(),
            since: 0,
            began: 0,
        };
        loop {
            let failure = match self
                .read_connection(address, &mut remote, &does_answer)
                .await
            {
                Ok(()) => return,
                Err(failure) => failure,
            };
            if does_answer.swap(false, Ordering::Relaxed) {
                tracing::warn!("the streams of replica {address} cannot be read: {failure}");
            }
            self.streams.lose_remote(&remote.name);
            sleep(PAUSE).await;
        }
    }

    /// Reads until the connection fails. Returns Ok if it is a connection to this replica.
    async fn read_connection(
        &self,
        address: SocketAddr,
        remote: &mut ReadState,
        does_answer: &AtomicBool,
    ) -> io::Result<()> {
        let mut connection = timeout(ANSWER, self.peers.connect(address)).await??;
        // The first answer comes at once, so that the name of the replica is known.
        let mut wait = None;
        loop {
            let report = self.next(&mut connection, remote, wait).await?;
            does_answer.store(true, Ordering::Relaxed);
            if report.replica == self.replica {
                return Ok(());
            }
            if report.replica != remote.name {
                self.streams.lose_remote(&remote.name);
            }
            remote.name.clone_from(&report.replica);
            remote.since = report.until;
            remote.began = report.began;
            wait = Some(WAIT);
            self.streams.replace_remote(report);
        }
    }

    async fn next(
        &self,
        connection: &mut Connection,
        remote: &ReadState,
        wait: Option<Duration>,
    ) -> io::Result<StreamReport> {
        let ReadState {
            name, since, began, ..
        } = remote;
        let path = format!("/v1/streams?replica={name}&since={since}&began={began}");
        timeout(ANSWER, self.peers.get(connection, &path, wait)).await?
    }
}

/// The replica at an address. When its task ends, its streams count only for some seconds.
struct ReadState {
    streams: Arc<StreamTable>,
    /// Empty before the first answer.
    name: String,
    /// The count up to which this replica has read the changes.
    since: u64,
    /// The newest count of the replica when this replica began from the beginning.
    began: u64,
}

impl Drop for ReadState {
    fn drop(&mut self) {
        self.streams.lose_remote(&self.name);
    }
}

#[cfg(test)]
mod tests;
