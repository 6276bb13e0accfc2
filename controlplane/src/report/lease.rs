//! The Lease (coordination.k8s.io/v1) that decides which replica writes status and Events. Polls of proxies do not
//! depend on the Lease: every replica serves polls.
//!
//! As in client-go, a replica trusts only its own clock. If a replica sees no change of the Lease for
//! `leaseDurationSeconds`, the Lease has expired. A holder that cannot renew the Lease stops its writes before the
//! Lease expires.
//!
//! The annotations of the Lease have the rollout of the filter's module. The holder writes it, and the other replicas
//! read it. An operator may change it too.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_core::rollout::Rollout;

/// The duration that the holder writes into the Lease.
const DURATION: Duration = Duration::from_secs(10);
/// The holder begins no write when this time has passed since its last renewal began. A write takes at most [`WRITE`].
const TERM: Duration = Duration::from_secs(8);
/// Time limit of one write.
pub const WRITE: Duration = Duration::from_secs(2);
/// Time between two renewals.
const RENEW: Duration = Duration::from_secs(3);
/// Time between two reads of the Lease by a replica that does not hold it. A holder also waits this time after a failed
/// renewal.
const LOOK: Duration = Duration::from_secs(1);
/// Time limit of a request for the Lease.
const ANSWER: Duration = Duration::from_secs(2);

/// A replica that tries to take the Lease, or that holds the Lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The newest record of another holder, and when this replica first saw the record.
    seen: Option<(Record, Instant)>,
    until: watch::Sender<Option<Instant>>,
    rollout: watch::Sender<Rollout>,
    /// What this replica has written last; None while it does not hold the Lease.
    written: Option<Rollout>,
    /// What this replica has tried to write since the last write with an answer. The API server may have stored it.
    attempted: Vec<Rollout>,
}

/// The fields of a Lease that show a renewal or a new holder.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    holder: String,
    renewed: Option<MicroTime>,
    duration: Duration,
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Renew,
    Take,
    Wait,
}

impl Candidate {
    /// `rollout` gets the rollout of the Lease. While this replica holds the Lease, it writes the rollout into the Lease.
    pub fn new(
        client: kube::Client,
        at: &super::Lease,
        identity: &str,
        rollout: watch::Sender<Rollout>,
    ) -> Candidate {
        Candidate {
            api: Api::namespaced(client, &at.namespace),
            name: at.name.clone(),
            identity: identity.to_owned(),
            seen: None,
            until: watch::Sender::default(),
            rollout,
            written: None,
            attempted: Vec::new(),
        }
    }

    /// Returns a receiver with the end of the term of this replica: no write may begin after this time. The value is
    /// None while this replica does not hold the Lease.
    pub fn term(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }

