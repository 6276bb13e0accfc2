//! A child process that ends when its owner ends, even if the owner is killed. Its output goes to a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};

pub struct Child {
    child: std::process::Child,
    log: PathBuf,
}

type Job = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);

/// The kernel kills a child when the *thread* that started the child ends. Threads of tests end early, so one thread
/// that runs until the end starts all children.
static STARTER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (jobs, next) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, reply) in next {
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(jobs)
});

impl Child {
    /// Starts `program` and appends its output to `log`.
    pub fn start(program: &Path, args: &[String], log: &Path) -> Child {
        let mut file = File::options();
        let file = file.append(true).create(true).open(log);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(program).args(args).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("the log file"));
        command.stderr(file);
        let (reply, started) = mpsc::channel();
        let starter = STARTER.lock().expect("the starter's lock");
        starter.send((command, reply)).expect("the starter runs");
        drop(starter);
        let child = started.recv().expect("the starter answers");
        let child = child.unwrap_or_else(|error| panic!("setpriv (of util-linux): {error}"));
        Child {
            child,
            log: log.to_owned(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends the signal with this name, `KILL` or `TERM`, and waits until the program has ended.
    pub fn end(mut self, signal: &str) {
        self.signal(signal);
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let _ = Command::new("kill").args(["-s", signal, &id]).status();
    }

    /// Returns the last lines of the output, for an error message.
    pub fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(30);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
