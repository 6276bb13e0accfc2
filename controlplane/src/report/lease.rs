//! The Lease (coordination.k8s.io/v1) that decides which replica writes status and Events. Polls of proxies do not
//! depend on the Lease: every replica serves polls.
//!
//! As in client-go, a replica trusts only its own clock. If a replica sees no change of the Lease for
//! `leaseDurationSeconds`, the Lease has expired. A holder that cannot renew the Lease stops its writes before the
//! Lease expires.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

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
    pub fn new(client: kube::Client, namespace: &str, name: &str, identity: &str) -> Candidate {
        Candidate {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: None,
            until: watch::Sender::default(),
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
        loop {
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
        match self.next_step(&spec, now) {
            Step::Wait => Ok(false),
            Step::Renew => self.replace(lease, false).await,
            Step::Take => self.replace(lease, true).await,
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

    async fn replace(&self, lease: Lease, is_new_holder: bool) -> Result<bool, kube::Error> {
        let spec = lease.spec.clone().unwrap_or_default();
        let lease = Lease {
            spec: Some(self.spec(spec, is_new_holder)),
            ..lease
        };
        let params = PostParams::default();
        is_written(self.api.replace(&self.name, &params, &lease).await)
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
        Candidate::new(client, "weir-system", "weir", "one")
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
        let mut candidate = Candidate::new(client, "weir-system", "weir", "one");
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
}
