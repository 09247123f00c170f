//! As much of MIME's structure as is needed to write another one of the same content (RFC 2045, RFC 2046).

/// A message or a part of one.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// With their line ends, without the empty line.
    pub fields: &'a [u8],
    /// The empty line is there.
    pub has_blank: bool,
    pub body: &'a [u8],
}

/// One field with its continuation lines and line ends.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub raw: &'a [u8],
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl Field<'_> {
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// A media type with what of its parameters is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// In lower case.
    pub kind: String,
    pub subtype: String,
    pub boundary: Option<String>,
    pub charset: Option<String>,
}

impl MediaType {
    #[must_use]
    pub fn new(kind: &str, subtype: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            subtype: subtype.to_owned(),
            boundary: None,
            charset: None,
        }
    }
}

/// The lines of a text with their CRLF; the last one may have none.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, tail) = rest.split_at(end);
        rest = tail;
        Some(line)
    })
}

fn is_blank(line: &[u8]) -> bool {
    line == b"\r\n"
}

fn is_continuation(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// The name and where the value begins.
fn split_field(line: &[u8]) -> Option<(&[u8], usize)> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name, colon + 1))
}

impl<'a> Entity<'a> {
    /// None if a line of the header is no field: readers differ on where the body begins then.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut end = 0;
        for line in lines(bytes) {
            if is_blank(line) {
                return Some(Self {
                    fields: &bytes[..end],
                    has_blank: true,
                    body: &bytes[end + 2..],
                });
            }
            let is_field = match is_continuation(line) {
                true => end > 0,
                false => split_field(line).is_some(),
            };
            if !is_field {
                return None;
            }
            end += line.len();
        }
        Some(Self {
            fields: bytes,
            has_blank: false,
            body: &[],
        })
    }

    #[must_use]
    pub fn fields(&self) -> Vec<Field<'a>> {
        let mut found: Vec<Field<'a>> = Vec::new();
        let (mut start, mut at) = (0usize, 0usize);
        for line in lines(self.fields) {
            if !is_continuation(line) {
                start = at;
                found.extend(self.field(start, at + line.len()));
            } else if let Some(last) = found.last_mut() {
                *last = self.field(start, at + line.len()).unwrap_or(*last);
            }
            at += line.len();
        }
        found
    }

    fn field(&self, start: usize, end: usize) -> Option<Field<'a>> {
        let raw = &self.fields[start..end];
        let (name, value) = split_field(raw)?;
        Some(Field {
            raw,
            name,
            value: &raw[value..],
        })
    }
}

/// A body that boundary lines divide.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Up to the first boundary line.
    pub preamble: &'a [u8],
    /// The boundary line before each part, from its hyphens to its CRLF, and the part without the CRLF that belongs to
    /// the next boundary line.
    pub parts: Vec<(&'a [u8], &'a [u8])>,
    /// From the CRLF before the closing boundary line on; empty if nothing closes the last part.
    pub rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// None if there is no boundary line at all.
    #[must_use]
    pub fn split(body: &'a [u8], boundary: &str) -> Option<Self> {
        let mut preamble = None;
        let mut parts: Vec<(&[u8], &[u8])> = Vec::new();
        // The boundary line that opens the present part, and where the part begins.
        let mut open: Option<(&[u8], usize)> = None;
        let mut at = 0usize;
        for line in lines(body) {
            if let Some(closes) = delimiter(line, boundary) {
                // The part before ends where this line's own CRLF begins; one without any text has none to give up.
                let end = |start: usize| at.saturating_sub(2).max(start);
                match open.take() {
                    Some((before, start)) => {
                        parts.push((before, &body[start..end(start)]));
                        if closes {
                            return Some(Self {
                                preamble: preamble.unwrap_or_default(),
                                parts,
                                rest: &body[end(start)..],
                            });
                        }
                    }
                    None if closes => return None,
                    None => preamble = Some(&body[..at]),
                }
                open = Some((line, at + line.len()));
            }
            at += line.len();
        }
        let (before, start) = open?;
        parts.push((before, &body[start..]));
        Some(Self {
            preamble: preamble.unwrap_or_default(),
            parts,
            rest: &[],
        })
    }
}

/// Whether the line divides parts, and whether it is the one after the last.
fn delimiter(line: &[u8], boundary: &str) -> Option<bool> {
    let after = line
        .strip_prefix(b"--")?
        .strip_prefix(boundary.as_bytes())?;
    let (closes, blanks) = match after.strip_prefix(b"--") {
        Some(blanks) => (true, blanks),
        None => (false, after),
    };
    blanks.iter().all(u8::is_ascii_whitespace).then_some(closes)
}

/// Reads the value of Content-Type (RFC 2045 section 5.1). None if it is malformed.
#[must_use]
pub fn media_type(value: &[u8]) -> Option<MediaType> {
    let mut words = Words(value);
    let kind = words.token()?;
    words.symbol(b'/')?;
    let subtype = words.token()?;
    let mut found = MediaType::new(&kind.to_ascii_lowercase(), &subtype.to_ascii_lowercase());
    while words.symbol(b';').is_some() {
        let Some(name) = words.token() else { break };
        words.symbol(b'=')?;
        let value = words.value()?;
        if name.eq_ignore_ascii_case("boundary") {
            let is_first = found.boundary.replace(value).is_none();
            is_first.then_some(())?;
        } else if name.eq_ignore_ascii_case("charset") {
            found.charset.get_or_insert(value);
        }
    }
    Some(found)
}

