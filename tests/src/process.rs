//! A process of a test, with its output in a file. Dropping a [`Process`] kills the process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns a command that runs in the root of the repository. The command does not get the variables that Cargo sets
/// for tests: with these variables, a `cargo` in the command would compile the TLS library again.
pub fn typed(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::root());
    for (name, _) in std::env::vars() {
        let is_own = name.starts_with("CARGO_");
        if is_own && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command in the repository's root; stdout and stderr go to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Process {
        let file = std::fs::File::create(&log).expect("a log file");
        let child = command
            .current_dir(crate::root())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log file"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child, log }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Calls `ask` with the log until it returns a value. Panics with the log if the process ends or after 30 seconds.
    pub fn wait_for<T>(&mut self, what: &str, mut ask: impl FnMut(&str) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(&self.log()) {
                return answer;
            }
            let ended = self.child.try_wait().expect("the state of a child");
            if ended.is_some() || start.elapsed() > Duration::from_secs(30) {
                panic!("no {what} ({ended:?}):\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process ends with an error, and returns its log. Panics if the process succeeds, or still runs
    /// after ten seconds.
    pub fn wait_for_failure(&mut self) -> String {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(ended) = self.child.try_wait().expect("the state of a child") {
                assert!(!ended.success(), "{ended}");
                return self.log();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end:\n{}", self.log());
    }

    /// Waits until the process ends, and returns true if it succeeds. Panics if it still runs after ten seconds.
    pub fn wait_for_success(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(ended) = self.child.try_wait().expect("the state of a child") {
                return ended.success();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end:\n{}", self.log());
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(
            sent.expect("kill").success(),
            "the process has ended:\n{}",
            self.log()
        );
    }

    /// True if the process has ended. A zombie has ended too, although its parent has not waited for it yet.
    pub fn has_ended(&self) -> bool {
        let stat = read(Path::new(&format!("/proc/{}/stat", self.child.id())));
        stat.is_none_or(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('Z'))
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the resident memory in KiB.
    pub fn memory(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// Returns the peak resident memory in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, name: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let status = status.expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.expect(name)
    }

    /// Returns the CPU time of all running threads, in nanoseconds.
    pub fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("threads");
        let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(of_thread).sum()
    }

    /// Kills the process at once, like a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the text of the file, or None if the file cannot be read.
pub fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
