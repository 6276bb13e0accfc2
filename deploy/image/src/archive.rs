//! Writes archives whose bytes depend only on their content, and computes digests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Files by path, with their mode.
#[derive(Default)]
pub struct Archive(BTreeMap<String, (Vec<u8>, u32)>);

impl Archive {
    /// `path` is relative to the archive's root.
    pub fn add(&mut self, path: &str, content: Vec<u8>, mode: u32) {
        let path = path.trim_start_matches('/').to_owned();
        self.0.insert(path, (content, mode));
    }

    /// Returns the archive. Every folder comes before its content.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        let mut folders = Vec::new();
        for (path, (content, mode)) in &self.0 {
            for (end, _) in path.match_indices('/') {
                let folder = format!("{}/", &path[..end]);
                if !folders.contains(&folder) {
                    let mut header = header(EntryType::Directory, 0, 0o755);
                    builder.append_data(&mut header, &folder, io::empty())?;
                    folders.push(folder);
                }
            }
            let mut header = header(EntryType::Regular, content.len() as u64, *mode);
            builder.append_data(&mut header, path, content.as_slice())?;
        }
        builder.into_inner()
    }
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// SHA-256 in hexadecimal digits.
pub fn digest(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
