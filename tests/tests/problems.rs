//! `docs/problems.md` lists every message for users. Each message has a cause, an effect and a remedy, in the user's
//! words. `UPDATE_GOLDEN=1` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use weir_core::manifest::problem::messages::{ALL, Template};
use weir_split::{PLUGIN_EFFECT, PLUGIN_MESSAGES, PluginMessage};
use weir_tests::root;

const HEAD: &str = "# Problems, and what to do about each

`weir check` prints problems, one on each line. `weir serve` logs them. In a cluster it also writes them to the status of the object.
Each problem names what is wrong, what this means for traffic, and what to write:

```
FILE: KIND NAMESPACE/NAME FIELD: Reason: what is wrong: what it means for traffic; what to write
```

`weir check --envoy` also prints what is wrong in the running Envoy. The section \"envoy\" lists these problems:

```
envoy, listener NAME: KIND NAMESPACE/NAME (rule IDENTITY): Reason: what is wrong: what it means for traffic; what to write
```

The section \"answer\" lists the errors with which `weir serve` refuses the request of a proxy. The filter logs these errors.
The section \"gate\" lists the answers of the gate, see
[flagger.md](flagger.md#the-gate). The section \"start\" lists what `weir serve` prints if it does not start, or when it ends. If an argument of the command line
is wrong, the problem has its name and what to write.

This page lists all problems. A word in braces stands for a value of the object. Some effects depend on the place of the wrong field:

- In a match, the match fits no request.
- In a rule, requests of the rule get the answer 500 (503 for gRPC; a TCP connection is closed).
- In a backendRef, requests that go to this backend get the answer 500.
- In any other place, the object has no effect.

In a folder, an edit can break an object. The object then keeps the effect that it had before the edit.
";

/// The page has this text if the effect depends on the place of the field.
const BY_PLACE: &str = "depends on the place, see above";

/// Words of the implementation, which users do not know.
const FOREIGN: &[&str] = &[
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "f64",
    "usize",
    "serde",
    "struct",
    "enum",
    "variant",
    "tuple",
    "newtype",
    "invalid type",
    "invalid value",
    "invalid length",
    "missing field",
    "EOF",
    "Option",
    "Some(",
    "None",
    "Err(",
    "unwrap",
    "panic",
    "borrow",
    "utf8",
    "trailing characters",
    "deserial",
];

fn cell(text: &str) -> String {
    let braces = text.replace("{{", "{").replace("}}", "}");
    braces.replace('|', "\\|")
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (subject, messages) in ALL {
        let _ = write!(
            page,
            "\n## {subject}\n\n| reason | what is wrong | what it means for traffic | what to write |\n|---|---|---|---|\n"
        );
        for Template {
            reason,
            cause,
            effect,
            remedy,
            ..
        } in *messages
        {
            let [cause, effect, remedy] = [cause, effect.unwrap_or(BY_PLACE), remedy].map(cell);
            let _ = writeln!(page, "| {reason} | {cause} | {effect} | {remedy} |");
        }
    }
    let _ = write!(
        page,
        "\n## plugin configuration\n\nEach problem in this table means that {PLUGIN_EFFECT}. Envoy's log contains \
         the problem.\n\n\
         | key | what is wrong | what to write |\n|---|---|---|\n"
    );
    for PluginMessage {
        keys,
        cause,
        remedy,
    } in PLUGIN_MESSAGES
    {
        let [keys, cause, remedy] =
            [keys, cause, remedy].map(|text| cell(text).replace("{}", "{value}"));
        let _ = writeln!(page, "| {keys} | {cause} | {remedy} |");
    }
    page
}

#[test]
fn page_lists_all_messages() {
    let path = root().join("docs/problems.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(root().join("docs")).expect("docs");
        std::fs::write(path, page).expect("written");
        return;
    }
    let page_in_docs = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page_in_docs == page,
        "docs/problems.md differs from the messages in the code: UPDATE_GOLDEN=1 writes the page"
    );
}

#[test]
fn messages_have_cause_effect_and_remedy() {
    let mut codes = BTreeSet::new();
    for (subject, messages) in ALL {
        for message in *messages {
            let Template {
                code,
                cause,
                effect,
                remedy,
                ..
            } = message;
            assert!(
                codes.insert((subject, code)),
                "{subject}: {code} appears twice"
            );
            for part in [*cause, effect.unwrap_or(BY_PLACE), *remedy] {
                assert!(part.len() > 3, "{subject}: {code}: {part:?} is too short");
                assert!(
                    !part.ends_with(['.', ';', ':', ' ']) && !part.starts_with(' '),
                    "{subject}: {code}: {part:?} is not a clause"
                );
            }
        }
    }
    assert!(codes.len() > 100, "{} messages", codes.len());
}

#[test]
fn messages_avoid_words_of_the_implementation() {
    let mut texts: Vec<String> = Vec::new();
    for message in ALL.iter().flat_map(|(_, messages)| *messages) {
        let effect = message.effect.unwrap_or_default();
        texts.push(format!("{} {effect} {}", message.cause, message.remedy));
    }
    let of_plugin = PLUGIN_MESSAGES.iter();
    texts.extend(of_plugin.map(|it| format!("{} {PLUGIN_EFFECT} {}", it.cause, it.remedy)));
    for text in &texts {
        let foreign = FOREIGN.iter().find(|word| has_word(text, word));
        assert_eq!(foreign, None, "in {text:?}");
    }
}

/// True if the text has this word as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        is_edge(text[..at].chars().next_back()) && is_edge(text[at + word.len()..].chars().next())
    })
}
