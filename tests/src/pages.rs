//! The fenced blocks of the project's Markdown pages. The first line of a block defines which test checks the block:
//!
//! ```text
//! sh                  commands, run by `tests/tests/readme.rs` from the repository's root
//! sh run-by=NAME      commands, run by the test `tests/tests/NAME`
//! yaml FILE           lines of the file, in the file's order; the file may have other lines between them
//! json plugin         a plugin configuration that the filter accepts
//! text output         lines that the commands above print, in this order; `...` stands for any text
//! text numbers        lines that the commands above print, with other numbers
//! text, mermaid       no commands, except commands with a word in capitals, which the reader replaces
//! (no language)       like `text` and `mermaid`
//! ```

use std::process::Command;

use crate::root;

pub struct Block {
    pub page: String,
    /// Number of the first line of the block, from 1.
    pub line: usize,
    /// The language, such as `sh`; empty if the first line of the block has no language.
    pub language: String,
    /// The text after the language.
    pub mark: String,
    /// The lines of the block, without the indentation of the fence.
    pub text: String,
}

impl Block {
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// Returns the paths of all pages of the repository, from its root.
pub fn pages() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .arg("*.md")
        .current_dir(root())
        .output();
    let names = String::from_utf8(output.expect("git").stdout).expect("names");
    let pages: Vec<String> = names.lines().map(str::to_owned).collect();
    let mut pages: Vec<String> = pages
        .into_iter()
        .filter(|page| root().join(page).exists())
        .collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

pub fn blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join(page)).expect("a page");
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (index, line) in text.lines().enumerate() {
        let plain = line.trim_start();
        let indent = line.len() - plain.len();
        match open.take() {
            Some((_, block)) if plain == "```" => blocks.push(block),
            Some((fence, mut block)) => {
                block.text += line.get(fence..).unwrap_or_default();
                block.text += "\n";
                open = Some((fence, block));
            }
            None => {
                let Some(info) = plain.strip_prefix("```") else {
                    continue;
                };
                let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
                let block = Block {
                    page: page.to_owned(),
                    line: index + 1,
                    language: language.to_owned(),
                    mark: mark.to_owned(),
                    text: String::new(),
                };
                open = Some((indent, block));
            }
        }
    }
    assert!(open.is_none(), "{page} has a block without an end");
    blocks
}

/// Returns the commands in the `sh` blocks with this mark, and the lines that they must print.
pub fn commands(page: &str, mark: &str) -> (String, Vec<Expected>) {
    let (mut script, mut expected) = (String::new(), Vec::new());
    let mut is_ours = false;
    for block in blocks(page) {
        match block.language.as_str() {
            "sh" => {
                is_ours = block.mark == mark;
                if is_ours {
                    script += &block.text;
                }
            }
            "text" if OUTPUT.contains(&block.mark.as_str()) && is_ours => {
                let has_other_numbers = block.mark == "numbers";
                let lines = block.text.lines().map(|line| Expected {
                    line: line.trim().to_owned(),
                    has_other_numbers,
                });
                expected.extend(lines.filter(|it| it.line != "..."));
            }
            _ => {}
        }
    }
    (script, expected)
}

/// The marks of blocks with the output of commands.
pub const OUTPUT: [&str; 2] = ["output", "numbers"];

/// A line that commands must print.
pub struct Expected {
    line: String,
    has_other_numbers: bool,
}

impl Expected {
    fn is(&self, printed: &str) -> bool {
        match self.has_other_numbers {
            true => without_numbers(printed) == without_numbers(&self.line),
            false => fits(printed.trim(), &self.line),
        }
    }
}

/// Returns the first expected line that is missing. The output must have the expected lines in their order.
pub fn missing_line<'a>(output: &str, expected: &'a [Expected]) -> Option<&'a str> {
    let mut lines = output.lines();
    let missing = expected
        .iter()
        .find(|line| !lines.any(|printed| line.is(printed)));
    missing.map(|it| it.line.as_str())
}

/// Returns the words of a line, with 0 for each run of digits.
fn without_numbers(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let mut text = String::new();
        for c in word.chars() {
            match c.is_ascii_digit() {
                true if text.ends_with('0') => {}
                true => text.push('0'),
                false => text.push(c),
            }
        }
        text
    });
    words.collect::<Vec<_>>().join(" ")
}

/// True if a printed line matches the expected line, in which `...` stands for any text.
fn fits(printed: &str, line: &str) -> bool {
    let Some((first, rest)) = line.split_once("...") else {
        return printed == line;
    };
    let (middle, last) = rest.rsplit_once("...").unwrap_or(("", rest));
    let between = printed
        .strip_prefix(first)
        .and_then(|it| it.strip_suffix(last));
    let Some(mut between) = between else {
        return false;
    };
    middle
        .split("...")
        .all(|part| match between.split_once(part) {
            Some((_, after)) => {
                between = after;
                true
            }
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_any_text() {
        for line in ["a b c", "a ... c", "...", "a...", "...c", "a... b ...c"] {
            assert!(fits("a b c", line), "{line}");
        }
        for line in ["a b", "b...", "a ... b", "a...d...c", ""] {
            assert!(!fits("a b c", line), "{line}");
        }
    }

    #[test]
    fn other_numbers_fit() {
        assert_eq!(
            without_numbers("gave  1620 / 180"),
            without_numbers("gave 9 / 1")
        );
        assert_ne!(without_numbers("10 failed"), without_numbers("10 sent"));
    }
}
