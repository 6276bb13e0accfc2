//! One release under load, and what must be true of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::argo;
use super::installed::Installed;
use super::podinfo::{Answer, canary_counts};
use super::traffic::{Load, WeightState, WeightWatch};

/// After a change, answers may still fit the previous state for at most this time.
const MIXED: Duration = Duration::from_secs(3);

/// The watch of this test gets a change at most this long after the change.
const WATCH_DELAY: Duration = Duration::from_millis(500);

/// Where a Rollout is, and the client that sends requests to it.
pub struct Place {
    /// `trafficsplit` or `httproute`.
    pub kind: &'static str,
    pub namespace: &'static str,
    /// The file of the Rollout.
    pub rollout: &'static str,
    pub pod: String,
}

pub struct Release {
    name: String,
    /// The answers of each load.
    answers: Vec<Vec<Answer>>,
    states: Vec<WeightState>,
    /// How many requests the canary's Service has answered, with copies.
    canary_counts: Vec<(Instant, u64)>,
    took: Duration,
    end: Instant,
    failures: u64,
}

impl Release {
    /// Runs the commands of a release under these loads. The loads go on for some seconds afterwards.
    pub fn run(
        weir: &Installed,
        place: &Place,
        name: &str,
        script: &str,
        loads: &[Load],
    ) -> Release {
        let is_over = &AtomicBool::new(false);
        let watch = WeightWatch::start(weir, place);
        let start = Instant::now();
        let (answers, canary_counts, (is_good, text), took) = std::thread::scope(|scope| {
            let loads: Vec<_> = loads
                .iter()
                .map(|load| scope.spawn(|| load.run(weir, place, is_over)))
                .collect();
            let counts = scope.spawn(|| canary_counts(weir, place.namespace, &place.pod, is_over));
            let done = weir.bash(script);
            let took = start.elapsed();
            std::thread::sleep(MIXED + Duration::from_secs(2));
            is_over.store(true, Ordering::Relaxed);
            let answers: Vec<_> = loads
                .into_iter()
                .map(|it| it.join().expect("a load"))
                .collect();
            (answers, counts.join().expect("the counts"), done, took)
        });
        let states = watch.stop();
        let name = format!("{}, {name}", place.kind);
        let total = |all: &Vec<Answer>| {
            let mut total = BTreeMap::new();
            for answer in all {
                *total.entry(answer.text.clone()).or_insert(0_u64) += 1;
            }
            total
        };
        let totals: Vec<_> = answers.iter().map(total).collect();
        let written: Vec<_> = states
            .iter()
            .map(|it| (it.at.duration_since(start), it.weight))
            .collect();
        println!("{name}: {took:?}, {totals:?}\n{written:?}\n{text}");
        assert!(is_good, "{name}:\n{text}\n{}", argo::log(weir));
        let is_failure = |it: &&Answer| !it.text.ends_with(" 200");
        let failures = answers.iter().flatten().filter(is_failure).count() as u64;
        let end = Instant::now();
        Release {
            name,
            answers,
            states,
            canary_counts,
            took,
            end,
            failures,
        }
    }

    pub fn expect_no_failure(&self) {
        assert_eq!(self.failures, 0, "{}", self.name);
    }

    /// Each failure is an answer of this version. There is at least one failure.
    pub fn expect_failures_of(&self, version: &str) {
        let own = self.own_errors(version);
        assert!(
            own > 0 && own == self.failures,
            "{}: {own} of {}",
            self.name,
            self.failures
        );
    }

    fn own_errors(&self, version: &str) -> u64 {
        let own = format!("{version} error 500");
        self.answers
            .iter()
            .flatten()
            .filter(|it| it.text == own)
            .count() as u64
    }

    /// From three seconds after each state until the next state, the new version has the share that `percent` says.
    /// The count may be wrong by `tolerance` answers. At 0 and at 100 percent it must be exact.
    pub fn expect_shares(
        &self,
        load: usize,
        versions: [&str; 2],
        tolerance: u64,
        percent: impl Fn(&WeightState) -> u64,
    ) {
        let mut checked = 0;
        for (at, state) in self.states.iter().enumerate() {
            let next = self.states.get(at + 1);
            let from = if at == 0 { state.at } else { state.at + MIXED };
            // A proxy may see the next state before the watch of this test.
            let to = next.map_or(self.end, |next| next.at - WATCH_DELAY);
            let is_promoted = self.promotion().is_some_and(|at| at <= state.at);
            let percent = if is_promoted { 100 } else { percent(state) };
            let window = self.answers[load].iter();
            let window: Vec<_> = window.filter(|it| from <= it.at && it.at < to).collect();
            let of = |version: &str| {
                let own = window.iter().filter(|it| it.text.starts_with(version));
                own.count() as u64
            };
            let (all, new) = (window.len() as u64, of(versions[1]));
            assert_eq!(all, of(versions[0]) + new, "{}: a version", self.name);
            let is_exact = percent.is_multiple_of(100);
            let tolerance = if is_exact { 0 } else { tolerance };
            let off = (new * 100).abs_diff(all * percent);
            assert!(
                off <= tolerance * 100,
                "{}: {new} of {all} at {percent} %: {state:?}",
                self.name
            );
            checked += u64::from(all >= 100);
        }
        assert!(checked >= 2, "{}: {checked} states", self.name);
    }

