//! The state that the VMs of one proxy process share for one scope (one namespace or Gateway): the VM that polls, the
//! list of living VMs, and the newest document. A document is a configuration as the control plane sends it. The VMs of
//! one process and one scope are a fleet.
//!
//! Plugin configurations of one scope with different values of `clusters_from` belong to different fleets.
//!
//! The state is in the shared data of the proxy, which survives the trap of a VM. Each VM writes its own key. With one
//! key for all VMs, the cost would grow with the square of their number. A VM joins the fleet in its first tick,
//! because a proxy also loads the configuration into a throw-away VM that never ticks.

mod lost_members;
mod message;

use weir_split::wire::headers::LEAN;
use weir_split::{ClustersFrom, Direction, Plugin, Protocol};

use crate::host;

pub use self::lost_members::LostMembers;
pub use self::message::Message;

/// Milliseconds between ticks.
pub const TICK: u64 = 500;
/// Milliseconds after which a lease ends, if its holder does not renew it. The VM with the lease polls.
pub const LEASE: u64 = 2_000;
/// Milliseconds after which a VM without a heartbeat is gone, together with its queue.
const HEARTBEAT_TIMEOUT: u64 = 3_000;
/// Compare-and-swap attempts in one tick.
const ATTEMPTS: usize = 16;

/// The keys of one fleet in shared data. One proxy may have several filters with different scopes and control planes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keys(String);

/// One VM as a member of the fleet.
pub struct Member {
    keys: Keys,
    /// Random, hexadecimal.
    name: String,
    /// The key `member/SLOT` belongs to this VM. After the end of a VM another VM takes the slot, so the number of keys
    /// does not grow.
    slot: usize,
    queue: u32,
    is_lean: bool,
}

/// The value of a VM's key.
#[derive(Debug, PartialEq, Eq)]
struct MemberEntry {
    /// See [`Member::name`].
    name: String,
    queue: u32,
    /// Time of the last heartbeat, in milliseconds since 1970.
    heartbeat: u64,
    /// The revision that all plugin configurations of this VM use; empty if there is no such revision.
    revision: String,
    /// True if the module of this VM cannot edit responses. The entry then ends with [`LEAN`].
    is_lean: bool,
}

/// A summary of the entries of all living VMs.
pub struct Summary {
    /// The revision that every VM uses. None if the VMs use different revisions or no revision.
    pub applied: Option<String>,
    /// True if a VM edits no responses.
    pub is_lean: bool,
}

impl Keys {
    pub fn new(plugin: &Plugin) -> Keys {
        let control_plane = plugin.control_plane.as_deref().unwrap_or_default();
        // The control plane answers these two sorts of polls with different documents, so they are two fleets.
        let kind = match plugin.clusters_from {
            ClustersFrom::Envoy => "weir",
            ClustersFrom::Weir => "weir-clusters",
        };
        Keys(format!("{kind}/{control_plane}/{}/", plugin.scope))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    fn text(&self, name: &str) -> String {
        let (value, _) = host::shared(&self.key(name));
        String::from_utf8_lossy(&value).into_owned()
    }

    /// Returns the revision of the fleet's newest document, or an empty text before the first document.
    pub fn revision(&self) -> String {
        self.text("revision")
    }

    /// Returns the revision and the body of the fleet's newest document.
    pub fn document(&self) -> Option<(String, Vec<u8>)> {
        let (document, _) = host::shared(&self.key("document"));
        let end = document.iter().position(|byte| *byte == b'\n')?;
        let (revision, body) = document.split_at_checked(end)?;
        let body = body.strip_prefix(b"\n")?;
        Some((
            String::from_utf8_lossy(revision).into_owned(),
            body.to_vec(),
        ))
    }

    fn slot(&self, slot: usize) -> String {
        self.key(&format!("member/{slot}"))
    }

    /// Returns the entries of the living VMs.
    fn living(&self, now: u64) -> impl Iterator<Item = MemberEntry> {
        let slots = self.text("members").parse().unwrap_or(0_usize);
        (0..slots).filter_map(move |slot| {
            let (entry, _) = host::shared(&self.slot(slot));
            MemberEntry::parse(&entry).filter(|entry| entry.is_alive(now))
        })
    }
}

impl Member {
    /// Registers a queue and takes a slot for this VM. Returns None if the proxy gives this VM no queue or no slot.
    pub fn enter(keys: &Keys, is_lean: bool) -> Option<Member> {
        let name = format!("{:016x}", host::random());
        let mut member = Member {
            queue: host::register_queue(&keys.key(&format!("queue/{name}")))?,
            keys: keys.clone(),
            name,
            slot: 0,
            is_lean,
        };
        member.take_slot("").then_some(member)
    }

