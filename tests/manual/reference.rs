//! The tables of configuration keys and commands have what the programs have, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use skein_tests::skein;
use toml::Value;

use crate::blocks::{pages, root};

/// What no section has a key of.
const NO_KEY: &str = "no_such_key";

/// Cells of the rows whose first cell begins with a code span.
pub fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("deploy/docs/src").join(name)).unwrap()
}

/// The keys that a section may have, as the refusal of one that it may not have lists them; none where nothing has keys.
fn keys_of(file: &Path, header: &str) -> Option<Vec<String>> {
    std::fs::write(file, format!("{header}\n{NO_KEY} = 1\n")).unwrap();
    let mut command = Command::new(skein().unwrap());
    let said = command
        .args(["config", "check"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (_, expected) = said.split_once(&format!("unknown field `{NO_KEY}`, expected "))?;
    let expected = expected.lines().next().unwrap_or_default();
    Some(
        expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect(),
    )
}

/// All keys of the configuration, with dots; those of a list of tables with `[]`.
fn all_keys() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probe.toml");
    let top = keys_of(&file, "").unwrap();
    let mut open: Vec<(String, String)> = top.into_iter().map(|key| (key.clone(), key)).collect();
    let mut found = BTreeSet::new();
    while let Some((path, shown)) = open.pop() {
        let table = keys_of(&file, &format!("[{path}]")).map(|keys| (keys, ""));
        let list = || keys_of(&file, &format!("[[{path}]]")).map(|keys| (keys, "[]"));
        match table.or_else(list) {
            Some((keys, mark)) => open.extend(
                keys.iter()
                    .map(|key| (format!("{path}.{key}"), format!("{shown}{mark}.{key}"))),
            ),
            None => {
                found.insert(shown);
            }
        }
    }
    found
}

/// What is printed for a key, where it is one value.
fn printed(config: &Value, key: &str) -> Option<String> {
    let value = key
        .split('.')
        .try_fold(config, |value, part| value.get(part))?;
    match value {
        Value::Table(_) => None,
        Value::Array(all) if all.iter().any(Value::is_table) => None,
        value => Some(value.to_string()),
    }
}

#[test]
fn the_table_of_keys_has_every_key_with_its_default() {
    let text = page("reference/configuration.md");
    let rows = rows(&text);
    let mut table = BTreeMap::new();
    for cells in &rows {
        let key = cells[0].trim_matches('`').to_owned();
        let earlier = table.insert(key.clone(), cells[1]);
        assert!(earlier.is_none(), "{key} is there twice");
    }
    let told: BTreeSet<String> = table.keys().cloned().collect();
    let there = all_keys();
    let missing: Vec<_> = there.difference(&told).collect();
    let invented: Vec<_> = told.difference(&there).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the table: {missing:?}; no keys: {invented:?}"
    );

    let mut command = Command::new(skein().unwrap());
    let listed = command.args(["config", "keys"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let taken_over = |key: &str| {
        let covers = |line: &&str| {
            let (entry, _) = line.split_once("  # ").unwrap();
            let rest = key.strip_prefix(entry);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let line = listed.lines().find(covers);
        line.is_some_and(|line| line.ends_with("taken over at SIGHUP"))
    };
    for cells in &rows {
        let key = cells[0].trim_matches('`');
        let expected = if taken_over(key) { "yes" } else { "" };
        assert_eq!(cells[2], expected, "whether {key} is live");
    }
    let mut command = Command::new(skein().unwrap());
    let print = command.args(["config", "print"]).output().unwrap();
    let config: toml::Table = toml::from_str(&String::from_utf8(print.stdout).unwrap()).unwrap();
    let config = Value::Table(config);
    for (key, default) in table {
        let is_of_machine = key == "smtp.hostname";
        let expected = printed(&config, &key).filter(|_| !is_of_machine);
        if let Some(expected) = expected {
            assert_eq!(default, format!("`{expected}`"), "the default of {key}");
        }
    }
}

/// What a command of `skeinctl` says of itself.
fn help(words: &[String]) -> String {
    let skeinctl = std::env::var("SKEINCTL_BIN").unwrap();
    let mut command = Command::new(skeinctl);
    let help = command.args(words).arg("--help").output().unwrap();
    String::from_utf8(help.stdout).unwrap()
}

/// The commands below one, as its help lists them.
fn commands_below(words: &[String]) -> Vec<String> {
    let help = help(words);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// All commands that have none below them, as `queue list`.
fn all_commands() -> BTreeSet<String> {
    let mut open = vec![Vec::<String>::new()];
    let mut there = BTreeSet::new();
    while let Some(words) = open.pop() {
        let below = commands_below(&words);
        if below.is_empty() {
            there.insert(words.join(" "));
        }
        open.extend(
            below
                .into_iter()
                .map(|name| [words.clone(), vec![name]].concat()),
        );
    }
    there
}

#[test]
fn the_table_of_commands_has_every_command() {
    let there = all_commands();
    let text = page("reference/cli.md");
    let called = |cell: &str| -> Vec<String> {
        let spans = cell.split('`').skip(1).step_by(2).map(str::to_owned);
        spans.filter(|span| !span.starts_with('-')).collect()
    };
    let is_word = |word: &&str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-')
    };
    let name = |call: String| {
        call.split(' ')
            .take_while(is_word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let told: BTreeSet<String> = rows(&text)
        .iter()
        .flat_map(|cells| called(cells[0]))
        .map(name)
        .collect();
    let missing: Vec<_> = there.difference(&told).collect();
    let invented: Vec<_> = told.difference(&there).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the table: {missing:?}; no commands: {invented:?}"
    );
}

/// Every `skeinctl ...` of a page: in code spans, and in lines of blocks up to what a shell does with it.
fn calls(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut language = None;
    for line in text.lines() {
        if let Some(opened) = line.strip_prefix("```") {
            language = language.is_none().then_some(opened);
        }
        let codes: Vec<&str> = match language {
            Some("sh") => vec![line],
            Some(_) => Vec::new(),
            None => line.split('`').skip(1).step_by(2).collect(),
        };
        for (_, call) in codes.iter().filter_map(|code| code.split_once("skeinctl ")) {
            let call = call
                .split(['|', ';', '#', '&', '>'])
                .next()
                .unwrap_or_default();
            found.push(call.split_whitespace().map(str::to_owned).collect());
        }
    }
    found
}

#[test]
fn every_call_of_skeinctl_is_one_that_there_is() {
    let there = all_commands();
    let mut helps = BTreeMap::new();
    for page in pages() {
        for call in calls(&std::fs::read_to_string(&page).unwrap()) {
            let words = |count: usize| call[..count.min(call.len())].join(" ");
            let command = (1..=3).map(words).find(|words| there.contains(words));
            // What begins with an option or names a group of commands is no call.
            let Some(command) = command else {
                let is_group = |known: &String| {
                    call.is_empty() || known.starts_with(&format!("{} ", words(1)))
                };
                let is_option = call.first().is_some_and(|word| word.starts_with('-'));
                assert!(
                    is_option || there.iter().any(is_group),
                    "{}: skeinctl {call:?}",
                    page.display()
                );
                continue;
            };
            let path: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let help = helps.entry(command.clone()).or_insert_with(|| help(&path));
            let options = call
                .iter()
                .filter(|word| word.starts_with("--") && word.len() > 2);
            for option in options {
                let is_there = help.split([' ', '\n', ',']).any(|word| word == option);
                assert!(
                    is_there,
                    "{}: skeinctl {command} has no {option}",
                    page.display()
                );
            }
        }
    }
    assert!(helps.len() > 20, "{:?}", helps.keys());
}
