//! Reads the archives of `scripts/image` with programs that are not part of Weir.

mod images {
    mod materials;
}

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_cluster::child::Child;
use weir_cluster::programs::go_program;
use weir_tests::{dist, root};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn crane(args: &[&str]) -> Output {
    let output = Command::new(go_program("crane", "crane"))
        .args(args)
        .output()
        .expect("crane starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "crane {args:?}: {errors}");
    output
}

fn unpack(archive: &Path) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let file = fs::File::open(archive).expect("the archive");
    tar::Archive::new(file)
        .unpack(folder.path())
        .expect("unpacked");
    folder
}

fn json_of(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Returns the image's files and its configuration.
fn image(name: &str, tag: &str) -> (TempDir, Value) {
    let archive = dist(&format!("{name}-image.tar"));
    crane(&["validate", "--tarball", &archive.display().to_string()]);
    let unpacked = unpack(&archive);
    let manifest = &json_of(&unpacked.path().join("manifest.json"))[0];
    assert_eq!(manifest["RepoTags"], json!([tag]));
    let config = json_of(
        &unpacked
            .path()
            .join(manifest["Config"].as_str().expect("Config")),
    );
    let files = TempDir::new().expect("a folder");
    let layer = manifest["Layers"][0].as_str().expect("a layer");
    let layer = fs::File::open(unpacked.path().join(layer)).expect("the layer");
    let mut layer = tar::Archive::new(GzDecoder::new(layer));
    layer.set_preserve_permissions(true);
    layer.unpack(files.path()).expect("unpacked");
    (files, config)
}

/// Runs a program with a root folder that contains only the image.
fn run(files: &TempDir, command: &[&str]) -> Output {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "chroot"])
        .arg(files.path())
        .args(command)
        .output()
        .expect("unshare starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

#[test]
fn image_runs_by_itself() {
    let (files, config) = image("weir", &format!("weir.dev/weir:{VERSION}"));
    assert_eq!(config["config"]["Entrypoint"], json!(["/weir"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["os"], "linux");
    let version = run(&files, &["/weir", "--version"]).stdout;
    assert_eq!(
        String::from_utf8_lossy(&version).trim(),
        format!("weir {VERSION}")
    );
    // An init container copies the filters into the proxy's folder.
    run(&files, &["/weir", "copy-filter", "/out"]);
    for module in ["weir.wasm", "weir-lean.wasm"] {
        let copied = fs::read(files.path().join("out").join(module)).expect(module);
        assert!(
            copied == fs::read(dist(module)).expect(module),
            "{module}: run scripts/image"
        );
    }
    let (files, config) = image("weir-demo", &format!("weir.dev/weir-demo:{VERSION}"));
    assert_eq!(config["config"]["Entrypoint"], json!(["/weir-demo"]));
    run(&files, &["/weir-demo", "bookstore", "--help"]);
}

/// Programs that contain no build paths are the same on every machine.
#[test]
fn programs_contain_no_build_paths() {
    for (name, program) in [
        ("weir", "weir"),
        ("weir", "weir-certificate"),
        ("weir-demo", "weir-demo"),
    ] {
        let (files, _) = image(name, &format!("weir.dev/{name}:{VERSION}"));
        let bytes = fs::read(files.path().join(program)).expect(program);
        let home = std::env::var("CARGO_HOME")
            .or_else(|_| std::env::var("HOME"))
            .expect("a home");
        for path in [root().display().to_string(), home] {
            let found = bytes
                .windows(path.len() + 1)
                .any(|it| it == format!("{path}/").as_bytes());
            assert!(!found, "{program} names {path}");
        }
    }
}

/// Istio loads the module from a registry. The test pushes the module, and finds its layer by the media type.
#[test]
fn module_is_pushed_and_fetched() {
    let logs = TempDir::new().expect("a folder");
    let log = logs.path().join("registry");
    let args = ["registry", "serve", "--address", "127.0.0.1:0"].map(str::to_owned);
    let registry = Child::start(&go_program("crane", "crane"), &args, &log);
    let port = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let text = fs::read_to_string(&log).unwrap_or_default();
        let (_, port) = text.split_once("serving on port ")?;
        port.trim().parse::<u16>().ok()
    });
    let Some(port) = port else {
        panic!("no registry: {}", registry.tail())
    };
    let name = format!("127.0.0.1:{port}/weir/weir.wasm:{VERSION}");

    let layout = unpack(&dist("weir-wasm-oci.tar"));
    crane(&[
        "push",
        "--insecure",
        &layout.path().display().to_string(),
        &name,
    ]);
    let manifest = crane(&["manifest", "--insecure", &name]).stdout;
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.module.wasm.config.v1+json"
    );
    let layers = manifest["layers"].as_array().expect("layers");
    let [layer] = layers.as_slice() else {
        panic!("{manifest}")
    };
    assert_eq!(
        layer["mediaType"],
        "application/vnd.module.wasm.content.layer.v1+wasm"
    );
    let digest = layer["digest"].as_str().expect("a digest");
    let (repository, _) = name.rsplit_once(':').expect("a tag");
    let mut fetched = Command::new(go_program("crane", "crane"))
        .args(["blob", "--insecure", &format!("{repository}@{digest}")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("crane starts");
    let mut module = Vec::new();
    fetched
        .stdout
        .take()
        .expect("a pipe")
        .read_to_end(&mut module)
        .expect("the module");
    assert!(fetched.wait().expect("crane ends").success());
    assert!(
        module == fs::read(dist("weir.wasm")).expect("weir.wasm"),
        "run scripts/image"
    );
}
