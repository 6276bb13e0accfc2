//! The state that the VMs of one proxy process share for one scope (one namespace or Gateway): the VM that polls, the
//! list of living VMs, and the newest document. A document is a configuration as the control plane sends it. The VMs of
//! one process and one scope are a fleet.
//!
//! The state is in the shared data of the proxy, which survives the trap of a VM. A VM joins the fleet in its first
//! tick, because a proxy also loads the configuration in a throw-away VM that never ticks.

use weir_split::wire::headers::LEAN;
use weir_split::{Direction, Plugin, Protocol};

use crate::host;

/// Milliseconds between ticks.
pub const TICK: u64 = 500;
/// Milliseconds after which a lease ends, if its holder does not renew it. The VM with the lease polls.
pub const LEASE: u64 = 2_000;
/// Milliseconds after which a VM without a heartbeat is gone, together with its queue.
const HEARTBEAT_TIMEOUT: u64 = 3_000;
/// Compare-and-swap attempts in one tick.
const ATTEMPTS: usize = 16;

/// One VM as a member of the fleet.
pub struct Member {
    /// Prefix of the fleet's keys in shared data.
    keys: String,
    /// Random, hexadecimal.
    name: String,
    queue: u32,
    is_lean: bool,
}

/// One line of the member list.
struct MemberEntry<'a> {
    /// See [`Member::name`].
    name: &'a str,
    queue: u32,
    /// Time of the last heartbeat, in milliseconds since 1970.
    heartbeat: u64,
    /// The revision that this VM uses; may be empty.
    revision: &'a str,
    /// True if the module of this VM cannot edit responses. The line then ends with [`LEAN`].
    is_lean: bool,
}

impl Member {
    /// Registers a queue for this VM. Returns None if the proxy gives this VM no queue.
    pub fn enter(plugin: &Plugin) -> Option<Member> {
        let keys = keys(plugin);
        let name = format!("{:016x}", host::random());
        let queue = host::register_queue(&format!("{keys}queue/{name}"))?;
        Some(Member {
            keys,
            name,
            queue,
            is_lean: leaves_responses_alone(plugin),
        })
    }

    /// Writes the line of this VM into the member list, with a new heartbeat and the revision that the VM uses. Removes
    /// the lines of VMs that are gone.
    pub fn send_heartbeat(&self, revision: &str) {
        let key = format!("{}members", self.keys);
        for _ in 0..ATTEMPTS {
            let now = host::now();
            let (member_list, version) = host::shared(&key);
            let member_list = String::from_utf8_lossy(&member_list);
            let own = MemberEntry {
                name: &self.name,
                queue: self.queue,
                heartbeat: now,
                revision,
                is_lean: self.is_lean,
            };
            let others = entries(&member_list).filter(|entry| {
                entry.name != self.name && is_fresh(entry.heartbeat, now, HEARTBEAT_TIMEOUT)
            });
            let lines: Vec<_> = others.chain([own]).map(|entry| entry.line()).collect();
            if host::replace_shared(&key, lines.join("\n").as_bytes(), version) {
                return;
            }
        }
    }

    /// Takes or renews the lease, unless another VM holds the lease. Returns true for the one VM that polls.
    pub fn take_lease(&self) -> bool {
        let key = format!("{}lease", self.keys);
        let now = host::now();
        let (lease, version) = host::shared(&key);
        let lease = String::from_utf8_lossy(&lease);
        let is_taken = lease.split_once(' ').is_some_and(|(name, renewal)| {
            name != self.name
                && renewal
                    .parse()
                    .is_ok_and(|renewal| is_fresh(renewal, now, LEASE))
        });
        !is_taken && host::replace_shared(&key, format!("{} {now}", self.name).as_bytes(), version)
    }

    /// Returns the random name of this process and scope for the control plane. The first VM makes the name.
    pub fn instance(&self) -> String {
        let key = format!("{}instance", self.keys);
        let own = format!("{:016x}{:016x}", host::random(), host::random());
        let (instance, _) = host::shared(&key);
        if instance.is_empty() && host::replace_shared(&key, own.as_bytes(), None) {
            return own;
        }
        let (instance, _) = host::shared(&key);
        String::from_utf8_lossy(&instance).into_owned()
    }

    /// Stores a document for every VM of the fleet, and wakes the other VMs.
    pub fn publish(&self, revision: &str, body: &[u8]) {
        let mut document = format!("{revision}\n").into_bytes();
        document.extend_from_slice(body);
        host::set_shared(&format!("{}document", self.keys), &document);
        host::set_shared(&format!("{}revision", self.keys), revision.as_bytes());
        self.wake(|entry| entry.name != self.name);
    }

    /// Returns the watermark of the last answer with the newest revision: how far the control plane had read the
    /// cluster. Returns an empty text if the answer had no watermark.
    pub fn watermark(&self) -> String {
        let (watermark, _) = host::shared(&format!("{}watermark", self.keys));
        String::from_utf8_lossy(&watermark).into_owned()
    }

