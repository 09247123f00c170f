use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;

use crate::error::ResolveError;

/// What stands right of the `@`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A fully qualified name in its ASCII form.
    Domain(Name),
    /// An address literal (RFC 5321 4.1.3).
    Literal(IpAddr),
}

/// Lower case, without the trailing dot: the key under which a domain is known.
pub(crate) fn normal(domain: &str) -> String {
    let domain = domain.trim();
    domain.strip_suffix('.').unwrap_or(domain).to_lowercase()
}

/// Parses a normalised domain or address literal.
pub(crate) fn parse(domain: &str) -> Result<Destination, ResolveError> {
    if let Some(inner) = domain.strip_prefix('[') {
        return literal(inner)
            .map(Destination::Literal)
            .ok_or_else(|| ResolveError::malformed(domain));
    }
    fqdn(domain)
        .map(Destination::Domain)
        .ok_or_else(|| ResolveError::malformed(domain))
}

fn literal(inner: &str) -> Option<IpAddr> {
    let text = inner.strip_suffix(']')?;
    match text.strip_prefix("ipv6:") {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

/// A name that search domains are never appended to. `None` if it cannot be a host's name.
pub(crate) fn fqdn(domain: &str) -> Option<Name> {
    let plausible = !domain.is_empty()
        && domain
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plausible {
        return None;
    }
    let mut name = Name::from_utf8(domain).ok()?;
    if name.is_root() {
        return None;
    }
    name.set_fqdn(true);
    Some(name)
}

/// A name from an answer, as text: lower case, ASCII, no trailing dot; the root is empty.
pub(crate) fn text(name: &Name) -> String {
    normal(&name.to_ascii())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn destinations_parse_or_are_refused() {
        let long_label = "a".repeat(64);
        let rows = [
            ("Example.TEST.", Some("example.test")),
            ("bücher.test", Some("xn--bcher-kva.test")),
            ("_dmarc.example.test", Some("_dmarc.example.test")),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a b.test", None),
            ("a\\b.test", None),
            (long_label.as_str(), None),
            ("[192.0.2.7]", Some("192.0.2.7")),
            ("[IPv6:2001:DB8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]", None),
            ("[192.0.2.7", None),
            ("[x400:mail]", None),
        ];
        for (input, expected) in rows {
            let got = match parse(&normal(input)) {
                Ok(Destination::Domain(name)) => Some(text(&name)),
                Ok(Destination::Literal(ip)) => Some(ip.to_string()),
                Err(error) => {
                    assert_eq!(error.enhanced(), (5, 1, 2));
                    None
                }
            };
            assert_eq!(got.as_deref(), expected, "{input:?}");
        }
        assert_eq!(
            parse("[192.0.2.7]").unwrap(),
            Destination::Literal("192.0.2.7".parse().unwrap())
        );
    }
}
