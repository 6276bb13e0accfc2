//! The difference between a text and its draft, as `diff -u` prints it.

use std::fmt::Write as _;

use super::text_draft::TextEdit;

/// Lines of the old text before and after a change.
const CONTEXT: usize = 3;

enum DiffLine<'t> {
    Same(&'t str),
    Removed(&'t str),
    Added(String),
}

/// Returns the difference; empty if there are no edits. `name` is the name of the file.
pub fn unified_diff(name: &str, old: &str, edits: &[TextEdit]) -> String {
    let lines = diff_lines(old, edits);
    let is_change = |it: &DiffLine<'_>| !matches!(it, DiffLine::Same(_));
    let changes = lines.iter().enumerate().filter(|(_, it)| is_change(it));
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for (index, _) in changes {
        let start = index.saturating_sub(CONTEXT);
        let end = (index + CONTEXT + 1).min(lines.len());
        match hunks.last_mut() {
            Some((_, last)) if start <= *last => *last = end,
            _ => hunks.push((start, end)),
        }
    }
    if hunks.is_empty() {
        return String::new();
    }
    let mut diff = format!("--- {name}\n+++ {name}\n");
    for (start, end) in hunks {
        let (before, hunk) = (lines.get(..start), lines.get(start..end));
        let (before, hunk) = (before.unwrap_or_default(), hunk.unwrap_or_default());
        let (old_start, new_start) = counts(before);
        let (old_lines, new_lines) = counts(hunk);
        let _ = writeln!(
            diff,
            "@@ -{},{old_lines} +{},{new_lines} @@",
            old_start + usize::from(old_lines > 0),
            new_start + usize::from(new_lines > 0)
        );
        for line in hunk {
            let (sign, text) = match line {
                DiffLine::Same(text) => (' ', *text),
                DiffLine::Removed(text) => ('-', *text),
                DiffLine::Added(text) => ('+', text.as_str()),
            };
            let _ = write!(diff, "{sign}{text}");
            if !text.ends_with('\n') {
                diff += "\n\\ No newline at end of file\n";
            }
        }
    }
    diff
}

/// Returns the number of lines in the old text and in the new text.
fn counts(lines: &[DiffLine<'_>]) -> (usize, usize) {
    let old = lines.iter().filter(|it| !matches!(it, DiffLine::Added(_)));
    let new = lines
        .iter()
        .filter(|it| !matches!(it, DiffLine::Removed(_)));
    (old.count(), new.count())
}

fn diff_lines<'t>(old: &'t str, edits: &[TextEdit]) -> Vec<DiffLine<'t>> {
    let mut edits = edits.iter().peekable();
    let mut lines = Vec::new();
    let mut start = 0;
    for line in old.split_inclusive('\n') {
        let end = start + line.len();
        let is_last = end == old.len();
        let is_whole = |it: &&TextEdit| it.at == start && it.text.ends_with('\n');
        while let Some(whole) = edits.next_if(is_whole) {
            lines.extend(added(&whole.text));
        }
        let mut changed = String::new();
        let mut done = start;
        let is_inside = |it: &&TextEdit| it.at < end || (is_last && !line.ends_with('\n'));
        while let Some(edit) = edits.next_if(is_inside) {
            changed += old.get(done..edit.at).unwrap_or_default();
            changed += &edit.text;
            done = edit.end;
        }
        if done == start && changed.is_empty() {
            lines.push(DiffLine::Same(line));
        } else {
            changed += old.get(done..end).unwrap_or_default();
            lines.push(DiffLine::Removed(line));
            lines.extend(added(&changed));
        }
        start = end;
    }
    for edit in edits {
        lines.extend(added(&edit.text));
    }
    lines
}

fn added<'t>(text: &str) -> Vec<DiffLine<'t>> {
    let lines = text.split_inclusive('\n');
    lines.map(|line| DiffLine::Added(line.to_owned())).collect()
}
