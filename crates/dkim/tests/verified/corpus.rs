//! Messages that have broken signatures somewhere: each header with each body, and bodies of 10 MB.

pub struct Message {
    pub name: String,
    /// With the line end of the last field, without the empty line.
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

const LARGE_BYTES: usize = 10 << 20;

pub fn messages() -> Vec<Message> {
    let (headers, bodies) = (headers(), bodies());
    let mut messages = Vec::new();
    for (header_name, header) in &headers {
        for (body_name, body) in &bodies {
            messages.push(Message {
                name: format!("{header_name}, {body_name}"),
                header: header.clone(),
                body: body.clone(),
            });
        }
    }
    let line = "All work and no play makes Jack a dull boy. \t\r\n";
    for (name, body) in [
        ("10 MB of text", line.repeat(LARGE_BYTES / line.len())),
        ("10 MB of empty lines", "\r\n".repeat(LARGE_BYTES / 2)),
        (
            "10 MB of empty lines before text",
            "\r\n".repeat(LARGE_BYTES / 2) + "end",
        ),
        ("10 MB of blanks", " ".repeat(LARGE_BYTES)),
    ] {
        messages.push(Message {
            name: name.into(),
            header: headers[0].1.clone(),
            body: body.into_bytes(),
        });
    }
    messages
}

/// From, Date and Message-ID, which every header has, and these.
fn with(fields: &[u8]) -> Vec<u8> {
    let own = b"From: Jack <jack@example.com>\r\nDate: Mon, 2 Jun 2025 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n";
    [own, fields].concat()
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let references: String = (0..400)
        .map(|at| format!("\r\n <{at}.0123456789@example.com>"))
        .collect();
    let long = format!("Subject: {}\r\n", "x".repeat(980));
    let longer = format!("Subject: {}\r\n", "word ".repeat(1000));
    vec![
        ("plain", with(b"To: a@example.org\r\nSubject: hello\r\n")),
        ("bare text", with(b"")),
        ("folded", with(b"To: a@example.org,\r\n\tb@example.org,\r\n   c@example.org\r\nSubject:\r\n hello\r\n \t world \t\r\n")),
        ("twice", with(b"To: a@example.org\r\nSubject: 1\r\nTo: b@example.org\r\nReceived: x\r\nSubject: 2\r\nCc: c@example.org\r\nCc: d@example.org\r\nTo: e@example.org\r\n")),
        ("octets", with(b"Subject: caf\xe9 \xff\r\nTo: \"J\xfcrgen\" <a@example.org>\r\n")),
        ("UTF-8", with("Subject: Grüße, 你好 🦢\r\nTo: \"Jürgen\" <jürgen@example.org>\r\n".as_bytes())),
        ("long", with(long.as_bytes())),
        ("too long", with(longer.as_bytes())),
        ("references", with(format!("References:{references}\r\nIn-Reply-To: <1@example.com>\r\n").as_bytes())),
        ("empty values", with(b"Subject:\r\nTo: \r\nCc:\t \r\nReply-To:\r\n \r\n")),
        ("newsletter", with(b"To: a@example.org\r\nList-Id: <news.example.com>\r\nList-Unsubscribe: <https://example.com/u?a=b;c>,\r\n <mailto:u@example.com>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:example\r\nCFBL-Address: fbl@example.com; report=arf\r\nSender: s@example.com\r\n")),
        ("MIME", with(b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\nContent-Transfer-Encoding: 8bit\r\n")),
        ("other case", b"FROM: a@example.com\r\nDATE: Mon, 2 Jun 2025 10:00:00 +0000\r\nmessage-id: <1@example.com>\r\nsUBJECT:no blank\r\n".to_vec()),
        ("on its way", [b"Received: from a by b; Mon, 2 Jun 2025 10:00:00 +0000\r\nAuthentication-Results: b; spf=none\r\n".to_vec(), with(b"X-Other: x\r\nBcc: b@example.org\r\nReturn-Path: <x@example.com>\r\n")].concat()),
        ("blanks", with(b"Subject:  a \t b  \r\nTo:\t\ta@example.org\t\r\nReply-To: b@example.org   \r\n")),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let octets: Vec<u8> = (1..=255_u8)
        .filter(|octet| !b"\r\n".contains(octet))
        .collect();
    let multipart = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße \r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n";
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty", Vec::new()),
        ("an empty line", text("\r\n")),
        ("empty lines", text("\r\n\r\n\r\n")),
        ("a blank", text(" ")),
        ("blank lines", text(" \r\n\t\r\n  \t \r\n")),
        ("text", text("Hello,\r\nworld.\r\n")),
        ("no end", text("Hello,\r\nworld.")),
        ("blanks at its end", text("</html>\r\n    \r\n")),
        ("blanks without end", text("Hello \t")),
        ("empty lines at its end", text("Hello\r\n\r\n\r\n")),
        (
            "blanks and empty lines",
            text("Hello \r\n \r\n\r\n\t\t\r\n"),
        ),
        (
            "blanks in between",
            text("a  b \t c\r\n \r\n  d\t\r\n\r\ne  \r\n"),
        ),
        ("blanks first", text("\r\n \r\n  first\r\n")),
        ("dots", text(".\r\n..\r\n.a\r\n. \r\n")),
        ("998 octets", [vec![b'x'; 998], b"\r\n".to_vec()].concat()),
        (
            "a long line",
            [text(&"long ".repeat(4000)), b"\r\n".to_vec()].concat(),
        ),
        ("octets", [octets, b"\r\n".to_vec()].concat()),
        ("UTF-8", text("Grüße\u{a0}\r\n你好\u{2003} \r\n🦢\r\n")),
        ("multipart", text(multipart)),
        (
            "fields",
            text("From: somebody else\r\nDKIM-Signature: v=1; b=x\r\n\r\n"),
        ),
        ("signature", text("-- \r\nJack\r\n")),
    ]
}
