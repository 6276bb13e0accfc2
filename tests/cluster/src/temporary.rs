//! A temporary folder that is removed when its owner ends, even if the owner is killed or the value is in a `static`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub struct Temporary {
    path: PathBuf,
    /// A child process that removes the folder when its input ends: at the latest when the process of the test ends.
    janitor: Child,
}

impl Temporary {
    pub fn new(prefix: &str) -> Temporary {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir();
        let path = folder.map(TempDir::keep).expect("a temporary folder");
        let script = "read -r _; sleep 0.2; rm -rf \"$1\"";
        let janitor = Command::new("setsid")
            .args(["sh", "-c", script, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("setsid (of util-linux): {error}"));
        Temporary { path, janitor }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}
