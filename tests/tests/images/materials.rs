//! The two files that `scripts/image` writes for each archive: the list of its packages (SBOM), and the list of its
//! build inputs (provenance).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::{dist, root};

use crate::{crane, image, json_of, unpack};

/// The archives, each with the files of `dist` that it contains.
const ARCHIVES: [(&str, &[&str]); 3] = [
    (
        "weir-image",
        &["weir", "weir-certificate", "weir.wasm", "weir-lean.wasm"],
    ),
    ("weir-demo-image", &["weir-demo"]),
    ("weir-wasm-oci", &["weir.wasm"]),
];

/// SHA-256 of a file, computed by sha256sum.
fn digest(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output();
    let text = String::from_utf8(output.expect("sha256sum").stdout).expect("text");
    text.split(' ').next().expect("a digest").to_owned()
}

/// Checksums of `Cargo.lock` by NAME-VERSION.
fn checksums() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let quoted = |entry: &str, field: &str| {
        let (_, rest) = entry.split_once(&format!("{field} = \""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let package = |entry: &str| {
        let folder = format!("{}-{}", quoted(entry, "name")?, quoted(entry, "version")?);
        Some((folder, quoted(entry, "checksum")?))
    };
    text.split("[[package]]").filter_map(package).collect()
}

/// The release of the pinned compiler.
fn rust() -> String {
    let text = fs::read_to_string(root().join("rust-toolchain.toml")).expect("rust-toolchain.toml");
    let (_, rest) = text.split_once("channel = \"").expect("a channel");
    rest.split('"').next().expect("a release").to_owned()
}

/// Returns the packages (NAME-VERSION) whose names are in the file. A binary contains the source paths of code
/// that can panic.
fn named_by(file: &Path) -> BTreeSet<String> {
    const SOURCES: &[u8] = b"/cargo/registry/src/";
    let bytes = fs::read(file).expect("a file of dist");
    let places = bytes.windows(SOURCES.len()).enumerate();
    let places = places.filter(|(_, it)| *it == SOURCES);
    places
        .map(|(at, _)| {
            let path = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 200)]);
            let folder = path.split('/').nth(5).expect("a path of a package");
            folder.to_owned()
        })
        .collect()
}

/// The list of the packages (SBOM) of one archive.
struct Bill {
    components: BTreeMap<String, Value>,
    needs: BTreeMap<String, Vec<String>>,
}

impl Bill {
    fn read(archive: &str) -> Bill {
        let bill = json_of(&dist(&format!("{archive}.cdx.json")));
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let list = |of: &Value| of.as_array().expect("a list").clone();
        let text = |of: &Value| of.as_str().expect("text").to_owned();
        let components = list(&bill["components"]);
        let components = components
            .into_iter()
            .chain([bill["metadata"]["component"].clone()]);
        let needs = list(&bill["dependencies"]).into_iter().map(|it| {
            let on = list(&it["dependsOn"]);
            (text(&it["ref"]), on.iter().map(text).collect())
        });
        Bill {
            components: components.map(|it| (text(&it["bom-ref"]), it)).collect(),
            needs: needs.collect(),
        }
    }

    /// Returns the component and all its direct and indirect dependencies.
    fn below(&self, reference: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![reference.to_owned()];
        while let Some(reference) = open.pop() {
            assert!(self.components.contains_key(&reference), "{reference}");
            let needs = self.needs.get(&reference).cloned().unwrap_or_default();
            if found.insert(reference) {
                open.extend(needs);
            }
        }
        found
    }

    fn digest(&self, reference: &str) -> &Value {
        &self.components[reference]["hashes"][0]["content"]
    }
}

