//! The rollout of a new module of the filter to proxies in waves: first one proxy, then 10 %, 50 % and 100 %.
//!
//! One replica decides. The others read its decision, so all replicas send the module to the same proxies. Which proxies
//! are in a share depends on the hash of the proxy and of the module, so each module starts at other proxies.

mod annotations;
mod proxy_report;
mod wave;

use std::fmt;
use std::str::FromStr;

use crate::digest::sha256;

pub use proxy_report::{ProxyReport, proxy_name, proxy_reports};
pub use wave::Wave;

/// A share of all proxies, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutShare(u32);

/// How far the rollout of a module is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The hash of the module.
    pub target: String,
    pub share: RolloutShare,
    /// Why the rollout has stopped; None while it goes on.
    pub stopped: Option<String>,
}

impl RolloutShare {
    pub const NONE: RolloutShare = RolloutShare(0);
    pub const ALL: RolloutShare = RolloutShare(1_000_000);

    const fn of_percent(percent: u32) -> RolloutShare {
        RolloutShare(percent.saturating_mul(10_000))
    }

    /// Returns the smallest share that contains the proxy. `proxy` is a text that identifies the proxy.
    pub fn with(target: &str, proxy: &str) -> RolloutShare {
        let digest = sha256(format!("{target} {proxy}").as_bytes());
        let number = digest.get(..15).map(|it| u64::from_str_radix(it, 16));
        let rank = number.and_then(Result::ok).unwrap_or_default() % u64::from(RolloutShare::ALL.0);
        RolloutShare(u32::try_from(rank).unwrap_or_default().saturating_add(1))
    }
}

/// Writes the share in percent: `0.0137`, `10`.
impl fmt::Display for RolloutShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Reads percent, with or without a decimal point and a percent sign.
impl FromStr for RolloutShare {
    type Err = ();

    fn from_str(text: &str) -> Result<RolloutShare, ()> {
        let text = text.trim().trim_end_matches('%');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty()
            || !whole
                .chars()
                .chain(fraction.chars())
                .all(|it| it.is_ascii_digit())
        {
            return Err(());
        }
        let fraction: String = fraction.chars().chain("0000".chars()).take(4).collect();
        let whole: u32 = whole.parse().map_err(|_| ())?;
        let fraction: u32 = fraction.parse().map_err(|_| ())?;
        let share = RolloutShare(whole.saturating_mul(10_000).saturating_add(fraction));
        Ok(share.min(RolloutShare::ALL))
    }
}

impl Rollout {
    /// True if a replica with the module `own` replaces the module of the proxy now. A replica with another module than
    /// the target replaces nothing.
    pub fn includes(&self, own: &str, proxy: &str) -> bool {
        self.target == own && self.stopped.is_none() && RolloutShare::with(own, proxy) <= self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_written_in_percent() {
        for (share, text) in [
            (RolloutShare(0), "0"),
            (RolloutShare(137), "0.0137"),
            (RolloutShare(100_000), "10"),
            (RolloutShare(123_400), "12.34"),
            (RolloutShare::ALL, "100"),
        ] {
            assert_eq!(share.to_string(), text);
            assert_eq!(text.parse(), Ok(share));
        }
        assert_eq!("50%".parse(), Ok(RolloutShare::of_percent(50)));
        assert_eq!("1000".parse(), Ok(RolloutShare::ALL));
        for bad in ["", "%", "-1", "x", "1.x", "99999999999"] {
            assert_eq!(bad.parse::<RolloutShare>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn share_has_as_many_proxies() {
        let rollout = Rollout {
            target: "new".into(),
            share: RolloutShare::of_percent(10),
            stopped: None,
        };
        let count = |rollout: &Rollout, own| {
            let proxies = (0..10_000).map(|it| format!("pod-{it}"));
            proxies.filter(|it| rollout.includes(own, it)).count()
        };
        assert!((900..1_100).contains(&count(&rollout, "new")));
        assert_eq!(count(&rollout, "old"), 0);
        let all = Rollout {
            share: RolloutShare::ALL,
            ..rollout.clone()
        };
        assert_eq!(count(&all, "new"), 10_000);
        let stopped = Rollout {
            stopped: Some("trap".into()),
            ..all
        };
        assert_eq!(count(&stopped, "new"), 0);
        // Another module starts at other proxies.
        let [first, second] = ["new", "newer"].map(|target| {
            let proxies = (0..1_000).map(|it| format!("pod-{it}"));
            proxies.min_by_key(|it| RolloutShare::with(target, it))
        });
        assert_ne!(first, second);
    }
}
