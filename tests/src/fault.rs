//! Faults for tests: a fake control plane, a filter that traps on request, and a client that sends raw bytes. Also a
//! small set of objects, and clients that send requests during a fault.

mod fake_plane;
mod load;
mod module;
mod raw;
mod web;

pub use fake_plane::{Behaviour, FakePlane, Poll, answer};
pub use load::{Load, Sample};
pub use module::trapping_module;
pub use raw::{parse, raw, raw_request};
pub use web::{Web, document, manifest};
