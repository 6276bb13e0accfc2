//! Decides when the share of a rollout grows, and when the rollout stops.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{ProxyReport, Rollout, RolloutShare};

/// The shares after the first proxy.
const SHARES: [RolloutShare; 3] = [
    RolloutShare::of_percent(10),
    RolloutShare::of_percent(50),
    RolloutShare::ALL,
];
/// Time from one share to the next one. The filter reports a trap at most 36 seconds later: it counts a VM after
/// 10 seconds without a heartbeat, and a poll lasts 25 seconds.
const PAUSE: Duration = Duration::from_secs(40);
/// An upgraded proxy may be without an open poll for this time.
const MAX_UNPOLLED: Duration = Duration::from_secs(10);
/// Each share waits this long for a proxy that neither accepts nor refuses the module.
const PATIENCE: Duration = Duration::from_secs(90);

/// The decisions of one replica about a rollout.
#[derive(Debug, Default)]
pub struct Wave {
    target: String,
    share: RolloutShare,
    /// When the present share began.
    since: Duration,
    /// The number of traps of each proxy before its upgrade.
    traps: BTreeMap<String, u64>,
    /// Proxies whose failure has stopped the rollout. If an operator continues the rollout, they do not stop it again.
    failed: BTreeSet<String>,
    /// True if the rollout has ended: every proxy has the target, or had time to get it. A later failure has another
    /// cause.
    is_over: bool,
}

impl Wave {
    /// Returns the next state of the rollout. `before` is the state in force. `target` is the hash of the module of this
    /// replica. `now` is the time since any fixed moment. `proxies` are the proxies of all replicas.
    pub fn step(
        &mut self,
        before: &Rollout,
        target: &str,
        proxies: &[ProxyReport],
        now: Duration,
    ) -> Rollout {
        let mut rollout = before.clone();
        if rollout.target != target {
            rollout = Rollout {
                target: target.to_owned(),
                ..Rollout::default()
            };
        }
        if self.target != target {
            *self = Wave {
                target: target.to_owned(),
                since: now,
                share: rollout.share,
                is_over: rollout.share == RolloutShare::ALL,
                ..Wave::default()
            };
        }
        if self.share != rollout.share {
            self.share = rollout.share;
            self.since = now;
        }
        self.is_over |= self.share == RolloutShare::ALL && self.is_complete(proxies, now);
        if self.is_over {
            return rollout;
        }
        self.note_traps(proxies);
        if rollout.stopped.is_some() {
            // An operator may continue the rollout, so the failures of now must not stop it again.
            while self.new_failure(proxies).is_some() {}
            self.since = now;
            return rollout;
        }
        rollout.stopped = self.new_failure(proxies);
        if rollout.stopped.is_none() {
            rollout.share = self.next_share(proxies, now);
        }
        if rollout.share != self.share {
            self.share = rollout.share;
            self.since = now;
        }
        rollout
    }

    /// Keeps the present share for a whole pause from now. The first proxy does not wait.
    pub fn begin_pause(&mut self, now: Duration) {
        self.since = now;
    }

    fn note_traps(&mut self, proxies: &[ProxyReport]) {
        let before = std::mem::take(&mut self.traps);
        for report in proxies {
            let known = before.get(&report.proxy).copied();
            let known = known.filter(|_| report.module == self.target);
            let traps = known.unwrap_or(report.traps);
            self.traps.insert(report.proxy.clone(), traps);
        }
    }

    /// Returns why the rollout must stop, and remembers the proxy.
    fn new_failure(&mut self, proxies: &[ProxyReport]) -> Option<String> {
        let failure = proxies.iter().find_map(|report| {
            let reason = self.failure(report)?;
            (!self.failed.contains(&report.proxy)).then_some((report, reason))
        });
        let (report, reason) = failure?;
        self.failed.insert(report.proxy.clone());
        Some(reason)
    }

    fn failure(&self, report: &ProxyReport) -> Option<String> {
        let name = &report.proxy;
        // A proxy without another module may have a wrong plugin configuration, so its refusal stops nothing.
        let has_other = !report.module.is_empty() && report.module != self.target;
        if let Some((module, message)) = &report.refused
            && *module == self.target
            && has_other
        {
            return Some(format!("the proxy {name} refuses the module: {message}"));
        }
        if report.module != self.target {
            return None;
        }
        let traps_before = self.traps.get(name);
        if traps_before.is_some_and(|before| report.traps > *before) {
            return Some(format!(
                "a worker of the proxy {name} lost its VM after the upgrade: the filter has trapped, or the \
                 worker was blocked for more than 10 seconds"
            ));
        }
        (report.unpolled.min(report.accepted) >= MAX_UNPOLLED).then(|| {
            format!(
                "the proxy {name} has not polled for {} seconds after the upgrade",
                MAX_UNPOLLED.as_secs()
            )
        })
    }

