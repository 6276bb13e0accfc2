//! Translates any bytes as a YAML file. The translation must end, and a proxy must be able to compile the configuration
//! of every scope (each namespace and each Gateway). The files of tests/golden are a good corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::publish::Published;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_core::plan::document::features_after;
use weir_core::translate::translate;
use weir_core::world::World;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(read) = object::read("fuzz.yaml", text) else {
        return;
    };
    let (world, _) = World::from_objects(read.objects);
    for policy in [Policy::Unstated, Policy::Smi] {
        let (plan, _) = translate(&world, policy);
        if let Err(refused) = Published::compile(plan, features_after) {
            panic!("a proxy would refuse it: {refused}");
        }
    }
});
