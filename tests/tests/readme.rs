//! Tests the Markdown pages: every command in them runs, and every configuration in them is part of a tested file.
//! `tests/src/pages.rs` describes how a block names its test.

use std::path::PathBuf;

use weir_split::Plugin;
use weir_tests::pages::{Block, OUTPUT, blocks, commands, missing_line, pages};
use weir_tests::{root, typed};

/// Commands that this test does not run. The clone exists already. The scripts in this list run this test or build its
/// inputs.
const NOT_REPEATED: [&str; 7] = [
    "git clone REPOSITORY weir && cd weir",
    "scripts/build",
    "scripts/build --fast",
    "scripts/image",
    "scripts/check",
    "scripts/test",
    "scripts/kind-demo --cluster local",
];

/// Programs that a command begins with.
const PROGRAMS: [&str; 12] = [
    "kubectl", "helm", "curl", "git", "docker", "kind", "crane", "oras", "cosign", "envoy",
    "cargo", "weir",
];

/// The highest number of lines of a page.
const LONGEST: [(&str, usize); 2] = [("README.md", 130), ("ARCHITECTURE.md", 100)];

fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks(page)).collect()
}

/// Runs the commands of each page in one shell, in the order of the page, as a reader would type them.
#[test]
fn every_command_runs() {
    let mut count = 0;
    for page in pages() {
        let (commands, expected) = commands(&page, "");
        let lines = commands.lines().filter(|line| !NOT_REPEATED.contains(line));
        // The variable ENVOY may name another Envoy.
        let lines: Vec<String> = lines
            .map(|line| line.replace(".venv/bin/envoy ", "\"${ENVOY:-.venv/bin/envoy}\" "))
            .collect();
        if lines.is_empty() {
            assert!(expected.is_empty(), "{page} has output without a command");
            continue;
        }
        count += lines.len();
        let script = format!(
            "exec 2>&1\nset -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\nset -x\n{}\n",
            lines.join("\n")
        );
        let output = typed("bash").args(["-c", &script]).output().expect("bash");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{page}\n{script}\n{text}");
        let missing = missing_line(&text, &expected);
        assert_eq!(missing, None, "{page} has another output:\n{text}");
    }
    assert!(count >= 20, "{count} commands");
}

