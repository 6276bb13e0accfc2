//! Writes a docker-archive: the layer, the configuration of the image, and `manifest.json`, which names these files.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    Arch, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder,
};
use serde::Serialize;

use crate::archive::{Archive, digest};
use crate::{Error, read};

/// Many images without /etc/passwd use this user. It is a number, so that `runAsNonRoot` can check it.
const USER: &str = "65532:65532";

/// A file of this machine and its path in the image.
#[derive(Clone)]
pub struct Entry {
    source: PathBuf,
    path: String,
}

impl Entry {
    pub fn parse(text: &str) -> Result<Entry, &'static str> {
        match text.split_once('=') {
            Some((source, path)) if !source.is_empty() && path.starts_with('/') => Ok(Entry {
                source: source.into(),
                path: path.to_owned(),
            }),
            _ => Err("write FILE=/PATH"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest<'a> {
    config: &'a str,
    repo_tags: [&'a str; 1],
    layers: [&'a str; 1],
}

/// The first of `files` is the entry point.
pub fn archive(name: &str, files: &[Entry]) -> Result<Vec<u8>, Error> {
    let mut root = Archive::default();
    for Entry { source, path } in files {
        let content = read(source)?;
        let metadata = source.metadata()?;
        let runs = metadata.permissions().mode() & 0o111 != 0;
        root.add(path, content, if runs { 0o755 } else { 0o644 });
    }
    let layer = root.bytes()?;
    let entrypoint: Vec<String> = files.iter().take(1).map(|it| it.path.clone()).collect();
    let config = ConfigBuilder::default()
        .user(USER)
        .entrypoint(entrypoint)
        .working_dir("/")
        .build()?;
    let root_fs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids([format!("sha256:{}", digest(&layer))])
        .build()?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(config)
        .rootfs(root_fs)
        .history([HistoryBuilder::default()
            .created_by("scripts/image")
            .build()?])
        .build()?;
    let configuration = serde_json::to_vec(&configuration)?;
    let config_name = format!("{}.json", digest(&configuration));

    let mut packed = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    packed.write_all(&layer)?;
    let packed = packed.finish()?;
    let layer_name = format!("{}.tar.gz", digest(&packed));

    let manifest = serde_json::to_vec(&[Manifest {
        config: &config_name,
        repo_tags: [name],
        layers: [&layer_name],
    }])?;
    let mut archive = Archive::default();
    archive.add("manifest.json", manifest, 0o644);
    archive.add(&config_name, configuration, 0o644);
    archive.add(&layer_name, packed, 0o644);
    Ok(archive.bytes()?)
}
