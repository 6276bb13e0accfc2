//! An Envoy under load. The backend `v2` of a host must answer every request to the host.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample};
use weir_tests::{Bootstrap, Echo, Envoy};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;

/// The Services that clients call.
pub const HOSTS: [&str; 3] = ["web", "api", "ab"];

pub struct Scene {
    _envoy: Envoy,
    loads: Vec<(&'static str, Load)>,
    _backends: Vec<Echo>,
}

impl Scene {
    /// Starts clients for every host, with two connections each. The backend `root` is the Service of the host itself.
    pub async fn start(plane: SocketAddr) -> Scene {
        let mut bootstrap = Bootstrap::default().cluster("weir", plane);
        let mut backends = Vec::new();
        for host in HOSTS {
            for (service, identity) in [
                (host.to_owned(), "root"),
                (format!("{host}-v1"), "v1"),
                (format!("{host}-v2"), "v2"),
            ] {
                let backend = Echo::start(identity).await;
                let cluster = format!("{service}.default.svc.cluster.local:80");
                bootstrap = bootstrap.cluster(&cluster, backend.address);
                backends.push(backend);
            }
        }
        let bootstrap = bootstrap.listener("outbound", PLUGIN, None);
        let envoy = Envoy::start(&bootstrap.build(), 2).await;
        envoy.wait_for_updates(1).await;
        let mut loads = Vec::new();
        for host in HOSTS {
            const HEADERS: &[(&str, &str)] = &[("x-load", "yes")];
            let load = Load::start_with(envoy.listener("outbound"), host, HEADERS, 2).await;
            loads.push((host, load));
        }
        Scene {
            _envoy: envoy,
            loads,
            _backends: backends,
        }
    }

    /// Returns the answers since the last call, each with the host of its request.
    pub fn take(&self) -> Vec<(&'static str, Sample)> {
        let mut taken = Vec::new();
        for (host, load) in &self.loads {
            taken.extend(load.take().into_iter().map(|sample| (*host, sample)));
        }
        taken
    }

    /// Waits until only the backend `by` answers requests to `host`. Checks that `v2` answers requests to all other
    /// hosts.
    pub async fn until(&self, host: &str, by: &str) {
        let start = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let taken = self.take();
            let others = taken.iter().filter(|(of, _)| *of != host);
            assert_second(others);
            let mut own = taken.iter().filter(|(of, _)| *of == host).peekable();
            if own.peek().is_some() && own.all(|(_, sample)| sample.by == by) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{by} does not answer all requests to {host}"
            );
        }
    }

    /// Checks for this long that `v2` answers every request, and returns the number of requests.
    pub async fn hold(&self, time: Duration) -> usize {
        tokio::time::sleep(time).await;
        let taken = self.take();
        assert_second(taken.iter());
        taken.len()
    }

    pub async fn stop(self) {
        for (_, load) in self.loads {
            load.stop().await;
        }
    }
}

fn assert_second<'s>(samples: impl Iterator<Item = &'s (&'static str, Sample)>) {
    for (host, sample) in samples {
        let is_second = sample.status == 200 && sample.by == "v2";
        assert!(
            is_second,
            "v2 did not answer a request to {host}: {sample:?}"
        );
    }
}
