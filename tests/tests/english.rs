//! Checks rules of CONTRIBUTING.md: plain English in all tracked texts, and one name for one thing.

use std::collections::BTreeMap;
use std::process::Command;

use syn::visit::{self, Visit};
use weir_tests::root;

/// Words and phrases that are hard to read, in capitals. The test ignores the case of letters.
const BANNED: [&str; 16] = [
    "IS NONE",
    "ARE NONE",
    "THAT OF",
    "THOSE OF",
    "THOSE THAT",
    "THOSE WHO",
    "WHOM",
    "WHOEVER",
    "WHATEVER",
    "IS TOLD",
    "ARE TOLD",
    "WHAT IS TOLD",
    "ANEW",
    "NOBODY",
    "BESIDE",
    "OUGHT",
];

/// Types in this file may have the same names as types in other files, because the code writes them with their
/// module, as in `wire::Match`.
const WIRE: &str = "split/src/wire.rs";

/// The folder with one file for each subject of docs/problems.md. A file has the name of its subject, and a module
/// elsewhere may have this name too.
const FOLDER_OF_SUBJECTS: &str = "controlplane/core/src/manifest/problem/messages/";

/// Returns the path and the text of each tracked file, without files that programs write.
fn texts() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output();
    let output = output.expect("git");
    let names = String::from_utf8(output.stdout).expect("names");
    let mut texts = Vec::new();
    for name in names.lines() {
        let is_written_by_programs = ["Cargo.lock", "LICENSE", ".gz", ".json"];
        if is_written_by_programs.iter().any(|end| name.ends_with(end))
            || name.ends_with("english.rs")
        {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root().join(name)) else {
            continue;
        };
        texts.push((name.to_owned(), text));
    }
    assert!(texts.len() > 500, "{} texts", texts.len());
    texts
}

#[test]
fn no_text_has_banned_phrases() {
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '_');
            let words: Vec<String> = words
                .filter(|it| !it.is_empty())
                .map(str::to_uppercase)
                .collect();
            let line = format!(" {} ", words.join(" "));
            let phrase = BANNED.iter().find(|it| line.contains(&format!(" {it} ")));
            if let Some(phrase) = phrase {
                found.push(format!("{name}:{}: {}", number + 1, phrase.to_lowercase()));
            }
        }
    }
    assert_empty("phrases", &found);
}

/// A comment that begins with "Of", such as "Of a route: ...", has no subject and no verb.
#[test]
fn no_comment_begins_with_of() {
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().strip_prefix("//");
            let comment = comment.map(|it| it.trim_start_matches(['/', '!']));
            if comment.is_some_and(|it| it.starts_with(" Of ")) {
                found.push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert_empty("comments", &found);
}

#[derive(Default)]
struct Names {
    types: Vec<String>,
    tests: Vec<String>,
}

impl<'a> Visit<'a> for Names {
    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        let is_test = item.attrs.iter().any(|it| {
            it.path()
                .segments
                .last()
                .is_some_and(|last| last.ident == "test")
        });
        if is_test {
            self.tests.push(item.sig.ident.to_string());
        }
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        visit::visit_item_mod(self, item);
    }
}

fn names() -> BTreeMap<String, Names> {
    let mut all = BTreeMap::new();
    for (path, text) in texts() {
        if path.ends_with(".rs") {
            let mut names = Names::default();
            names.visit_file(&syn::parse_file(&text).expect("Rust"));
            all.insert(path, names);
        }
    }
    all
}

const CRATES: [&str; 4] = [
    "split/src",
    "filter/src",
    "controlplane/core/src",
    "controlplane/src",
];

fn is_of_tests(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Fails if `names_in` returns the same name for two files of one crate.
#[track_caller]
fn assert_unique_in_each_crate(names_in: impl Fn(&str, &Names) -> Vec<String>) {
    let names = names();
    let mut found = Vec::new();
    for of in CRATES {
        let mut places: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        let files = names
            .iter()
            .filter(|(path, _)| path.starts_with(of) && !is_of_tests(path));
        for (path, names) in files {
            for name in names_in(path, names) {
                places.entry(name).or_default().push(path);
            }
        }
        let twice = places.iter().filter(|(_, places)| places.len() > 1);
        found.extend(twice.map(|(name, places)| format!("{name}: {places:?}")));
    }
    assert_empty("names", &found);
}

#[track_caller]
fn assert_empty(what: &str, found: &[String]) {
    let (count, lines) = (found.len(), found.join("\n"));
    assert!(found.is_empty(), "{count} {what}:\n{lines}");
}

#[test]
fn type_names_are_unique() {
    assert_unique_in_each_crate(|path, names| match path {
        WIRE => Vec::new(),
        _ => names.types.clone(),
    });
}

#[test]
fn file_names_are_unique() {
    assert_unique_in_each_crate(|path, _| {
        let name = path.rsplit('/').next().unwrap_or(path);
        if path.starts_with(FOLDER_OF_SUBJECTS) {
            return Vec::new();
        }
        vec![name.to_owned()]
    });
}

#[test]
fn test_names_have_six_words() {
    let mut found = Vec::new();
    for (path, names) in names() {
        for name in names.tests.iter().filter(|it| it.split('_').count() > 6) {
            found.push(format!("{path}: {name}"));
        }
    }
    assert_empty("tests", &found);
}
