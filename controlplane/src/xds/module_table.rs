//! The modules that the Envoys of this replica's streams have accepted or refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use weir_core::status::proxy::StreamModule;

use super::extensions::module_hash;
use super::stream_table::Node;

/// Maximum characters of an Envoy's message.
const MAX_MESSAGE: usize = 512;

/// The modules of all streams.
#[derive(Default)]
pub struct ModuleTable(Mutex<Streams>);

#[derive(Default)]
struct Streams {
    next: u64,
    streams: BTreeMap<u64, StreamState>,
}

struct StreamState {
    node: Node,
    /// The module of each accepted filter. A stream has only a few filters.
    accepted: BTreeMap<Arc<str>, String>,
    /// When the stream last accepted a filter.
    since: Option<Instant>,
    refused: Option<(String, String)>,
}

/// Keeps a stream in the table until this value is dropped.
pub struct OpenModules {
    table: Arc<ModuleTable>,
    number: u64,
}

impl ModuleTable {
    /// Adds a stream without filters. The table lists it when it has accepted or refused a filter.
    pub fn open(self: &Arc<Self>, node: Node) -> OpenModules {
        let mut streams = self.lock();
        streams.next = streams.next.wrapping_add(1);
        let number = streams.next;
        streams.streams.insert(
            number,
            StreamState {
                node,
                accepted: BTreeMap::new(),
                since: None,
                refused: None,
            },
        );
        drop(streams);
        OpenModules {
            table: self.clone(),
            number,
        }
    }

    /// Returns the modules of the streams that get a filter.
    pub fn list(&self, now: Instant) -> Vec<StreamModule> {
        let streams = self.lock();
        let states = streams.streams.values();
        let states = states.filter(|it| it.since.is_some() || it.refused.is_some());
        let list = states.map(|state| StreamModule {
            owner: (*state.node.owner).clone(),
            node: state.node.id.to_string(),
            module: state.module(),
            accepted: state
                .since
                .map_or(0, |since| now.saturating_duration_since(since).as_secs()),
            refused: state.refused.clone(),
        });
        list.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamState {
    /// Returns the hash of the module of all filters; empty if they have different modules.
    fn module(&self) -> String {
        let mut modules = self.accepted.values();
        let first = modules.next().cloned().unwrap_or_default();
        if modules.all(|it| *it == first) {
            first
        } else {
            String::new()
        }
    }
}

impl OpenModules {
    /// Records that the Envoy has this version of a filter.
    pub fn accept(&self, filter: &Arc<str>, version: &str, now: Instant) {
        let Some(module) = module_hash(version) else {
            return;
        };
        self.update(|state| {
            let before = state.accepted.insert(filter.clone(), module.to_owned());
            if before.as_deref() != Some(module) {
                state.since = Some(now);
            }
        });
    }

    /// Records that the Envoy has refused this version of a filter.
    pub fn refuse(&self, version: &str, message: &str) {
        let Some(module) = module_hash(version) else {
            return;
        };
        let message = message.chars().take(MAX_MESSAGE).collect();
        self.update(|state| state.refused = Some((module.to_owned(), message)));
    }

    fn update(&self, change: impl FnOnce(&mut StreamState)) {
        let mut streams = self.table.lock();
        if let Some(state) = streams.streams.get_mut(&self.number) {
            change(state);
        }
    }
}

impl Drop for OpenModules {
    fn drop(&mut self) {
        let mut streams = self.table.lock();
        streams.streams.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn streams_report_their_module() {
        let table = Arc::new(ModuleTable::default());
        let node = Node {
            owner: Arc::default(),
            id: "a".into(),
        };
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let stream = table.open(node);
        let report = || table.list(later).pop();
        assert_eq!(report(), None);
        let (weir, upstream) = ("weir".into(), "weir-upstream".into());
        stream.accept(&weir, "old.1", start);
        stream.accept(&upstream, "old.2", start);
        let old = report().unwrap();
        assert_eq!((old.module.as_str(), old.accepted), ("old", 5));
        stream.accept(&weir, "new.1", later);
        assert_eq!(report().unwrap().module, "");
        stream.accept(&upstream, "new.2", later);
        let new = report().unwrap();
        assert_eq!((new.module.as_str(), new.accepted), ("new", 0));
        stream.refuse("newer.1", "no such import");
        let refused = ("newer".to_owned(), "no such import".to_owned());
        assert_eq!(report().unwrap().refused, Some(refused));
        drop(stream);
        assert_eq!(report(), None);
    }
}
