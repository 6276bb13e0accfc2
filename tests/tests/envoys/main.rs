//! Runs an Envoy for each case in `cases/`, and sends requests to it. Compares the answers, the findings of
//! `weir check --envoy` and its exit code with the case. The answers show whether the findings are true.
//!
//! `UPDATE_GOLDEN=1` writes the results into the cases. `CASE=NAME` runs only the cases with this text in their names.

mod case;
mod change;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use weir_core::api::smi::traffic_target::Policy;
use weir_tests::fault::trapping_module;
use weir_tests::{Connection, Echo, Envoy, InProcess, dist, root};

use self::case::{Case, Sent};

/// Number of Envoys that run at the same time.
const ENVOYS: usize = 3;
/// Placeholder for the file of a module that traps at a request with `x-weir-trap: request`.
const TRAPPING: &str = "$trapping";
/// A port at which nothing listens.
const CLOSED: u16 = 1;

struct Scene {
    objects: PathBuf,
    base: Value,
    /// Values for the placeholders of `base.yaml`.
    ports: BTreeMap<&'static str, u16>,
    _plane: InProcess,
    _backends: [Echo; 3],
}

fn folder() -> PathBuf {
    root().join("tests/tests/envoys")
}

impl Scene {
    async fn start() -> Scene {
        let objects = folder().join("objects.yaml");
        let manifests = std::fs::read_to_string(&objects).expect("objects");
        let base = std::fs::read_to_string(folder().join("base.yaml")).expect("a base");
        let plane = InProcess::start(&manifests, Policy::Unstated).await;
        let backends = [
            backend("v1").await,
            backend("v2").await,
            backend("ordinary").await,
        ];
        let [v1, v2, ordinary] = backends.each_ref().map(|it| it.address.port());
        Scene {
            objects,
            base: serde_saphyr::from_str(&base).expect("YAML"),
            ports: [
                ("$v1", v1),
                ("$v2", v2),
                ("$ordinary", ordinary),
                ("$weir", plane.listen.port()),
                ("$closed", CLOSED),
            ]
            .into(),
            _plane: plane,
            _backends: backends,
        }
    }

    /// Returns the configuration of the case, in JSON.
    fn config(&self, case: &Case, files: &Path) -> String {
        let mut config = self.base.clone();
        for change in &case.changes {
            change.apply(&mut config, files);
        }
        let fill = |text: String| {
            let text = text.replace("$folder", &files.display().to_string());
            let text = text.replace("dist/weir.wasm", &dist("weir.wasm").display().to_string());
            let text = match text.contains(TRAPPING) {
                true => text.replace(TRAPPING, &trapping_module().display().to_string()),
                false => text,
            };
            let ports = self.ports.iter();
            ports.fold(text, |text, (name, port)| {
                text.replace(&format!("\"{name}\""), &port.to_string())
            })
        };
        for file in std::fs::read_dir(files).expect("files") {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            std::fs::write(path, fill(text)).expect("a file");
        }
        fill(config.to_string())
    }

    /// Returns the case with the answers and findings of a real Envoy.
    async fn run(&self, case: &Case) -> Case {
        let files = TempDir::new().expect("a folder");
        let config = self.config(case, files.path());
        let envoy = Envoy::start(&config, 1).await;
        if config.contains(&format!("\"port_value\":{CLOSED}}}")) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            wait_for_configuration(&envoy).await;
        }
        let mut result = Case::read(&case.text());
        result.requests.clear();
        for sent in &case.requests {
            let address = match sent.listener().as_str() {
                "admin" => envoy.admin,
                listener => envoy.listener(listener),
            };
            result.requests.push(sent_to(address, sent).await);
        }
        (result.findings, result.exit_code) = self.check(envoy.admin).await;
        result
    }

    /// Runs `weir check --envoy`, and returns its lines and its exit code.
    async fn check(&self, admin: SocketAddr) -> (Vec<String>, i32) {
        let mut weir = Command::new(dist("weir"));
        weir.arg("check").arg(&self.objects);
        weir.args(["--envoy", &format!("http://{admin}")]);
        let output = tokio::task::spawn_blocking(move || weir.output()).await;
        let output = output.expect("a task").expect("weir check");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().expect("an exit code");
        // The problems of `objects.yaml` are the same in all cases.
        let of_envoy = |line: &&str| line.trim_start_matches("warning: ").starts_with("envoy");
        let findings = text.lines().filter(of_envoy).map(str::to_owned);
        (findings.collect(), code)
    }
}

