//! The part of a root context that its requests and connections use.

use std::cell::RefCell;

use weir_split::{Live, Plugin};

use crate::bounded::BoundedLog;

/// The table and the log of one plugin configuration in a VM.
pub struct Shared {
    pub plugin: Plugin,
    pub live: RefCell<Live>,
    pub log: BoundedLog,
}
