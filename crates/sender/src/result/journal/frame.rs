//! Records in a file: the length of each, its crc32c, its bytes. Pure.

const HEADER_BYTES: usize = 8;

/// Adds a record to `out`.
pub fn put(out: &mut Vec<u8>, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("a record is far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(record).to_be_bytes());
    out.extend_from_slice(record);
}

/// The records up to the first that is not whole. A process that is killed leaves at most one of those, at the end.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = number(bytes)?;
        let (crc, rest) = number(rest)?;
        let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if crc32c::crc32c(record) != crc {
            return None;
        }
        bytes = rest;
        Some(record)
    })
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// What a record of this many bytes takes.
pub fn size(record: usize) -> usize {
    HEADER_BYTES + record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_whole_is_read_wherever_the_file_ends() {
        let written: [&[u8]; 3] = [b"first", b"", b"the third"];
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for record in written {
            put(&mut bytes, record);
            ends.push(bytes.len());
        }
        assert_eq!(ends[0], size(5));
        for length in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            let read: Vec<_> = records(&bytes[..length]).collect();
            assert_eq!(read, written[..whole], "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_file() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"first");
        let second = bytes.len();
        put(&mut bytes, b"second");
        for place in second..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            assert_eq!(records(&flipped).collect::<Vec<_>>(), [b"first"]);
        }
    }
}
