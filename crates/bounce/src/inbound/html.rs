//! HTML as the lines that people see.

/// Elements at whose edges a line ends.
const BLOCKS: [&str; 14] = [
    "br", "p", "div", "tr", "td", "li", "ul", "table", "h1", "h2", "h3", "h4", "pre", "hr",
];
/// Elements without text for people.
const HIDDEN: [&str; 4] = ["style", "script", "head", "title"];
/// Octets of an entity such as `&nbsp;`.
const ENTITY_BYTES_MAX: usize = 10;

/// The text without tags, in one pass.
pub(crate) fn text_of_html(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut hidden: Option<&str> = None;
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        if hidden.is_none() {
            text.push_str(&rest[..at]);
        }
        rest = &rest[at..];
        if rest.starts_with('&') {
            let (shown, length) = entity(rest);
            if hidden.is_none() {
                text.push_str(&shown);
            }
            rest = &rest[length..];
            continue;
        }
        let Some(end) = rest.find('>') else { break };
        let tag = rest[1..end].to_ascii_lowercase();
        let closes = tag.starts_with('/');
        let name = tag.trim_start_matches('/');
        let name = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        // `<user@example.net>` stands in reports whose author knew no HTML.
        if tag.contains('@') && !tag.contains([' ', '=']) && hidden.is_none() {
            text.push_str(&rest[..=end]);
        }
        match HIDDEN.iter().find(|one| **one == name) {
            Some(_) if closes => hidden = None,
            Some(one) if hidden.is_none() => hidden = Some(one),
            _ => {}
        }
        if BLOCKS.contains(&name) && hidden.is_none() {
            text.push('\n');
        }
        rest = &rest[end + 1..];
    }
    if hidden.is_none() {
        text.push_str(rest);
    }
    text
}

/// What an entity stands for, and its octets. An `&` of its own is one.
fn entity(text: &str) -> (String, usize) {
    let window = crate::fold::cut(text, ENTITY_BYTES_MAX);
    let Some(end) = window.find(';') else {
        return ("&".to_owned(), 1);
    };
    let name = &window[1..end];
    let shown = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "nbsp" => Some(' '),
        "apos" => Some('\''),
        _ => name.strip_prefix('#').and_then(|digits| {
            let number = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(number.ok()?)
        }),
    };
    match shown {
        Some(c) => (c.to_string(), end + 1),
        None => ("&".to_owned(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_lines() {
        for (html, text) in [
            ("a<br>b", "a\nb"),
            (
                "<style>x</style><b>a</b> &lt;u@v&gt; &amp; &#65;&#x42;",
                "a <u@v> & AB",
            ),
            ("<u@example.net>: no", "<u@example.net>: no"),
            ("a < b", "a < b"),
            ("&bogus; &", "&bogus; &"),
            ("<p>a", "\na"),
        ] {
            assert_eq!(text_of_html(html), text, "{html}");
        }
    }
}
