//! Computes the digest that an archive of `dist` gets in a registry. Manifests name an image by its digest.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::digest;
use crate::{Error, read};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    media_type: &'static str,
    size: usize,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
}

/// Returns the name of the image (None for a module), and the SHA-256 of its manifest in hexadecimal digits. A registry
/// has this digest after `crane` pushes the archive, because `crane` does not change the layers.
pub fn pushed(archive: &Path) -> Result<(Option<String>, String), Error> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(read(archive)?.as_slice()).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(path, content);
    }
    let missing = || Error::NoArchive(archive.to_owned());
    if let Some(index) = files.get("index.json") {
        let Index { manifests } = serde_json::from_slice(index)?;
        let entry = manifests.first().ok_or_else(missing)?;
        let name = entry.digest.trim_start_matches("sha256:").to_owned();
        return Ok((None, name));
    }
    let list: Vec<Listed> =
        serde_json::from_slice(files.get("manifest.json").ok_or_else(missing)?)?;
    let image = list.first().ok_or_else(missing)?;
    let blob = |media_type, name: &String| {
        let content = files.get(name).ok_or_else(missing)?;
        Ok::<_, Error>(Blob {
            media_type,
            size: content.len(),
            digest: format!("sha256:{}", digest(content)),
        })
    };
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layers = image.layers.iter().map(|name| blob(layer, name));
    let manifest = Manifest {
        schema_version: 2,
        media_type: "application/vnd.docker.distribution.manifest.v2+json",
        config: blob(
            "application/vnd.docker.container.image.v1+json",
            &image.config,
        )?,
        layers: layers.collect::<Result<_, _>>()?,
    };
    let digest = digest(&serde_json::to_vec(&manifest)?);
    Ok((image.repo_tags.first().cloned(), digest))
}
