//! Brings events from the watches to the publisher. The feed collects a burst of events, and then publishes once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::object_store::{Impact, ObjectStore, SourceEvent};
use super::read_object::Key;
use crate::publish::Publisher;

/// A burst ends when there was no event for this time.
const QUIET: Duration = Duration::from_millis(5);
/// Maximum duration of a burst.
const BURST: Duration = Duration::from_millis(50);
/// After a translation there is a pause, which leaves time for requests when objects change often. The pause is this
/// many times as long as the translation, and at most [`MAX_PAUSE`].
const PAUSE_FACTOR: u32 = 2;
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Maximum time for which a translation waits for ConfigMaps.
const CONFIG_MAPS_WAIT: Duration = Duration::from_secs(2);

/// A translation waits for ConfigMaps, because a policy without its certificates closes its Services. The wait is short,
/// because the ConfigMaps of one namespace must not hold back the others.
#[derive(Default)]
struct ConfigMapWait {
    /// None if no translation waits.
    end: Option<Instant>,
    /// Unread ConfigMaps for which a translation has waited already.
    overdue: BTreeSet<Key>,
}

impl ConfigMapWait {
    /// Returns true if a translation must wait for the ConfigMaps in `unread`.
    fn is_needed(&mut self, unread: BTreeSet<Key>, now: Instant) -> bool {
        self.overdue.retain(|key| unread.contains(key));
        if unread.is_subset(&self.overdue) {
            self.end = None;
            return false;
        }
        let end = *self.end.get_or_insert(now + CONFIG_MAPS_WAIT);
        if now < end {
            return true;
        }
        for (namespace, name) in unread.difference(&self.overdue) {
            tracing::warn!("ConfigMap {namespace}/{name} was not read in time");
        }
        self.end = None;
        self.overdue = unread;
        false
    }

    /// Returns the next event, or None at the end of the wait. The Err means that there are no more events.
    async fn next(
        &self,
        events: &mut mpsc::Receiver<SourceEvent>,
    ) -> Result<Option<SourceEvent>, Closed> {
        let event = match self.end {
            None => events.recv().await,
            Some(end) => match timeout_at(end, events.recv()).await {
                Ok(event) => event,
                Err(_) => return Ok(None),
            },
        };
        event.map(Some).ok_or(Closed)
    }
}

/// All senders of events are gone.
struct Closed;

/// Runs until all senders of events are gone. `config_maps` gets the names of the ConfigMaps that policies need.
pub async fn feed(
    mut events: mpsc::Receiver<SourceEvent>,
    mut publisher: Publisher,
    config_maps: watch::Sender<BTreeSet<Key>>,
) {
    let mut store = ObjectStore::default();
    let mut is_published = false;
    let mut impact = Impact::Nothing;
    let mut pause_end = Instant::now();
    let mut wait = ConfigMapWait::default();
    while let Ok(first) = wait.next(&mut events).await {
        if let Some(first) = first {
            impact = impact.max(store.apply(first));
            let latest = pause_end.max(Instant::now() + BURST);
            loop {
                let quiet = pause_end.max(Instant::now() + QUIET).min(latest);
                match timeout_at(quiet, events.recv()).await {
                    Ok(Some(next)) => impact = impact.max(store.apply(next)),
                    Ok(None) => return,
                    Err(_) => break,
                }
            }
        }
        let needed = store.needed_config_maps();
        config_maps.send_if_modified(|before| {
            let is_new = *before != needed;
            if is_new {
                before.clone_from(&needed);
            }
            is_new
        });
        if !is_published && !store.is_complete() {
            if let Some(why) = store.obstacle() {
                publisher.hold_back(&why, &[]);
            }
            continue;
        }
        match impact {
            _ if !is_published => {}
            Impact::Nothing => continue,
            Impact::Outcome => {
                publisher.read_on(store.subjects(), store.watermark());
                impact = Impact::Nothing;
                continue;
            }
            Impact::Translation => {}
        }
        if wait.is_needed(store.unread_config_maps(needed), Instant::now()) {
            continue;
        }
        let snapshot = store.snapshot();
        let start = Instant::now();
        let published = spawn_blocking(move || {
            publisher.publish(snapshot);
            publisher
        });
        // An error means that the translation has panicked. Then the feed ends, and the process ends too.
        let Ok(back) = published.await else { return };
        publisher = back;
        pause_end = Instant::now() + MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR);
        is_published = true;
        impact = Impact::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::manifest::object::read;
    use weir_core::world::Entry;

    use super::*;
    use crate::source::kubernetes::read_object::ReadObject;

    /// Returns a BackendTLSPolicy with this ConfigMap.
    fn policy(config_map: &str) -> SourceEvent {
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: p, namespace: shop}}, spec: {{targetRefs: [{{group: '', kind: Service, name: a}}], validation: {{hostname: a.b, caCertificateRefs: [{{group: '', kind: ConfigMap, name: {config_map}}}]}}}}}}"
        );
        let object = ReadObject {
            entry: Some(Arc::new(Entry::of(&read("", &text).unwrap().objects[0]))),
            problem: None,
            subject: None,
        };
        let id = "backendtlspolicies.gateway.networking.k8s.io".into();
        SourceEvent::Applied(id, ("shop".into(), "p".into()), object, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn unread_config_maps_do_not_block() {
        let publisher = Publisher::new(Arc::default(), Policy::Unstated);
        let mut outcome = publisher.outcome();
        let (sender, events) = mpsc::channel(8);
        let (needed, _config_maps) = watch::channel(BTreeSet::new());
        tokio::spawn(feed(events, publisher, needed));
        let start = Instant::now();
        sender.send(SourceEvent::Discovered(Ok(()))).await.unwrap();
        // The names change while the feed waits, and the ConfigMaps are never read.
        for number in 0..4 {
            sender.send(policy(&format!("ca{number}"))).await.unwrap();
            assert!(!outcome.has_changed().unwrap(), "{number}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        outcome.changed().await.unwrap();
        let time = start.elapsed();
        assert!(time < CONFIG_MAPS_WAIT + 2 * BURST, "{time:?}");
    }

    #[test]
    fn translation_waits_once_for_name() {
        let mut wait = ConfigMapWait::default();
        let now = Instant::now();
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        assert!(!wait.is_needed([].into(), now));
        assert!(wait.is_needed([key("a")].into(), now));
        assert!(wait.is_needed([key("b")].into(), now + CONFIG_MAPS_WAIT / 2));
        let now = now + CONFIG_MAPS_WAIT;
        assert!(!wait.is_needed([key("b")].into(), now));
        assert!(!wait.is_needed([key("b")].into(), now));
        assert!(wait.is_needed([key("b"), key("c")].into(), now));
        assert!(!wait.is_needed([key("b")].into(), now));
        assert_eq!(wait.end, None);
    }
}
