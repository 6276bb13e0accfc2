//! Objects of two namespaces: the objects of one change nothing for the proxies of the other, except the rules and
//! grants that the specifications let producers write. `tests/tests/tenants.rs` checks the same with 600 random inputs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/tenants.rs"]
mod tenants;

fuzz_target!(|data: &[u8]| tenants::check(data));
