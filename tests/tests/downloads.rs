//! Tests that this repository has a hash of every program that the scripts download.

use std::fs;
use std::path::PathBuf;

use weir_tests::root;

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect(folder);
    let mut files: Vec<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Returns the commands of a script, each on one line, without comments.
fn commands(script: &PathBuf) -> String {
    let text = fs::read_to_string(script).expect("a script");
    let lines = text.replace("\\\n", " ");
    let code = lines.lines().filter(|line| !line.trim().starts_with('#'));
    code.collect::<Vec<_>>().join("\n")
}

#[test]
fn downloaded_programs_have_hashes() {
    let others = ["filter/build", ".ci/run"].map(|path| root().join(path));
    let mut installs = 0;
    for script in files("scripts").iter().chain(&others) {
        for line in commands(script).lines() {
            let name = script.display();
            if line.contains("pip install") {
                assert!(line.contains("--require-hashes"), "{name}: {line}");
                assert!(line.contains("--no-deps"), "{name}: {line}");
                installs += 1;
            }
            for other in [
                "wget ",
                "curl http",
                "cargo install",
                "go install",
                "npm install",
            ] {
                assert!(!line.contains(other), "{name}: {line}");
            }
        }
    }
    assert_eq!(installs, 2);
}

#[test]
fn every_wheel_has_its_hashes() {
    let all = files("tests/wheels");
    assert!(all.len() > 5, "{all:?}");
    for file in &all {
        let text = commands(file);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (package, hashes) = line.split_once(' ').expect("hashes");
            let name = file.display();
            assert!(package.contains("=="), "{name}: {package}");
            let hashes: Vec<&str> = hashes.split_whitespace().collect();
            // One hash for x86_64, and one for aarch64 or for the source.
            assert!(hashes.len() >= 2, "{name}: {package}");
            for hash in hashes {
                let digits = hash.strip_prefix("--hash=sha256:").expect(hash);
                let is_digest =
                    digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit());
                assert!(is_digest, "{name}: {hash}");
            }
        }
    }
    // Every version of Envoy that scripts/install or scripts/matrix installs needs a file with hashes.
    let matrix = commands(&root().join("scripts/matrix"));
    let (_, rest) = matrix.split_once("versions=(1").expect("the versions");
    let (versions, _) = rest.split_once(')').expect("the versions");
    let install = commands(&root().join("scripts/install"));
    let (_, rest) = install.split_once("envoy_version=").expect("a version");
    let pinned = rest.lines().next().expect("a version").to_owned();
    for version in format!("1{versions}").split(' ').chain([pinned.as_str()]) {
        let file = root().join(format!("tests/wheels/envoy-{version}.txt"));
        assert!(all.contains(&file), "{version}");
    }
}

/// Go compares each module with the hashes in go.sum.
#[test]
fn every_go_module_has_its_hashes() {
    for folder in files("tests/cluster/go") {
        let sums = fs::read_to_string(folder.join("go.sum")).unwrap_or_default();
        assert!(sums.contains(" h1:"), "{}", folder.display());
    }
}
