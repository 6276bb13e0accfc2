//! The part of a delta stream for one type of resources: subscriptions, versions that the client has, and responses
//! that the client has not answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;

use super::{Newest, RETIREMENT, WILDCARD};
use crate::xds::encoded_resource::Resource;
use crate::xds::message::{ResourceType, Response};
use crate::xds::stream_table::ClusterState;

/// Maximum number of responses of one type that the client has not answered. Envoy does not answer a response with
/// clusters while any cluster warms, and new clusters must not wait for this.
const MAX_IN_FLIGHT: usize = 8;
/// A response with this number of bytes gets no further resource. A filter has a response of its own.
const MAX_RESPONSE: usize = 256 << 10;
/// Maximum number of subscribed names.
const MAX_NAMES: usize = 20_000;
/// Maximum number of subscribed names that no scope names now. The stream sends their resources when a scope names
/// them.
const MAX_UNKNOWN: usize = 64;
/// Maximum number of resources that the client has from an earlier stream and that no scope names now.
const MAX_LEFT_OVER: usize = 1_024;
/// Maximum number of bytes of the names and versions of resources from an earlier stream that the stream may not have.
const MAX_LEFT_OVER_BYTES: usize = 128 << 10;
/// Maximum number of bytes of a version that the client states. The versions of Weir have at most 65 bytes.
const MAX_VERSION: usize = 80;
/// Maximum number of names that a response reports as removed.
const MAX_REMOVED: usize = 1_024;
/// Maximum number of bytes of a name or a message of the client.
const MAX_TEXT: usize = 512;
/// Maximum number of resources whose refusal is kept with the client's message.
const MAX_MESSAGES: usize = 64;
/// The version of an answer without endpoints.
const NO_ENDPOINTS: &str = "none";

pub(super) struct TypeStream {
    kind: ResourceType,
    is_open: bool,
    /// True if the client has asked for all clusters.
    pub is_wildcard: bool,
    /// The subscribed names whose resources the stream may send, or was allowed to send before.
    names: BTreeSet<Arc<str>>,
    /// The subscribed names whose resources the stream is not allowed to send yet.
    unknown: BTreeSet<Arc<str>>,
    /// What the client has, or will have when it has read the last response.
    held: BTreeMap<Arc<str>, Held>,
    /// The names of resources that may have to be sent.
    due: BTreeSet<Arc<str>>,
    /// The names that the next response must report as removed.
    removed: BTreeSet<Arc<str>>,
    /// The halves of refused responses.
    halves: VecDeque<Vec<SentVersion>>,
    in_flight: VecDeque<InFlight>,
    responses: u64,
    /// The number of refused resources with the client's message.
    messages: usize,
}

struct Held {
    version: Arc<str>,
    state: ClusterState,
    must_send_again: bool,
    unused_since: Option<Instant>,
}

struct InFlight {
    nonce: String,
    sent: Vec<SentVersion>,
}

struct SentVersion {
    name: Arc<str>,
    version: Arc<str>,
}

/// What a client's answer has changed.
pub(super) struct Answered {
    /// The resources with a new state.
    pub names: Vec<Arc<str>>,
    /// The resource that the client refuses, if the response had only this resource.
    pub refused: Option<Arc<str>>,
}