    fn next_share(&self, proxies: &[ProxyReport], now: Duration) -> RolloutShare {
        let rank = |it: &ProxyReport| RolloutShare::with(&self.target, &it.proxy);
        if let Some(first) = proxies.iter().map(rank).min()
            && self.share < first
        {
            // No connected proxy is in the share: the next wave is one proxy.
            return first;
        }
        if !self.is_complete(proxies, now) {
            return self.share;
        }
        let next = SHARES.into_iter().find(|share| *share > self.share);
        next.unwrap_or(RolloutShare::ALL)
    }

    /// True if the share is old enough, and every proxy in the share has run the target for some time.
    fn is_complete(&self, proxies: &[ProxyReport], now: Duration) -> bool {
        let age = now.saturating_sub(self.since);
        let is_upgraded =
            |it: &ProxyReport| it.module == self.target && it.accepted >= MAX_UNPOLLED;
        let is_in_share =
            |it: &&ProxyReport| RolloutShare::with(&self.target, &it.proxy) <= self.share;
        let mut wave = proxies.iter().filter(is_in_share);
        age >= PATIENCE || (age >= PAUSE && wave.all(is_upgraded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "new";

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// A fleet in which each proxy in the share accepts the module at once.
    struct ProxyFleet {
        wave: Wave,
        rollout: Rollout,
        proxies: Vec<ProxyReport>,
        now: u64,
    }

    impl ProxyFleet {
        fn of(count: usize) -> ProxyFleet {
            let report = |number| ProxyReport {
                proxy: format!("pod-{number}"),
                module: "old".into(),
                accepted: seconds(1_000),
                ..ProxyReport::default()
            };
            ProxyFleet {
                wave: Wave::default(),
                rollout: Rollout::default(),
                proxies: (0..count).map(report).collect(),
                now: 0,
            }
        }

        fn run(&mut self, time: u64) {
            for _ in 0..time {
                self.now += 1;
                let ProxyFleet {
                    wave,
                    rollout,
                    proxies,
                    now,
                } = self;
                *rollout = wave.step(rollout, NEW, proxies, seconds(*now));
                for proxy in proxies {
                    proxy.accepted += seconds(1);
                    if proxy.module != NEW && rollout.includes(NEW, &proxy.proxy) {
                        proxy.module = NEW.into();
                        proxy.accepted = seconds(0);
                    }
                }
            }
        }

        fn upgraded(&self) -> usize {
            self.proxies.iter().filter(|it| it.module == NEW).count()
        }

        fn first(&mut self) -> &mut ProxyReport {
            self.proxies.iter_mut().find(|it| it.module == NEW).unwrap()
        }

        fn stopped(&self) -> &str {
            self.rollout.stopped.as_deref().unwrap_or_default()
        }
    }

    #[test]
    fn share_grows_in_waves() {
        let mut fleet = ProxyFleet::of(1_000);
        fleet.run(1);
        assert_eq!(fleet.upgraded(), 1);
        fleet.run(39);
        assert_eq!(fleet.upgraded(), 1);
        fleet.run(10);
        assert!(
            (70..130).contains(&fleet.upgraded()),
            "{}",
            fleet.upgraded()
        );
        fleet.run(40);
        assert!(
            (450..550).contains(&fleet.upgraded()),
            "{}",
            fleet.upgraded()
        );
        fleet.run(40);
        assert_eq!(fleet.upgraded(), 1_000);
        assert_eq!(fleet.rollout.share, RolloutShare::ALL);
        assert_eq!(fleet.stopped(), "");
    }

    #[test]
    fn refusal_stops_the_wave() {
        let mut fleet = ProxyFleet::of(100);
        fleet.run(1);
        let first = fleet.first();
        first.module = "old".into();
        first.refused = Some((NEW.into(), "no such import".into()));
        let share = fleet.rollout.share;
        fleet.run(1);
        assert!(
            fleet
                .stopped()
                .ends_with("refuses the module: no such import")
        );
        fleet.run(100);
        assert_eq!((fleet.upgraded(), fleet.rollout.share), (0, share));
        // A refusal of an older module does not count.
        let mut fleet = ProxyFleet::of(100);
        fleet.proxies[0].refused = Some(("older".into(), "no".into()));
        fleet.run(200);
        assert_eq!(fleet.upgraded(), 100);
    }

    #[test]
    fn share_waits_for_silent_replicas() {
        let mut fleet = ProxyFleet::of(100);
        for _ in 0..120 {
            fleet.run(1);
            fleet.wave.begin_pause(seconds(fleet.now));
        }
        assert_eq!(fleet.upgraded(), 1);
        fleet.run(130);
        assert_eq!(fleet.upgraded(), 100);
    }

    #[test]
    fn first_module_may_be_refused() {
        let mut fleet = ProxyFleet::of(100);
        let proxy = &mut fleet.proxies[0];
        proxy.module = String::new();
        proxy.refused = Some((NEW.into(), "wrong configuration".into()));
        fleet.run(1);
        assert_eq!(fleet.stopped(), "");
        fleet.run(300);
        assert_eq!((fleet.stopped(), fleet.upgraded()), ("", 100));
    }

    #[test]
    fn silence_and_traps_stop_the_wave() {
        let mut fleet = ProxyFleet::of(100);
        fleet.run(11);
        fleet.first().unpolled = seconds(9);
        fleet.run(1);
        assert_eq!(fleet.stopped(), "");
        fleet.first().unpolled = seconds(10);
        fleet.run(1);
        assert!(fleet.stopped().contains("has not polled for 10 seconds"));
        let mut fleet = ProxyFleet::of(100);
        fleet.proxies.iter_mut().for_each(|it| it.traps = 3);
        fleet.run(40);
        assert_eq!(fleet.stopped(), "");
        fleet.first().traps = 4;
        fleet.run(1);
        assert!(
            fleet.stopped().contains("lost its VM"),
            "{}",
            fleet.stopped()
        );
    }

    #[test]
    fn silence_before_the_upgrade_is_ignored() {
        let mut fleet = ProxyFleet::of(2);
        fleet
            .proxies
            .iter_mut()
            .for_each(|it| it.unpolled = seconds(60));
        fleet.run(9);
        assert_eq!(fleet.stopped(), "");
        fleet
            .proxies
            .iter_mut()
            .for_each(|it| it.unpolled = seconds(0));
        fleet.run(200);
        assert_eq!(fleet.upgraded(), 2);
    }

    #[test]
    fn operator_continues_or_completes() {
        let mut fleet = ProxyFleet::of(100);
        fleet.run(1);
        fleet.first().traps = 1;
        fleet.run(5);
        assert_ne!(fleet.stopped(), "");
        fleet.rollout.stopped = None;
        fleet.run(150);
        assert_eq!((fleet.stopped(), fleet.upgraded()), ("", 100));
        let mut fleet = ProxyFleet::of(100);
        fleet.run(1);
        fleet.rollout.share = RolloutShare::ALL;
        fleet.run(1);
        assert_eq!(fleet.upgraded(), 100);
    }

    #[test]
    fn later_traps_have_other_causes() {
        let mut fleet = ProxyFleet::of(10);
        fleet.run(200);
        fleet.first().traps = 1;
        fleet.run(1);
        assert_eq!(fleet.stopped(), "");
        fleet.wave = Wave::default();
        fleet.first().unpolled = seconds(60);
        fleet.run(1);
        assert_eq!(
            (fleet.stopped(), fleet.rollout.share),
            ("", RolloutShare::ALL)
        );
    }

    #[test]
    fn first_proxy_may_leave() {
        let mut fleet = ProxyFleet::of(10);
        fleet.run(1);
        fleet.proxies.retain(|it| it.module != NEW);
        fleet.run(1);
        assert_eq!(fleet.upgraded(), 1);
        fleet.run(200);
        assert_eq!(fleet.upgraded(), 9);
    }

    #[test]
    fn silent_proxy_delays_the_next_wave() {
        let mut fleet = ProxyFleet::of(10);
        fleet.run(1);
        let name = fleet.first().proxy.clone();
        let hold = |fleet: &mut ProxyFleet| {
            for proxy in &mut fleet.proxies {
                if proxy.proxy == name {
                    proxy.module = "old".into();
                }
            }
        };
        for _ in 0..80 {
            hold(&mut fleet);
            fleet.run(1);
        }
        assert!(fleet.upgraded() <= 1);
        for _ in 0..220 {
            hold(&mut fleet);
            fleet.run(1);
        }
        assert!(fleet.upgraded() >= 9, "{}", fleet.upgraded());
    }

    #[test]
    fn new_decider_continues() {
        let mut fleet = ProxyFleet::of(1_000);
        fleet.run(45);
        let share = fleet.rollout.share;
        assert_eq!(share, RolloutShare::of_percent(10));
        fleet.wave = Wave::default();
        fleet.run(39);
        assert_eq!(fleet.rollout.share, share);
        fleet.run(2);
        assert_eq!(fleet.rollout.share, RolloutShare::of_percent(50));
    }

    #[test]
    fn empty_fleet_completes_slowly() {
        let mut fleet = ProxyFleet::of(0);
        fleet.run(110);
        assert!(fleet.rollout.share < RolloutShare::ALL);
        fleet.run(20);
        assert_eq!(fleet.rollout.share, RolloutShare::ALL);
    }
}
