//! What tells this sender from another one that was given the same name.

use std::fs;
use std::path::Path;

use skein_model::meta::Process;

use crate::result::journal::Journal;

/// In the scratch folder, so that a process which follows another one there is taken for the same.
const FILE: &str = "process-id";

/// A sender without a scratch folder cannot be told from others.
pub fn of(scratch_dir: Option<&Path>, journal: &Journal) -> Process {
    let place = format!(
        "process {}, scratch folder {}",
        std::process::id(),
        scratch_dir.map_or("none".to_owned(), |dir| dir.display().to_string())
    );
    let number = match scratch_dir {
        Some(dir) if journal.is_kept() => kept_in(dir),
        // Another process has the folder, and is not this one.
        Some(_) => new(),
        None => 0,
    };
    Process { number, place }
}

fn new() -> u64 {
    rand::random::<u64>().max(1)
}

fn kept_in(dir: &Path) -> u64 {
    let path = dir.join(FILE);
    let known = fs::read_to_string(&path).ok();
    let known = known.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    if let Some(known) = known.filter(|known| *known != 0) {
        return known;
    }
    let number = new();
    if let Err(error) = fs::write(&path, format!("{number:016x}\n")) {
        tracing::warn!(path = %path.display(), %error, "a restart of this sender waits for the end of its lease");
    }
    number
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_process_is_the_one_before_it_in_its_folder_and_no_other() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let number = |dir: Option<&Path>, journal: &Journal| of(dir, journal).number;
        let (journal, _) = Journal::open(dir.path());
        let first = number(Some(dir.path()), &journal);
        assert_ne!(first, 0);
        // Beside it, and after it.
        let (beside, _) = Journal::open(dir.path());
        assert_ne!(number(Some(dir.path()), &beside), first);
        drop((journal, beside));
        let (after, _) = Journal::open(dir.path());
        assert_eq!(number(Some(dir.path()), &after), first);
        let (elsewhere, _) = Journal::open(other.path());
        assert_ne!(number(Some(other.path()), &elsewhere), first);
        assert_eq!(number(None, &Journal::none()), 0);
    }
}