    /// Takes the slot of a VM that has left or is lost, or adds a slot.
    fn take_slot(&mut self, revision: &str) -> bool {
        for _ in 0..ATTEMPTS {
            let now = host::now();
            let (count, count_version) = host::shared(&self.keys.key("members"));
            let count = String::from_utf8_lossy(&count).parse().unwrap_or(0_usize);
            for slot in 0..count {
                let key = self.keys.slot(slot);
                let (entry, version) = host::shared(&key);
                let is_taken = MemberEntry::parse(&entry).is_some_and(|entry| !entry.is_lost(now));
                if !is_taken && host::replace_shared(&key, &self.entry(now, revision), version) {
                    if !entry.is_empty() {
                        // The VM that had this slot did not leave the fleet.
                        lost_members::add(&self.keys, 1);
                    }
                    self.slot = slot;
                    return true;
                }
            }
            // Another VM may add the same slot at the same time. Then one VM takes the slot, and the other tries again.
            let count = count.saturating_add(1).to_string();
            host::replace_shared(&self.keys.key("members"), count.as_bytes(), count_version);
        }
        false
    }

    /// Makes the current root context the receiver of messages. The queue may still have messages for the earlier
    /// receiver, which has ended; [`Member::take_message`] returns them.
    pub fn receive(&self) {
        host::register_queue(&self.keys.key(&format!("queue/{}", self.name)));
    }

    /// Writes the entry of this VM, with a new heartbeat and the revision that the VM uses.
    pub fn send_heartbeat(&mut self, revision: &str) {
        let key = self.keys.slot(self.slot);
        let (entry, version) = host::shared(&key);
        let is_own = MemberEntry::parse(&entry).is_some_and(|entry| entry.name == self.name);
        let own = self.entry(host::now(), revision);
        if !is_own || !host::replace_shared(&key, &own, version) {
            // The worker was blocked for so long that another VM took the slot, and counted this VM as lost.
            if self.take_slot(revision) {
                lost_members::add(&self.keys, -1);
            }
        }
    }

    fn entry(&self, now: u64, revision: &str) -> Vec<u8> {
        let Member {
            name,
            queue,
            is_lean,
            ..
        } = self;
        let module = if *is_lean { LEAN } else { "" };
        format!("{name} {queue} {now} {revision} {module}").into_bytes()
    }

    /// Takes or renews the lease, unless another VM holds the lease. Returns true for the one VM that polls.
    pub fn take_lease(&self) -> bool {
        let key = self.keys.key("lease");
        let now = host::now();
        let (lease, version) = host::shared(&key);
        let is_taken = std::str::from_utf8(&lease)
            .ok()
            .and_then(|lease| lease.split_once(' '))
            .is_some_and(|(name, renewal)| {
                name != self.name
                    && renewal
                        .parse()
                        .is_ok_and(|renewal| is_fresh(renewal, now, LEASE))
            });
        !is_taken && host::replace_shared(&key, format!("{} {now}", self.name).as_bytes(), version)
    }

    /// Gives up the slot and the lease of this VM. If this VM had the lease, the other VMs can take it at once.
    pub fn leave(&self) {
        let slot = self.keys.slot(self.slot);
        let (entry, version) = host::shared(&slot);
        if MemberEntry::parse(&entry).is_some_and(|entry| entry.name == self.name) {
            host::replace_shared(&slot, b"", version);
        }
        let key = self.keys.key("lease");
        let (lease, version) = host::shared(&key);
        let is_holder = lease.starts_with(self.name.as_bytes());
        if is_holder && host::replace_shared(&key, b"", version) {
            self.send_to_others(&Message::LeaseIsFree);
        }
    }

    /// Returns the random name of this process and scope for the control plane. The first VM makes the name.
    pub fn instance(&self) -> String {
        let key = self.keys.key("instance");
        let own = format!("{:016x}{:016x}", host::random(), host::random());
        let (instance, _) = host::shared(&key);
        if instance.is_empty() && host::replace_shared(&key, own.as_bytes(), None) {
            return own;
        }
        self.keys.text("instance")
    }

