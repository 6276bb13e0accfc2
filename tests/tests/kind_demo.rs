//! Runs `scripts/kind-demo` on a local cluster and checks the last table that it prints. Also checks that kind and
//! kubectl have the flags that the script uses.

use std::collections::BTreeMap;
use std::process::Command;

use weir_cluster::programs::go_program;
use weir_tests::{root, typed};

/// The number of worker threads of the buyer's Envoy.
const WORKERS: i64 = 2;

/// A line of the last table: the weights, and the answers and purchases of each version.
struct Step {
    weights: [i64; 2],
    answers: [i64; 2],
    books: [i64; 2],
}

fn steps(output: &str) -> Vec<Step> {
    let lines = output.lines().filter(|line| line.starts_with("weights "));
    lines
        .map(|line| {
            let words = line.split(|c: char| !c.is_ascii_digit());
            let numbers: Vec<i64> = words.filter_map(|word| word.parse().ok()).collect();
            let [a, b, c, d, e, f] = numbers[..] else {
                panic!("{line}")
            };
            Step {
                weights: [a, b],
                answers: [c, d],
                books: [e, f],
            }
        })
        .collect()
}

#[test]
fn buyer_follows_split_in_cluster() {
    let output = typed(root().join("scripts/kind-demo"))
        .args(["--cluster", "local"])
        .output()
        .expect("scripts/kind-demo starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    println!("{text}");
    let steps = steps(&text);
    let weights: Vec<_> = steps.iter().map(|step| step.weights).collect();
    assert_eq!(weights, [[100, 0], [50, 50], [0, 100]], "{text}");
    for Step {
        weights: [to_v1, to_v2],
        answers,
        books,
    } in steps
    {
        let share = |[v1, v2]: [i64; 2]| (v1 * 100 - (v1 + v2) * to_v1, v1 + v2);
        let (off, all) = share(answers);
        assert!(
            all > 100 && off.abs() <= WORKERS * 100,
            "{to_v1}/{to_v2} gave {answers:?}"
        );
        // The difference is at most three standard errors of a random draw with these weights. If one weight is 0, the
        // difference is 0.
        let (off, all) = share(books);
        assert!(
            all > 50 && off * off <= 9 * all * to_v1 * to_v2,
            "{to_v1}/{to_v2} gave {books:?} books"
        );
    }
    assert!(
        text.contains("\n0 calls of the buyer and the thief failed between the start and the end"),
        "{text}"
    );
    assert!(text.contains("True   on 2 of 2 proxies"), "{text}");
}

/// Mounts empty folders over the folders of nft and Go, so that the script does not find these programs.
#[test]
fn missing_programs_are_named_first() {
    let script = "
        for program in go nft; do
          mount -t tmpfs none \"$(dirname \"$(readlink -f \"$(command -v $program)\")\")\"
        done
        exec setpriv --reuid 65534 --clear-groups scripts/cluster up
    ";
    let output = typed("unshare")
        .args(["--mount", "bash", "-euc", script])
        .env(
            "PATH",
            format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()),
        )
        .output()
        .expect("unshare");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for name in ["root: ", "go: ", "nft: "] {
        assert!(errors.contains(&format!("\n  {name}")), "{errors}");
    }
    assert!(!errors.contains("building"), "{errors}");
}

/// Returns the arguments of each command in the script that runs this program.
fn calls(script: &str, program: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let commands = script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| {
            // A command also begins after `$(`, `|`, `;` and `)`.
            line.split("$(")
                .flat_map(|part| part.split(['|', ';', ')']))
        });
    commands
        .map(|command| {
            command
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|words: Vec<String>| {
            let start = words.iter().position(|word| word == program)?;
            // Only shell keywords may come before the program.
            let before = words[..start]
                .iter()
                .all(|word| matches!(word.as_str(), "if" | "then" | "else" | "!" | "{"));
            (before && words.len() > start + 1).then(|| words[start + 1..].to_vec())
        })
        .collect()
}

#[test]
fn kind_and_kubectl_know_every_flag() {
    let script =
        std::fs::read_to_string(root().join("scripts/kind-demo")).expect("scripts/kind-demo");
    let help = |family: &str, program: &str, args: &[&str]| {
        let output = Command::new(go_program(family, program))
            .args(args)
            .output()
            .expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&text)
        );
        String::from_utf8_lossy(&text).into_owned()
    };
    let global = help("kubernetes", "kubectl", &["options"]);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (word, family, program) in [
        ("kind", "kind", "kind"),
        ("k", "kubernetes", "kubectl"),
        ("kubectl", "kubernetes", "kubectl"),
    ] {
        for call in calls(&script, word) {
            let commands = call.iter().take_while(|word| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            });
            let commands: Vec<&str> = commands.map(String::as_str).take(2).collect();
            // After these commands, the second word is a subcommand. After other commands, the second word is the name
            // of an object.
            let depth = commands.len().min(match commands.first() {
                Some(&("create" | "rollout" | "load" | "delete")) => 2,
                _ => 1,
            });
            let mut of_command = help(family, program, &[&commands[..depth], &["--help"]].concat());
            if program == "kubectl" {
                of_command += &global;
            }
            for flag in call.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                let has_flag = of_command.lines().any(|line| {
                    let line = line.trim_start();
                    let line = line
                        .split_once(", ")
                        .filter(|(short, _)| short.len() == 2)
                        .map_or(line, |(_, long)| long);
                    line.strip_prefix(flag)
                        .is_some_and(|rest| rest.starts_with(['=', ' ', ':']))
                });
                assert!(has_flag, "{program} {call:?}: no {flag} in\n{of_command}");
                *seen.entry(program).or_default() += 1;
            }
        }
    }
    // Check that the script was parsed.
    assert!(seen["kind"] >= 6 && seen["kubectl"] >= 20, "{seen:?}");
}
