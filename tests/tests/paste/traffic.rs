//! Runs the configurations on a real Envoy with a real `weir serve`: they split, and `weir check --envoy` is content.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use weir_core::paste::{PasteOptions, ServerAddress, whole_file};
use weir_tests::{Connection, Echo, Envoy, Plane, dist, free_port};

use super::{name, options, written};

const HOST: &str = "shop.example.com";

/// A control plane with a split of [`HOST`], half to each version, and the backends.
struct Shop {
    plane: Plane,
    ordinary: Echo,
    _versions: [Echo; 2],
}

impl Shop {
    async fn start() -> Shop {
        let versions = [Echo::start("v1").await, Echo::start("v2").await];
        let service = |name: &str, address: SocketAddr| {
            format!(
                "apiVersion: v1\nkind: Service\n\
                 metadata: {{ name: {name}, namespace: shop, annotations: {{ weir.dev/addresses: \"{address}\" }} }}\n\
                 spec: {{ ports: [{{ port: 80 }}] }}\n---\n"
            )
        };
        let [first, second] = versions.each_ref().map(|it| it.address);
        let manifest = service("shop-v1", first)
            + &service("shop-v2", second)
            + "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\n\
               metadata: { name: shop, namespace: shop }\n\
               spec: { service: shop.example.com, backends: [{ service: shop-v1, weight: 1 }, { service: shop-v2, weight: 1 }] }\n";
        let plane = Plane::start(&[("shop.yaml", &manifest)]);
        plane.wait_until_ready().await;
        Shop {
            plane,
            ordinary: Echo::start("ordinary").await,
            _versions: versions,
        }
    }

    fn options(&self) -> PasteOptions {
        let address = self.plane.listen.to_string();
        PasteOptions {
            control_plane: ServerAddress::parse(&address).expect("an address"),
            ..options("shop")
        }
    }

    /// Waits until the listener splits, and then checks the shares.
    async fn assert_splits(&self, envoy: &Envoy, listener: &str, what: &str) {
        let mut connection = Connection::open(envoy.listener(listener)).await;
        for _ in 0..1000 {
            let answer = connection.get(HOST, "/").await;
            if answer.header("identity").starts_with('v') {
                let shares = connection.shares(HOST, "/", 20).await;
                let counts = ["v1", "v2"].map(|it| shares.get(it).copied().unwrap_or(0));
                let is_half = counts.iter().all(|it| (9..=11).contains(it));
                assert!(is_half, "{what}, {listener}: {shares:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        panic!("{what}, {listener}: no split\n{}", envoy.log());
    }

    /// Returns what `weir check --envoy` says about this Envoy.
    async fn findings(&self, envoy: &Envoy) -> Vec<String> {
        let mut weir = Command::new(dist("weir"));
        weir.arg("check").arg(self.plane.path("shop.yaml"));
        weir.args(["--envoy", &format!("http://{}", envoy.admin)]);
        let output = tokio::task::spawn_blocking(move || weir.output()).await;
        let output = output.expect("a task").expect("weir check");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The command also has a warning about the object.
        let of_envoy = |line: &&str| line.trim_start_matches("warning: ").starts_with("envoy");
        text.lines().filter(of_envoy).map(str::to_owned).collect()
    }
}

/// Returns the listeners of a case that split.
fn listeners(case: &Path) -> &'static [&'static str] {
    match name(case).as_str() {
        "anchors.yaml" => &["outbound", "second"],
        _ => &["outbound"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edited_configurations_split() {
    let shop = Shop::start().await;
    let folder = TempDir::new().expect("a folder");
    let ordinary = shop.ordinary.address.port().to_string();
    let control_plane = format!("port_value: {}", shop.plane.listen.port());
    let fill = |text: String| {
        let text = text.replace("18081", &ordinary);
        // The address of the control plane in older-weir.yaml.
        let text = text.replace("port_value: 9900", &control_plane);
        text.replace("18090", &free_port().to_string())
    };
    let mut findings = Vec::new();
    for path in written(folder.path(), &shop.options(), &fill) {
        let what = name(&path);
        if what == "own-ads.yaml" {
            continue;
        }
        let config = std::fs::read_to_string(&path).expect("a configuration");
        let envoy = Envoy::start(&config, 1).await;
        for listener in listeners(&path) {
            shop.assert_splits(&envoy, listener, &what).await;
        }
        let lines = shop.findings(&envoy).await.into_iter();
        findings.extend(lines.map(|line| format!("{what}: {line}")));
    }
    // The command has a remark about the policies of these weighted clusters too.
    let is_remarked = |it: &String| {
        it.starts_with("policies.yaml: ") && it.contains("PoliciesLost: route api-split")
    };
    findings.retain(|it| !is_remarked(it));
    let none: [&str; 0] = [];
    assert_eq!(findings, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_configuration_splits() {
    let shop = Shop::start().await;
    let config = whole_file(&shop.options());
    let config = config.replace("port_value: 15001", "port_value: 0");
    let config = config.replace("port_value: 15000", "port_value: 0");
    let envoy = Envoy::start(&config, 1).await;
    shop.assert_splits(&envoy, "outbound", "the output").await;
    let none: [&str; 0] = [];
    assert_eq!(shop.findings(&envoy).await, none);
}