    /// Stores a document for every VM of the fleet, and notifies the other VMs. Returns the names of the notified VMs.
    pub fn publish(&self, revision: &str, body: &[u8]) -> Vec<String> {
        let mut document = format!("{revision}\n").into_bytes();
        document.extend_from_slice(body);
        host::set_shared(&self.keys.key("document"), &document);
        host::set_shared(&self.keys.key("revision"), revision.as_bytes());
        self.send_to_others(&Message::Published {
            reply_to: self.queue,
        })
    }

    fn send_to_others(&self, message: &Message) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.keys.living(host::now()) {
            if entry.name != self.name {
                host::enqueue(entry.queue, message.to_string().as_bytes());
                names.push(entry.name);
            }
        }
        names
    }

    /// Sends the revision that this VM uses now to the VM that published the document.
    pub fn reply(&self, queue: u32, revision: &str) {
        let message = Message::Applied {
            name: self.name.clone(),
            revision: revision.to_owned(),
        };
        host::enqueue(queue, message.to_string().as_bytes());
    }

    /// Removes the oldest message from the queue of this VM. Returns None if the queue is empty.
    pub fn take_message(&self) -> Option<Message> {
        Message::parse(&host::dequeue(self.queue)?)
    }

    /// Returns the watermark of the last answer that had the newest revision. A watermark shows how far the control
    /// plane had read the cluster. Returns an empty text if the answer had no watermark.
    pub fn watermark(&self) -> String {
        self.keys.text("watermark")
    }

    pub fn set_watermark(&self, watermark: &str) {
        host::set_shared(&self.keys.key("watermark"), watermark.as_bytes());
    }

    /// Stores the time of an answer of the control plane. `revision` is the newest revision at this time.
    pub fn set_answer_time(&self, revision: &str) {
        let answer = format!("{} {revision}", host::now());
        host::set_shared(&self.keys.key("answered"), answer.as_bytes());
    }

    /// Returns the time of the last answer of the control plane, in milliseconds since 1970, and the revision that was
    /// the newest at this time.
    pub fn answer_time(&self) -> Option<(u64, String)> {
        let answer = self.keys.text("answered");
        let (time, newest) = answer.split_once(' ')?;
        Some((time.parse().ok()?, newest.to_owned()))
    }

    /// Returns the number of VMs that ended without notice, since the start of the process.
    pub fn traps(&self) -> u64 {
        self.keys.text("traps").parse().unwrap_or(0)
    }

    /// Reads the entries of all living VMs.
    pub fn summary(&self) -> Summary {
        let living: Vec<_> = self.keys.living(host::now()).collect();
        let first = living.first().map(|entry| entry.revision.clone());
        let applied = first.filter(|first| {
            !first.is_empty() && living.iter().all(|entry| entry.revision == *first)
        });
        Summary {
            applied,
            is_lean: living.iter().any(|entry| entry.is_lean),
        }
    }
}

/// True if this filter picks backends for requests and cannot edit responses.
pub fn leaves_responses_alone(plugin: &Plugin) -> bool {
    cfg!(not(feature = "full"))
        && (plugin.protocol, plugin.direction) == (Protocol::Http, Direction::Outbound)
}

impl MemberEntry {
    fn parse(entry: &[u8]) -> Option<MemberEntry> {
        let mut words = std::str::from_utf8(entry).ok()?.split(' ');
        Some(MemberEntry {
            name: words.next()?.to_owned(),
            queue: words.next()?.parse().ok()?,
            heartbeat: words.next()?.parse().ok()?,
            revision: words.next()?.to_owned(),
            is_lean: words.next() == Some(LEAN),
        })
    }

    fn is_lost(&self, now: u64) -> bool {
        !is_fresh(self.heartbeat, now, lost_members::LOST)
    }

    fn is_alive(&self, now: u64) -> bool {
        is_fresh(self.heartbeat, now, HEARTBEAT_TIMEOUT)
    }
}

/// True if `time` is less than `age` milliseconds before or after `now`. A time far in the future is not fresh, because
/// the clock may have been set back.
fn is_fresh(time: u64, now: u64, age: u64) -> bool {
    now.abs_diff(time) < age
}
