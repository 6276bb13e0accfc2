//! The build inputs of an archive, as an unsigned in-toto statement with SLSA's predicate.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::archive::digest;
use crate::packages::{Packages, checksums, compiled, of_the_packer};
use crate::{Error, read, registry};

/// The compiler.
pub struct Toolchain {
    pub release: String,
    pub commit: String,
}

impl Toolchain {
    pub fn here() -> Result<Toolchain, Error> {
        let text = said("rustc", &["-vV"])?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_default().trim().to_owned()
        };
        Ok(Toolchain {
            release: field("release: "),
            commit: field("commit-hash: "),
        })
    }
}

/// Returns the provenance of the archive and of each file in it. `fast` is true for `scripts/image --fast`.
pub fn of(
    archive: &Path,
    files: &[PathBuf],
    lock: &Path,
    rust: &Toolchain,
    fast: bool,
) -> Result<Value, Error> {
    let (image, pushed) = registry::pushed(archive)?;
    let named = image.unwrap_or_else(|| "manifest".to_owned());
    let mut subjects = vec![json!({ "name": named, "digest": { "sha256": pushed } })];
    for path in std::iter::once(archive).chain(files.iter().map(PathBuf::as_path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        subjects.push(json!({ "name": name, "digest": { "sha256": digest(&read(path)?) } }));
    }
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://weir.dev/scripts/image/v1",
                "externalParameters": { "fast": fast },
                "resolvedDependencies": materials(files, lock, rust, fast)?,
            },
            "runDetails": { "builder": {
                "id": "https://weir.dev/scripts/image",
                "version": { "rustc": rust.release, "cc": c_compiler()? },
            } },
        },
    }))
}

fn materials(
    files: &[PathBuf],
    lock: &Path,
    rust: &Toolchain,
    fast: bool,
) -> Result<Vec<Value>, Error> {
    let checksums = checksums(lock)?;
    let mut packages = Packages::default();
    for file in files {
        packages.extend(compiled(file)?);
    }
    if files.iter().any(|file| file.extension().is_some()) {
        packages.extend(of_the_packer(!fast)?);
    }
    let mut materials = vec![
        source()?,
        json!({ "name": "Cargo.lock", "digest": { "sha256": digest(&read(lock)?) } }),
        json!({
            "uri": format!("pkg:github/rust-lang/rust@{}", rust.commit),
            "name": format!("rust {}", rust.release), "digest": { "gitCommit": rust.commit },
        }),
    ];
    for (key, _) in packages.iter() {
        if let Some(checksum) = checksums.get(key) {
            let uri = format!("pkg:cargo/{key}");
            materials.push(json!({ "uri": uri, "digest": { "sha256": checksum } }));
        }
    }
    Ok(materials)
}

/// Returns the commit of the sources, or "not known" if the folder is not a git clone.
fn source() -> Result<Value, Error> {
    let Ok(commit) = said("git", &["rev-parse", "HEAD"]) else {
        return Ok(json!({ "name": "source", "annotations": { "commit": "not known" } }));
    };
    let changes = said("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let mut source = json!({ "name": "source", "digest": { "gitCommit": commit } });
    if !changes.is_empty() {
        source["annotations"] = json!({ "uncommittedChanges": true });
    }
    Ok(source)
}

fn c_compiler() -> Result<String, Error> {
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let text = said(&cc, &["--version"])?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Returns the trimmed output of a program.
fn said(program: &str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program).args(args).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Error::Program {
            program: program.to_owned(),
            errors: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}
