//! Whose Authentication-Results a field is (RFC 8601 2.2). Pure.

/// Whether a field of this value would be taken for one of ours by who trusts us: it names our host, in whatever form. One that
/// names nobody is taken for it as well: readers differ about such.
pub fn is_ours(value: &str, host: &str) -> bool {
    let name = authserv_id(value);
    name.is_none_or(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host))
}

/// The name before the first semicolon, without comments and quotes.
fn authserv_id(value: &str) -> Option<String> {
    let mut name = String::new();
    let mut depth = 0_usize;
    let mut is_quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted || depth > 0 => {
                let next = chars.next();
                if depth == 0 {
                    name.extend(next);
                }
            }
            '"' if depth == 0 => is_quoted = !is_quoted,
            _ if is_quoted => name.push(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ';' => break,
            _ if c.is_whitespace() && name.is_empty() => {}
            // The version follows.
            _ if c.is_whitespace() => break,
            _ => name.push(c),
        }
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_ours_is_known_in_any_form() {
        for (value, expected) in [
            ("mx.skein.test; spf=pass", true),
            ("MX.Skein.Test 1; spf=pass", true),
            ("mx.skein.test", true),
            ("mx.skein.test.; spf=pass", true),
            (
                " (a (nested) comment\\) ) \"mx.skein.test\" (more) 1; none",
                true,
            ),
            ("\"mx.sk\\ein.test\"; none", true),
            ("; spf=pass", true),
            ("", true),
            ("(mx.skein.test) other.test; spf=pass", false),
            ("mx.skein.test.evil.test; spf=pass", false),
            ("other.test; mx.skein.test", false),
            ("xmx.skein.test; none", false),
        ] {
            assert_eq!(is_ours(value, "mx.skein.test"), expected, "{value}");
        }
    }
}