/// The value of Content-Transfer-Encoding in lower case, empty if it is malformed.
#[must_use]
pub fn transfer_encoding(value: &[u8]) -> String {
    let token = Words(value).token();
    token.unwrap_or_default().to_ascii_lowercase()
}

/// The value of Content-Disposition in lower case without its parameters (RFC 2183), empty if it is malformed.
#[must_use]
pub fn disposition(value: &[u8]) -> String {
    let token = Words(value).token();
    token.unwrap_or_default().to_ascii_lowercase()
}

/// A structured value, word by word; blanks and comments between them are passed over.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn skip_blanks(&mut self) {
        let mut depth = 0usize;
        let mut is_escaped = false;
        let mut at = 0;
        for byte in self.0 {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if depth > 0 => is_escaped = true,
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                _ if depth > 0 || byte.is_ascii_whitespace() => {}
                _ => break,
            }
            at += 1;
        }
        self.0 = &self.0[at..];
    }

    fn symbol(&mut self, wanted: u8) -> Option<()> {
        self.skip_blanks();
        self.0 = self.0.strip_prefix(&[wanted])?;
        Some(())
    }

    fn token(&mut self) -> Option<String> {
        self.skip_blanks();
        let is_part = |byte: &u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(byte);
        self.take(is_part)
    }

    /// A token or a quoted string. Many write boundaries with signs that should have been quoted.
    fn value(&mut self) -> Option<String> {
        self.skip_blanks();
        if self.0.first() != Some(&b'"') {
            return self.take(|byte| byte.is_ascii_graphic() && !b"();\"".contains(byte));
        }
        let mut text = Vec::new();
        let mut is_escaped = false;
        for (at, byte) in self.0.iter().enumerate().skip(1) {
            match byte {
                b'\r' | b'\n' => {}
                _ if is_escaped => {
                    is_escaped = false;
                    text.push(*byte);
                }
                b'\\' => is_escaped = true,
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return String::from_utf8(text).ok();
                }
                _ => text.push(*byte),
            }
        }
        None
    }

    fn take(&mut self, is_part: impl Fn(&u8) -> bool) -> Option<String> {
        let end = self.0.iter().position(|byte| !is_part(byte));
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        let word = std::str::from_utf8(word).ok()?;
        (!word.is_empty()).then(|| word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_or_refused() {
        let with = |kind, subtype, boundary: &str| {
            Some(MediaType {
                boundary: Some(boundary.to_owned()),
                ..MediaType::new(kind, subtype)
            })
        };
        for (value, expected) in [
            (
                " Text/Plain; charset=utf-8; Charset=x\r\n",
                Some(MediaType {
                    charset: Some("utf-8".to_owned()),
                    ..MediaType::new("text", "plain")
                }),
            ),
            ("text/plain;", Some(MediaType::new("text", "plain"))),
            (
                "multipart/mixed;\r\n\tboundary=\"a \\\"b\"\r\n",
                with("multipart", "mixed", "a \"b"),
            ),
            (
                "multipart (x (y\\)) z) / mixed; boundary=----=_a/b",
                with("multipart", "mixed", "----=_a/b"),
            ),
            ("text", None),
            ("", None),
            ("multipart/mixed; boundary=a; boundary=b", None),
            ("multipart/mixed; boundary=\"a", None),
        ] {
            assert_eq!(media_type(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn parts_end_before_the_line_end_of_their_boundary() {
        let body = b"pre\r\n--b\r\nA: 1\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n\r\n--b--\r\npost\r\n";
        let parts = Parts::split(body, "b").expect("parts");
        assert_eq!(parts.preamble, b"pre\r\n");
        let expected: [(&[u8], &[u8]); 2] = [
            (b"--b\r\n", b"A: 1\r\n\r\none"),
            (b"--b  \r\n", b"\r\ntwo\r\n"),
        ];
        assert_eq!(parts.parts, expected);
        assert_eq!(parts.rest, b"\r\n--b--\r\npost\r\n");
        let open = Parts::split(b"--b\r\n--b\r\nx", "b").expect("parts");
        let expected: [(&[u8], &[u8]); 2] = [(b"--b\r\n", b""), (b"--b\r\n", b"x")];
        assert_eq!(
            (open.parts.as_slice(), open.rest),
            (&expected[..], &b""[..])
        );
        assert!(Parts::split(b"--bb\r\nno boundary\r\n", "b").is_none());
    }

    #[test]
    fn a_header_ends_at_the_empty_line() {
        let entity = Entity::parse(b"A: 1\r\n 2\r\nB :3\r\n\r\nbody").expect("an entity");
        assert_eq!(entity.body, b"body");
        let fields: Vec<_> = entity
            .fields()
            .iter()
            .map(|one| (one.name, one.raw))
            .collect();
        let expected: [(&[u8], &[u8]); 2] = [(b"A", b"A: 1\r\n 2\r\n"), (b"B", b"B :3\r\n")];
        assert_eq!(fields, expected);
        assert!(Entity::parse(b"no field\r\n\r\n").is_none());
        assert!(Entity::parse(b" folded\r\n\r\n").is_none());
    }
}