impl TypeStream {
    pub(super) fn new(kind: ResourceType) -> TypeStream {
        TypeStream {
            kind,
            is_open: false,
            is_wildcard: false,
            names: BTreeSet::new(),
            unknown: BTreeSet::new(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            removed: BTreeSet::new(),
            halves: VecDeque::new(),
            in_flight: VecDeque::new(),
            responses: 0,
            messages: 0,
        }
    }

    /// Returns true at the first request for this type.
    pub(super) fn open(&mut self) -> bool {
        !std::mem::replace(&mut self.is_open, true)
    }

    pub(super) fn state(&self, name: &str) -> Option<&ClusterState> {
        self.held.get(name).map(|it| &it.state)
    }

    /// True if the client has the newest version, or has no version of this resource.
    pub(super) fn has_newest(&self, name: &str, newest: Newest<'_>) -> bool {
        // The newest version is asked for only if it is needed, because the catalog would encode it.
        let Some(held) = self.held.get(name) else {
            return true;
        };
        let newest = newest.resource(self.kind, name);
        newest.is_none_or(|newest| held.version == newest.version)
    }

    /// Returns the version that the client has or will have when it has read the last response.
    pub(super) fn version(&self, name: &str) -> Option<&Arc<str>> {
        self.held.get(name).map(|it| &it.version)
    }

    /// True if the client has asked for the resource and does not have this version.
    pub(super) fn lacks(&self, name: &str, version: &str) -> bool {
        let has_version = |held: &Held| *held.version == *version && !held.must_send_again;
        self.names.contains(name) && !self.held.get(name).is_some_and(has_version)
    }

    /// True if the client has not answered the last response with the resource.
    pub(super) fn is_in_flight(&self, name: &str) -> bool {
        let mut sent = self.in_flight.iter().flat_map(|it| &it.sent);
        sent.any(|it| *it.name == *name)
    }

    /// True if the client has refused a response with the resource, and the resource waits for a smaller response.
    pub(super) fn is_in_half(&self, name: &str) -> bool {
        let mut waiting = self.halves.iter().flatten();
        waiting.any(|it| *it.name == *name)
    }

    /// Records what the client has from an earlier stream. Returns the recorded names.
    pub(super) fn state_versions(
        &mut self,
        versions: &BTreeMap<String, String>,
        newest: Newest<'_>,
    ) -> Vec<Arc<str>> {
        let (mut left_over, mut left_over_bytes): (usize, usize) = (0, 0);
        for (name, version) in versions {
            if version.len() > MAX_VERSION {
                continue;
            }
            let name: Arc<str> = match newest.name(self.kind, name) {
                Some(name) => name.clone(),
                None => {
                    let bytes = left_over_bytes.saturating_add(name.len());
                    let bytes = bytes.saturating_add(version.len());
                    let is_full = left_over >= MAX_LEFT_OVER || bytes > MAX_LEFT_OVER_BYTES;
                    if is_full || name.len() > MAX_TEXT {
                        continue;
                    }
                    left_over = left_over.saturating_add(1);
                    left_over_bytes = bytes;
                    name.as_str().into()
                }
            };
            let present = newest.resource(self.kind, &name);
            let present = present.map(|it| it.version);
            let (version, state) = match present {
                Some(present) if *present == **version => (present, ClusterState::Accepted),
                Some(_) => (version.as_str().into(), ClusterState::Changed),
                None => (version.as_str().into(), ClusterState::Accepted),
            };
            self.held.insert(name, Held::new(version, state));
        }
        self.held.keys().cloned().collect()
    }

    /// Adds a subscription. The stream sends the resource even if the client has it already, but not if the client has
    /// stated the present version (`has_version`).
    pub(super) fn subscribe(&mut self, name: &str, has_version: bool, newest: Newest<'_>) {
        let Some(known) = newest.name(self.kind, name) else {
            return self.subscribe_unknown(name);
        };
        if self.names.len() >= MAX_NAMES && !self.names.contains(known) {
            return;
        }
        self.names.insert(known.clone());
        self.due.insert(known.clone());
        if !has_version && let Some(held) = self.held.get_mut(name) {
            held.must_send_again = true;
        }
        if self.kind == ResourceType::Clusters && newest.resource(self.kind, name).is_none() {
            self.set_removed(known.clone());
        }
    }

    /// Adds a subscription to a resource that the stream is not allowed to send.
    fn subscribe_unknown(&mut self, name: &str) {
        // What the client has from before stays as it is, until a scope names it again or `Delta::retire` removes it.
        if let Some((name, _)) = self.held.get_key_value(name) {
            self.names.insert(name.clone());
            return;
        }
        if name.len() > MAX_TEXT {
            return;
        }
        let name: Arc<str> = name.into();
        if self.kind == ResourceType::Clusters {
            self.set_removed(name.clone());
        }
        if self.unknown.len() < MAX_UNKNOWN && self.unknown.insert(name.clone()) {
            self.due.insert(name);
        }
    }

    fn set_removed(&mut self, name: Arc<str>) {
        if self.removed.len() < MAX_REMOVED && !self.held.contains_key(&name) {
            self.removed.insert(name);
        }
    }

    /// Removes a subscription. Returns the resources that the client no longer has.
    pub(super) fn unsubscribe(&mut self, name: &str) -> Vec<Arc<str>> {
        if name == WILDCARD {
            self.is_wildcard = false;
            let names = &self.names;
            let dropped = self.held.keys().filter(|name| !names.contains(*name));
            let dropped: Vec<_> = dropped.cloned().collect();
            for name in &dropped {
                self.forget(name);
            }
            return dropped;
        }
        self.names.remove(name);
        self.unknown.remove(name);
        if self.is_wildcard {
            self.send_again(name);
            return Vec::new();
        }
        self.forget(name).into_iter().collect()
    }

    fn forget(&mut self, name: &str) -> Option<Arc<str>> {
        self.due.remove(name);
        self.removed.remove(name);
        let (name, held) = self.held.remove_entry(name)?;
        if let ClusterState::Refused(_) = held.state {
            self.messages = self.messages.saturating_sub(1);
        }
        Some(name)
    }

    /// Learns that the stream may have this resource from now on.
    pub(super) fn learn(&mut self, name: &Arc<str>) {
        if self.unknown.remove(name) {
            self.names.insert(name.clone());
        }
    }

    /// Does nothing if the client has not asked for this resource.
    pub(super) fn set_due(&mut self, name: &Arc<str>) {
        if self.is_wildcard || self.names.contains(name) {
            self.due.insert(name.clone());
        }
    }

    pub(super) fn set_all_due(&mut self) {
        self.due.extend(self.names.iter().cloned());
    }

    /// Makes a resource due even if the client has its newest version.
    pub(super) fn send_again(&mut self, name: &str) {
        if let Some((name, _)) = self.held.get_key_value(name) {
            let name = name.clone();
            self.set_due(&name);
            if let Some(held) = self.held.get_mut(&name) {
                held.must_send_again = true;
            }
        }
    }

    /// Removes the resources that were not used for [`RETIREMENT`]. Returns their names, and true if other resources
    /// wait for their removal.
    pub(super) fn retire(
        &mut self,
        newest: Newest<'_>,
        is_used: impl Fn(&str) -> bool,
        now: Instant,
    ) -> (Vec<Arc<str>>, bool) {
        let mut over = Vec::new();
        let mut waits = false;
        for (name, held) in &mut self.held {
            let is_named = newest.name(self.kind, name).is_some();
            waits |= !is_named;
            if is_named || is_used(name) {
                held.unused_since = None;
                continue;
            }
            let since = *held.unused_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= RETIREMENT && over.len() < MAX_REMOVED {
                over.push(name.clone());
            }
        }
        for name in &over {
            self.forget(name);
            self.removed.insert(name.clone());
        }
        (over, waits)
    }

    /// Returns the next response. Returns None if nothing is due, or if the client has not answered enough responses.
    pub(super) fn next_response(&mut self, newest: Newest<'_>) -> Option<Response> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        // Good resources must not wait for the halves of a refused response.
        let mut resources = self.take_due(newest);
        if resources.is_empty() {
            resources = self.next_half(newest);
        }
        if resources.is_empty() {
            // A resource of a half may have a newer version, and is due now.
            resources = self.take_due(newest);
        }
        let removed = self.take_removed(&resources, newest);
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        self.responses = self.responses.wrapping_add(1);
        let nonce = self.responses.to_string();
        let sent = resources.iter().map(|resource| self.set_sent(resource));
        let sent = sent.collect();
        self.in_flight.push_back(InFlight {
            nonce: nonce.clone(),
            sent,
        });
        Some(Response {
            kind: self.kind,
            nonce,
            resources,
            removed,
        })
    }

    /// Returns the resources of the next half of a refused response. A resource with a newer version is due instead.
    fn next_half(&mut self, newest: Newest<'_>) -> Vec<Resource> {
        while let Some(half) = self.halves.pop_front() {
            let mut resources = Vec::new();
            for sent in half {
                if !sent_is_newest(&self.held, &sent) {
                    continue;
                }
                match newest.resource(self.kind, &sent.name) {
                    Some(resource) if resource.version == sent.version => resources.push(resource),
                    Some(_) => drop(self.due.insert(sent.name)),
                    // When a scope names the resource again, it has to be sent.
                    None => {
                        if let Some(held) = self.held.get_mut(&sent.name) {
                            held.must_send_again = true;
                        }
                    }
                }
            }
            if !resources.is_empty() {
                return resources;
            }
        }
        Vec::new()
    }

    fn take_due(&mut self, newest: Newest<'_>) -> Vec<Resource> {
        let mut resources = Vec::new();
        let mut size: usize = 0;
        while let Some(name) = self.due.pop_first() {
            let held = self.held.get(&name);
            let Some(resource) = self.due_resource(&name, held, newest) else {
                continue;
            };
            let more = [&*resource.body, resource.name.as_bytes()].map(<[u8]>::len);
            let total = size.saturating_add(more.iter().sum());
            let is_full = total > MAX_RESPONSE || self.kind == ResourceType::Extensions;
            if !resources.is_empty() && is_full {
                self.due.insert(name);
                break;
            }
            size = total;
            resources.push(resource);
        }
        resources
    }

    /// Returns None if the client has the newest version.
    fn due_resource(
        &self,
        name: &Arc<str>,
        held: Option<&Held>,
        newest: Newest<'_>,
    ) -> Option<Resource> {
        let resource = match newest.resource(self.kind, name) {
            // Envoy warms a cluster until it gets endpoints.
            None if self.kind == ResourceType::Endpoints && held.is_none() => {
                without_endpoints(name)
            }
            // The endpoints of a cluster that no scope names stay as they are.
            newest => newest?,
        };
        let has_newest =
            held.is_some_and(|it| it.version == resource.version && !it.must_send_again);
        (!has_newest).then_some(resource)
    }

    fn take_removed(&mut self, resources: &[Resource], newest: Newest<'_>) -> Vec<Arc<str>> {
        let mut removed = std::mem::take(&mut self.removed);
        removed.retain(|name| {
            let is_back = newest.resource(self.kind, name).is_some();
            !is_back && !self.held.contains_key(name)
        });
        for resource in resources {
            removed.remove(&resource.name);
        }
        removed.into_iter().collect()
    }

    fn set_sent(&mut self, resource: &Resource) -> SentVersion {
        let Resource { name, version, .. } = resource;
        let before = self.held.remove(name).map(|it| it.state);
        if let Some(ClusterState::Refused(_)) = before {
            self.messages = self.messages.saturating_sub(1);
        }
        // The client uses the accepted version until it accepts the new one.
        let state = match before {
            Some(state @ (ClusterState::Accepted | ClusterState::Changed)) => state,
            _ => ClusterState::Sent,
        };
        let held = Held::new(version.clone(), state);
        self.held.insert(name.clone(), held);
        SentVersion {
            name: name.clone(),
            version: version.clone(),
        }
    }

    /// Returns how many names are in memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let sets = [&self.names, &self.unknown, &self.due, &self.removed];
        let sets: usize = sets.iter().map(|it| it.len()).sum();
        let halves: usize = self.halves.iter().map(Vec::len).sum();
        sets + halves + self.held.len() + self.unanswered().len()
    }

