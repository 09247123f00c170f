//! A backup as a file: its parts in frames, each with a checksum that also covers all frames before it.
//!
//! So a frame that was changed, lost, doubled or moved is noticed, and so is an end that is missing. A frame is its
//! length and the crc32c, both four bytes and big-endian, and an encoded [`BackupPart`].

use std::io::{self, Read, Write};

use prost::Message;

use crate::internal::BackupPart;
use crate::internal::backup_part::Part;

const MAGIC: &[u8; 8] = b"SKBACK01";
/// A message with its history is far smaller; a longer frame means damage.
const FRAME_BYTES_MAX: u32 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("this is no backup of Skein, or one of another version")]
    NotABackup,
    #[error("the backup is damaged: frame {frame} does not match its checksum")]
    Damaged { frame: u64 },
    #[error("the backup is not whole: it ends after frame {frame}")]
    Truncated { frame: u64 },
    #[error("the backup is damaged: there is something behind its end")]
    Trailing,
    #[error("reading the backup")]
    Read(#[source] io::Error),
}

#[derive(Debug)]
pub struct FileWriter<W> {
    file: W,
    crc: u32,
}

impl<W: Write> FileWriter<W> {
    /// # Errors
    /// The file cannot be written.
    pub fn new(mut file: W) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        Ok(Self { file, crc: 0 })
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, part: &BackupPart) -> io::Result<()> {
        let payload = part.encode_to_vec();
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.crc = next_crc(self.crc, length, &payload);
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(&self.crc.to_be_bytes())?;
        self.file.write_all(&payload)
    }

    pub fn into_inner(self) -> W {
        self.file
    }
}

fn next_crc(before: u32, length: u32, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(before, &length.to_be_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// The parts of a file, the last of which is its end; whatever is wrong with the file comes as an error in its place.
#[derive(Debug)]
pub struct FileReader<R> {
    file: R,
    crc: u32,
    frames: u64,
    ended: bool,
}

impl<R: Read> FileReader<R> {
    /// # Errors
    /// The file does not begin as a backup does.
    pub fn new(mut file: R) -> Result<Self, FileError> {
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(FileError::Read(error));
            }
            _ => return Err(FileError::NotABackup),
        }
        Ok(Self {
            file,
            crc: 0,
            frames: 0,
            ended: false,
        })
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        self.file
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => FileError::Truncated { frame: self.frames },
                _ => FileError::Read(error),
            })
    }

    fn read(&mut self) -> Result<BackupPart, FileError> {
        let damaged = FileError::Damaged {
            frame: self.frames + 1,
        };
        let (mut length, mut crc) = ([0; 4], [0; 4]);
        self.exact(&mut length)?;
        self.exact(&mut crc)?;
        let length = u32::from_be_bytes(length);
        if length > FRAME_BYTES_MAX {
            return Err(damaged);
        }
        let mut payload = vec![0; length as usize];
        self.exact(&mut payload)?;
        self.crc = next_crc(self.crc, length, &payload);
        if self.crc != u32::from_be_bytes(crc) {
            return Err(damaged);
        }
        self.frames += 1;
        BackupPart::decode(&payload[..]).map_err(|_| damaged)
    }

    /// Nothing may follow the end.
    fn check_end(&mut self) -> Option<Result<BackupPart, FileError>> {
        match self.file.read(&mut [0]) {
            Ok(0) => None,
            Ok(_) => Some(Err(FileError::Trailing)),
            Err(error) => Some(Err(FileError::Read(error))),
        }
    }
}

impl<R: Read> Iterator for FileReader<R> {
    type Item = Result<BackupPart, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return self.check_end();
        }
        let part = self.read();
        self.ended = matches!(
            part,
            Ok(BackupPart {
                part: Some(Part::End(_))
            })
        );
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::internal::{BackupBody, BackupEnd, BackupHead};

    fn file() -> Vec<u8> {
        let body = |n: u8| {
            Part::Body(BackupBody {
                message_id: vec![n; 16].into(),
                data: vec![n; 100].into(),
            })
        };
        let parts = [
            Part::Head(BackupHead::default()),
            body(1),
            body(2),
            Part::End(BackupEnd::default()),
        ];
        let mut writer = FileWriter::new(Vec::new()).unwrap();
        for part in parts {
            writer.write(&BackupPart { part: Some(part) }).unwrap();
        }
        writer.into_inner()
    }

    fn check(bytes: &[u8]) -> Result<usize, FileError> {
        let mut count = 0;
        for part in FileReader::new(bytes)? {
            part?;
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(check(&file()).unwrap(), 4);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let whole = file();
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                assert!(check(&bytes).is_err(), "bit {bit} of byte {place}");
            }
            assert!(check(&whole[..place]).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn frames_cannot_be_lost_doubled_or_added() {
        let whole = file();
        // Head: 8 + 8 bytes. Bodies are of the same length.
        let body = 8 + (2 + 16) + (2 + 100) + 2;
        let (first, second) = (16, 16 + body);
        let lost = [&whole[..first], &whole[second..]].concat();
        let doubled = [&whole[..second], &whole[first..]].concat();
        let longer = [&whole[..], b"x"].concat();
        for bytes in [lost, doubled, longer] {
            assert!(check(&bytes).is_err());
        }
    }
}
