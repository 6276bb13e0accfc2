//! A real `weir serve` with a folder of manifests or a cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::memory_limit::{MemoryLimit, shipped_memory};
use crate::process::Process;
use crate::{Connection, dist};

pub struct Plane {
    process: Process,
    /// Declared after `process`, because the process must end before the cgroup is removed.
    limit: Option<MemoryLimit>,
    source: Source,
    /// The manifests and the log.
    folder: TempDir,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

enum Source {
    Manifests,
    Kubernetes {
        program: PathBuf,
        kubeconfig: PathBuf,
    },
}

impl Source {
    fn of_cluster(program: &Path, kubeconfig: &Path) -> Source {
        Source::Kubernetes {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }
}

impl Plane {
    /// Serves a new folder with these files (name, text).
    pub fn start(files: &[(&str, &str)]) -> Plane {
        Plane::start_with(&[], files)
    }

    /// Like [`Plane::start`], with more arguments.
    pub fn start_with(arguments: &[&str], files: &[(&str, &str)]) -> Plane {
        Plane::of(Source::Manifests, folder_of(files), None, arguments)
    }

    /// Like [`Plane::start`], with the memory limit of the shipped Deployment. See
    /// [`Plane::assert_within_shipped_memory`].
    pub fn start_in_shipped_memory(files: &[(&str, &str)]) -> Plane {
        Plane::of(
            Source::Manifests,
            folder_of(files),
            MemoryLimit::shipped(),
            &[],
        )
    }

    /// Serves the objects of the Kubernetes cluster in this kubeconfig.
    pub fn of_cluster(kubeconfig: &Path, arguments: &[&str]) -> Plane {
        Plane::by_program(&dist("weir"), kubeconfig, arguments)
    }

    /// Like [`Plane::of_cluster`], with the memory limit of the shipped Deployment. See
    /// [`Plane::assert_within_shipped_memory`].
    pub fn of_cluster_in_shipped_memory(kubeconfig: &Path, arguments: &[&str]) -> Plane {
        let source = Source::of_cluster(&dist("weir"), kubeconfig);
        let folder = TempDir::new().expect("a folder");
        Plane::of(source, folder, MemoryLimit::shipped(), arguments)
    }

    /// Like [`Plane::of_cluster`], with another build of `weir`.
    pub fn by_program(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> Plane {
        let source = Source::of_cluster(program, kubeconfig);
        let folder = TempDir::new().expect("a folder");
        Plane::of(source, folder, None, arguments)
    }

    fn of(
        source: Source,
        folder: TempDir,
        limit: Option<MemoryLimit>,
        arguments: &[&str],
    ) -> Plane {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = [free; 2];
        let (process, [listen, admin]) =
            serve(&source, folder.path(), addresses, limit.as_ref(), arguments);
        Plane {
            process,
            limit,
            source,
            folder,
            listen,
            admin,
        }
    }

    /// Kills the process, and starts another one at the same addresses with these arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.kill();
        let addresses = [self.listen, self.admin];
        let (folder, limit) = (self.folder.path(), self.limit.as_ref());
        (self.process, _) = serve(&self.source, folder, addresses, limit, arguments);
    }

    /// Replaces a manifest as an editor or a mounted volume does: writes a new file, and renames it to the old name.
    pub fn rename_into_place(&self, name: &str, text: &str) {
        let new = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&new, text).expect("a manifest");
        std::fs::rename(new, self.path(name)).expect("renamed");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM, as Kubernetes does.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// Peak resident memory in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    /// Panics if the peak of resident memory is above the limit of the shipped Deployment. With a cgroup,
    /// also panics if the kernel killed the process.
    pub fn assert_within_shipped_memory(&self) {
        if let Some(limit) = &self.limit {
            limit.assert_held();
        }
        let (peak, limit) = (self.peak_memory(), shipped_memory());
        println!("control plane: at most {peak} KiB resident of {limit} KiB");
        assert!(peak < limit, "{peak} KiB");
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the control plane has read all objects once.
    pub async fn wait_until_ready(&self) {
        for _ in 0..600 {
            let mut admin = Connection::open(self.admin).await;
            if admin.get("admin", "/readyz").await.status == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the control plane does not become ready:\n{}", self.log());
    }

    /// Returns the value of a metric of `/metrics`. `name` includes the labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = Connection::open(self.admin)
            .await
            .get("admin", "/metrics")
            .await
            .text();
        crate::client::metric(&metrics, name).unwrap_or_else(|| panic!("no {name} in:\n{metrics}"))
    }
}

fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a manifest");
    }
    folder
}

/// Starts `weir serve` with arguments that it must refuse, and returns its log.
pub fn serve_refused(arguments: &[&str], files: &[(&str, &str)]) -> String {
    let folder = folder_of(files);
    let mut command = Command::new(dist("weir"));
    command.args(["serve", "--admin", "127.0.0.1:0", "--manifests"]);
    command.arg(folder.path()).args(arguments);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let mut process = Process::start(&mut command, folder.path().join(".log"));
    process.wait_for_failure()
}

/// Starts the process, and returns it with its real addresses.
fn serve(
    source: &Source,
    folder: &Path,
    [listen, admin]: [SocketAddr; 2],
    limit: Option<&MemoryLimit>,
    arguments: &[&str],
) -> (Process, [SocketAddr; 2]) {
    let mut command;
    match source {
        Source::Manifests => {
            command = Command::new(dist("weir"));
            command.arg("serve").arg("--manifests").arg(folder);
        }
        Source::Kubernetes {
            program,
            kubeconfig,
        } => {
            command = Command::new(program);
            command.arg("serve").arg("--kubernetes");
            command.env("KUBECONFIG", kubeconfig);
        }
    }
    command.arg("--listen").arg(listen.to_string());
    command.arg("--admin").arg(admin.to_string());
    command.args(arguments);
    if let Some(limit) = limit {
        command = limit.around(&command);
    }
    let mut process = Process::start(&mut command, folder.join(".log"));
    let addresses = process.wait_for("address of weir serve", |log| {
        let address = |key: &str| {
            let (_, rest) = log.split_once(key)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some([address("address=")?, address("admin=")?])
    });
    (process, addresses)
}
