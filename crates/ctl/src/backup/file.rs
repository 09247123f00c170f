//! Where a backup is written to and read from: a file that only its owner may read, or a stream.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use skein_wire::backup_file::{FileError, FileReader};
use skein_wire::internal::BackupPart;

const BUFFER: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    /// The standard output, or input.
    Stream,
}

impl Location {
    pub fn of(path: PathBuf) -> Self {
        match path == Path::new("-") {
            true => Self::Stream,
            false => Self::File(path),
        }
    }

    /// Part of a backup is of no use.
    pub fn remove_partial(&self) {
        if let Self::File(path) = self {
            let _ = fs::remove_file(partial(path));
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stream => f.write_str("the stream"),
        }
    }
}

/// Under its name only when it is whole.
fn partial(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.partial", path.display()))
}

/// A backup that is being written.
#[derive(Debug)]
pub enum Output {
    File(BufWriter<File>),
    Stream(BufWriter<io::Stdout>),
}

impl Output {
    /// # Errors
    /// There is such a file, and it is not said that it is to be replaced; or the stream is a terminal.
    pub fn open(location: &Location, force: bool) -> anyhow::Result<Self> {
        let Location::File(path) = location else {
            if io::stdout().is_terminal() {
                bail!(
                    "a backup is no text for a terminal: send it on, as in `skeinctl backup create - | ssh ...`"
                );
            }
            return Ok(Self::Stream(BufWriter::with_capacity(BUFFER, io::stdout())));
        };
        refuse_to_replace(path, force)?;
        let partial = partial(path);
        // One that was cut short may be readable for all, or a link to another file.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", partial.display()));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let opened = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial);
        let opened = opened.with_context(|| format!("creating {}", partial.display()))?;
        Ok(Self::File(BufWriter::with_capacity(BUFFER, opened)))
    }

    /// The backup is whole: it is kept, under its name.
    ///
    /// # Errors
    /// The disk refuses, or another process made such a file meanwhile.
    pub fn finish(self, location: &Location, force: bool) -> anyhow::Result<()> {
        let (Self::File(file), Location::File(path)) = (self, location) else {
            return Ok(());
        };
        let partial = partial(path);
        let writing = || format!("writing {}", partial.display());
        file.get_ref().sync_all().with_context(writing)?;
        refuse_to_replace(path, force)?;
        fs::rename(&partial, path).with_context(|| format!("naming {}", path.display()))?;
        // The name is on the disk when its folder is.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .with_context(writing)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

fn refuse_to_replace(path: &Path, force: bool) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.is_file() {
        bail!(
            "{} is no file; - writes to the standard output",
            path.display()
        );
    }
    if !force {
        bail!("{} is there already; --force replaces it", path.display());
    }
    Ok(())
}

/// The parts of a backup; whatever is wrong with it is said with its name.
pub struct Parts {
    location: Location,
    parts: FileReader<Box<dyn Read + Send>>,
}

impl Parts {
    /// # Errors
    /// It cannot be opened, is no backup, or would be typed at a terminal.
    pub fn open(location: &Location) -> anyhow::Result<Self> {
        let input: Box<dyn Read + Send> = match location {
            Location::File(path) => {
                let file = File::open(path).with_context(|| format!("opening {location}"))?;
                Box::new(BufReader::with_capacity(BUFFER, file))
            }
            Location::Stream => {
                if io::stdin().is_terminal() {
                    bail!(
                        "- reads a backup from the standard input, which is a terminal; send it in, as in `skeinctl backup restore - < FILE`"
                    );
                }
                Box::new(BufReader::with_capacity(BUFFER, io::stdin()))
            }
        };
        let parts = FileReader::new(input);
        Ok(Self {
            parts: parts.map_err(|error| named(location, error))?,
            location: location.clone(),
        })
    }
}

impl Iterator for Parts {
    type Item = anyhow::Result<BackupPart>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.parts.next()?;
        Some(part.map_err(|error| named(&self.location, error)))
    }
}

fn named(location: &Location, error: FileError) -> anyhow::Error {
    let is_cut = matches!(error, FileError::Truncated { .. });
    let is_partial = matches!(location, Location::File(path) if path.extension().is_some_and(|e| e == "partial"));
    let what = match (is_cut, is_partial) {
        (true, true) => {
            "; a .partial file is a backup that is still being written, or was cut short: use one that has its name"
        }
        (true, false) => {
            "; the copy or the transfer of it was cut short: copy it again, or take an older one"
        }
        (false, _) => "",
    };
    anyhow::Error::new(error).context(format!("{location}{what}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(error: anyhow::Error) -> String {
        format!("{error:#}")
    }

    #[test]
    fn a_file_is_its_owners_and_has_its_name_when_it_is_whole() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("b");
        let location = Location::of(path.clone());
        fs::write(partial(&path), "cut short, for anybody to read").unwrap();
        let mut output = Output::open(&location, false).unwrap();
        output.write_all(b"new").unwrap();
        output.flush().unwrap();
        assert!(!path.exists());
        output.finish(&location, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!partial(&path).exists());
    }

    #[test]
    fn what_is_there_is_replaced_only_when_that_is_said() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("b");
        let location = Location::of(path.clone());
        fs::write(&path, "old").unwrap();
        let refused = text(Output::open(&location, false).unwrap_err());
        assert!(refused.contains("--force"), "{refused}");
        let output = Output::open(&location, true).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            b"old",
            "until the new one is whole"
        );
        output.finish(&location, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        // One that another process made meanwhile.
        let other = Location::of(folder.path().join("c"));
        let output = Output::open(&other, false).unwrap();
        fs::write(folder.path().join("c"), "theirs").unwrap();
        assert!(output.finish(&other, false).is_err());
        let folder_itself = Location::of(folder.path().to_owned());
        let refused = text(Output::open(&folder_itself, true).unwrap_err());
        assert!(refused.contains("is no file"), "{refused}");
    }

    #[test]
    fn a_link_in_place_of_the_partial_file_is_not_followed() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, victim) = (folder.path().join("b"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, partial(&path)).unwrap();
        let mut output = Output::open(&Location::of(path), false).unwrap();
        output.write_all(b"new").unwrap();
        output.flush().unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_was_cut_is_named_with_what_to_do() {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, expected) in [("b", "copy it again"), ("b.partial", "still being written")] {
            let path = folder.path().join(name);
            // Magic, and the beginning of a frame.
            fs::write(&path, b"SKBACK01\0\0").unwrap();
            let mut parts = Parts::open(&Location::of(path)).unwrap();
            let told = text(parts.next().unwrap().unwrap_err());
            assert!(
                told.contains(name) && told.contains("not whole") && told.contains(expected),
                "{told}"
            );
        }
        assert!(Parts::open(&Location::of(folder.path().join("none"))).is_err());
    }
}
