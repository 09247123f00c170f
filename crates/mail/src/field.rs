//! Fields of a header by their name: what they say, and taken out.

/// Takes all fields of this name out of a message whose fields end at `fields_end`, as
/// [`crate::header::HeaderSummary`] tells. Returns their values, unfolded and without blanks at either end; octets that
/// are not UTF-8 are replaced.
pub fn take_fields(message: &mut Vec<u8>, fields_end: usize, name: &str) -> Vec<String> {
    let mut kept = Vec::with_capacity(message.len());
    let end = fields_end.min(message.len());
    let values = scan(&message[..end], name, |line| kept.extend_from_slice(line));
    if !values.is_empty() {
        kept.extend_from_slice(&message[end..]);
        *message = kept;
    }
    values
}

/// Takes those fields of this name out of a message whose fields end at `fields_end` whose values are such. Returns how many they
/// were.
pub fn take_fields_if(
    message: &mut Vec<u8>,
    fields_end: usize,
    name: &str,
    is_such: impl Fn(&str) -> bool,
) -> usize {
    let end = fields_end.min(message.len());
    let values = field_values(&message[..end], name);
    let such: Vec<bool> = values.iter().map(|value| is_such(value)).collect();
    let count = such.iter().filter(|such| **such).count();
    if count == 0 {
        return 0;
    }
    let mut kept = Vec::with_capacity(message.len());
    let (mut next, mut is_taken) = (0, false);
    for line in message[..end].split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            is_taken = value_of(line, name).is_some() && such.get(next) == Some(&true);
            next += usize::from(value_of(line, name).is_some());
        }
        if !is_taken {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(&message[end..]);
    *message = kept;
    count
}

/// The values of all fields of this name, as [`take_fields`] returns them. `header`: the fields alone.
pub fn field_values(header: &[u8], name: &str) -> Vec<String> {
    scan(header, name, |_| {})
}

fn scan(header: &[u8], name: &str, mut other_line: impl FnMut(&[u8])) -> Vec<String> {
    let mut values = Vec::new();
    let mut is_it = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let value = value_of(line, name);
            is_it = value.is_some();
            values.extend(value);
        } else if let Some(value) = values.last_mut().filter(|_| is_it) {
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str(&text(line));
        }
        if !is_it {
            other_line(line);
        }
    }
    values
}

/// Blanks may stand before the colon (RFC 5322 4.5.8).
fn value_of(line: &[u8], name: &str) -> Option<String> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let is_it = line[..colon]
        .trim_ascii_end()
        .eq_ignore_ascii_case(name.as_bytes());
    is_it.then(|| text(&line[colon + 1..]))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{HeaderScan, PRIORITY_FIELD};

    #[test]
    fn fields_are_taken_and_the_rest_stays() {
        for (message, left, values) in [
            (
                "A: 1\r\nB: 2\r\n\r\nbody",
                "A: 1\r\nB: 2\r\n\r\nbody",
                &[][..],
            ),
            (
                "A: 1\r\nX-Skein-Priority: bulk\r\nB: 2\r\n\r\nbody",
                "A: 1\r\nB: 2\r\n\r\nbody",
                &["bulk"],
            ),
            (
                "x-skein-priority :\r\n\tbulk\r\n x\r\nB: 2\r\n 3\r\n\r\n",
                "B: 2\r\n 3\r\n\r\n",
                &["bulk x"],
            ),
            (
                "X-Skein-Priority: a\r\nB: 2\r\nX-SKEIN-PRIORITY: b\r\n\r\nX-Skein-Priority: c\r\n",
                "B: 2\r\n\r\nX-Skein-Priority: c\r\n",
                &["a", "b"],
            ),
            (
                "X-Skein-Priority-More: a\r\n\r\n",
                "X-Skein-Priority-More: a\r\n\r\n",
                &[],
            ),
            ("X-Skein-Priority: bulk\r\n", "", &["bulk"]),
            ("X-Skein-Priority: bulk\r\nno field", "no field", &["bulk"]),
        ] {
            let mut scan = HeaderScan::new();
            scan.push(message.as_bytes());
            scan.finish();
            let summary = scan.summary();
            assert_eq!(summary.priority_count as usize, values.len(), "{message:?}");
            let mut bytes = message.as_bytes().to_vec();
            let taken = take_fields(&mut bytes, summary.fields_end, PRIORITY_FIELD);
            assert_eq!(String::from_utf8_lossy(&bytes), left, "{message:?}");
            assert_eq!(taken, values, "{message:?}");
        }
    }
}