    /// Tries to take or renew the Lease until `ending` is cancelled. Then waits for `last_writes`, and gives up the
    /// Lease.
    pub async fn stand(mut self, ending: CancellationToken, last_writes: impl Future) {
        let mut rollout = self.rollout.subscribe();
        loop {
            rollout.mark_unchanged();
            let start = Instant::now();
            let is_held = timeout(ANSWER, self.step()).await;
            let until = *self.until.borrow();
            let until = match is_held {
                Ok(Ok(true)) => Some(start + TERM),
                Ok(Ok(false)) => None,
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.name,
                        "the Lease cannot be read or written: {error}"
                    );
                    until
                }
                Err(_) => {
                    tracing::warn!(
                        lease = self.name,
                        "the Lease cannot be read or written: no answer in time"
                    );
                    until
                }
            };
            self.set_term(until.filter(|until| *until > Instant::now()));
            let is_renewed = until == Some(start + TERM);
            let pause = if is_renewed { RENEW } else { LOOK };
            tokio::select! {
                () = sleep(pause) => {}
                // The other replicas read the Lease every second.
                Ok(()) = rollout.changed(), if is_renewed => {}
                () = ending.cancelled() => break,
            }
        }
        last_writes.await;
        let holds = self.until.borrow().is_some();
        self.set_term(None);
        if holds && !matches!(timeout(ANSWER, self.give_up()).await, Ok(Ok(()))) {
            tracing::warn!(lease = self.name, "the Lease could not be given up");
        }
    }

    fn set_term(&self, until: Option<Instant>) {
        let had = self.until.borrow().is_some();
        match (had, until.is_some()) {
            (false, true) => tracing::info!(lease = self.name, "this replica writes status now"),
            (true, false) => {
                tracing::info!(lease = self.name, "this replica no longer writes status")
            }
            _ => {}
        }
        self.until.send_replace(until);
    }

    /// Takes the Lease if it is free, or renews it if this replica holds it. Returns true if this replica holds the
    /// Lease now.
    async fn step(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            return self.create().await;
        };
        // The time is read after the answer, because the holder may have renewed the Lease during the request.
        let now = Instant::now();
        let spec = lease.spec.clone().unwrap_or_default();
        let step = self.next_step(&spec, now);
        self.read_rollout(&lease, step);
        match step {
            Step::Wait => Ok(false),
            Step::Renew => self.replace(lease, false).await,
            Step::Take => self.replace(lease, true).await,
        }
    }

    /// Reads the rollout from the Lease. A holder of the Lease does this only if another program has changed the
    /// annotations.
    fn read_rollout(&mut self, lease: &Lease, step: Step) {
        let annotations = lease.metadata.annotations.as_ref();
        let read = annotations.and_then(Rollout::from_annotations);
        let is_known =
            |it: &Rollout| self.written.as_ref() == Some(it) || self.attempted.contains(it);
        let is_own = step == Step::Renew && read.as_ref().is_some_and(is_known);
        if !is_own && let Some(read) = read {
            self.rollout.send_if_modified(|rollout| {
                let is_new = *rollout != read;
                *rollout = read;
                is_new
            });
        }
        if step == Step::Wait {
            self.written = None;
            self.attempted.clear();
        }
    }

    fn next_step(&mut self, spec: &LeaseSpec, now: Instant) -> Step {
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder == self.identity {
            return Step::Renew;
        }
        if holder.is_empty() {
            return Step::Take;
        }
        let seconds = spec.lease_duration_seconds.map(u64::try_from);
        let record = Record {
            holder,
            renewed: spec.renew_time.clone(),
            duration: match seconds {
                Some(Ok(seconds)) => Duration::from_secs(seconds),
                _ => DURATION,
            },
        };
        match &self.seen {
            Some((seen, since)) if *seen == record => {
                if now.duration_since(*since) > record.duration {
                    return Step::Take;
                }
            }
            _ => self.seen = Some((record, now)),
        }
        Step::Wait
    }

    async fn create(&self) -> Result<bool, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(LeaseSpec::default(), true)),
        };
        is_written(self.api.create(&PostParams::default(), &lease).await)
    }

    async fn replace(
        &mut self,
        mut lease: Lease,
        is_new_holder: bool,
    ) -> Result<bool, kube::Error> {
        let spec = lease.spec.take().unwrap_or_default();
        lease.spec = Some(self.spec(spec, is_new_holder));
        let rollout = self.rollout.borrow().clone();
        if !rollout.target.is_empty() {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            rollout.write_annotations(annotations);
            if !self.attempted.contains(&rollout) {
                self.attempted.push(rollout.clone());
            }
        }
        let params = PostParams::default();
        let is_written = is_written(self.api.replace(&self.name, &params, &lease).await)?;
        if is_written {
            self.written = Some(rollout);
            self.attempted.clear();
        }
        Ok(is_written)
    }

    fn spec(&self, before: LeaseSpec, is_new_holder: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let renewal = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(now.clone()),
            ..before
        };
        if !is_new_holder {
            return renewal;
        }
        let transitions = renewal.lease_transitions;
        LeaseSpec {
            acquire_time: Some(now),
            lease_transitions: Some(transitions.map_or(0, |count| count.saturating_add(1))),
            ..renewal
        }
    }

    /// Removes the holder from the Lease, so that another replica can take the Lease at once.
    async fn give_up(&self) -> Result<(), kube::Error> {
        let lease = self.api.get(&self.name).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        let lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: None,
                ..spec
            }),
            ..lease
        };
        let params = PostParams::default();
        is_written(self.api.replace(&self.name, &params, &lease).await).map(|_| ())
    }
}

