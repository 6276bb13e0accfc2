//! Who of the replicas writes status: the holder of a Lease.
//!
//! As client-go does it, no clock but one's own is asked: a Lease has run out when whoever looks has not seen it
//! change for as long as it is given for. Its holder stops writing before that, if it cannot renew it.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// For how long it is given.
const DURATION: Duration = Duration::from_secs(10);
/// How long after a renewal was begun its holder may begin a write; [`WRITE`] later the last one has ended.
const TERM: Duration = Duration::from_secs(8);
/// No write takes longer.
pub const WRITE: Duration = Duration::from_secs(2);
const RENEW: Duration = Duration::from_secs(3);
/// Between two looks of who does not hold it.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);

/// A candidate for the Lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// What was last seen of another one's, and since when.
    seen: Option<(Record, Instant)>,
    until: watch::Sender<Option<Instant>>,
}

/// What changes when a Lease is renewed.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    holder: String,
    renewed: Option<MicroTime>,
    duration: Duration,
}

/// What to do about a Lease.
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

    /// Until when a write may begin; None while another one, or nobody, holds the Lease.
    pub fn term(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }

    /// Renews it or waits for it until the end, and then gives it up once `drained` is over.
    pub async fn stand(mut self, mut ending: watch::Receiver<bool>, drained: impl Future) {
        loop {
            let begun = Instant::now();
            let outcome = timeout(ANSWER, self.step()).await;
            let until = *self.until.borrow();
            let until = match outcome {
                Ok(Ok(true)) => Some(begun + TERM),
                Ok(Ok(false)) => None,
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, "the Lease cannot be had: {error}");
                    until
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "no answer about the Lease");
                    until
                }
            };
            self.tell(until.filter(|until| *until > Instant::now()));
            let renewed = until == Some(begun + TERM);
            let pause = if renewed { RENEW } else { LOOK };
            tokio::select! {
                () = sleep(pause) => {}
                // Fails when the other end is gone, which is an end as well.
                _ = ending.wait_for(|ending| *ending) => break,
            }
        }
        drained.await;
        let holds = self.until.borrow().is_some();
        self.tell(None);
        if holds && !matches!(timeout(ANSWER, self.give_up()).await, Ok(Ok(()))) {
            tracing::warn!(lease = self.name, "the Lease could not be given up");
        }
    }

    fn tell(&self, until: Option<Instant>) {
        let had = self.until.borrow().is_some();
        match (had, until.is_some()) {
            (false, true) => tracing::info!(lease = self.name, "this replica writes status now"),
            (true, false) => tracing::info!(lease = self.name, "this replica writes no status"),
            _ => {}
        }
        self.until.send_replace(until);
    }

    /// Whether the Lease is held now.
    async fn step(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            return self.create().await;
        };
        // It may have been renewed while the question was on its way: it is seen when the answer is there.
        let now = Instant::now();
        let spec = lease.spec.clone().unwrap_or_default();
        match self.decide(&spec, now) {
            Step::Wait => Ok(false),
            Step::Renew => self.put(lease, false).await,
            Step::Take => self.put(lease, true).await,
        }
    }

    fn decide(&mut self, spec: &LeaseSpec, now: Instant) -> Step {
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
        won(self.api.create(&PostParams::default(), &lease).await)
    }

    async fn put(&self, lease: Lease, takes: bool) -> Result<bool, kube::Error> {
        let spec = lease.spec.clone().unwrap_or_default();
        let lease = Lease {
            spec: Some(self.spec(spec, takes)),
            ..lease
        };
        let params = PostParams::default();
        won(self.api.replace(&self.name, &params, &lease).await)
    }

    fn spec(&self, before: LeaseSpec, takes: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let taken = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(now.clone()),
            ..before
        };
        match takes {
            false => taken,
            true => LeaseSpec {
                acquire_time: Some(now),
                lease_transitions: Some(taken.lease_transitions.map_or(0, |n| n.saturating_add(1))),
                ..taken
            },
        }
    }

    /// So that another one need not wait until it has run out.
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
        won(self.api.replace(&self.name, &params, &lease).await).map(|_| ())
    }
}

/// Of two that write at once one is told that the Lease has changed: it has not got it.
fn won(outcome: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match outcome {
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

    fn held(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_lease_has_run_out_by_ones_own_watch_alone() {
        let mut candidate = candidate();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        // Whatever its clock says, and however old: it is there for ten seconds from the first look.
        assert_eq!(candidate.decide(&held("two", 0), at(0)), Step::Wait);
        assert_eq!(candidate.decide(&held("two", 0), at(9)), Step::Wait);
        assert_eq!(candidate.decide(&held("two", 1), at(10)), Step::Wait);
        assert_eq!(candidate.decide(&held("two", 1), at(20)), Step::Wait);
        assert_eq!(candidate.decide(&held("two", 1), at(21)), Step::Take);
        assert_eq!(candidate.decide(&held("three", 1), at(22)), Step::Wait);
        assert_eq!(candidate.decide(&held("", 1), at(22)), Step::Take);
        assert_eq!(candidate.decide(&LeaseSpec::default(), at(22)), Step::Take);
        assert_eq!(candidate.decide(&held("one", 1), at(22)), Step::Renew);
    }

    #[tokio::test]
    async fn a_lease_is_seen_when_the_answer_is_there() {
        const UNDER_WAY: Duration = Duration::from_millis(200);
        let api_server = tower::service_fn(|_: Request<Body>| async {
            sleep(UNDER_WAY).await;
            let lease = Lease {
                spec: Some(held("two", 1)),
                ..Lease::default()
            };
            let body = serde_json::to_vec(&lease)?;
            Ok::<_, serde_json::Error>(Response::new(Body::from(body)))
        });
        let client = kube::Client::new(api_server, "default");
        let mut candidate = Candidate::new(client, "weir-system", "weir", "one");
        let asked = Instant::now();
        assert!(!candidate.step().await.unwrap());
        let (_, seen) = candidate.seen.unwrap();
        assert!(seen.duration_since(asked) >= UNDER_WAY);
    }

    #[test]
    fn who_cannot_renew_stops_before_another_may_take_it() {
        assert!(TERM + WRITE <= DURATION);
        assert!(RENEW + ANSWER + LOOK + ANSWER <= TERM);
        // From the death of a holder that has just renewed to the first write of the next.
        assert!(LOOK + DURATION + LOOK + ANSWER < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn a_lease_that_is_taken_says_since_when() {
        let candidate = candidate();
        let taken = candidate.spec(held("two", 1), true);
        assert_eq!(taken.holder_identity.as_deref(), Some("one"));
        assert_eq!(taken.lease_transitions, Some(0));
        let renewed = candidate.spec(taken.clone(), false);
        assert_eq!(renewed.acquire_time, taken.acquire_time);
        assert_ne!(renewed.renew_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
    }
}
