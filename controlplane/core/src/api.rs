//! One module for each kind of object: its manifest -> its checked form.
//!
//! What an object refers to is decided in [`crate::translate`], where the other objects are known.

pub mod gateway;
pub mod known_fields;
pub mod reference_grant;
pub mod route;
pub mod service;
pub mod smi;
pub mod workload;
