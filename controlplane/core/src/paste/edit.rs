//! Adds the lines for Weir to a given configuration of an Envoy.

mod bootstrap_lines;
mod listener_lines;
mod manager_lines;
mod route_lines;

use std::fmt;

use super::options::PasteOptions;
use super::text_draft::{NoPlace, TextDraft};
use super::unified_diff::unified_diff;
use super::yaml_tree::{self, YamlNode, line_number};
use crate::manifest::problem::messages::Message;
use crate::manifest::problem::messages::bootstrap as messages;
use crate::manifest::problem::{Extent, plain};

/// A configuration with the lines for Weir.
#[derive(Debug)]
pub struct EditedConfiguration {
    /// The whole text; equal to the given text if it has all lines already.
    pub text: String,
    /// The difference to the given text, as `diff -u` prints it; empty if the texts are equal.
    pub diff: String,
    /// What this command leaves to the operator.
    pub remarks: Vec<Remark>,
}

/// Something that is left to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The number of the line in the given text, from 1.
    pub line: usize,
    /// The object, such as `listener outbound`; empty for the whole file.
    pub place: String,
    pub message: Message,
}

impl Remark {
    /// True if the Envoy splits traffic without any change by the operator.
    pub fn is_warning(&self) -> bool {
        self.message.effect.extent == Extent::Nothing
    }
}

/// Writes `LINE: PLACE: Reason: cause: effect; remedy`.
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", plain(&self.place))?;
        }
        self.message.fmt(f)
    }
}

/// Adds the lines to the text of a configuration, or to the text of a file with listeners or route configurations.
/// `name` is the name of the file in the difference. A second run changes nothing.
pub fn edit(name: &str, text: &str, options: &PasteOptions) -> EditedConfiguration {
    let mut editor = Editor {
        draft: TextDraft::new(text),
        options,
        remarks: Vec::new(),
        admin_clusters: Vec::new(),
        managers: 0,
    };
    match yaml_tree::parse(text) {
        _ if text.starts_with('\u{feff}') => editor.remark_file(messages::not_a_configuration(
            "it begins with a byte order mark",
        )),
        Err(why) => editor.remark_file(messages::not_a_configuration(why)),
        Ok(root) if root.get("resources").is_some() => editor.resources(&root),
        Ok(root) if is_bootstrap(&root) => editor.bootstrap(&root),
        Ok(_) => editor.remark_file(messages::not_a_configuration(
            "it has neither static_resources nor resources",
        )),
    }
    let result = editor.draft.result();
    if let Err(why) = yaml_tree::parse(&result)
        && result != text
    {
        editor.remark_file(messages::not_a_configuration(format!(
            "its lines have a form that this command cannot edit ({why})"
        )));
        return EditedConfiguration {
            text: text.to_owned(),
            diff: String::new(),
            remarks: editor.remarks,
        };
    }
    EditedConfiguration {
        text: result,
        diff: unified_diff(name, text, &editor.draft.edits()),
        remarks: editor.remarks,
    }
}

fn is_bootstrap(root: &YamlNode) -> bool {
    ["static_resources", "dynamic_resources"]
        .iter()
        .any(|key| root.get(key).is_some())
}

struct Editor<'t> {
    draft: TextDraft<'t>,
    options: &'t PasteOptions,
    remarks: Vec<Remark>,
    /// Names of the clusters that lead to the admin interface of the Envoy itself.
    admin_clusters: Vec<String>,
    /// Number of connection managers that have the lines now.
    managers: usize,
}

impl Editor<'_> {
    fn remark_file(&mut self, message: Message) {
        self.remarks.push(Remark {
            line: 1,
            place: String::new(),
            message,
        });
    }

    /// Adds a remark about the value at the byte `at` of the text.
    fn remark(&mut self, at: usize, place: &str, message: Message) {
        let line = line_number(self.draft.text, at);
        self.remarks.push(Remark {
            line,
            place: place.to_owned(),
            message,
        });
    }

    /// Adds a remark if the draft has no place for the lines.
    fn check(&mut self, done: Result<(), NoPlace>, parent: &YamlNode, place: &str, lines: &str) {
        if done == Err(NoPlace) {
            self.remark(parent.start, place, messages::no_place_for(lines));
        }
    }
}

/// Returns the lines of a fragment without its comments.
fn without_comments(fragment: &str) -> String {
    let lines = fragment.lines();
    let lines = lines.filter(|it| !it.trim_start().starts_with('#'));
    lines.map(|it| format!("{it}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paste::options::{ModuleSource, ServerAddress};
    use crate::plan::Scope;

    #[test]
    fn skipped_listeners_keep_shared_filters() {
        let manager = "typed_config: { \"@type\": a.HttpConnectionManager, rds: { route_config_name: r }, http_filters: ";
        let listener = |name: &str, filters: &str| {
            format!(
                "  - name: {name}\n    filter_chains:\n    - filters:\n      - {manager}{filters} }}\n"
            )
        };
        let filters =
            "&f [{ name: router, typed_config: { \"@type\": a.filters.http.router.v3.Router } }]";
        let text = format!(
            "static_resources:\n  listeners:\n{}{}",
            listener("skipped", filters),
            listener("chosen", "*f")
        );
        let options = PasteOptions {
            scope: Scope::Edge,
            control_plane: ServerAddress::parse("127.0.0.1:9900").unwrap(),
            authority: None,
            token: None,
            module: ModuleSource::ControlPlane,
            listener: Some("chosen".into()),
        };
        let edited = edit("envoy.yaml", &text, &options);
        assert!(
            edited.text.contains(&listener("skipped", filters)),
            "{}",
            edited.diff
        );
        let remarks: Vec<_> = edited.remarks.iter().map(Remark::to_string).collect();
        let words = "http_filters cannot be added";
        assert!(remarks.iter().any(|it| it.contains(words)), "{remarks:?}");
    }
}