    pub fn set_watermark(&self, watermark: &str) {
        host::set_shared(&format!("{}watermark", self.keys), watermark.as_bytes());
    }

    /// Stores the time of an answer of the control plane. The newest revision of the answer is `revision`.
    pub fn set_answer_time(&self, revision: &str) {
        let answer = format!("{} {revision}", host::now());
        host::set_shared(&format!("{}answered", self.keys), answer.as_bytes());
    }

    /// Returns the time of the last answer of the control plane, in milliseconds since 1970. Returns None if the newest
    /// revision of this answer is not `revision`.
    pub fn answer_time(&self, revision: &str) -> Option<u64> {
        let (answer, _) = host::shared(&format!("{}answered", self.keys));
        let (time, newest) = std::str::from_utf8(&answer).ok()?.split_once(' ')?;
        (newest == revision).then(|| time.parse().ok()).flatten()
    }

    /// Returns the revision that every living VM uses. Returns None if the VMs use different revisions or no revision.
    pub fn applied(&self) -> Option<String> {
        let member_list = self.member_list();
        let now = host::now();
        let mut living =
            entries(&member_list).filter(|entry| is_fresh(entry.heartbeat, now, HEARTBEAT_TIMEOUT));
        let first = living.next()?.revision;
        let is_same = !first.is_empty() && living.all(|entry| entry.revision == first);
        is_same.then(|| first.to_owned())
    }

    /// True if a living VM edits no responses.
    pub fn is_lean(&self) -> bool {
        let member_list = self.member_list();
        let now = host::now();
        entries(&member_list)
            .any(|entry| entry.is_lean && is_fresh(entry.heartbeat, now, HEARTBEAT_TIMEOUT))
    }

    /// Wakes the VM that polls.
    pub fn wake_poller(&self) {
        let (lease, _) = host::shared(&format!("{}lease", self.keys));
        let lease = String::from_utf8_lossy(&lease);
        self.wake(|entry| entry.name != self.name && lease.starts_with(entry.name));
    }

    fn wake(&self, is_recipient: impl Fn(&MemberEntry<'_>) -> bool) {
        for entry in entries(&self.member_list()).filter(|entry| is_recipient(entry)) {
            // The item is not empty, because an empty item looks like an empty queue.
            host::enqueue(entry.queue, b"wake");
        }
    }

    fn member_list(&self) -> String {
        let (member_list, _) = host::shared(&format!("{}members", self.keys));
        String::from_utf8_lossy(&member_list).into_owned()
    }

    /// Removes a wake-up from the queue of this VM. Returns false if `queue` is another queue, or is empty.
    pub fn take_wake_up(&self, queue: u32) -> bool {
        queue == self.queue && host::dequeue(queue)
    }
}

/// True if this filter picks backends for requests and cannot edit responses.
pub fn leaves_responses_alone(plugin: &Plugin) -> bool {
    cfg!(not(feature = "full"))
        && (plugin.protocol, plugin.direction) == (Protocol::Http, Direction::Outbound)
}

/// Returns the revision of the fleet's newest document, or an empty text before the first document.
pub fn revision(plugin: &Plugin) -> String {
    let (revision, _) = host::shared(&format!("{}revision", keys(plugin)));
    String::from_utf8_lossy(&revision).into_owned()
}

/// Returns the revision and the body of the fleet's newest document.
pub fn document(plugin: &Plugin) -> Option<(String, Vec<u8>)> {
    let (document, _) = host::shared(&format!("{}document", keys(plugin)));
    let end = document.iter().position(|byte| *byte == b'\n')?;
    let (revision, body) = document.split_at_checked(end)?;
    let body = body.strip_prefix(b"\n")?;
    Some((
        String::from_utf8_lossy(revision).into_owned(),
        body.to_vec(),
    ))
}

/// Prefix of the keys in shared data. One proxy may have several filters with different scopes and control planes.
fn keys(plugin: &Plugin) -> String {
    let control_plane = plugin.control_plane.as_deref().unwrap_or_default();
    format!("weir/{control_plane}/{}/", plugin.scope)
}

impl MemberEntry<'_> {
    fn line(&self) -> String {
        let MemberEntry {
            name,
            queue,
            heartbeat,
            revision,
            is_lean,
        } = self;
        let module = if *is_lean { LEAN } else { "" };
        format!("{name} {queue} {heartbeat} {revision} {module}")
    }
}

fn entries(member_list: &str) -> impl Iterator<Item = MemberEntry<'_>> {
    member_list.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(MemberEntry {
            name: words.next()?,
            queue: words.next()?.parse().ok()?,
            heartbeat: words.next()?.parse().ok()?,
            revision: words.next()?,
            is_lean: words.next() == Some(LEAN),
        })
    })
}

/// True if `time` is less than `age` milliseconds before or after `now`. A time far in the future is not fresh, because
/// the clock may have been set back.
fn is_fresh(time: u64, now: u64, age: u64) -> bool {
    now.abs_diff(time) < age
}
