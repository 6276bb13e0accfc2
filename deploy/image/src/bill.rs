//! The software bill of materials (CycloneDX) of an archive: its files, and the packages that are linked into each
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::archive::digest;
use crate::packages::{Package, checksums, linked};
use crate::provenance::Toolchain;
use crate::{Error, read};

pub fn of(
    archive: &Path,
    files: &[PathBuf],
    lock: &Path,
    rust: &Toolchain,
) -> Result<Value, Error> {
    let checksums = checksums(lock)?;
    let mut components = BTreeMap::new();
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let std = format!("rust-std@{}", rust.release);
    components.insert(
        std.clone(),
        json!({
            "type": "library", "bom-ref": std, "name": "rust-std", "version": rust.release,
            "description": "the standard library of Rust, with the C library musl in a program and wasi-libc in a module",
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            "purl": format!("pkg:github/rust-lang/rust@{}", rust.commit),
        }),
    );
    let archive_name = name(archive);
    for file in files {
        let (root, packages) = linked(file)?;
        let reference = format!("file:{}", name(file));
        let mut component = entry("application", &reference, &name(file), &read(file)?);
        for (key, package) in packages.iter() {
            if *key == root {
                component["version"] = json!(package.version);
                component["licenses"] = json!([{ "expression": package.license }]);
                let of_file = needs.entry(reference.clone()).or_default();
                of_file.extend(package.needs.iter().cloned());
                of_file.insert(std.clone());
            } else {
                let checksum = checksums.get(key).map(String::as_str);
                components.insert(key.clone(), library(key, package, checksum));
                let of_package = needs.entry(key.clone()).or_default();
                of_package.extend(package.needs.iter().cloned());
            }
        }
        components.insert(reference.clone(), component);
        needs
            .entry(archive_name.clone())
            .or_default()
            .insert(reference);
    }
    let dependency = |(of, on): (String, BTreeSet<String>)| json!({ "ref": of, "dependsOn": on });
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": entry("container", &archive_name, &archive_name, &read(archive)?) },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": needs.into_iter().map(dependency).collect::<Vec<_>>(),
    }))
}

fn entry(kind: &str, reference: &str, name: &str, content: &[u8]) -> Value {
    let hash = json!({ "alg": "SHA-256", "content": digest(content) });
    json!({ "type": kind, "bom-ref": reference, "name": name, "hashes": [hash] })
}

fn library(key: &str, package: &Package, checksum: Option<&str>) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": key, "name": package.name, "version": package.version,
    });
    if !package.license.is_empty() {
        component["licenses"] = json!([{ "expression": package.license }]);
    }
    if !package.is_ours {
        component["purl"] = json!(format!("pkg:cargo/{key}"));
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
