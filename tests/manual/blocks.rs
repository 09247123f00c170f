//! Fenced blocks of Markdown files, and what the comment before each says of it.

use std::path::{Path, PathBuf};

/// A fenced block with what is said of it in the comment before it.
#[derive(Debug, Clone)]
pub struct Block {
    /// The file and the line.
    pub place: String,
    /// Such as `policy`; empty without a comment.
    pub mark: String,
    pub language: String,
    pub text: String,
}

/// How a block is tested.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// Its lines are typed: `run: at a node` where a node runs, `run: at a new node` at another one, which is empty,
    /// `run: from nothing` where the lines start what they need.
    Run(Stage),
    /// What the commands before it print; `...` stands for anything within a line.
    Prints,
    /// A complete configuration of this role, or lines that follow another block.
    Config(&'a str),
    Policy,
    PromQl,
    /// With the reason.
    NotRun(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Nothing,
    Node,
    NewNode,
}

impl Block {
    pub fn mark(&self) -> Option<Mark<'_>> {
        let found = match self.mark.as_str() {
            "run: from nothing" => Mark::Run(Stage::Nothing),
            "run: at a node" => Mark::Run(Stage::Node),
            "run: at a new node" => Mark::Run(Stage::NewNode),
            "prints" => Mark::Prints,
            "policy" => Mark::Policy,
            "promql" => Mark::PromQl,
            other => match other.split_once(": ") {
                Some(("config", role)) => Mark::Config(role),
                Some(("not run", reason)) if reason.len() > 5 => Mark::NotRun(reason),
                _ => return None,
            },
        };
        Some(found)
    }
}

pub fn root() -> PathBuf {
    skein_tests::manifest_dir()
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The blocks of a file.
pub fn of_file(file: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(file).unwrap();
    of_text(
        &file
            .strip_prefix(root())
            .unwrap_or(file)
            .display()
            .to_string(),
        &text,
    )
}

fn of_text(name: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut mark, mut open) = (String::new(), None::<Block>);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(block) = &mut open {
            match line == "```" {
                true => found.extend(open.take()),
                false => block.text.push_str(&format!("{line}\n")),
            }
        } else if let Some(language) = line.strip_prefix("```") {
            open = Some(Block {
                place: format!("{name}:{number}"),
                mark: std::mem::take(&mut mark),
                language: language.to_owned(),
                text: String::new(),
            });
        } else if let Some(said) = line
            .strip_prefix("<!-- ")
            .and_then(|line| line.strip_suffix(" -->"))
        {
            said.clone_into(&mut mark);
        } else if !line.is_empty() {
            let fence = ["```", "~~~"]
                .iter()
                .any(|fence| line.trim_start().starts_with(fence));
            assert!(
                !fence,
                "{name}:{number}: a fence stands at the beginning of its line, and is of backticks"
            );
            mark.clear();
        }
    }
    assert!(open.is_none(), "{name}: a block does not end");
    found
}

/// All Markdown files below a folder, sorted.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().unwrap() {
            let entry = entry.unwrap();
            // A link to the runbooks is in the manual, and they are read where they are.
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "md") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// README, manual and runbooks.
pub fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    pages.extend(below(&root.join("deploy/docs")));
    pages.extend(below(&root.join("deploy/runbooks")));
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

pub fn of_pages() -> Vec<Block> {
    pages().iter().flat_map(|page| of_file(page)).collect()
}

pub fn of_crates() -> Vec<Block> {
    let crates = root().join("crates").read_dir().unwrap();
    let files = crates.map(|entry| entry.unwrap().path().join("README.md"));
    files
        .filter(|file| file.exists())
        .flat_map(|file| of_file(&file))
        .collect()
}

#[test]
fn every_block_is_tested_or_says_why_not() {
    let unmarked = "say in a comment before the block how it is tested, or why not";
    for block in of_pages() {
        let Block {
            place,
            mark,
            language,
            ..
        } = &block;
        assert!(
            block.mark().is_some(),
            "{place}: {unmarked}; it says {mark:?}"
        );
        assert!(
            !language.is_empty(),
            "{place}: say the language of the block, such as sh, toml or text"
        );
    }
    for block in of_crates() {
        let is_drawing = block.language.is_empty();
        assert!(
            is_drawing || block.mark().is_some(),
            "{}: {unmarked}",
            block.place
        );
    }
}

#[test]
fn marks_and_blocks_are_read() {
    let text = "<!-- policy -->\n```yaml\na\n```\n\n<!-- not run: why not -->\ntext between\n```\nb\n```\n";
    let blocks = of_text("x.md", text);
    let marks: Vec<Option<Mark<'_>>> = blocks.iter().map(Block::mark).collect();
    assert_eq!(marks, [Some(Mark::Policy), None]);
    assert_eq!(
        (blocks[0].place.as_str(), blocks[1].text.as_str()),
        ("x.md:2", "b\n")
    );
}
