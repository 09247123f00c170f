//! What a run found, as a table for a log.

use std::fmt;
use std::time::Duration;

/// Printed whole, whatever the test runner does with output.
#[derive(Debug)]
pub struct Report {
    pub title: String,
    pub rows: Vec<(String, String)>,
    /// Why the run failed, if it did.
    pub problems: Vec<String>,
}

impl Report {
    pub fn new(title: String) -> Self {
        Self {
            title,
            rows: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub fn row(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.rows.push((name.into(), value.into()));
    }

    /// A measured time that must be below a limit.
    pub fn time(&mut self, name: &str, measured: Option<Duration>, limit: Option<Duration>) {
        let shown = measured.map_or("not seen".to_owned(), seconds);
        let bound = limit.map(|limit| format!(" (limit {})", seconds(limit)));
        self.row(name, shown.clone() + &bound.unwrap_or_default());
        if limit.is_some_and(|limit| measured.is_none_or(|time| time >= limit)) {
            self.problem(format!("{name}: {shown}"));
        }
    }

    pub fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }
}

pub fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        long => format!("{long:.1} s"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.rows.iter().map(|(name, _)| name.chars().count());
        let wide = wide.max().unwrap_or(0);
        writeln!(f, "\n=== {} ===", self.title)?;
        for (name, value) in &self.rows {
            writeln!(f, "  {name:<wide$}  {value}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  FAILED: {problem}")?;
        }
        Ok(())
    }
}