#[test]
fn bill_lists_every_linked_package() {
    let checksums = checksums();
    for (archive, files) in ARCHIVES {
        let bill = Bill::read(archive);
        let tar = format!("{archive}.tar");
        assert_eq!(*bill.digest(&tar), digest(&dist(&tar)), "run scripts/image");
        for name in files {
            let reference = format!("file:{name}");
            assert_eq!(
                *bill.digest(&reference),
                digest(&dist(name)),
                "run scripts/image"
            );
            let listed = bill.below(&reference);
            assert!(listed.contains(&format!("rust-std@{}", rust())), "{name}");
            let named = named_by(&dist(name));
            assert!(named.len() > 4, "{name} names {named:?}");
            for folder in named {
                assert!(checksums.contains_key(&folder), "{name}: {folder}");
                let is_it = |key: &String| key.replacen('@', "-", 1) == folder;
                assert!(listed.iter().any(is_it), "{name} has {folder} in it");
            }
        }
        // The archive needs every component, and each package has the checksum of Cargo.lock.
        let all: BTreeSet<String> = bill.components.keys().cloned().collect();
        assert_eq!(bill.below(&tar), all);
        for (key, component) in &bill.components {
            if component["purl"]
                .as_str()
                .is_some_and(|it| it.starts_with("pkg:cargo/"))
            {
                let checksum = checksums.get(&key.replacen('@', "-", 1));
                assert_eq!(*bill.digest(key), json!(checksum.expect(key)), "{key}");
                assert_eq!(component["purl"], format!("pkg:cargo/{key}"));
                assert!(component["licenses"][0]["expression"].is_string(), "{key}");
            }
        }
    }
}

/// No bill of materials lists a package that only tests or builds use.
#[test]
fn bill_lists_only_linked_packages() {
    for (archive, _) in ARCHIVES {
        let bill = Bill::read(archive);
        for stranger in [
            "proptest@",
            "serde_derive@",
            "cc@",
            "wasm-opt@",
            "weir-tests@",
        ] {
            let found = bill.components.keys().find(|key| key.starts_with(stranger));
            assert_eq!(found, None, "{archive}");
        }
    }
}

#[test]
fn provenance_has_digests_of_built_files() {
    let checksums = checksums();
    for (archive, files) in ARCHIVES {
        let statement = json_of(&dist(&format!("{archive}.provenance.json")));
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        let subjects = statement["subject"].as_array().expect("subjects");
        let (pushed, built) = subjects.split_first().expect("a subject");
        let tar = format!("{archive}.tar");
        let names: Vec<&str> = [tar.as_str()]
            .into_iter()
            .chain(files.iter().copied())
            .collect();
        assert_eq!(built.len(), names.len(), "{subjects:?}");
        for (subject, name) in built.iter().zip(names) {
            let expected = json!({ "name": name, "digest": { "sha256": digest(&dist(name)) } });
            assert_eq!(*subject, expected, "run scripts/image");
        }
        assert_eq!(*pushed, expected_in_a_registry(archive));

        let definition = &statement["predicate"]["buildDefinition"];
        let materials = definition["resolvedDependencies"]
            .as_array()
            .expect("materials");
        let commit = materials[0]["digest"]["gitCommit"]
            .as_str()
            .expect("a commit");
        assert!(commit.len() == 40, "{commit}");
        let lock = materials.iter().find(|it| it["name"] == "Cargo.lock");
        let lock = &lock.expect("Cargo.lock")["digest"]["sha256"];
        assert_eq!(
            *lock,
            digest(&root().join("Cargo.lock")),
            "run scripts/image"
        );
        let packages: BTreeMap<&str, &Value> = materials
            .iter()
            .filter_map(|it| Some((it["uri"].as_str()?, &it["digest"]["sha256"])))
            .collect();
        for key in Bill::read(archive).components.keys() {
            if let Some(checksum) = checksums.get(&key.replacen('@', "-", 1)) {
                assert_eq!(
                    *packages[format!("pkg:cargo/{key}").as_str()],
                    json!(checksum)
                );
            }
        }
        // The provenance also lists packages that only the build uses.
        assert!(
            packages
                .keys()
                .any(|it| it.starts_with("pkg:cargo/serde_derive@"))
        );
        let builder = &statement["predicate"]["runDetails"]["builder"];
        assert_eq!(builder["version"]["rustc"], rust());
    }
}

/// Returns the expected subject, with the digest that the image has in a registry.
fn expected_in_a_registry(archive: &str) -> Value {
    let path: PathBuf = dist(&format!("{archive}.tar"));
    let (name, digest) = match archive.strip_suffix("-image") {
        Some(name) => {
            let tag = format!("weir.dev/{name}:{}", crate::VERSION);
            image(name, &tag);
            let args = ["digest", "--tarball", &path.display().to_string()];
            let digest = String::from_utf8(crane(&args).stdout).expect("text");
            (tag, digest.trim().to_owned())
        }
        None => {
            let index = json_of(&unpack(&path).path().join("index.json"));
            let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
            ("manifest".to_owned(), digest.to_owned())
        }
    };
    let digest = digest.trim_start_matches("sha256:");
    json!({ "name": name, "digest": { "sha256": digest } })
}
