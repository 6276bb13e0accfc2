//! Writes a filter module as an OCI layout in an archive. Istio and Envoy Gateway can fetch this form from a registry:
//! it is the "oci" variant of the Wasm image specification (github.com/solo-io/wasm/tree/master/spec).

use std::path::Path;
use std::str::FromStr;

use oci_spec::image::{
    Descriptor, ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Sha256Digest,
};

use crate::archive::{Archive, digest};
use crate::{Error, read};

const MODULE: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const CONFIG: &str = "application/vnd.module.wasm.config.v1+json";

/// The specification allows settings for the module's run time; Weir needs none.
const NO_SETTINGS: &[u8] = b"{}";

pub fn archive(tag: &str, module: &Path) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    let mut blob = |kind: &str, content: Vec<u8>| -> Result<Descriptor, Error> {
        let digest = digest(&content);
        let size = content.len() as u64;
        archive.add(&format!("blobs/sha256/{digest}"), content, 0o644);
        Ok(Descriptor::new(
            MediaType::from(kind),
            size,
            Sha256Digest::from_str(&digest)?,
        ))
    };
    let mut layer = blob(MODULE, read(module)?)?;
    if let Some(name) = module.file_name() {
        let title = (
            "org.opencontainers.image.title".to_owned(),
            name.to_string_lossy().into_owned(),
        );
        layer.set_annotations(Some([title].into()));
    }
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(blob(CONFIG, NO_SETTINGS.to_vec())?)
        .layers([layer])
        .build()?;
    let media_type = MediaType::ImageManifest.to_string();
    let mut manifest = blob(&media_type, serde_json::to_vec(&manifest)?)?;
    let tag = (
        "org.opencontainers.image.ref.name".to_owned(),
        tag.to_owned(),
    );
    manifest.set_annotations(Some([tag].into()));
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests([manifest])
        .build()?;
    archive.add("index.json", serde_json::to_vec(&index)?, 0o644);
    let layout = OciLayoutBuilder::default()
        .image_layout_version("1.0.0")
        .build()?;
    archive.add("oci-layout", serde_json::to_vec(&layout)?, 0o644);
    Ok(archive.bytes()?)
}