#[test]
fn every_block_has_a_test() {
    let mut wrong = Vec::new();
    for block in all_blocks() {
        let mark = block.mark.as_str();
        let reason = match block.language.as_str() {
            "sh" if mark.is_empty() => None,
            "sh" => has_runner(&block).err(),
            "yaml" => is_part_of_a_file(&block).err(),
            "json" => is_plugin(&block).err(),
            "text" if OUTPUT.contains(&mark) => None,
            "" | "text" | "mermaid" if mark.is_empty() => has_no_plain_command(&block).err(),
            other => Some(format!("no test knows blocks of {other:?} {mark:?}")),
        };
        wrong.extend(reason.map(|reason| format!("{}: {reason}", block.place())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `run-by=NAME` names a test that reads the page.
fn has_runner(block: &Block) -> Result<(), String> {
    let name = block.mark.strip_prefix("run-by=").ok_or("no run-by=")?;
    let folder = root().join("tests/tests");
    let mut sources: Vec<PathBuf> = vec![folder.join(format!("{name}.rs"))];
    // scripts/rollouts runs the test of tests/rollouts.
    for folder in [folder.join(name), root().join("tests").join(name)] {
        let Ok(inside) = std::fs::read_dir(folder) else {
            continue;
        };
        sources.extend(inside.map(|entry| entry.expect("an entry").path()));
    }
    let reads = |source: &PathBuf| {
        std::fs::read_to_string(source).is_ok_and(|text| text.contains(&block.page))
    };
    match sources.iter().any(reads) {
        true => Ok(()),
        false => Err(format!("the test {name} does not read {}", block.page)),
    }
}

/// Checks that the file has the lines of the block in this order. The file may have other lines between them.
fn is_part_of_a_file(block: &Block) -> Result<(), String> {
    let file = std::fs::read_to_string(root().join(&block.mark));
    let file = file.map_err(|_| format!("there is no file {:?}", block.mark))?;
    let mut rest = file.lines();
    match block
        .text
        .lines()
        .find(|line| !rest.any(|other| other == *line))
    {
        None => Ok(()),
        Some(line) => Err(format!("{} has no line {line:?} here", block.mark)),
    }
}

fn is_plugin(block: &Block) -> Result<(), String> {
    if block.mark != "plugin" {
        return Err("no test knows this JSON".into());
    }
    let plugin = Plugin::parse(block.text.as_bytes());
    plugin.map(drop).map_err(|error| error.to_string())
}

/// Refuses a block with a command that has no placeholder, because no test runs the commands of this block.
fn has_no_plain_command(block: &Block) -> Result<(), String> {
    let text = block.text.replace("\\\n", " ").replace("|\n", "| ");
    let command = text.lines().find(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        let program = first.rsplit('/').next().unwrap_or_default();
        let is_command = PROGRAMS.contains(&program) || first.starts_with("scripts/");
        is_command && !has_placeholder(line)
    });
    match command {
        None => Ok(()),
        Some(line) => Err(format!("no test runs {line:?}")),
    }
}

/// True if the line has a word in capitals, which the reader replaces.
fn has_placeholder(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        word.len() > 1 && word != "POST" && word.bytes().all(|byte| byte.is_ascii_uppercase())
    })
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(root().join(&page)).expect("a page");
        let folder = root().join(&page).parent().expect("a folder").to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|it| it.split(')').next())
        {
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&page),
                file => folder.join(file),
            };
            let Ok(target) = std::fs::read_to_string(&target).or_else(|error| {
                if target.is_dir() {
                    Ok(String::new())
                } else {
                    Err(error)
                }
            }) else {
                wrong.push(format!("{page}: {link}"));
                continue;
            };
            let mut headings = target.lines().filter(|line| line.starts_with('#'));
            if !heading.is_empty() && !headings.any(|line| anchor(line) == heading) {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn first_pages_stay_short() {
    for (page, longest) in LONGEST {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        let lines = text.lines().count();
        assert!(lines <= longest, "{page} has {lines} lines");
    }
}

#[test]
fn nothing_is_left_to_fill_in() {
    for page in pages() {
        let text = std::fs::read_to_string(root().join(&page)).expect("a page");
        for word in ["TODO", "FIXME", "_TIME"] {
            assert!(!text.contains(word), "{page}: {word}");
        }
    }
}

/// If a page names a metric or a response code detail, the filter or the control plane has it.
#[test]
fn pages_name_metrics_that_exist() {
    // The filter's metrics, the response code details of its answers, and the properties for the access log.
    let sources = [
        "filter/src/metrics.rs",
        "filter/src/request.rs",
        "filter/src/host.rs",
        "split/src/module.rs",
    ];
    let sources = sources.map(|it| std::fs::read_to_string(root().join(it)).expect("a source"));
    let filter = sources.concat();
    let plane = root().join("controlplane/core/src/metrics.rs");
    let plane = std::fs::read_to_string(plane).expect("a source");
    let exists = |name: &str| {
        let stem = name.trim_end_matches("_total");
        let registered = format!("\"{}\"", stem.trim_start_matches("weir_"));
        plane.contains(&registered) || filter.contains(stem)
    };
    let mut wrong = Vec::new();
    for page in ["README.md", "docs/operations.md", "docs/troubleshooting.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        for name in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            // These names are not in the sources in this form: a gauge that ends with a hash, a request property, a
            // prefix.
            let is_other = name.starts_with("weir_lean_") || ["weir_rule", "weir_"].contains(&name);
            if name.starts_with("weir_") && !is_other && !exists(name) {
                wrong.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
