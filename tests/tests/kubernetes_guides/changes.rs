//! Changes of splits, routes and the control plane under the load of the guides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::root;

use super::installed::{Installed, wait};

/// Proxies of the guide of Flagger: five clients, and five that ended less than five seconds ago, which the control
/// plane still counts.
const OF_FLAGGER: usize = 10;

impl Installed {
    pub fn manifest(&self, namespace: &str, name: &str) {
        let path = root().join("tests/manifests").join(name);
        self.run(&["apply", "-n", namespace, "-f", &path.display().to_string()]);
    }

    /// The logs of all replicas.
    fn of_control_plane(&self) -> String {
        let pods = self.pods("weir-system", "app.kubernetes.io/name=weir");
        let logs = pods
            .iter()
            .map(|pod| self.cluster.logs("weir-system", pod, "weir"));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Applies a file. Waits until the proxies of these pods run a newer configuration, and until the object's status
    /// reports the object as live on all proxies. Up to `others` more proxies may belong to other guides, and
    /// [`OF_FLAGGER`] to the guide of Flagger.
    pub fn until_followed(&self, namespace: &str, pods: &[String], others: usize, file: &str) {
        const UPDATES: &str = "weir_config_updates_total";
        let updates = || pods.iter().map(|pod| self.count(namespace, pod, UPDATES));
        let before: Vec<u64> = updates().collect();
        let start = Instant::now();
        self.manifest(namespace, file);
        let followed = || updates().zip(&before).all(|(now, before)| now > *before);
        wait(file, followed);
        let followed = start.elapsed();
        let path = root()
            .join("tests/manifests")
            .join(file)
            .display()
            .to_string();
        let state = || {
            let object = self.run(&["get", "-n", namespace, "-f", &path, "-o", "json"]);
            serde_json::from_str::<Value>(&object).expect("JSON")
        };
        let proxies = pods.len()..=pods.len() + others + OF_FLAGGER;
        while !live_on(&state()).is_some_and(|on| proxies.contains(&on)) {
            let status = &state()["status"];
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{file} is not live on {proxies:?} proxies: {status}\n{}",
                self.of_control_plane()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        println!(
            "{file}: {} proxies had the change after {followed:?}, and its status was live after {:?}",
            pods.len(),
            start.elapsed()
        );
    }

    /// Restarts the control plane's Deployment. Meanwhile these pods send requests, and `change` runs each second.
    pub fn restart_under_load(&self, pods: &[String], mut change: impl FnMut(u64)) {
        const URL: &str = "http://127.0.0.1:15001/books-bought?[1-200]";
        let host = "Host: bookstore.default.svc.cluster.local:14001";
        let curl = ["-o", "/dev/null", "-w", "%{http_code} ", "-H", host, URL];
        const LONGEST: Duration = Duration::from_secs(120);
        let (start, is_over) = (Instant::now(), AtomicBool::new(false));
        let load = |pod: &str| {
            let mut answers = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
                for status in self.in_envoy("default", pod, &curl).split_whitespace() {
                    *answers.entry(status.to_owned()).or_insert(0) += 1;
                }
            }
            answers
        };
        let before = self.pods("weir-system", "app.kubernetes.io/name=weir");
        std::thread::scope(|scope| {
            let loads: Vec<_> = pods.iter().map(|pod| scope.spawn(|| load(pod))).collect();
            self.run(&["rollout", "restart", "deployment/weir", "-n", "weir-system"]);
            let rollout = scope.spawn(|| self.available("weir-system", "weir"));
            let mut changes = 0;
            let is_left = || {
                let now = self.run(&["get", "pods", "-n", "weir-system", "-o", "name"]);
                before.iter().any(|pod| now.contains(pod.as_str()))
            };
            while !rollout.is_finished() || is_left() {
                change(changes);
                changes += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            is_over.store(true, Ordering::Relaxed);
            rollout.join().expect("kubectl rollout status");
            println!("rolled out in {:?}, {changes} changes", start.elapsed());
            assert!(changes >= 3, "{changes} changes");
            for load in loads {
                let answers = load.join().expect("a client");
                println!("{answers:?}");
                assert!(answers.keys().eq(["200"]), "{answers:?}");
                assert!(answers["200"] >= 400, "{answers:?}");
            }
        });
    }
}

/// Returns on how many proxies a split or route is live; None if its current generation is not live on all proxies.
fn live_on(object: &Value) -> Option<usize> {
    let status = &object["status"];
    let parents = status["parents"].as_array().into_iter().flatten();
    let mut all = parents
        .chain([status])
        .flat_map(|it| it["conditions"].as_array())
        .flatten();
    let live = all.find(|condition| {
        condition["type"] == "weir.dev/Live"
            && condition["status"] == "True"
            && condition["observedGeneration"] == object["metadata"]["generation"]
    })?;
    let message = live["message"].as_str()?;
    let (on, of) = message.strip_prefix("on ")?.split_once(" of ")?;
    let of = of.strip_suffix(" proxies")?;
    assert_eq!(on, of, "the condition is True, but: {message}");
    of.parse().ok()
}
