//! What a program answers (RFC 9112), read with bounds. Pure.

/// A head that is longer is none of a program.
const HEAD_BYTES_MAX: usize = 32 << 10;
const FIELDS_MAX: usize = 100;
/// What is read of a body: as much as tells people what is wrong.
const TEXT_BYTES_MAX: u64 = 4 << 10;
/// Interim responses (1xx) before the answer.
const INTERIM_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The status line's words, and the beginning of the body in one line.
    pub text: String,
    /// Another request may follow on the connection.
    pub is_reusable: bool,
}

/// No answer of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    #[error("the answer is not HTTP/1.1")]
    Malformed,
    #[error("the head of the answer is too long")]
    TooLong,
}

/// Takes octets until the answer is known.
#[derive(Debug, Default)]
pub struct ResponseReader {
    octets: Vec<u8>,
    interim: usize,
}

impl ResponseReader {
    /// Takes what came next; nothing, at the end of the stream.
    ///
    /// # Errors
    /// It is no answer.
    pub fn push(&mut self, octets: &[u8]) -> Result<Option<Response>, BadResponse> {
        self.octets.extend_from_slice(octets);
        let is_end = octets.is_empty();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(&self.octets);
            let parsed = parsed.map_err(|_| BadResponse::Malformed)?;
            let httparse::Status::Complete(head_bytes) = parsed else {
                return match self.octets.len() > HEAD_BYTES_MAX {
                    true => Err(BadResponse::TooLong),
                    false => Ok(None),
                };
            };
            let status = head.code.unwrap_or_default();
            if (100..200).contains(&status) && status != 101 {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(BadResponse::Malformed);
                }
                self.octets.drain(..head_bytes);
                continue;
            }
            let framing = Framing::of(&head);
            let body = self.octets.get(head_bytes..).unwrap_or_default();
            let wanted = match framing.length {
                Some(length) => length.min(TEXT_BYTES_MAX),
                None => 0,
            };
            let has = u64::try_from(body.len()).unwrap_or(u64::MAX);
            if has < wanted && !is_end {
                return Ok(None);
            }
            let is_whole = framing.length.is_some_and(|length| length == has);
            let reason = head.reason.unwrap_or_default();
            return Ok(Some(Response {
                status,
                text: text(status, reason, body),
                is_reusable: is_whole && framing.keeps_alive,
            }));
        }
    }
}

struct Framing {
    /// Of the body; none: it is not known before its end.
    length: Option<u64>,
    keeps_alive: bool,
}

impl Framing {
    fn of(head: &httparse::Response<'_, '_>) -> Self {
        let mut framing = Self {
            length: None,
            keeps_alive: head.version == Some(1),
        };
        let mut is_chunked = false;
        for field in head.headers.iter() {
            let value = String::from_utf8_lossy(field.value)
                .trim()
                .to_ascii_lowercase();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => framing.length = value.parse().ok(),
                "transfer-encoding" => is_chunked = true,
                "connection" if value.contains("close") => framing.keeps_alive = false,
                _ => {}
            }
        }
        if is_chunked {
            framing.length = None;
        }
        if matches!(head.code, Some(204 | 304)) {
            framing.length = Some(0);
        }
        framing
    }
}

/// One line that can stand in a reply.
fn text(status: u16, reason: &str, body: &[u8]) -> String {
    let body = &body[..body.len().min(200)];
    let body = String::from_utf8_lossy(body);
    let mut line = format!("HTTP {status} {reason} {body}");
    line = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The answer to these octets in pieces of this size, and the end of the stream after them.
    fn read(octets: &str, piece: usize) -> Result<Option<Response>, BadResponse> {
        let mut reader = ResponseReader::default();
        for piece in octets.as_bytes().chunks(piece) {
            if let Some(response) = reader.push(piece)? {
                return Ok(Some(response));
            }
        }
        reader.push(b"")
    }

    #[test]
    fn answers_are_read_in_any_pieces() {
        for (octets, status, text, is_reusable) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                200,
                "HTTP 200 OK ok",
                true,
            ),
            (
                "HTTP/1.1 204 No Content\r\n\r\n",
                204,
                "HTTP 204 No Content",
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
                202,
                "HTTP 202 Accepted",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
                200,
                "HTTP 200 OK",
                false,
            ),
            (
                "HTTP/1.1 410 Gone\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                410,
                "HTTP 410 Gone",
                false,
            ),
            (
                "HTTP/1.1 500 \r\nContent-Length: 8\r\n\r\na\r\nb\x07c\r\n",
                500,
                "HTTP 500 a b c",
                true,
            ),
        ] {
            for piece in 1..40 {
                let response = read(octets, piece).unwrap().unwrap();
                assert_eq!(
                    (response.status, response.is_reusable),
                    (status, is_reusable),
                    "{octets}"
                );
                assert_eq!(response.text, text, "{octets}");
            }
        }
        let chunked = read(
            "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            99,
        );
        let chunked = chunked.unwrap().unwrap();
        assert_eq!((chunked.status, chunked.is_reusable), (503, false));
        // A body that is longer than what is read of it.
        let long = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}",
            "x".repeat(5000)
        );
        let long = read(&long, 512).unwrap().unwrap();
        assert!(!long.is_reusable && long.text.len() < 300);
    }

    #[test]
    fn what_is_no_answer_is_told() {
        assert_eq!(
            read("220 smtp.test ESMTP\r\n", 5),
            Err(BadResponse::Malformed)
        );
        assert_eq!(read("HTTP/1.1 200 OK\r\nA: b\r\n", 5), Ok(None));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(read(&endless, 1000), Err(BadResponse::TooLong));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_MAX + 1);
        assert_eq!(read(&interim, 1000), Err(BadResponse::Malformed));
    }
}
