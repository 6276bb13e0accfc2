//! Parses a YAML or JSON text to nodes with their places in the text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

/// The most levels of nested values.
const MAX_DEPTH: usize = 100;

/// A value. Places are byte offsets in the text.
#[derive(Debug)]
pub struct YamlNode {
    /// The first byte, after an anchor and a tag.
    pub start: usize,
    /// The end of the value, without a comment after it.
    pub end: usize,
    pub shape: YamlShape,
}

#[derive(Debug)]
pub enum YamlShape {
    Scalar {
        text: String,
        is_plain: bool,
    },
    List {
        items: Vec<YamlItem>,
        is_flow: bool,
    },
    Map {
        entries: Vec<YamlEntry>,
        is_flow: bool,
    },
}

#[derive(Debug)]
pub struct YamlItem {
    /// The place of the dash in a block list, or of the value with its anchor and tag.
    pub start: usize,
    pub end: usize,
    /// The value; for an alias the value of its anchor.
    pub value: Rc<YamlNode>,
}

#[derive(Debug)]
pub struct YamlEntry {
    pub key: String,
    /// The place of the key.
    pub start: usize,
    pub end: usize,
    /// The value; for an alias the value of its anchor.
    pub value: Rc<YamlNode>,
}

impl YamlNode {
    /// Returns the items of a list, or no items for another value.
    pub fn items(&self) -> &[YamlItem] {
        match &self.shape {
            YamlShape::List { items, .. } => items,
            _ => &[],
        }
    }

