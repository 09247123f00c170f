//! The calls of all services and the messages that they take, read from the protobuf files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

#[derive(Debug, Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    pub service: String,
    pub request: String,
    /// Several requests may follow one another.
    pub is_stream: bool,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub number: u32,
    /// As protobuf calls it, or the name of a message or an enum.
    pub kind: String,
    pub is_repeated: bool,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Protos {
    pub calls: Vec<Call>,
    messages: BTreeMap<String, Vec<Field>>,
}

impl Protos {
    /// Reads all files below the folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut protos = Self::default();
        protos.read_all(folder)?;
        Ok(protos)
    }

    fn read_all(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            match path.is_dir() {
                true => self.read_all(&path)?,
                false => self.read_text(&std::fs::read_to_string(&path)?)?,
            }
        }
        Ok(())
    }

    /// The fields of a message; none for what is no message.
    pub fn fields(&self, message: &str) -> Option<&[Field]> {
        let name = message.rsplit('.').next().unwrap_or(message);
        self.messages.get(name).map(Vec::as_slice)
    }

    fn read_text(&mut self, text: &str) -> Result<()> {
        let lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or(line));
        let text = lines.collect::<Vec<_>>().join(" ");
        let spaced = ["{", "}", ";", "(", ")", "="]
            .into_iter()
            .fold(text, |text, mark| text.replace(mark, &format!(" {mark} ")));
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let package = words.iter().position(|word| *word == "package");
        let package = package
            .and_then(|at| words.get(at + 1))
            .context("no package")?;
        // What is open: the word that began it and its name.
        let mut open: Vec<(&str, &str)> = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let name = words.get(at + 1).copied().unwrap_or_default();
            match *word {
                "service" | "message" | "enum" | "oneof" if words.get(at + 2) == Some(&"{") => {
                    open.push((word, name));
                    if *word == "message" {
                        self.messages.entry(name.to_owned()).or_default();
                    }
                    at += 3;
                }
                "}" => {
                    open.pop();
                    at += 1;
                }
                _ => {
                    let rest = &words[at..];
                    let end = rest.iter().position(|word| *word == ";");
                    // An rpc may have a block of options instead.
                    let Some(end) = end else {
                        bail!("{package}: a statement without end")
                    };
                    self.statement(package, &open, &rest[..end]);
                    at += end + 1;
                }
            }
        }
        Ok(())
    }

    fn statement(&mut self, package: &str, open: &[(&str, &str)], words: &[&str]) {
        match (open.last(), words) {
            (Some(("service", service)), ["rpc", method, "(", rest @ ..]) => {
                let mut parts = rest.split(|word| *word == ")");
                let request = parts.next().unwrap_or_default();
                self.calls.push(Call {
                    path: format!("/{package}.{service}/{method}"),
                    service: (*service).to_owned(),
                    request: request.last().copied().unwrap_or_default().to_owned(),
                    is_stream: request.first() == Some(&"stream"),
                });
            }
            (Some(("message" | "oneof", _)), [before @ .., kind, name, "=", number]) => {
                let message = open.iter().rev().find(|(word, _)| *word == "message");
                let Some(((_, message), number)) = message.zip(number.parse().ok()) else {
                    return;
                };
                let fields = self.messages.entry((*message).to_owned()).or_default();
                fields.push(Field {
                    name: (*name).to_owned(),
                    number,
                    kind: (*kind).to_owned(),
                    is_repeated: before.contains(&"repeated"),
                });
            }
            _ => {}
        }
    }
}
