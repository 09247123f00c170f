//! The little of SMTP's text that the sink needs.

use super::SinkConfig;

/// The address in `MAIL FROM:<a> ...` or `RCPT TO:<b> ...`, without source route; `None` if malformed.
pub fn path_address(line: &str) -> Option<&str> {
    let (_, after) = line.split_once(':')?;
    let inside = after.trim_start().strip_prefix('<')?;
    let end = closing(inside)?;
    let path = &inside[..end];
    Some(match path.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or(path, |(_, address)| address),
        None => path,
    })
}

/// The parameters after the path, as written.
pub(super) fn parameters(line: &str) -> Vec<&str> {
    let Some((_, after)) = line.split_once(':') else {
        return Vec::new();
    };
    let after = after.trim_start();
    let Some(end) = after.strip_prefix('<').and_then(closing) else {
        return Vec::new();
    };
    after[end + 2..].split_ascii_whitespace().collect()
}

/// The index of the `>` that ends a path, skipping quoted strings.
fn closing(inside: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// The answer to EHLO, without the last CRLF.
pub(super) fn greeting(config: &SinkConfig, offers_tls: bool, under_tls: bool) -> String {
    let extensions = &config.extensions;
    let size = extensions.size.map(|size| format!("SIZE {size}"));
    let auth = format!("AUTH {}", config.mechanisms);
    let lines = [
        (true, config.hostname.as_str()),
        (extensions.pipelining, "PIPELINING"),
        (extensions.eight_bit_mime, "8BITMIME"),
        (extensions.smtp_utf8, "SMTPUTF8"),
        (extensions.chunking, "CHUNKING"),
        (extensions.dsn, "DSN"),
        (offers_tls, "STARTTLS"),
        (extensions.require_tls && under_tls, "REQUIRETLS"),
        (config.login.is_some(), auth.as_str()),
        (size.is_some(), size.as_deref().unwrap_or_default()),
        (true, "ENHANCEDSTATUSCODES"),
    ];
    let lines: Vec<&str> = lines
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, text)| *text)
        .collect();
    let last = lines.len() - 1;
    let mark = |(index, text): (usize, &&str)| match index == last {
        true => format!("250 {text}"),
        false => format!("250-{text}\r\n"),
    };
    lines.iter().enumerate().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_parameters() {
        let rows: [(&str, Option<&str>, &[&str]); 7] = [
            (
                "MAIL FROM:<a@b.test> SIZE=1 BODY=8BITMIME",
                Some("a@b.test"),
                &["SIZE=1", "BODY=8BITMIME"],
            ),
            ("MAIL FROM:<>", Some(""), &[]),
            ("rcpt to: <a@b.test>", Some("a@b.test"), &[]),
            ("RCPT TO:<@r.test,@s.test:a@b.test>", Some("a@b.test"), &[]),
            (
                "RCPT TO:<\"x>y\"@b.test> NOTIFY=NEVER",
                Some("\"x>y\"@b.test"),
                &["NOTIFY=NEVER"],
            ),
            ("RCPT TO:a@b.test", None, &[]),
            ("RCPT TO", None, &[]),
        ];
        for (line, address, params) in rows {
            assert_eq!(path_address(line), address, "{line}");
            assert_eq!(parameters(line), params, "{line}");
        }
    }
}