    /// Returns the entries of a map, or no entries for another value.
    pub fn entries(&self) -> &[YamlEntry] {
        match &self.shape {
            YamlShape::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&YamlEntry> {
        self.entries().iter().find(|it| it.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Rc<YamlNode>> {
        self.entry(key).map(|it| &it.value)
    }

    /// Returns the value at the end of these keys.
    pub fn at(&self, keys: &[&str]) -> Option<&YamlNode> {
        keys.iter()
            .try_fold(self, |node, key| node.get(key).map(Rc::as_ref))
    }

    pub fn text(&self) -> Option<&str> {
        match &self.shape {
            YamlShape::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the text of an entry; empty if it is absent or no scalar.
    pub fn text_of(&self, key: &str) -> &str {
        self.get(key).and_then(|it| it.text()).unwrap_or_default()
    }

    pub fn is_flow(&self) -> bool {
        match self.shape {
            YamlShape::Scalar { .. } => false,
            YamlShape::List { is_flow, .. } | YamlShape::Map { is_flow, .. } => is_flow,
        }
    }

    /// True if a key or a text at any depth fulfils the condition.
    pub fn any_text(&self, fits: &dyn Fn(&str) -> bool) -> bool {
        match &self.shape {
            YamlShape::Scalar { text, .. } => fits(text),
            YamlShape::List { items, .. } => items.iter().any(|it| it.value.any_text(fits)),
            YamlShape::Map { entries, .. } => {
                let mut entries = entries.iter();
                entries.any(|it| fits(&it.key) || it.value.any_text(fits))
            }
        }
    }
}

/// Parses a text with one document. An error has the line and the column.
pub fn parse(text: &str) -> Result<Rc<YamlNode>, String> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    options.emit_comments = false;
    let mut builder = TreeBuilder {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
    };
    loop {
        match builder.next()? {
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((Event::StreamEnd | Event::DocumentEnd, _)) | None => {
                return Err("the file is empty".into());
            }
            Some((event, span)) => {
                let root = builder.value(event, span, (0, 0))?.0;
                return builder.end().map(|()| root);
            }
        }
    }
}

struct TreeBuilder<'t, I>
where
    I: Iterator<Item = Result<(Event<'t>, Span), serde_saphyr::granit_parser::ScanError>>,
{
    text: &'t str,
    parser: I,
    anchors: BTreeMap<usize, Rc<YamlNode>>,
}

impl<'t, I> TreeBuilder<'t, I>
where
    I: Iterator<Item = Result<(Event<'t>, Span), serde_saphyr::granit_parser::ScanError>>,
{
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, String> {
        self.parser.next().transpose().map_err(|it| it.to_string())
    }

    fn some(&mut self) -> Result<(Event<'t>, Span), String> {
        loop {
            match self.next()? {
                Some((Event::Anchor(..), _)) => {}
                Some(event) => return Ok(event),
                None => return Err("the file ends within a value".into()),
            }
        }
    }

    /// Fails if there is a second document.
    fn end(&mut self) -> Result<(), String> {
        while let Some((event, _)) = self.next()? {
            if matches!(event, Event::DocumentStart(..)) {
                return Err("the file has several documents".into());
            }
        }
        Ok(())
    }

    /// Returns the value that begins with this event, and the place of its end. `above` has the depth of the value, and
    /// the column of its key.
    fn value(
        &mut self,
        event: Event<'t>,
        span: Span,
        above: (usize, usize),
    ) -> Result<(Rc<YamlNode>, usize), String> {
        if above.0 > MAX_DEPTH {
            return Err(format!("values are nested in more than {MAX_DEPTH} levels"));
        }
        let range = bytes(&span)?;
        let anchor = event.anchor_id().filter(|it| *it != 0);
        let (shape, end) = match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned();
                let node = node.ok_or("an alias is inside the value of its own anchor")?;
                return Ok((node, range.end));
            }
            Event::Scalar(text, style, ..) => {
                let is_plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                // The parser counts empty lines after a block scalar as a part of the scalar.
                let written = self.text.get(..range.end).unwrap_or_default();
                let end = written.trim_end().len().max(range.start);
                (YamlShape::Scalar { text, is_plain }, end)
            }
            Event::SequenceStart(style, ..) => self.list(style, range.clone(), above)?,
            Event::MappingStart(style, ..) => self.map(style, range.clone(), above.0)?,
            other => return Err(format!("unexpected {other:?}")),
        };
        let node = Rc::new(YamlNode {
            start: range.start,
            end,
            shape,
        });
        if let Some(id) = anchor {
            self.anchors.insert(id, node.clone());
        }
        Ok((node, end))
    }

    fn list(
        &mut self,
        style: StructureStyle,
        range: Range<usize>,
        (depth, key): (usize, usize),
    ) -> Result<(YamlShape, usize), String> {
        let is_flow = style == StructureStyle::Flow;
        let (mut items, mut end) = (Vec::<YamlItem>::new(), range.end);
        let mut column = 0;
        loop {
            let (event, span) = self.some()?;
            if matches!(event, Event::SequenceEnd) {
                if is_flow {
                    end = bytes(&span)?.end;
                }
                return Ok((YamlShape::List { items, is_flow }, end));
            }
            let own = bytes(&span)?.start;
            if items.is_empty() {
                // The parser gives the place of the first dash only if the dash is to the right of the key.
                let begins = self.text.get(range.start..own).unwrap_or_default();
                let after_dash = begins.strip_prefix('-');
                let is_dash = after_dash.is_some_and(|it| it.starts_with(char::is_whitespace));
                column = match is_dash {
                    true => self::column(self.text, range.start),
                    false => key,
                };
            }
            let (value, after) = self.value(event, span, (depth + 1, column + 2))?;
            let start = match is_flow {
                true => before_properties(self.text, own),
                false => self.dash(column, own),
            };
            end = after;
            items.push(YamlItem {
                start,
                end: after,
                value,
            });
        }
    }

    /// Returns the place of the dash in this column before the value at this place.
    fn dash(&self, column: usize, value: usize) -> usize {
        let mut line = line_start(self.text, value);
        loop {
            let dash = line + column;
            if line == 0 || (dash <= value && self.text.get(dash..=dash) == Some("-")) {
                return dash;
            }
            line = line_start(self.text, line - 1);
        }
    }

    fn map(
        &mut self,
        style: StructureStyle,
        range: Range<usize>,
        depth: usize,
    ) -> Result<(YamlShape, usize), String> {
        let is_flow = style == StructureStyle::Flow;
        let (mut entries, mut end) = (Vec::new(), range.end);
        loop {
            let (event, span) = self.some()?;
            if matches!(event, Event::MappingEnd) {
                if is_flow {
                    end = bytes(&span)?.end;
                }
                return Ok((YamlShape::Map { entries, is_flow }, end));
            }
            let Range {
                start,
                end: key_end,
            } = bytes(&span)?;
            let Event::Scalar(key, ..) = event else {
                return Err(format!("line {}: a key is not a text", span.start.line()));
            };
            let (event, span) = self.some()?;
            let (value, after) = self.value(event, span, (depth + 1, column(self.text, start)))?;
            let rest = self.text.get(key_end..).unwrap_or_default();
            let colon = rest.find(':').map_or(key_end, |it| key_end + it + 1);
            let after = after.max(colon);
            end = after;
            entries.push(YamlEntry {
                key: key.into_owned(),
                start,
                end: after,
                value,
            });
        }
    }
}

/// Returns the place of the first anchor or tag of the value at this place, or the place of the value.
fn before_properties(text: &str, value: usize) -> usize {
    let mut start = value;
    loop {
        let before = text.get(..start).unwrap_or_default();
        let before = before.trim_end_matches([' ', '\t']);
        let token = before.rfind(|it: char| it.is_whitespace() || "[,".contains(it));
        let token = token.map_or(0, |it| it + 1);
        let is_property = before
            .get(token..)
            .is_some_and(|it| it.starts_with(['&', '!']));
        if !is_property {
            return start;
        }
        start = token;
    }
}

fn bytes(span: &Span) -> Result<Range<usize>, String> {
    span.byte_range()
        .ok_or_else(|| "the parser gives no places".to_owned())
}

/// Returns the place of the first byte of the line with this place.
pub fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.rfind('\n').map_or(0, |it| it + 1)
}

/// Returns the number of bytes before this place in its line.
pub fn column(text: &str, at: usize) -> usize {
    at - line_start(text, at)
}

/// Returns the number of the line with this place, from 1.
pub fn line_number(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.bytes().filter(|it| *it == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the parts of the text for each value with a name: the entry or the item, and the value.
    fn parts(text: &str, node: &YamlNode, path: &str, found: &mut Vec<String>) {
        for entry in node.entries() {
            let path = format!("{path}.{}", entry.key);
            found.push(format!("{path} {:?}", &text[entry.start..entry.end]));
            parts(text, &entry.value, &path, found);
        }
        for (index, item) in node.items().iter().enumerate() {
            let path = format!("{path}[{index}]");
            found.push(format!("{path} {:?}", &text[item.start..item.end]));
            parts(text, &item.value, &path, found);
        }
    }

    #[test]
    fn values_have_their_places() {
        let text = "\
# ä
a: &x
  - name: q   # trailing
    v: \"s ü\"
  - k: |
      block

f: &y plain
  text   # comment
b: { c: [1, 'two', *y , !!str &w three], d: , e: !!str 5 }
g:
- - x
  - y
- &z
  h: i
- l:
  - m: n
  # comment
  - o
p:
-
  q: r
s:
- # comment
  t: u
v:
- &w
  x: y
";
        let mut found = Vec::new();
        parts(text, &parse(text).unwrap(), "", &mut found);
        let expected = r#"
.a "a: &x\n  - name: q   # trailing\n    v: \"s ü\"\n  - k: |\n      block"
.a[0] "- name: q   # trailing\n    v: \"s ü\""
.a[0].name "name: q"
.a[0].v "v: \"s ü\""
.a[1] "- k: |\n      block"
.a[1].k "k: |\n      block"
.f "f: &y plain\n  text"
.b "b: { c: [1, 'two', *y , !!str &w three], d: , e: !!str 5 }"
.b.c "c: [1, 'two', *y , !!str &w three]"
.b.c[0] "1"
.b.c[1] "'two'"
.b.c[2] "*y"
.b.c[3] "!!str &w three"
.b.d "d:"
.b.e "e: !!str 5"
.g "g:\n- - x\n  - y\n- &z\n  h: i\n- l:\n  - m: n\n  # comment\n  - o"
.g[0] "- - x\n  - y"
.g[0][0] "- x"
.g[0][1] "- y"
.g[1] "- &z\n  h: i"
.g[1].h "h: i"
.g[2] "- l:\n  - m: n\n  # comment\n  - o"
.g[2].l "l:\n  - m: n\n  # comment\n  - o"
.g[2].l[0] "- m: n"
.g[2].l[0].m "m: n"
.g[2].l[1] "- o"
.p "p:\n-\n  q: r"
.p[0] "-\n  q: r"
.p[0].q "q: r"
.s "s:\n- # comment\n  t: u"
.s[0] "- # comment\n  t: u"
.s[0].t "t: u"
.v "v:\n- &w\n  x: y"
.v[0] "- &w\n  x: y"
.v[0].x "x: y"
"#;
        assert_eq!(found, expected.trim().lines().collect::<Vec<_>>());
    }
}
