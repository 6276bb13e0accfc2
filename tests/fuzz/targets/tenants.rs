//! Objects of two namespaces do not affect each other's proxies, except for the rules and grants of producers in the
//! specifications. `tests/tests/tenants.rs` runs the same check with 600 random inputs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/tenants.rs"]
mod tenants;

fuzz_target!(|data: &[u8]| tenants::check(data));
