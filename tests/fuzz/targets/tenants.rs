//! Objects of two namespaces: what one writes changes nothing for the proxies of the other, but for what the
//! specifications give to producers. `tests/tests/tenants.rs` checks the same with a few thousand random inputs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/tenants.rs"]
mod tenants;

fuzz_target!(|data: &[u8]| tenants::check(data));
