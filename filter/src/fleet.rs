//! What the VMs of one proxy process share for one scope: who polls, who is alive, and the document in force.
//!
//! It lives in the proxy's shared data, which survives the trap of a VM. Nothing here is done before a VM's
//! first tick: a proxy also runs the configuration in a throw-away VM that never ticks.

use weir_split::Plugin;

use crate::host;

/// A beat older than this (milliseconds) is that of a VM that is gone: its lease and its queue are free.
/// Ticks are [`TICK`] apart, so three in a row were missed.
const STALE: u64 = 2_000;
/// Milliseconds between ticks.
pub const TICK: u64 = 500;
/// Compare-and-swap attempts before the next tick has to do.
const ATTEMPTS: usize = 16;

/// One VM as a member of the fleet.
pub struct Member {
    /// Prefix of the fleet's keys in shared data.
    keys: String,
    /// Random, hexadecimal.
    name: String,
    queue: u32,
}

/// One line of the roll: a VM, its queue and its last beat.
struct Entry<'a> {
    name: &'a str,
    queue: u32,
    beat: u64,
}

impl Member {
    /// Registers a queue for this VM and enters it in the roll. None while the proxy gives no queue.
    pub fn enter(plugin: &Plugin) -> Option<Member> {
        let keys = keys(plugin);
        let name = format!("{:016x}", host::random());
        let queue = host::register_queue(&format!("{keys}queue/{name}"))?;
        let member = Member { keys, name, queue };
        member.beat();
        Some(member)
    }

    /// Renews this VM's line in the roll and drops the lines of VMs that are gone.
    pub fn beat(&self) {
        let key = format!("{}roll", self.keys);
        for _ in 0..ATTEMPTS {
            let now = host::now();
            let (roll, version) = host::shared(&key);
            let roll = String::from_utf8_lossy(&roll);
            let mut next = format!("{} {} {now}", self.name, self.queue);
            for entry in entries(&roll) {
                if entry.name != self.name && is_fresh(entry.beat, now) {
                    next.push_str(&format!("\n{} {} {}", entry.name, entry.queue, entry.beat));
                }
            }
            if host::replace_shared(&key, next.as_bytes(), version) {
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
            name != self.name && beat.parse().is_ok_and(|beat| is_fresh(beat, now))
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
        let (roll, _) = host::shared(&format!("{}roll", self.keys));
        for entry in entries(&String::from_utf8_lossy(&roll)) {
            if entry.name != self.name {
                // An empty item could not be told from an empty queue.
                host::enqueue(entry.queue, revision.as_bytes());
            }
        }
    }

    /// Takes a wake-up off this VM's queue.
    pub fn woken(&self, queue: u32) -> bool {
        queue == self.queue && host::dequeue(queue)
    }
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
    format!("weir/{}/{}/", plugin.control_plane, plugin.scope)
}

fn entries(roll: &str) -> impl Iterator<Item = Entry<'_>> {
    roll.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(Entry {
            name: words.next()?,
            queue: words.next()?.parse().ok()?,
            beat: words.next()?.parse().ok()?,
        })
    })
}

/// A beat from the future is stale too: the clock was set back, and waiting for it could take for ever.
fn is_fresh(beat: u64, now: u64) -> bool {
    now.abs_diff(beat) < STALE
}
