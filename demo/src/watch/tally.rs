//! Counts requests and latencies of each backend, and compares the shares with the weights.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::Sample;

/// Every request so far.
#[derive(Default)]
pub struct Tally {
    answered: Vec<Answered>,
    failures: BTreeMap<String, u64>,
}

struct Answered {
    sent: Instant,
    took: Duration,
    backend: usize,
    good: bool,
}

/// Requests that were sent at or after `start` and before `end`.
#[derive(Clone, Copy)]
pub struct Window {
    start: Instant,
    end: Instant,
}

/// The requests of one backend in a window.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub requests: u64,
    pub good: u64,
    /// Sorted.
    took: Vec<Duration>,
}

/// The expected and the actual shares after an edit.
pub struct Verdict {
    pub weights: [u64; 2],
    pub requests: [u64; 2],
    pub holds: bool,
}

impl Window {
    pub fn new(start: Instant, end: Instant) -> Window {
        Window { start, end }
    }

    fn holds(self, sent: Instant) -> bool {
        self.start <= sent && sent < self.end
    }
}

impl Tally {
    pub fn add(&mut self, sample: Sample) {
        if let Some(backend) = sample.backend {
            self.answered.push(Answered {
                sent: sample.sent,
                took: sample.took,
                backend,
                good: sample.failure.is_none(),
            });
        }
        if let Some(failure) = sample.failure {
            *self.failures.entry(failure).or_default() += 1;
        }
    }

    /// None means all requests.
    pub fn rows(&self, window: Option<Window>) -> [Row; 2] {
        let mut rows = [Row::default(), Row::default()];
        for answered in &self.answered {
            if window.is_none_or(|window| window.holds(answered.sent)) {
                let row = &mut rows[answered.backend];
                row.requests += 1;
                row.good += u64::from(answered.good);
                row.took.push(answered.took);
            }
        }
        for row in &mut rows {
            row.took.sort_unstable();
        }
        rows
    }

    pub fn answered(&self) -> u64 {
        self.answered.len() as u64
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns each reason of a failure, and how many requests failed for it.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        self.failures
            .iter()
            .map(|(reason, number)| (reason.as_str(), *number))
    }

    /// The time of the last request that this backend answered.
    pub fn last_to(&self, backend: usize) -> Option<Instant> {
        let to_it = self.answered.iter().filter(|one| one.backend == backend);
        to_it.map(|one| one.sent).max()
    }

    /// Checks that each backend got its share, with a tolerance of `slack` requests. A backend with weight 0 must get
    /// no request.
    pub fn judge(&self, window: Window, weights: [u64; 2], slack: u64) -> Verdict {
        let requests = self.rows(Some(window)).map(|row| row.requests);
        let sent: u64 = requests.iter().sum();
        let total: u64 = weights.iter().sum();
        let as_asked = |(got, weight): (u64, u64)| {
            let off = (got * total).abs_diff(sent * weight);
            off <= slack * total && (weight > 0 || got == 0)
        };
        Verdict {
            weights,
            requests,
            holds: sent > 0 && requests.into_iter().zip(weights).all(as_asked),
        }
    }
}

impl Row {
    /// The percentile by nearest rank; None without requests.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.took.len() * percent).div_ceil(100).max(1);
        self.took.get(rank - 1).copied()
    }
}

/// `part` of `whole` in percent; None if `whole` is 0.
pub fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(start: Instant, backends: &[usize]) -> Tally {
        let mut tally = Tally::default();
        for (nth, &backend) in (1..).zip(backends) {
            tally.add(Sample {
                sent: start + Duration::from_millis(nth),
                took: Duration::from_millis(nth),
                backend: Some(backend),
                failure: None,
            });
        }
        tally
    }

    #[test]
    fn share_is_judged_by_its_window() {
        let start = Instant::now();
        let window = |from, to| {
            Window::new(
                start + Duration::from_millis(from),
                start + Duration::from_millis(to),
            )
        };
        let tally = tally(start, &[0, 0, 0, 0, 0, 1, 0, 1, 0, 1]);
        let verdict = tally.judge(window(5, 11), [50, 50], 0);
        assert_eq!((verdict.requests, verdict.holds), ([3, 3], true));
        assert!(!tally.judge(window(1, 11), [50, 50], 1).holds);
        assert!(tally.judge(window(1, 11), [50, 50], 2).holds);
        assert!(!tally.judge(window(5, 11), [0, 100], 9).holds);
        assert!(!tally.judge(window(20, 30), [0, 100], 9).holds);
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let tally = tally(Instant::now(), &[0; 200]);
        let [v1, v2] = tally.rows(None);
        let at = |percent| v1.percentile(percent).map(|took| took.as_millis());
        assert_eq!([at(50), at(95), at(99)], [Some(100), Some(190), Some(198)]);
        assert_eq!(v2.percentile(50), None);
    }

    #[test]
    fn failures_are_told_apart() {
        let mut tally = Tally::default();
        for (backend, failure) in [(None, "late"), (Some(1), "500"), (None, "late")] {
            tally.add(Sample {
                sent: Instant::now(),
                took: Duration::ZERO,
                backend,
                failure: Some(failure.to_owned()),
            });
        }
        assert_eq!(tally.failed(), 3);
        assert_eq!(
            tally.failures().collect::<Vec<_>>(),
            [("500", 1), ("late", 2)]
        );
        assert_eq!(tally.rows(None)[1].good, 0);
    }
}