    /// Returns the time of the promotion: the weight of the canary goes from 100 to 0.
    fn promotion(&self) -> Option<Instant> {
        let mut pairs = self.states.windows(2);
        let promoted = |pair: &&[WeightState]| pair[0].weight == 100 && pair[1].weight == 0;
        pairs.find(promoted).map(|pair| pair[1].at)
    }

    /// After the promotion no request goes to the old version, except in the first three seconds.
    pub fn expect_promotion(&self, old: &str) {
        let promotion = self
            .promotion()
            .unwrap_or_else(|| panic!("{}: no promotion", self.name));
        self.expect_end_of(old, promotion, "promotion");
    }

    /// After the rollback no request goes to the new version, except in the first three seconds.
    pub fn expect_rollback(&self, new: &str) {
        let last = self.states.last().expect("a state");
        assert!(
            last.weight == 0 && self.promotion().is_none(),
            "{}: {last:?}",
            self.name
        );
        self.expect_end_of(new, last.at, "rollback");
    }

    fn expect_end_of(&self, version: &str, event: Instant, what: &str) {
        let late = self
            .answers
            .iter()
            .flatten()
            .filter(|it| it.text.starts_with(version) && it.at > event);
        let late: Vec<_> = late.map(|it| it.at.duration_since(event)).collect();
        let last = late.iter().max().copied().unwrap_or_default();
        println!(
            "{}: {} answers of {version} after the {what}, the last after {last:?}",
            self.name,
            late.len()
        );
        assert!(
            last <= MIXED,
            "{}: an answer of {version} {last:?} after the {what}",
            self.name
        );
    }

    /// While the rule is in force, no client that the canary has answered gets an answer of the old version.
    pub fn expect_clients_stay(&self, load: usize, versions: [&str; 2], rule: &str) {
        let [from, to] = self.while_rule(rule);
        let mut clients: BTreeMap<usize, Vec<&Answer>> = BTreeMap::new();
        for answer in &self.answers[load] {
            clients.entry(answer.client).or_default().push(answer);
        }
        clients.retain(|_, answers| answers.iter().all(|it| (from..to).contains(&it.at)));
        let at_canary = clients.values().filter(|answers| {
            let first = answers
                .iter()
                .position(|it| it.text.starts_with(versions[1]));
            let Some(first) = first else {
                return false;
            };
            let stay = answers[first..]
                .iter()
                .all(|it| it.text.starts_with(versions[1]));
            assert!(stay, "{}: a client left the canary", self.name);
            true
        });
        let (at_canary, all) = (at_canary.count(), clients.len());
        println!(
            "{}: {at_canary} of {all} clients came to the canary and stayed",
            self.name
        );
        assert!(
            at_canary >= 10,
            "{}: {at_canary} of {all} clients",
            self.name
        );
    }

    /// While the rule is in force, the canary gets a copy of each request.
    pub fn expect_copies(&self, rule: &str) {
        let [from, to] = self.while_rule(rule);
        let mut counts = self
            .canary_counts
            .iter()
            .filter(|(at, _)| (from..to).contains(at));
        let first = counts.next().expect("a count");
        let last = counts.next_back().expect("two counts");
        let is_between = |it: &&Answer| (first.0..last.0).contains(&it.at);
        let requests = self.answers.iter().flatten().filter(is_between).count() as u64;
        let copies = last.1 - first.1;
        println!("{}: {copies} copies of {requests} requests", self.name);
        assert!(requests > 1_000, "{}: {requests} requests", self.name);
        // The times of the two counts are known to about half a second.
        assert!(
            copies.abs_diff(requests) <= 150,
            "{}: {copies} copies of {requests} requests",
            self.name
        );
    }

    /// Returns the time in which the rule is in force on all proxies, and no weight changes.
    fn while_rule(&self, rule: &str) -> [Instant; 2] {
        let state = self
            .states
            .iter()
            .rposition(|it| it.has_rule(rule) && it.weight < 100);
        let at = state.unwrap_or_else(|| panic!("{}: no rule {rule}", self.name));
        [
            self.states[at].at + MIXED,
            self.states[at + 1].at - WATCH_DELAY,
        ]
    }

    pub const HEADING: &str =
        "scenario                            requests   failed  of the canary  seconds";

    /// Returns a line of the table. `failed` does not count the errors of a failing canary itself.
    pub fn row(&self) -> String {
        let requests: usize = self.answers.iter().map(Vec::len).sum();
        let own = self.own_errors("v3");
        let failed = self.failures - own;
        format!(
            "{:<34} {requests:>9} {failed:>8} {own:>14} {:>8}",
            self.name,
            self.took.as_secs()
        )
    }
}
