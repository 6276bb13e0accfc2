//! The module of the filter that this process serves to Envoys. The process reads the module from a file, and reads it
//! again when the file changes.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;

use weir_core::digest::sha256;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);
/// Maximum size of a module in bytes. `weir.wasm` has one megabyte.
const MAX_SIZE: u64 = 16 << 20;
/// The first bytes of each WebAssembly module.
const MAGIC: &[u8] = b"\0asm";

/// A module with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The first 32 hexadecimal digits of the SHA-256 of the bytes.
    pub hash: Arc<str>,
    pub bytes: Bytes,
}

/// The newest module; None if there is no file, so this process serves no filter.
pub type ModuleReceiver = watch::Receiver<Option<Arc<Module>>>;

impl Module {
    pub fn new(bytes: Bytes) -> Module {
        let mut hash = sha256(&bytes);
        hash.truncate(32);
        Module {
            hash: hash.into(),
            bytes,
        }
    }

    fn read(path: &Path) -> io::Result<Module> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        if fs::metadata(path)?.len() > MAX_SIZE {
            return Err(invalid("the file is larger than 16 MiB"));
        }
        let bytes = fs::read(path)?;
        if !bytes.starts_with(MAGIC) {
            return Err(invalid("the file is not a WebAssembly module"));
        }
        Ok(Module::new(bytes.into()))
    }
}

/// Follows the file of a module.
pub struct ModuleFile {
    path: PathBuf,
    seen: Option<FileStamp>,
    newest: watch::Sender<Option<Arc<Module>>>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileStamp {
    fn of(metadata: &Metadata) -> FileStamp {
        FileStamp {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl ModuleFile {
    /// Reads the module. If the file does not exist, logs once that this process serves no filter.
    pub fn open(path: PathBuf) -> ModuleFile {
        let mut file = ModuleFile {
            path,
            seen: None,
            newest: watch::Sender::new(None),
        };
        if file.stamp().is_none() {
            tracing::info!(
                "there is no filter at {}: Envoys get clusters from this process, but not their filters; to serve the \
                 filter, start weir serve with --filter FILE",
                file.path.display()
            );
        }
        file.look();
        file
    }

    pub fn receiver(&self) -> ModuleReceiver {
        self.newest.subscribe()
    }

    /// Reads the module again after each change of the file.
    pub async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    fn stamp(&self) -> Option<FileStamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some(FileStamp::of(&metadata))
    }

    /// Reads the module if the file has changed. Keeps the previous module if the file is absent or cannot be read.
    fn look(&mut self) {
        let Some(stamp) = self.stamp().filter(|it| self.seen != Some(*it)) else {
            return;
        };
        self.seen = Some(stamp);
        let path = self.path.display();
        match Module::read(&self.path) {
            Ok(module) => {
                let is_new = |before: &Option<Arc<Module>>| before.as_deref() != Some(&module);
                if is_new(&self.newest.borrow()) {
                    tracing::info!(hash = %module.hash, "this process serves the filter {path}");
                    self.newest.send_replace(Some(Arc::new(module)));
                }
            }
            Err(error) => tracing::error!(
                "the filter {path} cannot be used: {error}; Envoys keep their filters, and new Envoys get the last \
                 filter that this process has read; write the filter of this release to {path}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_module_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.wasm");
        let replace = |bytes: &[u8]| {
            let new = folder.path().join("new");
            fs::write(&new, bytes).unwrap();
            fs::rename(&new, &path).unwrap();
        };
        let mut file = ModuleFile::open(path.clone());
        let receiver = file.receiver();
        let bytes = || receiver.borrow().as_ref().map(|it| it.bytes.to_vec());
        assert_eq!(bytes(), None);
        replace(b"\0asm1");
        file.look();
        assert_eq!(bytes().unwrap(), b"\0asm1");
        replace(b"\0asm2");
        file.look();
        assert_eq!(bytes().unwrap(), b"\0asm2");
        replace(b"half");
        file.look();
        assert_eq!(bytes().unwrap(), b"\0asm2");
        fs::remove_file(&path).unwrap();
        file.look();
        assert_eq!(bytes().unwrap(), b"\0asm2");
    }
}
