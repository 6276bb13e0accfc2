//! The README keeps its word: every command in it runs, and every configuration is one that is tested.

use std::process::Command;

use weir_tests::{root, typed};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The fenced blocks of one language, without their indentation.
fn blocks(language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Vec<String>)> = None;
    for line in readme().lines() {
        let plain = line.trim_start();
        match &mut open {
            Some((_, lines)) if plain == "```" => {
                found.push(lines.join("\n"));
                open = None;
            }
            Some((indent, lines)) => lines.push(line.get(*indent..).unwrap_or_default().to_owned()),
            None if plain == format!("```{language}") => {
                open = Some((line.len() - plain.len(), Vec::new()));
            }
            None => {}
        }
    }
    found
}

/// In the order of the page, in one shell, as a reader would type them. Two are not repeated here: cloning,
/// because this is a clone, and the two scripts that this test is itself a part of.
#[test]
fn every_command_runs() {
    let mut script = String::from("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    let mut commands = 0;
    for line in blocks("sh").join("\n").lines() {
        match line {
            "git clone REPOSITORY weir && cd weir" | "scripts/build" | "scripts/test" => {}
            // Another Envoy may have been given.
            other if other.starts_with(".venv/bin/envoy ") => {
                let envoy = other.trim_start_matches(".venv/bin/envoy ");
                script += &format!("\"${{ENVOY:-.venv/bin/envoy}}\" {envoy}\n");
            }
            other => script += &format!("echo '+ '{other:?} >&2\n{other}\n"),
        }
        commands += 1;
    }
    assert!(commands >= 12, "{commands} commands");
    let output = typed("bash").args(["-c", &script]).output().expect("bash");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    // What the page promises.
    for promise in [
        "requests sent, 0 failed.",
        "weights   0 / 100  gave     0 /",
        "\"weight\": 90",
        "weir: no rule of the routes for this host fits the request",
    ] {
        assert!(out.contains(promise), "no {promise:?} in:\n{out}\n{err}");
    }
}

#[test]
fn the_split_is_in_order_and_says_90_to_10() {
    let blocks = blocks("yaml");
    let split = blocks.first().expect("a split");
    assert_eq!(split.lines().count(), 6, "{split}");
    let folder = tempfile::TempDir::new().expect("a folder");
    let services = root().join("demo/manifests/bookstore.yaml");
    std::fs::copy(services, folder.path().join("bookstore.yaml")).expect("copied");
    std::fs::write(folder.path().join("split.yaml"), split).expect("written");
    let weir = |command: &str| {
        let mut weir = Command::new(weir_tests::dist("weir"));
        let output = weir.arg(command).arg(folder.path()).output().expect("weir");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(weir("check"), (Some(0), String::new()));
    let (_, config) = weir("translate");
    assert!(
        config.contains("\"weight\": 90") && config.contains("\"weight\": 10"),
        "{config}"
    );
}

/// Line by line and in order: the shipped file only has comments and other things between them.
#[test]
fn the_envoy_configuration_is_that_of_the_shipped_file() {
    let shipped = root().join("envoy-config/sidecar.yaml");
    let shipped = std::fs::read_to_string(shipped).expect("the shipped file");
    let parts = blocks("yaml");
    assert_eq!(parts.len(), 4);
    for part in parts.iter().skip(1) {
        let mut rest = shipped.lines();
        for line in part.lines() {
            assert!(
                rest.any(|other| other == line),
                "sidecar.yaml has no line {line:?} here"
            );
        }
    }
}

#[test]
fn nothing_is_left_to_fill_in() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(name)).expect("a page");
        for word in ["TODO", "FIXME", "_TIME"] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}
