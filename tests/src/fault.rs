//! Faults, made on purpose: a control plane that lies, a filter that traps on demand, a client that sends
//! bytes; and the small world that they are tried on, with a load that must not notice them.

mod liar;
mod load;
mod module;
mod raw;
mod web;

pub use liar::{Liar, Manner, Poll, answer};
pub use load::{Load, Sample};
pub use module::trapping_module;
pub use raw::{parse, raw, raw_request};
pub use web::{Web, document, manifest};
