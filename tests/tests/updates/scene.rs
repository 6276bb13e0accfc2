//! An Envoy that reads its listeners and the filter of one of them from files.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weir_tests::fault::{Web, manifest};
use weir_tests::{Connection, Envoy, FreePorts, Plane};

/// What an update can change. Each change makes Envoy load another plugin configuration or listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The plugin configuration of the listener `discovered`, which gets its filter by ECDS.
    pub discovered: u64,
    /// The plugin configuration of the listener `direct`, which is in LDS.
    pub direct: u64,
    /// True if the listener `direct` exists.
    pub has_direct: bool,
    /// True if the listener `direct` has VMs of its own.
    pub has_own_vms: bool,
}

pub struct Scene {
    pub plane: Plane,
    pub web: Web,
    pub envoy: Envoy,
    pub addresses: [SocketAddr; 2],
    folder: TempDir,
    version: u64,
    state: State,
}

/// Waits until no other test of this program runs, because each test measures time or needs all cores for its load.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

fn next_port() -> u16 {
    static PORTS: LazyLock<Mutex<FreePorts>> = LazyLock::new(Mutex::default);
    PORTS.lock().expect("ports").next()
}

/// Returns a plugin configuration. Different numbers give different configurations of the same scope.
pub fn plugin(number: u64) -> String {
    json!({ "control_plane": "weir", "namespace": "default", "trust_domain": format!("domain{number}") })
        .to_string()
}

impl Scene {
    /// Starts Envoy. After Envoy removes a listener, it drains the listener for `drain` seconds.
    pub async fn start(weights: [u64; 2], workers: usize, drain: u64) -> Scene {
        let plane = Plane::start(&[("web.yaml", &manifest(weights))]);
        let web = Web::start().await;
        let folder = TempDir::new().expect("a folder");
        let addresses = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], next_port())));
        let state = State {
            has_direct: true,
            ..State::default()
        };
        write(
            &folder.path().join("ecds.json"),
            0,
            &filter(&web, &plane, 0),
        );
        write(
            &folder.path().join("lds.json"),
            0,
            &listeners(&web, &plane, &addresses, folder.path(), state),
        );
        let mut config: Value =
            serde_json::from_str(&web.bootstrap(plane.listen).build()).expect("JSON");
        config["node"] = json!({ "id": "updates", "cluster": "updates" });
        config["dynamic_resources"] =
            json!({ "lds_config": file(&folder.path().join("lds.json")) });
        let drain = drain.to_string();
        let flags = ["--drain-time-s", &drain, "--drain-strategy", "immediate"];
        let envoy = Envoy::start_with(&config.to_string(), workers, &flags).await;
        envoy.wait_for_updates(1).await;
        Scene {
            plane,
            web,
            envoy,
            addresses,
            folder,
            version: 0,
            state,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Writes the files that differ, and renames them into place.
    pub fn update(&mut self, state: State) {
        self.version += 1;
        if state.discovered != self.state.discovered {
            let filter = filter(&self.web, &self.plane, state.discovered);
            write(&self.folder.path().join("ecds.json"), self.version, &filter);
        }
        let other = State {
            discovered: state.discovered,
            ..self.state
        };
        if state != other {
            self.write_listeners(&self.listeners(state));
        }
        self.state = state;
    }

    fn listeners(&self, state: State) -> Vec<Value> {
        listeners(
            &self.web,
            &self.plane,
            &self.addresses,
            self.folder.path(),
            state,
        )
    }

    fn write_listeners(&self, listeners: &[Value]) {
        write(
            &self.folder.path().join("lds.json"),
            self.version,
            listeners,
        );
    }

    /// Returns the picks of `v1` and `v2` that Envoy has counted.
    pub async fn counted(&self) -> [usize; 2] {
        let stats = self.envoy.ask("/stats?filter=weir_requests_total").await;
        ["web-v1.default:80", "web-v2.default:80"].map(|backend| {
            let label = format!("backend=.={backend};.;: ");
            let values = stats.lines().filter_map(|line| line.split_once(&label));
            values
                .map(|(_, value)| value.parse::<usize>().expect("a count"))
                .sum()
        })
    }

    /// Returns the requests that `v1` and `v2` have received.
    pub fn received(&self) -> [usize; 2] {
        [self.web.v1.request_count(), self.web.v2.request_count()]
    }
}

