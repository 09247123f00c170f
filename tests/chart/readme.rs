//! The chart's README has a table of all values, made of the comments in `values.yaml`.

use std::fmt::Write as _;
use std::fs;

use skein_tests::helm::tools::{chart, is_refresh};

const BEGIN: &str = "<!-- values: begin -->\n";
const END: &str = "<!-- values: end -->\n";

/// A line for each key that has a comment `# --`, with its default; keys below one that has a comment are part of its default.
fn table(values: &str) -> String {
    let mut table = "| value | default | what it is |\n|---|---|---|\n".to_owned();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in values.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(first) = text.strip_prefix("# -- ") {
            comment = Some(first.to_owned());
            continue;
        }
        if let Some(more) = text.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                write!(comment, " {more}").unwrap();
            }
            continue;
        }
        let Some((key, value)) = text.split_once(':') else {
            comment = None;
            continue;
        };
        path.retain(|(above, _)| *above < depth);
        path.push((depth, key.to_owned()));
        let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
        let value = value.trim();
        let is_shown =
            !value.is_empty() && !matches!(key, "merge" | "patch") && !value.starts_with("{merge:");
        let what = comment.take().unwrap_or_default();
        if is_shown {
            let (value, what) = (value.replace('|', "\\|"), what.replace('|', "\\|"));
            writeln!(table, "| `{}` | `{value}` | {what} |", keys.join(".")).unwrap();
        }
    }
    table
}

#[test]
fn the_table_of_values_is_fresh() {
    let file = chart().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let values = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let fresh = format!("{before}{BEGIN}{}{END}{after}", table(&values));
    if is_refresh() {
        fs::write(&file, &fresh).unwrap();
        return;
    }
    assert!(
        readme == fresh,
        "refresh it with SKEIN_REFRESH=1 (see tests/chart/main.rs)"
    );
}

#[test]
fn comments_of_several_lines_and_keys_below_others_are_found() {
    let values = "# -- What it is:\n# two lines.\na: 1\n# A part.\nb:\n  # -- Inside.\n  c: {d: x|y}\n  e: \"\"\n  f:\n    merge: {}\n";
    let rows: Vec<String> = table(values).lines().skip(2).map(str::to_owned).collect();
    let expected = [
        "| `a` | `1` | What it is: two lines. |",
        "| `b.c` | `{d: x\\|y}` | Inside. |",
        "| `b.e` | `\"\"` |  |",
    ];
    assert_eq!(rows, expected);
}
