//! Checks that objects of one namespace do not affect the proxies of another namespace. The only exceptions are the
//! rules and grants that the specifications allow. `tests/tests/tenants.rs` runs the same check with 600 random inputs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/tenants.rs"]
mod tenants;

fuzz_target!(|data: &[u8]| tenants::check(data));
