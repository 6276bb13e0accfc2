//! Laws 8 and 9 of ARCHITECTURE.md: shares are exact, picks have no rhythm, and a change of another rule never disturbs
//! a rule's picks.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_split::{Decision, Live, MAX_TOTAL, Sampler, Site, Table, UntilConfigured, wire};

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Makes `picks` picks. After each pick, checks that the count of each backend is close to its share (law 8).
fn check_prefixes(weights: &[u64], seed: u64, picks: u64) {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let reduced = total / u128::from(weights.iter().copied().fold(0, gcd));
    let mut sampler = Sampler::new(weights.iter().copied(), seed).expect("a positive total");
    let depths: Vec<_> = (0..weights.len())
        .map(|backend| sampler.depth(backend))
        .collect();
    let live = weights.iter().filter(|weight| **weight > 0).count();
    let mut counts = vec![0u128; weights.len()];
    for n in 1..=u128::from(picks) {
        counts[sampler.pick()] += 1;
        for (backend, weight) in weights.iter().enumerate() {
            let (count, weight) = (counts[backend], u128::from(*weight));
            if weight == 0 {
                assert_eq!(count, 0, "a backend with weight 0 was picked");
                continue;
            }
            // |count - n x weight / total| < bound, without fractions.
            let bound = u128::from(depths[backend].expect("in the tree")).max(1);
            let off = (count * total).abs_diff(n * weight);
            assert!(
                off < bound * total,
                "{weights:?}: {count} of {n}, backend {backend}"
            );
            if live == 2 && (n * weight).is_multiple_of(total) || n.is_multiple_of(reduced) {
                assert_eq!(off, 0, "{weights:?}: {count} of {n}, backend {backend}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_backends_stay_within_one(a in 0..2000u64, b in 1..2000u64, seed: u64) {
        check_prefixes(&[a, b], seed, 5_000);
    }

    #[test]
    fn many_backends_stay_within_depth(
        weights in vec(0..60u64, 3..=16).prop_filter("all zero", |it| it.iter().any(|weight| *weight > 0)),
        seed: u64,
    ) {
        check_prefixes(&weights, seed, 3_000);
    }

    #[test]
    fn uneven_weights_keep_their_bound(weights in vec(0..50u32, 3..=16), seed: u64) {
        let weights: Vec<u64> = weights.into_iter().map(|bits| 1 << bits).collect();
        check_prefixes(&weights, seed, 2_000);
    }

    #[test]
    fn totals_up_to_limit_are_safe(light in 1..MAX_TOTAL / 2, seed: u64) {
        check_prefixes(&[light, MAX_TOTAL - 1 - light], seed, 2_000);
        check_prefixes(&[MAX_TOTAL / 4; 3], seed, 2_000);
    }
}

#[test]
fn exact_at_multiples_of_reduced_total() {
    check_prefixes(&[90, 10], 7, 2_000_000);
    check_prefixes(&[1, 999_999], 7, 2_000_000);
    check_prefixes(&[50, 30, 15, 4, 1], 7, 1_000_000);
}

#[test]
fn zero_or_excessive_total_is_refused() {
    assert!(Sampler::new([], 1).is_none());
    assert!(Sampler::new([0, 0], 1).is_none());
    assert!(Sampler::new([MAX_TOTAL], 1).is_none());
    assert!(Sampler::new([MAX_TOTAL - 1, 1], 1).is_none());
    assert!(Sampler::new([u64::MAX, u64::MAX], 1).is_none());
    assert!(Sampler::new([MAX_TOTAL - 1], 1).is_some());
}

/// A client sends two kinds of calls in turn. Each kind reaches both versions with the right shares.
#[test]
fn alternating_client_sees_both_versions() {
    const PICKS: u64 = 2_000_000;
    for weights in [[50, 50], [90, 10], [1, 2], [99, 1]] {
        let mut sampler = Sampler::new(weights, 11).expect("weights");
        let mut second = [0u64; 2];
        for pick in 0..PICKS {
            second[(pick % 2) as usize] += sampler.pick() as u64;
        }
        let calls = (PICKS / 2) as f64;
        let share = weights[1] as f64 / 100.0_f64.min((weights[0] + weights[1]) as f64);
        let error = (share * (1.0 - share) / calls).sqrt();
        for count in second {
            let got = count as f64 / calls;
            assert!(
                (got - share).abs() < 3.0 * error,
                "{weights:?}: {got} for {share}"
            );
        }
    }
}

/// Over many workers, each of the first twelve picks follows the shares.
#[test]
fn first_picks_follow_the_shares() {
    const WORKERS: u64 = 200_000;
    for weights in [[90, 10], [50, 50], [70, 30]] {
        let mut second = [0u64; 12];
        for worker in 0..WORKERS {
            let mut sampler = Sampler::new(weights, worker).expect("weights");
            for count in &mut second {
                *count += sampler.pick() as u64;
            }
        }
        let share = weights[1] as f64 / 100.0;
        for (pick, count) in second.into_iter().enumerate() {
            let got = count as f64 / WORKERS as f64;
            assert!(
                (got - share).abs() < 0.05,
                "{weights:?}: pick {pick} has {got}"
            );
        }
    }
}

fn backend(name: &str, weight: u64) -> wire::Backend {
    let service = wire::Service {
        name: name.into(),
        namespace: "default".into(),
        port: 80,
    };
    wire::Backend::new(weight, wire::Target::Service(service))
}

fn config(rules: &[(&str, &[u64])]) -> wire::Config {
    let mut config = wire::Config {
        version: wire::VERSION,
        ..wire::Config::default()
    };
    for (name, weights) in rules {
        let backends = weights.iter().enumerate();
        config.rules.insert(
            (*name).into(),
            wire::Rule {
                backends: backends
                    .map(|(i, weight)| backend(&format!("v{i}"), *weight))
                    .collect(),
                ..wire::Rule::default()
            },
        );
        config.hosts.push(wire::HostSet {
            hosts: wire::Hosts::Literal(wire::Literal {
                name: (*name).into(),
                port: 80,
                default_port: true,
                every_port: false,
            }),
            matches: vec![wire::Match {
                rule: (*name).into(),
                ..wire::Match::default()
            }],
            unmatched: wire::Unmatched::Pass,
        });
    }
    config
}

fn install(live: &mut Live, rules: &[(&str, &[u64])]) {
    let table = Table::compile(&config(rules), &Site::default()).expect("compiles");
    live.install(table);
}

fn picks(live: &mut Live, host: &str, count: usize) -> Vec<String> {
    let decide = |_| match live.decide(host.as_bytes(), || None, |_| None).decision {
        Decision::Cluster(name) => name.to_owned(),
        other => panic!("{other:?}"),
    };
    (0..count).map(decide).collect()
}

proptest! {
    /// Law 9: changes of other rules do not change the picks of `kept`.
    #[test]
    fn other_rules_keep_a_sequence_exact(
        seed: u64,
        elsewhere in vec((0..100u64, 1..100u64, 1..40usize), 1..12),
    ) {
        let kept: (&str, &[u64]) = ("kept", &[90, 10]);
        let mut alone = Live::new(seed, UntilConfigured::Pass);
        install(&mut alone, &[kept]);
        let mut disturbed = Live::new(seed, UntilConfigured::Pass);
        install(&mut disturbed, &[kept]);
        for (a, b, count) in elsewhere {
            install(&mut disturbed, &[("other", &[a, b]), kept, ("z", &[b])]);
            picks(&mut disturbed, "other", count);
            prop_assert_eq!(picks(&mut disturbed, "kept", count), picks(&mut alone, "kept", count));
        }
    }

    /// A rule with new weights starts a new sequence, which is exact.
    #[test]
    fn changed_rule_is_exact_at_once(seed: u64, before in 1..50usize) {
        let mut live = Live::new(seed, UntilConfigured::Pass);
        install(&mut live, &[("a", &[90, 10])]);
        picks(&mut live, "a", before);
        install(&mut live, &[("a", &[50, 50])]);
        let second = picks(&mut live, "a", 10).iter().filter(|name| name.starts_with("v1")).count();
        prop_assert_eq!(second, 5);
        install(&mut live, &[("a", &[0, 100])]);
        prop_assert!(picks(&mut live, "a", 50).iter().all(|name| name.starts_with("v1")));
    }
}
