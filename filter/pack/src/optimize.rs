//! Runs Binaryen on the module in a file, for smaller and somewhat faster code.

use std::path::Path;

use wasm_opt::{Feature, OptimizationError, OptimizationOptions};

/// The features that rustc 1.95 uses for wasm32-wasip1. Binaryen may write code with every feature of this list. So the
/// list has no other feature: hosts other than Envoy's V8 may not support it.
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
