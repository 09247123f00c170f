use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a line is printed when there is no terminal to redraw.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// What changes while it is watched: redrawn in place on a terminal, one line every 2 s elsewhere.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    lines_drawn: usize,
    last_line: Option<Instant>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            lines_drawn: 0,
            last_line: None,
        }
    }
}

impl Screen {
    /// Shows the lines, or the one line that stands for them.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn show(&mut self, lines: &[String], line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
                self.last_line = Some(Instant::now());
                writeln!(out, "{}", line.trim_end())?;
            }
            return out.flush();
        }
        let mut text = String::new();
        if self.lines_drawn > 0 {
            // Back up to the first line and overwrite it.
            text = format!("\x1b[{}A", self.lines_drawn);
        }
        for line in lines {
            // Each line is cleared to its end, as the one below it may have been longer.
            writeln!(text, "{line}\x1b[K").map_err(io::Error::other)?;
        }
        self.lines_drawn = lines.len();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Something that happened: a line of its own where nothing is redrawn.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn note(&self, line: &str) -> io::Result<()> {
        match self.terminal {
            true => Ok(()),
            false => writeln!(io::stdout().lock(), "{line}"),
        }
    }
}

pub fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}
