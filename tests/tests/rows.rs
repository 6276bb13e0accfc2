//! Tests `tests/golden/ROWS.md`: every row of the decision tables has a case, and every case is in a row.

use std::collections::BTreeSet;

use weir_tests::golden::{Case, cases};
use weir_tests::root;

/// Tables that must exist, by the numbers in their headings.
const TABLES: [&str; 36] = [
    "gateway-api 1.1",
    "gateway-api 1.2",
    "gateway-api 1.3",
    "gateway-api 1.4",
    "gateway-api 1.5",
    "gateway-api 1.6",
    "gateway-api 2.1",
    "gateway-api 2.2",
    "gateway-api 2.3",
    "gateway-api 3.1",
    "gateway-api 3.2",
    "gateway-api 3.3",
    "gateway-api 4.2",
    "gateway-api 4.4",
    "gateway-api 5",
    "gateway-api 6.1",
    "gateway-api 9.2",
    "gateway-api 9.3",
    "gateway-api 9.4",
    "split-apis 1.1",
    "split-apis 1.2",
    "split-apis 1.3",
    "split-apis 1.4",
    "split-apis 1.5",
    "split-apis 1.6",
    "split-apis 1.7",
    "split-apis 2.1",
    "split-apis 2.2",
    "split-apis 2.3",
    "split-apis 2.4",
    "split-apis 2.5",
    "split-apis 3.3",
    "split-apis 8",
    "split-apis 9.1",
    "split-apis 9.2",
    "split-apis 9.3",
];

struct Row<'a> {
    table: &'a str,
    says: &'a str,
    cases: Vec<&'a str>,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let number = heading
                .rsplit_once(" (")
                .and_then(|(_, it)| it.strip_suffix(')'));
            table = number.unwrap_or_else(|| panic!("{heading:?} has no number"));
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|it| it.strip_suffix(" |")) else {
            assert!(!line.starts_with('|') || line == "|---|---|", "{line:?}");
            continue;
        };
        let (says, named) = cells.split_once(" | ").unwrap_or((cells, ""));
        if (says, named) != ("row", "cases") {
            let cases = named.split('`').skip(1).step_by(2).collect();
            rows.push(Row { table, says, cases });
        }
    }
    rows
}

#[test]
fn rows_and_cases_match() {
    let text = std::fs::read_to_string(root().join("tests/golden/ROWS.md")).expect("the table");
    let rows = rows(&text);
    let case_names: BTreeSet<String> = cases().iter().map(Case::name).collect();
    let mut named = BTreeSet::new();
    for Row { table, says, cases } in &rows {
        assert!(!cases.is_empty(), "{table}: no case shows {says:?}");
        for case in cases {
            assert!(
                case_names.contains(*case),
                "{table}, {says:?}: no case {case}"
            );
            named.insert((*case).to_owned());
        }
    }
    let idle: Vec<_> = case_names.difference(&named).collect();
    assert!(idle.is_empty(), "in no row: {idle:#?}");

    let tables: Vec<_> = rows.iter().map(|row| row.table).collect();
    let tables: BTreeSet<_> = tables.into_iter().collect();
    assert_eq!(tables, TABLES.into(), "tables");
    println!("{} rows, {} cases", rows.len(), case_names.len());
}
