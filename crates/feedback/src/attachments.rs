//! What a report is packed in: a part of a message, as it is, by gzip or in a zip archive.

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use mail_parser::{MessageParser, PartType};
use thiserror::Error;

/// Octets of a message with a report. Those of the largest reporters have some hundred thousand.
pub const MESSAGE_BYTES_MAX: usize = 10 << 20;
/// Octets that all of a message unpacks to.
pub const UNPACKED_BYTES_MAX: usize = 10 << 20;
/// Parts of a message that are looked at, and files of an archive: a report has one.
const FILES_MAX: usize = 8;
/// Reports are repetitive and shrink to a hundredth at best; what shrinks more was made to burst. Small files may.
const RATIO_MAX: usize = 200;
const RATIO_FREE_BYTES: usize = 1 << 20;

/// Why there is no report in a message. The texts go on with "the report is not read: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoReport {
    #[error("there is none in the message")]
    None,
    #[error("it is longer than {MESSAGE_BYTES_MAX} octets, or has more rows than a report has")]
    TooLarge,
    #[error("it is packed in a way that no reporter uses")]
    Bomb,
    /// The start of what the parser says.
    #[error("it is malformed: {0}")]
    Malformed(String),
}

/// What the octets of a file begin with; names and media types are wrong often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Xml,
    Json,
}

impl Shape {
    fn of(content: &[u8]) -> Option<Self> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        match content.trim_ascii_start().first() {
            Some(b'<') => Some(Self::Xml),
            Some(b'{') => Some(Self::Json),
            _ => None,
        }
    }
}

/// The first file of this shape in a message that can be read. `read` is tried on each.
pub fn first_report<T>(
    message: &[u8],
    shape: Shape,
    read: impl Fn(&[u8]) -> Result<T, NoReport>,
) -> Result<T, NoReport> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(NoReport::TooLarge);
    }
    let message = MessageParser::new().parse(message).ok_or(NoReport::None)?;
    let mut why = NoReport::None;
    let mut left = UNPACKED_BYTES_MAX;
    let parts = message.parts.iter().filter_map(|part| match &part.body {
        PartType::Multipart(_) | PartType::Message(_) => None,
        _ => Some(part.contents()),
    });
    for part in parts.take(FILES_MAX) {
        match unpacked(part, &mut left) {
            Ok(files) => {
                let such = files.iter().filter(|file| Shape::of(file) == Some(shape));
                for file in such {
                    match read(file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file)) {
                        Ok(report) => return Ok(report),
                        Err(other) => why = other,
                    }
                }
            }
            Err(other) => why = other,
        }
    }
    Err(why)
}

/// The files of one part. `left`: octets that may still be unpacked.
fn unpacked(part: &[u8], left: &mut usize) -> Result<Vec<Vec<u8>>, NoReport> {
    let free = part
        .len()
        .saturating_mul(RATIO_MAX)
        .saturating_add(RATIO_FREE_BYTES);
    if part.starts_with(b"\x1f\x8b") {
        return Ok(vec![read_capped(MultiGzDecoder::new(part), free, left)?]);
    }
    if !part.starts_with(b"PK\x03\x04") {
        take(left, part.len())?;
        return Ok(vec![part.to_vec()]);
    }
    let malformed = |error: zip::result::ZipError| NoReport::Malformed(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(part)).map_err(malformed)?;
    if archive.len() > FILES_MAX {
        return Err(NoReport::Bomb);
    }
    let mut files = Vec::new();
    for number in 0..archive.len() {
        let file = archive.by_index(number).map_err(malformed)?;
        files.push(read_capped(file, free, left)?);
    }
    Ok(files)
}

fn take(left: &mut usize, bytes: usize) -> Result<(), NoReport> {
    *left = left.checked_sub(bytes).ok_or(NoReport::Bomb)?;
    Ok(())
}

fn read_capped(reader: impl Read, free: usize, left: &mut usize) -> Result<Vec<u8>, NoReport> {
    let cap = free.min(*left);
    let mut content = Vec::new();
    // One octet more tells that there is more.
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let result = reader.take(limit).read_to_end(&mut content);
    take(left, content.len())?;
    if content.len() > cap {
        return Err(NoReport::Bomb);
    }
    match result {
        Ok(_) => Ok(content),
        Err(error) => Err(NoReport::Malformed(error.to_string())),
    }
}
