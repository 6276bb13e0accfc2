//! The packages that cargo compiles into a file of `dist`, from `cargo tree`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::{Error, read};

/// Packages by NAME@VERSION.
#[derive(Debug, Default, PartialEq)]
pub struct Packages(BTreeMap<String, Package>);

#[derive(Debug, Default, PartialEq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// An SPDX expression, or empty.
    pub license: String,
    /// True if the package is in this workspace.
    pub is_ours: bool,
    /// NAME@VERSION of each package that this one needs.
    pub needs: BTreeSet<String>,
}

/// How `scripts/build` builds a file: the package, and the arguments that select its linked dependencies.
struct Build {
    package: &'static str,
    selection: Vec<String>,
}

fn build_of(file: &str) -> Option<Build> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    let filter = |features: &str| Build {
        package: "weir-filter",
        selection: words(&format!("-p weir-filter --target wasm32-wasip1{features}")),
    };
    // One call selects all programs, as in the build, because each program may enable features of common dependencies.
    let programs = ["weir", "weir-certificate", "weir-demo"];
    match file {
        "weir.wasm" => Some(filter("")),
        "weir-lean.wasm" => Some(filter(" --no-default-features")),
        _ => programs
            .into_iter()
            .find(|it| *it == file)
            .map(|package| Build {
                package,
                selection: words(&format!(
                    "-p weir -p weir-certificate -p weir-demo --target {}-unknown-linux-musl",
                    std::env::consts::ARCH
                )),
            }),
    }
}

/// Returns the package of the file as NAME@VERSION, and all packages that are linked into the file.
pub fn linked(file: &Path) -> Result<(String, Packages), Error> {
    of_file(file, "normal,no-proc-macro")
}

/// Returns all packages that are compiled for the file, including build scripts and macros.
pub fn compiled(file: &Path) -> Result<Packages, Error> {
    Ok(of_file(file, "normal,build")?.1)
}

/// Returns the packages of `weir-pack`, which makes a module of `dist` from the compiled filter.
pub fn of_the_packer(optimizes: bool) -> Result<Packages, Error> {
    let mut selection = vec!["-p", "weir-pack"];
    if optimizes {
        selection.extend(["--features", "optimize"]);
    }
    tree(&selection, "normal,build")
}

fn of_file(file: &Path, edges: &str) -> Result<(String, Packages), Error> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let build = build_of(&name).ok_or_else(|| Error::UnknownFile(file.to_owned()))?;
    let selection: Vec<&str> = build.selection.iter().map(String::as_str).collect();
    let all = tree(&selection, edges)?;
    let root = all.0.iter().find(|(_, it)| it.name == build.package);
    let root = root.map(|(key, _)| key.clone());
    let root = root.ok_or_else(|| Error::UnknownFile(file.to_owned()))?;
    Ok((root.clone(), all.from(&root)))
}

fn tree(selection: &[&str], edges: &str) -> Result<Packages, Error> {
    let format = ["--prefix", "depth", "--format", "\t{p}\t{l}"];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--edges", edges]);
    let output = cargo.args(format).args(selection).output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Cargo(errors.trim().to_owned()));
    }
    Ok(Packages::parse(&String::from_utf8_lossy(&output.stdout)))
}

impl Packages {
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.0.iter()
    }

    pub fn extend(&mut self, others: Packages) {
        for (key, package) in others.0 {
            self.0.entry(key).or_default().merge(package);
        }
    }

    /// Parses lines `DEPTH\tNAME vVERSION (PATH)\tLICENSE`. A repeated package ends with ` (*)`, and its dependencies
    /// are not printed again.
    fn parse(text: &str) -> Packages {
        let mut packages = Packages::default();
        let mut above: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut fields = line.splitn(3, '\t');
            let (Some(Ok(depth)), Some(package), Some(license)) = (
                fields.next().map(str::parse::<usize>),
                fields.next(),
                fields.next(),
            ) else {
                continue;
            };
            let mut words = package.splitn(3, ' ');
            let name = words.next().unwrap_or_default().to_owned();
            let version = words.next().unwrap_or_default().trim_start_matches('v');
            let key = format!("{name}@{version}");
            above.truncate(depth);
            if let Some(parent) = above.last().and_then(|it| packages.0.get_mut(it)) {
                parent.needs.insert(key.clone());
            }
            let package = Package {
                name,
                version: version.to_owned(),
                license: license.trim_end_matches(" (*)").replace('/', " OR "),
                is_ours: words.next().is_some_and(|it| it.contains("(/")),
                needs: BTreeSet::new(),
            };
            packages.0.entry(key.clone()).or_default().merge(package);
            above.push(key);
        }
        packages
    }

    fn from(mut self, root: &str) -> Packages {
        let mut found = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(key) = open.pop() {
            if let Some(package) = self.0.remove(&key) {
                open.extend(package.needs.iter().cloned());
                found.insert(key, package);
            }
        }
        Packages(found)
    }
}

impl Package {
    fn merge(&mut self, other: Package) {
        let needs = std::mem::take(&mut self.needs);
        *self = other;
        self.needs.extend(needs);
    }
}

/// Returns the SHA-256 of each package of `Cargo.lock` that comes from a registry, by NAME@VERSION.
pub fn checksums(lock: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = String::from_utf8_lossy(&read(lock)?).into_owned();
    let of = |entry: &str| {
        let field = |name: &str| {
            let mut lines = entry.lines();
            let value = lines.find_map(|line| line.strip_prefix(&format!("{name} = ")))?;
            Some(value.trim_matches('"').to_owned())
        };
        let key = format!("{}@{}", field("name")?, field("version")?);
        Some((key, field("checksum")?))
    };
    Ok(text.split("[[package]]").filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_printed_once_keeps_its_dependencies() {
        let text = "0\tweir v0.1.0 (/a b/controlplane)\tApache-2.0\n\
                    1\thttp v1.5.0\tMIT/Apache-2.0\n2\tbytes v1.12.1\tMIT\n\n\
                    0\tdemo v0.1.0 (/a b/demo)\tApache-2.0\n1\thttp v1.5.0\tMIT/Apache-2.0 (*)\n1\tcc v1.0.0\tMIT\n";
        let keys = |of: &Packages| of.0.keys().cloned().collect::<Vec<_>>();
        let weir = Packages::parse(text).from("weir@0.1.0");
        assert_eq!(keys(&weir), ["bytes@1.12.1", "http@1.5.0", "weir@0.1.0"]);
        assert!(weir.0["weir@0.1.0"].is_ours && !weir.0["http@1.5.0"].is_ours);
        assert_eq!(weir.0["http@1.5.0"].license, "MIT OR Apache-2.0");
        let demo = Packages::parse(text).from("demo@0.1.0");
        let all = ["bytes@1.12.1", "cc@1.0.0", "demo@0.1.0", "http@1.5.0"];
        assert_eq!(keys(&demo), all);
    }
}
