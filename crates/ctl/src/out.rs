//! Printing to a reader that may go away.
//!
//! Sockets must report that the other side has closed, so a closed pipe is no signal in this program but an error of the
//! write. `skeinctl queue list | head` ends quietly all the same: these macros stand for those of the standard library
//! in the whole crate, and end the process as the signal would have.

use std::fmt;
use std::io::{self, Write};

/// As a shell tells of a process that a closed pipe has ended: 128 and SIGPIPE.
pub const CLOSED_PIPE: i32 = 141;

/// Whoever wrote what is printed, nothing of it moves the cursor of a terminal.
pub fn write(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let moves = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let text = text.replace(moves, "?");
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("skeinctl: standard output: {error}");
        }
        std::process::exit(CLOSED_PIPE);
    }
}

macro_rules! print {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::out::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}
