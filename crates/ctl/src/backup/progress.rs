//! How far it is, for who waits at a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use skein_wire::internal::BackupPart;
use skein_wire::internal::backup_part::Part;

use crate::show;

/// Often enough to be seen moving.
const EVERY: Duration = Duration::from_millis(200);

/// Counts the messages and bytes of a backup that pass.
#[derive(Debug)]
pub struct Progress {
    done: &'static str,
    of: Option<u64>,
    messages: u64,
    bytes: u64,
    /// When it was last shown; none if standard error is no terminal.
    shown: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// `done` is what was done with those that are counted, of so many if that is known.
    pub fn new(done: &'static str, of: Option<u64>) -> Self {
        let is_watched = std::io::stderr().is_terminal();
        Self {
            done,
            of,
            messages: 0,
            bytes: 0,
            shown: is_watched.then(Instant::now),
            is_shown: false,
        }
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    pub fn note(&mut self, part: &BackupPart) {
        match &part.part {
            Some(Part::Message(_)) => self.messages += 1,
            Some(Part::Body(body)) => self.bytes += body.data.len() as u64,
            _ => {}
        }
        if self.shown.is_some_and(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            self.is_shown = true;
            // A terminal that cannot be written to is no reason to stop.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    /// The line is taken away again: what follows says how it ended.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self) -> String {
        let of = self.of.map_or_else(String::new, |of| format!(" of {of}"));
        format!(
            "{}{of} messages and {} of bodies {}",
            self.messages,
            show::bytes(self.bytes),
            self.done
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_wire::internal::{BackupBody, BackupMessage};

    #[test]
    fn messages_and_bytes_are_counted() {
        let mut progress = Progress::new("sent", Some(7));
        for part in [
            Part::Body(BackupBody {
                data: vec![0; 2048].into(),
                ..BackupBody::default()
            }),
            Part::Message(BackupMessage::default()),
        ] {
            progress.note(&BackupPart { part: Some(part) });
        }
        assert_eq!(
            progress.line(),
            "1 of 7 messages and 2.0 KiB of bodies sent"
        );
        assert_eq!(progress.messages(), 1);
    }
}