/// Waits until all workers have a configuration. Stops waiting if the filter does not start.
async fn wait_for_configuration(envoy: &Envoy) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let stats = envoy.ask("/stats?filter=weir_config").await;
        if stats.contains("weir_config_updates_total: 1") {
            // A worker may need a tick (500 ms) to apply the configuration.
            return tokio::time::sleep(Duration::from_millis(600)).await;
        }
        if stats.is_empty() && start.elapsed() > Duration::from_secs(2) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A backend that answers 200 with its name and what it received. It waits 0.4 s before it answers /slow.
async fn backend(name: &'static str) -> Echo {
    let answer = move |request: Request| async move {
        if request.uri().path().starts_with("/slow") {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let count = |name: &str| request.headers().get_all(name).iter().count();
        let mut text = name.to_owned();
        if count("x-weir-cluster") > 0 {
            text.push_str(" with x-weir-cluster");
        }
        if count("x-added") > 1 {
            text.push_str(" with x-added twice");
        }
        [("outcome", text)]
    };
    Echo::serve(Router::new().fallback(answer)).await
}

async fn sent_to(address: SocketAddr, sent: &Sent) -> Sent {
    let headers: Vec<(&str, &str)> = sent
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..sent.times {
        let mut connection = Connection::open(address).await;
        let answer = connection.ask(&sent.method, sent.authority(), &sent.path, &headers);
        let answer = answer.await;
        let outcome = match (answer.status.as_u16(), answer.header("outcome")) {
            (200, outcome) if !outcome.is_empty() => outcome.to_owned(),
            (status, _) => status.to_string(),
        };
        *answers.entry(outcome).or_default() += 1;
    }
    let is_random = sent.answers.starts_with("some ");
    let answers = answers.iter().map(|(outcome, count)| match sent.times {
        1 => outcome.clone(),
        _ if is_random => format!("some {outcome}"),
        _ => format!("{count} {outcome}"),
    });
    Sent {
        answers: answers.collect::<Vec<_>>().join(", "),
        ..sent.clone()
    }
}

fn cases() -> Vec<PathBuf> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let files = std::fs::read_dir(folder().join("cases")).expect("cases");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.display().to_string().contains(&wanted));
    files.sort();
    assert!(!files.is_empty(), "no case has {wanted} in its name");
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_and_answers_agree() {
    let is_updating = std::env::var_os("UPDATE_GOLDEN").is_some();
    let scene = Arc::new(Scene::start().await);
    let permits = Arc::new(Semaphore::new(ENVOYS));
    let mut tasks = Vec::new();
    for file in cases() {
        let (scene, permits) = (scene.clone(), permits.clone());
        let name = file.display().to_string();
        let task = tokio::spawn(async move {
            let _permit = permits.acquire().await.expect("a permit");
            let text = std::fs::read_to_string(&file).expect("a case");
            let case = Case::read(&text);
            let result = scene.run(&case).await.text();
            if is_updating {
                std::fs::write(&file, &result).expect("a case");
            }
            let is_equal = is_updating || result == text;
            (!is_equal).then_some(result)
        });
        tasks.push((name, task));
    }
    let mut different = Vec::new();
    for (name, task) in tasks {
        match task.await {
            Ok(None) => {}
            Ok(Some(result)) => different.push(format!("{name}:\n{result}")),
            Err(error) => different.push(format!("{name}: {error}")),
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
