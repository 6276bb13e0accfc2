//! Binaryen, for smaller and somewhat faster code. It knows files only.

use std::path::Path;

use wasm_opt::{Feature, OptimizationError, OptimizationOptions};

/// What rustc 1.95 emits for wasm32-wasip1. Named one by one: Binaryen would use whatever else it is
/// allowed, and hosts other than Envoy's V8 know less.
const FEATURES: [Feature; 6] = [
    Feature::BulkMemory,
    Feature::Multivalue,
    Feature::MutableGlobals,
    Feature::ReferenceTypes,
    Feature::SignExt,
    Feature::TruncSat,
];

/// Runs the passes of `wasm-opt -O3` on the module in `file`, in place, and keeps its names.
pub fn optimize(file: &Path) -> Result<(), OptimizationError> {
    let mut options = OptimizationOptions::new_opt_level_3();
    for feature in FEATURES {
        options.enable_feature(feature);
    }
    options.debug_info(true).run(file, file)
}
