//! Applies the memory limit of `deploy/weir/deployment.yaml` to a process of a test, with a cgroup of version 1 or 2.
//! The kernel kills the process if it needs more memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::read;

/// The memory limit in `deploy/weir/deployment.yaml`, in KiB.
pub fn shipped_memory() -> u64 {
    let text = read(&crate::root().join("deploy/weir/deployment.yaml")).expect("deployment.yaml");
    let (_, limits) = text.split_once("limits:").expect("limits");
    let (_, memory) = limits.split_once("memory: ").expect("memory");
    let (mib, _) = memory.split_once("Mi").expect("Mi");
    mib.parse::<u64>().expect("a number") << 10
}

/// Folders in which a test can create a cgroup, if they are mounted and writable.
const PARENTS: [&str; 3] = [
    "/sys/fs/cgroup/memory",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
];

/// A cgroup with the memory limit. Dropping this value removes the cgroup, so its processes must have ended before.
pub struct MemoryLimit {
    folder: PathBuf,
    files: &'static Files,
}

/// The file names of a cgroup version.
struct Files {
    limit: &'static str,
    /// The file that limits swap, and its content. None means the same content as for `limit`. Some kernels lack the
    /// file.
    swap: (&'static str, Option<&'static str>),
    peak: &'static str,
    events: &'static str,
}

const VERSIONS: [Files; 2] = [
    Files {
        limit: "memory.limit_in_bytes",
        // This limit covers memory and swap together.
        swap: ("memory.memsw.limit_in_bytes", None),
        peak: "memory.max_usage_in_bytes",
        events: "memory.oom_control",
    },
    Files {
        limit: "memory.max",
        swap: ("memory.swap.max", Some("0")),
        peak: "memory.peak",
        events: "memory.events",
    },
];

impl MemoryLimit {
    /// Creates a cgroup. Returns None and prints a line if the test cannot create a memory cgroup on this machine.
    pub fn shipped() -> Option<MemoryLimit> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-tests-{}-{number}", std::process::id());
        let parents = PARENTS.iter().map(|parent| Path::new(parent).join(&name));
        let limit = parents.filter_map(MemoryLimit::at).next();
        if limit.is_none() {
            println!(
                "no cgroup for the memory limit: none of {PARENTS:?} is a memory cgroup that this test may write; \
                 the test checks only the peak of resident memory"
            );
        }
        limit
    }

    fn at(folder: PathBuf) -> Option<MemoryLimit> {
        std::fs::create_dir(&folder).ok()?;
        let has = |files: &&Files| folder.join(files.limit).exists();
        let Some(files) = VERSIONS.iter().find(has) else {
            let _ = std::fs::remove_dir(folder);
            return None;
        };
        let limit = MemoryLimit { folder, files };
        let bytes = (shipped_memory() << 10).to_string();
        std::fs::write(limit.folder.join(files.limit), &bytes).ok()?;
        let (swap, text) = files.swap;
        let _ = std::fs::write(limit.folder.join(swap), text.unwrap_or(&bytes));
        Some(limit)
    }

    /// Returns a command that enters the cgroup and then runs this command.
    pub fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        inside.arg(self.folder.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Prints the peak including the page cache. Panics if the kernel killed a process.
    pub fn assert_held(&self) {
        let text = |name: &str| read(&self.folder.join(name)).unwrap_or_default();
        let peak = text(self.files.peak).trim().parse::<u64>();
        let peak = peak.map_or_else(|_| "unknown".to_owned(), |it| (it >> 10).to_string());
        let events = text(self.files.events);
        let met = text("memory.failcnt");
        println!(
            "cgroup: limit {} KiB, peak {peak} KiB with cached files and buffers of sockets; failcnt {:?}, events {events:?}",
            shipped_memory(),
            met.trim()
        );
        let killed = events.lines().find_map(|it| it.strip_prefix("oom_kill "));
        assert!(killed.is_none_or(|it| it.trim() == "0"), "{events}");
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // A process that has ended stays in the cgroup for a short time.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