pub fn file(path: &Path) -> Value {
    json!({ "resource_api_version": "V3", "path_config_source": { "path": path } })
}

/// Writes an xDS response. Envoy reads the file again only after a rename.
pub fn write(path: &Path, version: u64, resources: &[Value]) {
    let answer = json!({ "version_info": version.to_string(), "resources": resources });
    let new = path.with_extension("new");
    std::fs::write(&new, answer.to_string()).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

/// Returns the listener `name` with this plugin configuration, as Envoy's static configuration has it.
fn listener(web: &Web, plane: &Plane, name: &str, plugin: &str, port: u16) -> Value {
    let bootstrap = web.bootstrap(plane.listen);
    let bootstrap = bootstrap.listener(name, plugin, None).port(port);
    let mut config: Value = serde_json::from_str(&bootstrap.build()).expect("JSON");
    let mut listener = config["static_resources"]["listeners"][0].take();
    listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    listener
}

/// Returns the place of the filter in a listener.
fn http_filter(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]
}

fn filter(web: &Web, plane: &Plane, number: u64) -> [Value; 1] {
    let mut listener = listener(web, plane, "discovered", &plugin(number), 0);
    let config = http_filter(&mut listener)["typed_config"].take();
    [
        json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "weir",
        "typed_config": config }),
    ]
}

fn listeners(
    web: &Web,
    plane: &Plane,
    addresses: &[SocketAddr; 2],
    folder: &Path,
    state: State,
) -> Vec<Value> {
    let mut discovered = listener(web, plane, "discovered", &plugin(0), addresses[0].port());
    *http_filter(&mut discovered) = json!({ "name": "weir", "config_discovery": {
        "config_source": file(&folder.join("ecds.json")),
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
    } });
    let direct = plugin(1_000 + state.direct);
    let mut direct = listener(web, plane, "direct", &direct, addresses[1].port());
    if state.has_own_vms {
        let config = &mut http_filter(&mut direct)["typed_config"]["config"];
        config["vm_config"]["vm_id"] = "direct".into();
    }
    let direct = state.has_direct.then_some(direct);
    [discovered].into_iter().chain(direct).collect()
}

/// Clients that open a new connection when Envoy closes the old connection. They keep trying while a listener is
/// absent.
pub struct Clients {
    end: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Clients {
    /// Starts this number of clients for each address. Each sends one request at a time.
    pub fn start(addresses: &[SocketAddr], clients: usize) -> Clients {
        let end = Arc::new(AtomicBool::new(false));
        let start = |address: &SocketAddr| {
            let (address, end) = (*address, end.clone());
            tokio::spawn(async move { send(address, &end).await })
        };
        let clients = (0..clients)
            .flat_map(|_| addresses.iter().map(start))
            .collect();
        Clients { end, clients }
    }

    /// Waits for the answers of all requests, and returns their number.
    pub async fn stop(self) -> usize {
        self.end.store(true, Ordering::SeqCst);
        let mut requests = 0;
        for client in self.clients {
            requests += client.await.expect("a client");
        }
        requests
    }
}

async fn send(address: SocketAddr, end: &AtomicBool) -> usize {
    let mut requests = 0;
    while !end.load(Ordering::SeqCst) {
        let Ok(stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let Some(mut connection) = Connection::over(stream).await else {
            continue;
        };
        while !end.load(Ordering::SeqCst) {
            // Envoy may close a connection before it reads the request.
            let Some(answer) = connection.try_get("web", "/").await else {
                break;
            };
            assert_eq!(answer.status, 200, "{answer:?}");
            requests += 1;
            if answer.header("connection") == "close" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    requests
}
