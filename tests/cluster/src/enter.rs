//! The last steps before a container's program runs: set the root, the mounts and the user, and then execute the
//! program. `weir-cluster enter FILE` runs these steps in its own process, because they cannot be undone.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chdir, pivot_root, setgid, setgroups, sethostname, setuid};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The read-only layer of the root: `/`, or an unpacked image. Writes go to `scratch`.
    pub lower: PathBuf,
    pub scratch: PathBuf,
    pub mounts: Vec<Mount>,
    pub read_only: bool,
    pub host: String,
    pub user: u32,
    pub group: u32,
    pub groups: Vec<u32>,
    pub no_new_privileges: bool,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// Returns only if a step fails, with a message that names the step.
pub fn enter(file: &Path) -> String {
    let text = std::fs::read(file).map_err(|error| error.to_string());
    let entry = text.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()));
    let entry: Entry = match entry {
        Ok(entry) => entry,
        Err(error) => return format!("{}: {error}", file.display()),
    };
    match become_container(&entry) {
        Ok(()) => start(&entry),
        Err(error) => error,
    }
}

fn start(entry: &Entry) -> String {
    let Some((program, args)) = entry.arguments.split_first() else {
        return "neither the image nor the container names a command".to_owned();
    };
    let mut command = Command::new(program);
    command.args(args).env_clear();
    command.envs(entry.environment.iter().map(|(name, value)| (name, value)));
    let error = command.exec();
    format!("{program}: {error}")
}

fn become_container(entry: &Entry) -> Result<(), String> {
    let at = |step: &str| {
        let step = step.to_owned();
        move |error: nix::Error| format!("{step}: {error}")
    };
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).map_err(at("unshare"))?;
    let host: String = entry.host.chars().take(63).collect();
    sethostname(host).map_err(at("hostname"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(at("private mounts"))?;

    let folder = |name: &str| {
        let path = entry.scratch.join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<PathBuf, String>(path)
    };
    let (root, upper, work) = (folder("root")?, folder("upper")?, folder("work")?);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        entry.lower.display(),
        upper.display(),
        work.display()
    );
    let none = MsFlags::empty();
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        none,
        Some(options.as_str()),
    )
    .map_err(at("overlay"))?;
    if entry.lower == Path::new("/") {
        for submount in submounts() {
            let target = root.join(submount.strip_prefix("/").unwrap_or(&submount));
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            // If a mount fails, its folder stays empty. A program that needs the files reports the error.
            let _ = mount(Some(&submount), &target, None::<&str>, bind, None::<&str>);
        }
    }

    // Links such as /var/run must resolve inside the new root. So enter the root first, and then mount from `.old`.
    let old = root.join(".old");
    std::fs::create_dir_all(&old).map_err(|error| format!("{}: {error}", old.display()))?;
    pivot_root(&root, &old).map_err(at("pivot_root"))?;
    chdir("/").map_err(at("chdir"))?;
    for name in ["/proc", "/dev", "/sys", "/tmp", "/etc"] {
        let _ = std::fs::create_dir_all(name);
    }
    mount(Some("proc"), "/proc", Some("proc"), none, None::<&str>).map_err(at("/proc"))?;
    let bind = |source: &Path, target: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(at(&format!(
            "{} at {}",
            source.display(),
            target.display()
        )))
    };
    bind(Path::new("/.old/dev"), Path::new("/dev"))?;
    bind(Path::new("/.old/sys"), Path::new("/sys"))?;
    // Envoys of different pods must not share memory.
    let all = Some("mode=1777");
    mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), none, all).map_err(at("/dev/shm"))?;
    if entry.lower == Path::new("/") {
        // A pod must not see the machine's /tmp.
        mount(Some("tmpfs"), "/tmp", Some("tmpfs"), none, all).map_err(at("/tmp"))?;
    }
    for volume in &entry.mounts {
        let source = volume.source.strip_prefix("/").unwrap_or(&volume.source);
        let source = Path::new("/.old").join(source);
        prepare(&source, &volume.target)?;
        bind(&source, &volume.target)?;
        if volume.read_only {
            read_only(&volume.target).map_err(at("read-only volume"))?;
        }
    }
    let detach = MntFlags::MNT_DETACH;
    umount2("/.old", detach).map_err(at("the old root"))?;
    let _ = std::fs::remove_dir("/.old");
    if entry.read_only {
        read_only(Path::new("/")).map_err(at("read-only root"))?;
    }

    let groups: Vec<Gid> = entry
        .groups
        .iter()
        .map(|group| Gid::from_raw(*group))
        .collect();
    setgroups(&groups).map_err(at("groups"))?;
    setgid(Gid::from_raw(entry.group)).map_err(at("group"))?;
    setuid(Uid::from_raw(entry.user)).map_err(at("user"))?;
    if entry.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(at("no new privileges"))?;
    }
    let directory = if entry.directory.as_os_str().is_empty() {
        Path::new("/")
    } else {
        &entry.directory
    };
    chdir(directory).map_err(at(&directory.display().to_string()))
}

fn read_only(target: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
}

/// Creates a mount point: a folder for a folder, a file for a file.
fn prepare(source: &Path, target: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    if source.is_dir() {
        return std::fs::create_dir_all(target).map_err(failed);
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = std::fs::File::options();
    file.create(true)
        .append(true)
        .open(target)
        .map_err(failed)?;
    Ok(())
}

/// Returns the mount points of other file systems below `/`, except the mounts that each container gets separately.
fn submounts() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| *point != "/")
        .filter(|point| {
            let own = ["/proc", "/sys", "/dev", "/run", "/tmp"];
            !own.iter().any(|own| Path::new(point).starts_with(own))
        })
        .map(PathBuf::from)
        .collect();
    points.sort();
    points.dedup();
    // A recursive bind mount includes the mounts below it.
    let mut roots: Vec<PathBuf> = Vec::new();
    for point in points {
        if !roots.iter().any(|root| point.starts_with(root)) {
            roots.push(point);
        }
    }
    roots
}
