//! Starts a real Envoy with `dist/weir.wasm`, and reads its statistics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, read};
use crate::{Connection, dist, root};

pub struct Envoy {
    pub process: Process,
    pub admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    /// The base id and the epoch, for a hot restart.
    generation: [u32; 2],
    _folder: TempDir,
}

/// Returns the path `$ENVOY`, or the path of the program that scripts/install puts into `.venv`.
pub fn envoy_binary() -> PathBuf {
    let path =
        std::env::var_os("ENVOY").map_or_else(|| root().join(".venv/bin/envoy"), PathBuf::from);
    assert!(
        path.exists(),
        "no Envoy at {}: run scripts/install (scripts/test does), or set ENVOY",
        path.display()
    );
    path
}

impl Envoy {
    /// Starts Envoy with this configuration. Listeners may have port 0: [`Envoy::listener`] returns the real address.
    pub async fn start(config: &str, concurrency: usize) -> Envoy {
        Envoy::start_with(config, concurrency, &[]).await
    }

    /// Does the same as [`Envoy::start`] with more flags.
    pub async fn start_with(config: &str, concurrency: usize, flags: &[&str]) -> Envoy {
        Envoy::launch(config, concurrency, flags, None).await
    }

    /// Starts the next Envoy, which takes over the listeners of this one. This one ends by itself. The listeners need
    /// fixed ports, and both need the same flags.
    pub async fn hot_restart(&self, config: &str, concurrency: usize, flags: &[&str]) -> Envoy {
        let [base, epoch] = self.generation;
        Envoy::launch(config, concurrency, flags, Some([base, epoch + 1])).await
    }

    async fn launch(
        config: &str,
        concurrency: usize,
        flags: &[&str],
        generation: Option<[u32; 2]>,
    ) -> Envoy {
        dist("weir.wasm");
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, config).expect("a configuration");
        let admin_file = folder.path().join("admin");
        let base_file = folder.path().join("base-id");
        let mut command = Command::new(envoy_binary());
        command.args(["--log-level", "warn"]);
        command.args(["--component-log-level", "wasm:info"]);
        match generation {
            None => {
                command.arg("--use-dynamic-base-id");
                command.arg("--base-id-path").arg(&base_file);
            }
            Some([base, epoch]) => {
                command.arg("--base-id").arg(base.to_string());
                command.arg("--restart-epoch").arg(epoch.to_string());
            }
        }
        command.arg("--concurrency").arg(concurrency.to_string());
        command.args(flags);
        command.arg("-c").arg(&file);
        command.arg("--admin-address-path").arg(&admin_file);
        let mut process = Process::start(&mut command, folder.path().join("log"));
        let admin = process.wait_for("admin address of Envoy", |_| {
            read(&admin_file)?.parse().ok()
        });
        let base = || read(&base_file)?.parse().ok();
        let generation = generation.or_else(|| Some([base()?, 0]));
        let mut envoy = Envoy {
            process,
            admin,
            listeners: BTreeMap::new(),
            generation: generation.expect("a base id"),
            _folder: folder,
        };
        while !envoy.ask("/ready").await.starts_with("LIVE") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let listeners = envoy.ask("/listeners").await;
        for line in listeners.lines() {
            if let Some((name, address)) = line.split_once("::") {
                let address = address.parse().unwrap_or_else(|_| panic!("{line}"));
                envoy.listeners.insert(name.to_owned(), address);
            }
        }
        envoy
    }

    /// Returns the log of an Envoy that refuses this configuration. Panics if Envoy accepts the configuration.
    pub fn refused(config: &str) -> String {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, config).expect("a configuration");
        let output = Command::new(envoy_binary())
            .args(["--mode", "validate", "--use-dynamic-base-id", "-c"])
            .arg(&file)
            .output()
            .expect("Envoy");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{log}");
        log
    }

    /// Panics if Envoy refuses the configuration in this file.
    pub fn assert_valid(file: &Path) {
        let output = Command::new(envoy_binary())
            .args(["--mode", "validate", "--use-dynamic-base-id", "-c"])
            .arg(file)
            .output()
            .expect("Envoy");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {log}", file.display());
    }

    /// Returns the log of an Envoy that ends with an error when it starts with this configuration.
    pub fn ends(config: &str) -> String {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, config).expect("a configuration");
        let mut command = Command::new(envoy_binary());
        command.args(["--use-dynamic-base-id", "-c"]).arg(&file);
        Process::start(&mut command, folder.path().join("log")).wait_for_failure()
    }

    /// Returns the address of the listener with this name.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.get(name);
        *found.unwrap_or_else(|| panic!("no listener {name} in {:?}", self.listeners))
    }

    pub async fn ask(&self, path: &str) -> String {
        Connection::open(self.admin)
            .await
            .get("admin", path)
            .await
            .text()
    }

    /// Returns the value of the counter or gauge with this full name, or 0 if Envoy does not have the name.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.ask("/stats").await;
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| {
            value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
        })
    }

    /// Panics if a VM of the filter has failed or was restarted.
    pub async fn assert_no_traps(&self) {
        let stats = self.ask("/stats?filter=vm_reload").await;
        let lines: Vec<_> = stats.lines().collect();
        assert!(
            // Each configuration of the module has four counters.
            !lines.is_empty()
                && lines.len() % 4 == 0
                && lines.iter().all(|line| line.ends_with(": 0")),
            "{stats}\n{}",
            self.log()
        );
    }

    /// Waits until one worker has applied `updates` configurations, and then 200 ms for the other workers. After the
    /// first configuration it waits 600 ms, because a new worker may need a tick (500 ms) to apply it.
    pub async fn wait_for_updates(&self, updates: u64) {
        let others = Duration::from_millis(if updates == 1 { 600 } else { 200 });
        self.wait_for_stat("wasmcustom.weir_config_updates_total", updates)
            .await;
        tokio::time::sleep(others).await;
    }

    pub async fn wait_for_stat(&self, name: &str, at_least: u64) {
        for _ in 0..1000 {
            if self.stat(name).await >= at_least {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} is below {at_least}:\n{}", self.log());
    }

    /// Returns the CPU time that the process has used so far.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.process.cpu())
    }

    /// Returns the resident memory in KiB.
    pub fn memory(&self) -> u64 {
        self.process.memory()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
