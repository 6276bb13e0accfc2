//! A real `weir serve --manifests`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::{Connection, dist};

pub struct Plane {
    process: Process,
    manifests: TempDir,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

impl Plane {
    /// Serves a new folder with these files (name, text).
    pub fn start(files: &[(&str, &str)]) -> Plane {
        Plane::start_with(&[], files)
    }

    /// The same with more arguments.
    pub fn start_with(arguments: &[&str], files: &[(&str, &str)]) -> Plane {
        let manifests = TempDir::new().expect("a folder");
        for (name, text) in files {
            std::fs::write(manifests.path().join(name), text).expect("a manifest");
        }
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, [listen, admin]) = serve(manifests.path(), [free; 2], arguments);
        Plane {
            process,
            manifests,
            listen,
            admin,
        }
    }

    /// Ends it as a crash would, and starts another at its addresses with these arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.kill();
        let addresses = [self.listen, self.admin];
        (self.process, _) = serve(self.manifests.path(), addresses, arguments);
    }

    /// Replaces a manifest as an editor or a mounted volume does: written beside it, renamed into place.
    pub fn rename_into_place(&self, name: &str, text: &str) {
        let beside = self.manifests.path().join(format!(".{name}.new"));
        std::fs::write(&beside, text).expect("a manifest");
        std::fs::rename(beside, self.path(name)).expect("renamed");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.manifests.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.manifests.path()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        self.process.memory()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A line of `/metrics`, by its name.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = Connection::open(self.admin)
            .await
            .get("admin", "/metrics")
            .await
            .text();
        crate::client::metric(&metrics, name).unwrap_or_else(|| panic!("no {name} in:\n{metrics}"))
    }
}

/// The process, and where it really listens.
fn serve(
    manifests: &Path,
    [listen, admin]: [SocketAddr; 2],
    arguments: &[&str],
) -> (Process, [SocketAddr; 2]) {
    let mut command = Command::new(dist("weir"));
    command.arg("serve").arg("--manifests").arg(manifests);
    command.arg("--listen").arg(listen.to_string());
    command.arg("--admin").arg(admin.to_string());
    command.args(arguments);
    let mut process = Process::start(&mut command, manifests.join(".log"));
    let addresses = process.wait_for("address of weir serve", |log| {
        let address = |key: &str| {
            let (_, rest) = log.split_once(key)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some([address("address=")?, address("admin=")?])
    });
    (process, addresses)
}
