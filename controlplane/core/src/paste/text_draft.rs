//! Insertions into a YAML or JSON text that leave its comments, order, quotes and anchors as they are.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

use super::yaml_tree::{self, YamlEntry, YamlItem, YamlNode, YamlShape, column, line_start};
use super::yaml_value::{YamlValue, indented};

/// A text with edits.
#[derive(Debug)]
pub struct TextDraft<'t> {
    pub text: &'t str,
    /// True if new text must be JSON.
    pub is_json: bool,
    /// The lists and maps that must stay as they are: a part of the file that Weir skips has them too.
    kept: BTreeSet<*const YamlNode>,
    edits: Vec<TextEdit>,
}

/// An insertion, or the replacement of a part of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextEdit {
    /// The place in the old text.
    pub at: usize,
    /// The end of the old text that `text` replaces; equal to `at` for an insertion.
    pub end: usize,
    pub text: String,
    order: EditOrder,
}

/// The order of edits at one place, by the column of the new lines: inner values go before outer values, and items (false)
/// before entries (true).
type EditOrder = (Reverse<usize>, bool);

/// The parent of the new text has a form in which a line cannot be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl<'t> TextDraft<'t> {
    pub fn new(text: &'t str) -> TextDraft<'t> {
        let start = text.trim_start();
        let inside = start.strip_prefix('{').map(str::trim_start);
        TextDraft {
            text,
            is_json: inside.is_some_and(|it| it.starts_with(['"', '}'])),
            kept: BTreeSet::new(),
            edits: Vec::new(),
        }
    }

    /// Returns the edits in the order of their places.
    pub fn edits(&self) -> Vec<TextEdit> {
        let mut edits = self.edits.clone();
        edits.sort_by_key(|it| (it.at, it.order));
        edits
    }

    /// Returns the text with the edits.
    pub fn result(&self) -> String {
        let mut result = String::new();
        let mut done = 0;
        for TextEdit { at, end, text, .. } in self.edits() {
            result += self.text.get(done..at).unwrap_or_default();
            result += &text;
            done = end;
        }
        result + self.text.get(done..).unwrap_or_default()
    }

    /// Inserts an entry, such as `key: value`, before the entry `before`, or after all entries. `entry` may have several
    /// lines.
    pub fn add_entry(
        &mut self,
        map: &YamlNode,
        before: Option<&str>,
        entry: &str,
    ) -> Result<(), NoPlace> {
        self.check_kept(map)?;
        let YamlShape::Map { entries, is_flow } = &map.shape else {
            return Err(NoPlace);
        };
        if *is_flow {
            let entry = one_line(entry, self.is_json)?;
            let places = entries.iter().map(|it| (it.start, it.end));
            return self.add_between(map, &places.collect::<Vec<_>>(), entries.len(), entry);
        }
        let first = entries.first().ok_or(NoPlace)?;
        let column = column(self.text, first.start);
        let is_below = |it: &&YamlEntry| self.is_first_of_line(it.start);
        let before = before.and_then(|key| map.entry(key)).filter(is_below);
        let before = before.map(|it| {
            (
                line_start(self.text, it.start),
                self.above_comments(it.start),
            )
        });
        let at = match before {
            // The comment at the start of a file is about the whole file.
            Some((line, 0)) if line > 0 => self.line_end(map.end),
            Some((_, comments)) => comments,
            None => self.line_end(map.end),
        };
        self.insert_lines(at, &indented(entry, column), (Reverse(column), true));
        Ok(())
    }

    /// Adds a list with the key `path[1]` to a map. `item` is a map, too, and has this map at the key `path[0]`. `list`
    /// has the items as lines. A map in braces on one line becomes a map with indentation, so that no line is too long.
    pub fn add_list(
        &mut self,
        item: &YamlItem,
        path: [&str; 2],
        list: &str,
    ) -> Result<(), NoPlace> {
        let [outer, field] = path;
        let config = item.value.entry(outer).ok_or(NoPlace)?;
        self.check_kept(&config.value)?;
        let in_braces = match item.value.is_flow() {
            true => item.value.start..item.end,
            false => config.value.start..config.end,
        };
        let written = self.text.get(in_braces.clone()).unwrap_or_default();
        let rest = self.text.get(in_braces.end..self.line_end(in_braces.end));
        let can_unfold = written.starts_with('{')
            && !written.contains('\n')
            && !self.is_json
            && rest.is_some_and(|it| it.trim().is_empty());
        if !can_unfold {
            return self.add_entry(&config.value, None, &format!("{field}:\n{list}"));
        }
        let items = yaml_tree::parse(list).map_err(|_| NoPlace)?;
        let items = YamlValue::copy(list, &items);
        let add = |map: &mut YamlValue| {
            let entries = map.entries_mut().ok_or(NoPlace)?;
            entries.push((field.to_owned(), items));
            Ok(())
        };
        if item.value.is_flow() {
            let mut value = YamlValue::copy(self.text, &item.value);
            add(value.get_mut(outer).ok_or(NoPlace)?)?;
            let column = column(self.text, item.start);
            let lines = indented(&value.lines_of_item(column), column);
            let lines = lines.trim_start().trim_start_matches("- ").trim_end();
            self.replace(in_braces, lines.to_owned());
        } else {
            let mut value = YamlValue::copy(self.text, &config.value);
            add(&mut value)?;
            let column = column(self.text, config.start) + 2;
            let lines = indented(&value.lines(column), column);
            // The space before the brace goes too.
            let before = self.text.get(..in_braces.start).unwrap_or_default();
            let start = before.trim_end().len();
            self.replace(start..in_braces.end, format!("\n{}", lines.trim_end()));
        }
        Ok(())
    }

    /// Inserts an item, such as `- value`, before the item with this index. `item` may have several lines.
    pub fn add_item(&mut self, list: &YamlNode, index: usize, item: &str) -> Result<(), NoPlace> {
        self.check_kept(list)?;
        let YamlShape::List { items, is_flow } = &list.shape else {
            return Err(NoPlace);
        };
        if *is_flow {
            let item = one_line(item, self.is_json)?;
            let places = items.iter().map(|it| (it.start, it.end));
            return self.add_between(list, &places.collect::<Vec<_>>(), index, item);
        }
        let first = items.first().ok_or(NoPlace)?;
        let column = column(self.text, first.start);
        let at = match items.get(index) {
            Some(item) if self.is_first_of_line(item.start) => self.above_comments(item.start),
            Some(_) => return Err(NoPlace),
            None => self.line_end(list.end),
        };
        self.insert_lines(at, &indented(item, column), (Reverse(column), false));
        Ok(())
    }

    /// Keeps this value, and the lists and maps in it, as they are.
    pub fn keep(&mut self, node: &YamlNode) {
        if matches!(node.shape, YamlShape::Scalar { .. }) || !self.kept.insert(node) {
            return;
        }
        for item in node.items() {
            self.keep(&item.value);
        }
        for entry in node.entries() {
            self.keep(&entry.value);
        }
    }

    fn check_kept(&self, node: &YamlNode) -> Result<(), NoPlace> {
        match self.kept.contains(&std::ptr::from_ref(node)) {
            true => Err(NoPlace),
            false => Ok(()),
        }
    }

    /// Inserts a value between values in braces or brackets.
    fn add_between(
        &mut self,
        parent: &YamlNode,
        places: &[(usize, usize)],
        index: usize,
        value: String,
    ) -> Result<(), NoPlace> {
        let Some((first, _)) = places.first() else {
            self.insert(parent.start + 1, format!(" {value} "));
            return Ok(());
        };
        let separator =
            match self.is_first_of_line(*first) && self.line_of(parent) != self.line_at(*first) {
                true => format!(",\n{}", " ".repeat(column(self.text, *first))),
                false => ", ".to_owned(),
            };
        match (places.get(index), places.last()) {
            (Some((start, _)), _) => self.insert(*start, format!("{value}{separator}")),
            (None, Some((_, end))) => self.insert(*end, format!("{separator}{value}")),
            (None, None) => return Err(NoPlace),
        }
        Ok(())
    }

    fn line_of(&self, node: &YamlNode) -> usize {
        self.line_at(node.start)
    }

    fn line_at(&self, at: usize) -> usize {
        line_start(self.text, at)
    }

    fn insert_lines(&mut self, at: usize, lines: &str, order: EditOrder) {
        let has_line_end = at == 0 || self.text.get(..at).is_some_and(|it| it.ends_with('\n'));
        let text = match has_line_end {
            true => lines.to_owned(),
            // The last line of the file has no newline.
            false => format!("\n{}", lines.trim_end()),
        };
        self.push(at..at, text, order);
    }

    /// Replaces a part of one line.
    fn replace(&mut self, range: Range<usize>, text: String) {
        self.push(range, text, (Reverse(usize::MAX), false));
    }

    fn insert(&mut self, at: usize, text: String) {
        self.replace(at..at, text);
    }

    /// Adds an edit. The same edit is done once: an anchor and its aliases share a value.
    fn push(&mut self, range: Range<usize>, text: String, order: EditOrder) {
        let text = match self.text.contains("\r\n") {
            true => text.replace('\n', "\r\n"),
            false => text,
        };
        let edit = TextEdit {
            at: range.start,
            end: range.end,
            text,
            order,
        };
        if !self.edits.contains(&edit) {
            self.edits.push(edit);
        }
    }

    fn is_first_of_line(&self, at: usize) -> bool {
        let before = self.text.get(line_start(self.text, at)..at);
        before.is_some_and(|it| it.trim().is_empty())
    }

    /// Returns the start of the line with this place, or of the comment above it with the same indentation.
    fn above_comments(&self, at: usize) -> usize {
        let column = column(self.text, at);
        let mut start = line_start(self.text, at);
        while start > 0 {
            let above = line_start(self.text, start - 1);
            let line = self.text.get(above..start).unwrap_or_default();
            let is_comment = line.trim_start().starts_with('#');
            if !is_comment || line.len() - line.trim_start().len() != column {
                break;
            }
            start = above;
        }
        start
    }

    /// Returns the place after the line with this place.
    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |it| at + it + 1)
    }
}

/// Returns lines of YAML on one line, for a place in braces or brackets.
fn one_line(lines: &str, is_json: bool) -> Result<String, NoPlace> {
    let node = yaml_tree::parse(lines).map_err(|_| NoPlace)?;
    match YamlValue::copy(lines, &node) {
        YamlValue::List(items) => {
            let items = items.iter().map(|it| it.on_one_line(is_json));
            Ok(items.collect::<Vec<_>>().join(", "))
        }
        value => Ok(value.entries_on_one_line(is_json)),
    }
}
