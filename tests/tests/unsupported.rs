//! Checks `docs/unsupported.md`: each row names a golden case, and the output in this case contains the text in the
//! row's last cell.

use weir_tests::root;

struct Row {
    what: String,
    case: String,
    words: String,
}

fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(root().join("docs/unsupported.md")).expect("the page");
    let cells = page.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = line.split(" | ").map(str::to_owned).collect();
        let [what, _, case, words] = cells.try_into().expect("four cells");
        (what != "what").then_some(Row { what, case, words })
    });
    cells.collect()
}

#[test]
fn every_row_has_a_case() {
    let rows = rows();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for Row { what, case, words } in &rows {
        let path = root()
            .join("tests/golden")
            .join(case)
            .with_extension("yaml");
        // The generated part: the configuration, the problems and the answers.
        let shown = std::fs::read_to_string(&path).ok();
        let shown = shown.as_deref().and_then(|text| text.split_once("#= "));
        if !shown.is_some_and(|(_, shown)| shown.contains(words)) {
            wrong.push(format!("{what}: {case} does not show {words:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
