//! What the help says, over the whole tree of commands.

use clap::{Command, CommandFactory};

use crate::cli::Cli;

const README: &str = include_str!("../README.md");

/// Every command with its full name.
fn all() -> Vec<(String, Command)> {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    let mut open = vec![("skeinctl".to_owned(), root)];
    while let Some((name, command)) = open.pop() {
        for below in command.get_subcommands() {
            if below.get_name() != "help" {
                open.push((format!("{name} {}", below.get_name()), below.clone()));
            }
        }
        found.push((name, command));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn every_command_and_every_option_has_a_word() {
    for (name, command) in all() {
        assert!(command.get_about().is_some(), "{name} has no help");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{name} {argument} has no help"
            );
        }
    }
}

#[test]
fn no_help_shows_an_empty_default() {
    for (name, mut command) in all() {
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            assert!(
                !help.contains("[default: ]") && !help.contains("[default: \"\"]"),
                "{name}: {help}"
            );
        }
    }
}

#[test]
fn options_of_the_connection_have_a_heading_of_their_own() {
    for (name, command) in all() {
        for option in ["server", "ca", "cert", "key", "json"] {
            let found = command.get_arguments().find(|one| one.get_id() == option);
            let heading = found.and_then(|one| one.get_help_heading());
            let expected = (option != "json").then_some("Connection");
            assert_eq!(heading, expected, "{name} --{option}");
        }
    }
}

/// An option that the environment gives is none that must be given.
#[test]
fn no_option_of_the_connection_is_part_of_a_usage() {
    for (name, mut command) in all() {
        let usage = command.render_usage().to_string();
        for option in ["--server", "--ca", "--cert", "--key"] {
            assert!(!usage.contains(option), "{name}: {usage}");
        }
    }
}

#[test]
fn the_readme_names_every_command_and_every_variable() {
    for (name, command) in all() {
        let is_leaf = command
            .get_subcommands()
            .all(|below| below.get_name() == "help");
        let called = name.trim_start_matches("skeinctl").trim_start();
        if is_leaf {
            let named = README.contains(&format!("`{called}"));
            assert!(named, "crates/ctl/README.md misses `{called}`");
        }
        for argument in command.get_arguments() {
            if let Some(variable) = argument.get_env() {
                let variable = variable.to_string_lossy();
                assert!(
                    README.contains(&*variable),
                    "crates/ctl/README.md misses {variable}"
                );
            }
        }
    }
}

/// Code quotes at the beginning of a table's row hold a command.
#[test]
fn the_readme_names_no_command_that_is_not_there() {
    let known: Vec<String> = all().into_iter().map(|(name, _)| name).collect();
    let rows = README
        .lines()
        .filter(|line| line.starts_with("| `") && !line.starts_with("| `-"));
    let mut count = 0;
    for row in rows {
        let cell = row.split('|').nth(1).unwrap_or_default();
        for called in cell.split('`').skip(1).step_by(2) {
            let is_word = |word: &&str| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                    && !word.starts_with('-')
            };
            let words: Vec<&str> = called.split(' ').take_while(is_word).collect();
            let name = format!("skeinctl {}", words.join(" "));
            assert!(
                known.contains(&name),
                "crates/ctl/README.md: there is no `{name}`"
            );
            count += 1;
        }
    }
    assert!(count > 30, "the table is read");
    for variable in README.split(|c: char| !(c.is_ascii_uppercase() || c == '_')) {
        if variable.starts_with("SKEIN") {
            let is_read = all().iter().any(|(_, command)| {
                command
                    .get_arguments()
                    .any(|one| one.get_env().is_some_and(|env| env == variable))
            });
            assert!(is_read, "crates/ctl/README.md: nothing reads {variable}");
        }
    }
}
