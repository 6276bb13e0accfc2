//! The objects of one namespace do not change the configuration of another namespace's proxies. The fuzz target
//! `tenants` runs the same check with more inputs.

use weir_tests::tenants::check;

const CASES: u64 = 600;

#[test]
fn namespaces_do_not_affect_each_other() {
    for seed in 0..CASES {
        let data = bytes(seed);
        let case = std::panic::catch_unwind(|| check(&data));
        assert!(case.is_ok(), "seed {seed}");
    }
}

/// SplitMix64: equal seeds give equal bytes.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..64).flat_map(|_| next().to_le_bytes()).collect()
}
