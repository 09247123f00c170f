//! What is wrong with a setting: its key, and where it comes from.

use std::fmt;

use serde::de;

use super::tree::Origin;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    message: String,
    /// From the outermost table; none for a file that is no TOML at all.
    key: Option<String>,
    origin: Option<Origin>,
}

impl Fault {
    pub fn of(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            key: Some(String::new()),
            origin: None,
        }
    }

    /// Of a whole file, with its line in the message.
    pub fn whole(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            key: None,
            origin: None,
        }
    }

    /// Without key and place.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn is_of_file(&self) -> bool {
        matches!(self.origin, None | Some(Origin::Line(_)))
    }

    /// The value is that of this key.
    pub fn within(mut self, name: &str) -> Self {
        self.key = self.key.map(|key| match key.as_str() {
            "" => name.to_owned(),
            inner if inner.starts_with('[') => format!("{name}{inner}"),
            inner => format!("{name}.{inner}"),
        });
        self
    }

    /// The value is this one of a list, counted from 1.
    pub fn within_list(mut self, nth: usize) -> Self {
        self.key = self.key.map(|key| match key.as_str() {
            "" => format!("[{nth}]"),
            inner => format!("[{nth}].{inner}"),
        });
        self
    }

    /// Where the innermost value comes from: the first that is said counts.
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_empty()) {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(message.to_string())
    }
}