/// Returns false if another replica has written the Lease at the same time (409 Conflict).
fn is_written(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;

    fn candidate() -> Candidate {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        candidate_with(client)
    }

    fn candidate_with(client: kube::Client) -> Candidate {
        let at = crate::report::Lease {
            namespace: "weir-system".into(),
            name: "weir".into(),
        };
        Candidate::new(client, &at, "one", watch::Sender::default())
    }

    fn spec(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn expiry_depends_on_own_clock_only() {
        let mut candidate = candidate();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        // The holder's clock does not matter: the Lease expires ten seconds after this replica first saw the record.
        assert_eq!(candidate.next_step(&spec("two", 0), at(0)), Step::Wait);
        assert_eq!(candidate.next_step(&spec("two", 0), at(9)), Step::Wait);
        assert_eq!(candidate.next_step(&spec("two", 1), at(10)), Step::Wait);
        assert_eq!(candidate.next_step(&spec("two", 1), at(20)), Step::Wait);
        assert_eq!(candidate.next_step(&spec("two", 1), at(21)), Step::Take);
        assert_eq!(candidate.next_step(&spec("three", 1), at(22)), Step::Wait);
        assert_eq!(candidate.next_step(&spec("", 1), at(22)), Step::Take);
        assert_eq!(
            candidate.next_step(&LeaseSpec::default(), at(22)),
            Step::Take
        );
        assert_eq!(candidate.next_step(&spec("one", 1), at(22)), Step::Renew);
    }

    #[tokio::test]
    async fn expiry_counts_from_answer() {
        const UNDER_WAY: Duration = Duration::from_millis(200);
        let api_server = tower::service_fn(|_: Request<Body>| async {
            sleep(UNDER_WAY).await;
            let lease = Lease {
                spec: Some(spec("two", 1)),
                ..Lease::default()
            };
            let body = serde_json::to_vec(&lease)?;
            Ok::<_, serde_json::Error>(Response::new(Body::from(body)))
        });
        let client = kube::Client::new(api_server, "default");
        let mut candidate = candidate_with(client);
        let start = Instant::now();
        assert!(!candidate.step().await.unwrap());
        let (_, seen) = candidate.seen.unwrap();
        assert!(seen.duration_since(start) >= UNDER_WAY);
    }

    #[test]
    fn holder_stops_before_lease_expires() {
        assert!(TERM + WRITE <= DURATION);
        assert!(RENEW + ANSWER + LOOK + ANSWER <= TERM);
        // This is the longest time from the death of a holder to the first write of the next holder.
        assert!(LOOK + DURATION + LOOK + ANSWER < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn renewal_keeps_acquire_time() {
        let candidate = candidate();
        let new_holder = candidate.spec(spec("two", 1), true);
        assert_eq!(new_holder.holder_identity.as_deref(), Some("one"));
        assert_eq!(new_holder.lease_transitions, Some(0));
        let renewed = candidate.spec(new_holder.clone(), false);
        assert_eq!(renewed.acquire_time, new_holder.acquire_time);
        assert_ne!(renewed.renew_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
    }

    /// An API server that keeps one Lease in memory.
    #[derive(Clone, Default)]
    struct OneLease(std::sync::Arc<std::sync::Mutex<Lease>>);

    impl OneLease {
        fn client(&self) -> kube::Client {
            let stored = self.0.clone();
            let api_server = tower::service_fn(move |request: Request<Body>| {
                let stored = stored.clone();
                async move {
                    let is_write = request.method() == "PUT";
                    let bytes = request.into_body().collect_bytes().await.unwrap();
                    let mut stored = stored.lock().unwrap();
                    if is_write {
                        *stored = serde_json::from_slice(&bytes)?;
                    }
                    let body = serde_json::to_vec(&*stored)?;
                    Ok::<_, serde_json::Error>(Response::new(Body::from(body)))
                }
            });
            kube::Client::new(api_server, "default")
        }

        fn set(&self, rollout: &Rollout, holder: &str) {
            let mut lease = self.0.lock().unwrap();
            lease.spec = Some(spec(holder, 1));
            let annotations = lease.metadata.annotations.get_or_insert_default();
            rollout.write_annotations(annotations);
        }

        fn rollout(&self) -> Option<Rollout> {
            let lease = self.0.lock().unwrap();
            Rollout::from_annotations(lease.metadata.annotations.as_ref()?)
        }
    }

    fn rollout(share: &str) -> Rollout {
        Rollout {
            target: "new".into(),
            share: share.parse().unwrap(),
            stopped: None,
        }
    }

    #[tokio::test]
    async fn replicas_read_the_rollout() {
        let lease = OneLease::default();
        let mut candidate = candidate_with(lease.client());
        lease.set(&rollout("10"), "two");
        assert!(!candidate.step().await.unwrap());
        assert_eq!(*candidate.rollout.borrow(), rollout("10"));
        // A new holder continues with the rollout of the Lease.
        lease.set(&rollout("50"), "");
        assert!(candidate.step().await.unwrap());
        assert_eq!(*candidate.rollout.borrow(), rollout("50"));
        assert_eq!(lease.rollout(), Some(rollout("50")));
    }

    #[tokio::test]
    async fn holder_writes_the_rollout() {
        let lease = OneLease::default();
        let mut candidate = candidate_with(lease.client());
        assert!(candidate.step().await.unwrap());
        assert_eq!(lease.rollout(), None);
        candidate.rollout.send_replace(rollout("10"));
        assert!(candidate.step().await.unwrap());
        assert_eq!(lease.rollout(), Some(rollout("10")));
        candidate.rollout.send_replace(rollout("50"));
        assert!(candidate.step().await.unwrap());
        assert_eq!(lease.rollout(), Some(rollout("50")));
        // A write without an answer is no operator's edit.
        candidate.attempted.push(rollout("60"));
        lease.set(&rollout("60"), "one");
        let stopped = Rollout {
            stopped: Some("trap".into()),
            ..rollout("60")
        };
        candidate.rollout.send_replace(stopped.clone());
        assert!(candidate.step().await.unwrap());
        assert_eq!(lease.rollout(), Some(stopped));
        // An operator's edit wins over the holder's own value.
        lease.set(&rollout("100"), "one");
        assert!(candidate.step().await.unwrap());
        assert_eq!(*candidate.rollout.borrow(), rollout("100"));
        assert_eq!(lease.rollout(), Some(rollout("100")));
    }
}
