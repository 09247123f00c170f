//! Where settings come from, the later before the earlier: defaults, the file, variables of the environment, `--set`.

mod environment;
mod fault;
mod read;
mod reference;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

pub use fault::Fault;
pub use read::whole;
pub use reference::escape;
pub use tree::{Origin, Table, keys, origin_of};

use self::environment::Variable;

/// What a start or a check is given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// A key and its value, before the file and the environment, such as cluster.address=10.0.0.1:7000. May be given
    /// several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
}

/// A key with a value of no type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            let mut chars = part.chars();
            !part.is_empty()
                && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let split = text.split_once('=');
        let (key, value) = split
            .map(|(key, value)| (key.trim(), value))
            .filter(|(key, _)| key.split('.').all(is_part))
            .ok_or("it is like KEY=VALUE, such as cluster.address=10.0.0.1:7000")?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// All settings that are given, and where.
#[derive(Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// What the file holds.
    pub text: String,
    pub environment: BTreeMap<String, String>,
    pub sets: Vec<Setting>,
}

/// The environment of this process, without what is no UTF-8.
pub fn environment() -> BTreeMap<String, String> {
    let all = std::env::vars_os();
    let read =
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    read.collect()
}

impl Sources {
    /// Everything in one tree, with what is doubtful about it. `keys` are all that have a default.
    pub fn merged(&self, defaults: &[String]) -> Result<(Table, Vec<String>), Fault> {
        let lookup = |name: &str| self.environment.get(name).cloned();
        let mut table = tree::of_file(&self.text, &lookup)?;
        let sections: Vec<String> = defaults
            .iter()
            .filter_map(|key| key.split_once('.'))
            .map(|(section, _)| section.to_owned())
            .collect();
        let mut doubts = Vec::new();
        for (name, value) in &self.environment {
            let origin = Origin::Environment(name.clone());
            match environment::read(name, value, &sections, defaults) {
                Variable::Setting(key) => tree::set(&mut table, &key, value, &origin)?,
                Variable::Other => {}
                Variable::Doubtful(why) => doubts.push(format!("{origin}: {why}")),
                Variable::Unknown(why) => return Err(Fault::of(why).at(&origin)),
            }
        }
        for Setting { key, value } in &self.sets {
            tree::set(&mut table, key, value, &Origin::Set(key.clone()))?;
        }
        Ok((table, doubts))
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