    /// Returns the resources in responses that the client has not answered.
    pub(super) fn unanswered(&self) -> BTreeSet<Arc<str>> {
        let sent = self.in_flight.iter().flat_map(|it| &it.sent);
        sent.map(|it| it.name.clone()).collect()
    }

    /// Reads the client's answer to a response. Returns None if no open response has this nonce.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<&str>) -> Option<Answered> {
        let index = self.in_flight.iter().position(|it| it.nonce == nonce)?;
        let InFlight { sent, .. } = self.in_flight.remove(index)?;
        let held = &self.held;
        // The error may be about a resource that has a newer version now.
        let was_alone = sent.len() == 1;
        let mut sent: Vec<_> = sent
            .into_iter()
            .filter(|it| sent_is_newest(held, it))
            .collect();
        let mut answered = Answered {
            names: Vec::new(),
            refused: None,
        };
        match (error, sent.as_slice()) {
            (None, _) => {
                for SentVersion { name, .. } in sent {
                    self.set_state(&name, ClusterState::Accepted);
                    answered.names.push(name);
                }
            }
            (Some(_), []) => {}
            (Some(message), [only]) if was_alone => {
                let state = ClusterState::Refused(self.refusal(message));
                let name = only.name.clone();
                self.set_state(&name, state);
                answered.names.push(name.clone());
                answered.refused = Some(name);
            }
            (Some(_), _) => {
                // A resource waits in one half at most, so a client that refuses everything costs no memory.
                let again: BTreeSet<&str> = sent.iter().map(|it| &*it.name).collect();
                for half in &mut self.halves {
                    half.retain(|it| !again.contains(&*it.name));
                }
                self.halves.retain(|half| !half.is_empty());
                let half = sent.split_off(sent.len() / 2);
                let halves = [sent, half].into_iter();
                self.halves.extend(halves.filter(|half| !half.is_empty()));
            }
        }
        Some(answered)
    }

    fn refusal(&mut self, message: &str) -> String {
        self.messages = self.messages.saturating_add(1);
        if self.messages > MAX_MESSAGES {
            return "refused; the log of the proxy has the reason".to_owned();
        }
        shortened(message)
    }

    fn set_state(&mut self, name: &str, state: ClusterState) {
        if let Some(held) = self.held.get_mut(name) {
            held.state = state;
        }
    }
}

impl Held {
    fn new(version: Arc<str>, state: ClusterState) -> Held {
        Held {
            version,
            state,
            must_send_again: false,
            unused_since: None,
        }
    }
}

/// True if the stream has not sent another version since.
fn sent_is_newest(held: &BTreeMap<Arc<str>, Held>, sent: &SentVersion) -> bool {
    held.get(&sent.name)
        .is_some_and(|it| it.version == sent.version)
}

fn without_endpoints(name: &Arc<str>) -> Resource {
    let message = ClusterLoadAssignment {
        cluster_name: name.to_string(),
        ..ClusterLoadAssignment::default()
    };
    Resource {
        name: name.clone(),
        version: NO_ENDPOINTS.into(),
        body: message.encode_to_vec().into(),
    }
}

/// Returns at most 512 characters of a client's message.
pub(super) fn shortened(message: &str) -> String {
    message.chars().take(MAX_TEXT).collect()
}
