//! Which links are tracked, and where they lead.

use crate::entity;

/// Octets of a target. Browsers and proxies take some thousand in a URL, and the token is a third longer than its target.
pub const TARGET_BYTES_MAX: usize = 2000;

/// What templates leave behind when nobody fills them in. Such a link leads nowhere, and tracking must not hide that.
const LEFTOVERS: &[&str] = &[
    "{",
    "}",
    "%7b%7b",
    "%7d%7d",
    "*|",
    "|*",
    "[[",
    "]]",
    "%%",
    "%3c%",
    "%recipient",
    "%tag_",
];

/// Words in links that take people off lists. They must work without us, and scanners that follow links are no clicks there.
const UNSUBSCRIBE: &[&str] = &[
    "unsubscribe",
    "optout",
    "opt-out",
    "opt_out",
    "list-manage.com/profile",
];

/// What is known of the message beside the link.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The host that links lead through: what leads there already is left alone.
    pub host: &'a str,
    /// URLs that the message names in List-Unsubscribe.
    pub unsubscribe_urls: &'a [&'a str],
    /// Names and values that are appended where a name is missing.
    pub utm: &'a [(&'a str, &'a str)],
    /// The document is UTF-8, so that it is known what other letters of a URL are.
    pub is_utf8: bool,
}

impl Rules<'_> {
    /// Where a link leads by the value of its `href`, as it stands there. None: it is left alone.
    pub fn target(&self, href: &str) -> Option<String> {
        if !href.is_ascii() && !self.is_utf8 {
            return None;
        }
        let decoded = entity::decode(href)?;
        // As the URL standard has it: controls and blanks at both ends go, tabs and line ends everywhere.
        let trimmed = decoded.trim_matches(|c: char| c <= ' ');
        let url = normalized(trimmed)?;
        let is_left = !is_location(&url)
            || contains_any(&url, LEFTOVERS)
            || contains_any(&url, UNSUBSCRIBE)
            || self.unsubscribe_urls.contains(&url.as_str())
            || host(&url)?.eq_ignore_ascii_case(self.host);
        if is_left {
            return None;
        }
        let url = with_parameters(url, self.utm);
        (url.len() <= TARGET_BYTES_MAX).then_some(url)
    }
}

/// The URL in ASCII. None if it has controls, or other letters in its host.
fn normalized(text: &str) -> Option<String> {
    let mut url = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\r' | '\n' => {}
            ' ' => url.push_str("%20"),
            '"' => url.push_str("%22"),
            '<' => url.push_str("%3C"),
            '>' => url.push_str("%3E"),
            '`' => url.push_str("%60"),
            c if c.is_ascii_control() => return None,
            c if c.is_ascii() => url.push(c),
            c => {
                // Only behind the host: host names have an encoding of their own.
                let is_behind = url.splitn(4, '/').count() == 4 || url.contains(['?', '#']);
                is_behind.then_some(())?;
                for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                    url.push_str(&format!("%{octet:02X}"));
                }
            }
        }
        // Encoding makes it three times as long at most.
        (url.len() <= 3 * TARGET_BYTES_MAX).then_some(())?;
    }
    Some(url)
}

/// `words` are in lower case.
fn contains_any(url: &str, words: &[&str]) -> bool {
    let lower = url.to_ascii_lowercase();
    words.iter().any(|word| lower.contains(word))
}

/// What stands between `//` and the path.
fn authority(url: &str) -> Option<&str> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let start = url.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &url[scheme.len()..])
    })?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(&rest[..end])
}

fn host(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    Some(match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    })
}

/// Whether people may be sent there: an absolute URL of http or https with a host, no user and no password, that all clients
/// read the same way, in ASCII that a header field takes.
pub fn is_location(url: &str) -> bool {
    let is_text = url
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    // Other signs are allowed, and no host has them.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let host = host(url).unwrap_or_default();
    is_text
        && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && authority(url).is_some_and(|authority| authority.bytes().all(is_host))
}

/// The URL with the parameters whose names it lacks, before its fragment.
fn with_parameters(url: String, parameters: &[(&str, &str)]) -> String {
    let (base, fragment) = match url.split_once('#') {
        Some((base, fragment)) => (base, Some(fragment)),
        None => (url.as_str(), None),
    };
    let query = base.split_once('?').map(|(_, query)| query);
    let has = |name: &str| {
        let names = query.unwrap_or_default().split(['&', ';']);
        let mut names = names.map(|pair| pair.split('=').next().unwrap_or_default());
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    let mut out = base.to_owned();
    let mut has_query = query.is_some();
    for (name, value) in parameters.iter().filter(|(name, _)| !has(name)) {
        if !has_query {
            out.push('?');
        } else if !out.ends_with(['?', '&']) {
            out.push('&');
        }
        has_query = true;
        component(name, &mut out);
        out.push('=');
        component(value, &mut out);
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(fragment);
    }
    out
}

fn component(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Whether the text of a link is itself a URL or the name of a host: on another host than it says, a link looks like phishing.
pub fn looks_like_url(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    if text.contains(char::is_whitespace) {
        return false;
    }
    let bare = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"));
    let host = bare.unwrap_or(&text).split(['/', '?', '#', ':']).next();
    let labels = host.unwrap_or_default().rsplit('.').collect::<Vec<_>>();
    let is_label = |label: &&str| {
        let is_letter = |c: char| c.is_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(is_letter)
    };
    let top = labels[0];
    let is_top = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
    bare.is_some() || (labels.len() >= 2 && is_top && labels.iter().all(is_label))
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
