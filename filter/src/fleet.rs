//! What the VMs of one proxy process share for one scope: who polls, who is alive, and the document in force.
//!
//! It lives in the proxy's shared data, which survives the trap of a VM. Nothing here is done before a VM's
//! first tick: a proxy also runs the configuration in a throw-away VM that never ticks.

use weir_split::module::LEAN;
use weir_split::{Direction, Plugin, Protocol};

use crate::host;

/// Milliseconds between ticks.
pub const TICK: u64 = 500;
/// Milliseconds. A lease whose holder has missed its ticks for so long is free.
pub const LEASE: u64 = 2_000;
/// Milliseconds. A VM without a beat for so long is gone, and with it its queue.
const GONE: u64 = 3_000;
/// Compare-and-swap attempts before the next tick has to do.
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

/// One line of the roll: a VM, its queue, its last beat, the revision that it runs (may be empty), and [`LEAN`] where
/// it edits no responses.
struct Entry<'a> {
    name: &'a str,
    queue: u32,
    beat: u64,
    revision: &'a str,
    is_lean: bool,
}

impl Member {
    /// Registers a queue for this VM. None while the proxy gives none.
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

    /// Renews this VM's line in the roll, with the revision that it runs, and drops the lines of VMs that
    /// are gone.
    pub fn beat(&self, revision: &str) {
        let key = format!("{}roll", self.keys);
        for _ in 0..ATTEMPTS {
            let now = host::now();
            let (roll, version) = host::shared(&key);
            let roll = String::from_utf8_lossy(&roll);
            let own = Entry {
                name: &self.name,
                queue: self.queue,
                beat: now,
                revision,
                is_lean: self.is_lean,
            };
            let others = entries(&roll)
                .filter(|entry| entry.name != self.name && is_fresh(entry.beat, now, GONE));
            let lines: Vec<_> = others.chain([own]).map(|entry| entry.line()).collect();
            if host::replace_shared(&key, lines.join("\n").as_bytes(), version) {
                return;
            }
        }
    }

    /// True for the one VM that polls. Takes the lease over where its holder has missed its ticks.
    pub fn holds_lease(&self) -> bool {
        let key = format!("{}lease", self.keys);
        let now = host::now();
        let (lease, version) = host::shared(&key);
        let lease = String::from_utf8_lossy(&lease);
        let taken = lease.split_once(' ').is_some_and(|(name, beat)| {
            name != self.name && beat.parse().is_ok_and(|beat| is_fresh(beat, now, LEASE))
        });
        !taken && host::replace_shared(&key, format!("{} {now}", self.name).as_bytes(), version)
    }

    /// Names this process and scope to the control plane: made once, by whichever VM is first.
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

    /// Puts a document in force for every VM of the fleet, and wakes them.
    pub fn publish(&self, revision: &str, body: &[u8]) {
        let mut document = format!("{revision}\n").into_bytes();
        document.extend_from_slice(body);
        host::set_shared(&format!("{}document", self.keys), &document);
        host::set_shared(&format!("{}revision", self.keys), revision.as_bytes());
        self.wake(|entry| entry.name != self.name);
    }

    /// How far the control plane had read when it last said what is in force; empty where it did not say.
    pub fn watermark(&self) -> String {
        let (watermark, _) = host::shared(&format!("{}watermark", self.keys));
        String::from_utf8_lossy(&watermark).into_owned()
    }

    pub fn set_watermark(&self, watermark: &str) {
        host::set_shared(&format!("{}watermark", self.keys), watermark.as_bytes());
    }

    /// Notes that the control plane has answered, and that `revision` is its newest.
    pub fn set_answered(&self, revision: &str) {
        let answered = format!("{} {revision}", host::now());
        host::set_shared(&format!("{}answered", self.keys), answered.as_bytes());
    }

    /// When the control plane last answered that `revision` is its newest, in milliseconds; None where its newest one is
    /// another.
    pub fn answered(&self, revision: &str) -> Option<u64> {
        let (answered, _) = host::shared(&format!("{}answered", self.keys));
        let (time, newest) = std::str::from_utf8(&answered).ok()?.split_once(' ')?;
        (newest == revision).then(|| time.parse().ok()).flatten()
    }

    /// The revision that every living VM runs; None while they differ or run none.
    pub fn applied(&self) -> Option<String> {
        let roll = self.roll();
        let now = host::now();
        let mut living = entries(&roll).filter(|entry| is_fresh(entry.beat, now, GONE));
        let first = living.next()?.revision;
        let equal = !first.is_empty() && living.all(|entry| entry.revision == first);
        equal.then(|| first.to_owned())
    }

    /// True where some living VM edits no responses.
    pub fn is_lean(&self) -> bool {
        let roll = self.roll();
        let now = host::now();
        entries(&roll).any(|entry| entry.is_lean && is_fresh(entry.beat, now, GONE))
    }

    /// Wakes the VM that polls.
    pub fn wake_poller(&self) {
        let (lease, _) = host::shared(&format!("{}lease", self.keys));
        let lease = String::from_utf8_lossy(&lease);
        self.wake(|entry| entry.name != self.name && lease.starts_with(entry.name));
    }

    fn wake(&self, whom: impl Fn(&Entry<'_>) -> bool) {
        for entry in entries(&self.roll()).filter(|entry| whom(entry)) {
            // An empty item could not be told from an empty queue.
            host::enqueue(entry.queue, b"wake");
        }
    }

    fn roll(&self) -> String {
        let (roll, _) = host::shared(&format!("{}roll", self.keys));
        String::from_utf8_lossy(&roll).into_owned()
    }

    /// Takes a wake-up off this VM's queue.
    pub fn woken(&self, queue: u32) -> bool {
        queue == self.queue && host::dequeue(queue)
    }
}

/// True where this filter picks backends for requests and edits none of their responses.
pub fn leaves_responses_alone(plugin: &Plugin) -> bool {
    cfg!(not(feature = "full"))
        && (plugin.protocol, plugin.direction) == (Protocol::Http, Direction::Outbound)
}

/// Revision in force; empty where there is none.
pub fn revision(plugin: &Plugin) -> String {
    let (revision, _) = host::shared(&format!("{}revision", keys(plugin)));
    String::from_utf8_lossy(&revision).into_owned()
}

/// Revision and body of the document in force.
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

/// One proxy may have several filters, of several scopes and control planes.
fn keys(plugin: &Plugin) -> String {
    let control_plane = plugin.control_plane.as_deref().unwrap_or_default();
    format!("weir/{control_plane}/{}/", plugin.scope)
}

impl Entry<'_> {
    fn line(&self) -> String {
        let Entry {
            name,
            queue,
            beat,
            revision,
            is_lean,
        } = self;
        let module = if *is_lean { LEAN } else { "" };
        format!("{name} {queue} {beat} {revision} {module}")
    }
}

fn entries(roll: &str) -> impl Iterator<Item = Entry<'_>> {
    roll.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(Entry {
            name: words.next()?,
            queue: words.next()?.parse().ok()?,
            beat: words.next()?.parse().ok()?,
            revision: words.next()?,
            is_lean: words.next() == Some(LEAN),
        })
    })
}

/// A beat from the future is stale too: the clock was set back, and waiting for it could take for ever.
fn is_fresh(beat: u64, now: u64, age: u64) -> bool {
    now.abs_diff(beat) < age
}
