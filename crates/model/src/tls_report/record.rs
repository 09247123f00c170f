//! Who wants reports: the TXT record at `_smtp._tls.DOMAIN` (RFC 8460 3).

/// A report goes to so many places at most: each costs the sender, and the record is anybody's.
const DESTINATIONS_MAX: usize = 4;
const URI_BYTES_MAX: usize = 1024;

/// Where a domain wants its report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// An address.
    Mail(String),
    /// An https URI.
    Https(String),
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mail(address) => write!(f, "mailto:{address}"),
            Self::Https(uri) => f.write_str(uri),
        }
    }
}

/// Reads the TXT records, each with its strings joined: anything but one record of this kind asks for nothing. At most four
/// places, in the record's order; others are passed over.
pub fn parse_record<'a>(records: impl IntoIterator<Item = &'a str>) -> Vec<Destination> {
    let mut found = records.into_iter().filter_map(after_version);
    let (Some(fields), None) = (found.next(), found.next()) else {
        return Vec::new();
    };
    let fields = fields
        .split(';')
        .map(|field| field.trim_matches([' ', '\t']));
    let Some(uris) = fields.filter_map(|field| field.strip_prefix("rua=")).next() else {
        return Vec::new();
    };
    let uris = uris.split(',').map(|uri| uri.trim_matches([' ', '\t']));
    let mut destinations = Vec::new();
    for found in uris.filter_map(destination) {
        if destinations.len() < DESTINATIONS_MAX && !destinations.contains(&found) {
            destinations.push(found);
        }
    }
    destinations
}

fn after_version(record: &str) -> Option<&str> {
    let rest = record.strip_prefix("v=TLSRPTv1")?;
    rest.trim_start_matches([' ', '\t']).strip_prefix(';')
}

fn destination(uri: &str) -> Option<Destination> {
    let is_clean = uri.len() <= URI_BYTES_MAX && uri.bytes().all(|byte| byte.is_ascii_graphic());
    let (scheme, rest) = uri.split_once(':').filter(|_| is_clean)?;
    if scheme.eq_ignore_ascii_case("https") {
        let host = rest.strip_prefix("//")?;
        return (!host.is_empty()).then(|| Destination::Https(uri.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let address = unescape(rest.split('?').next()?)?;
    let (local, domain) = address.rsplit_once('@')?;
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\"\\,;:()[]@".contains(&b))
    };
    (is_plain(local) && is_plain(domain) && domain.contains('.'))
        .then(|| Destination::Mail(address.clone()))
}

/// RFC 3986 2.1; none where that gives no text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_of_this_kind_names_where_reports_go() {
        for (records, expected) in [
            (&[][..], &[][..]),
            (
                &["v=TLSRPTv1; rua=mailto:r@a.example"],
                &["mailto:r@a.example"],
            ),
            (
                &["v=TLSRPTv1;rua=mailto:r@a.example;"],
                &["mailto:r@a.example"],
            ),
            (
                &["v=TLSRPTv1; rua=mailto:r@a.example,https://a.example/v1"],
                &["mailto:r@a.example", "https://a.example/v1"],
            ),
            (
                &[
                    "v=spf1 -all",
                    "v=TLSRPTv1; rua= https://a.example/v1 , mailto:r%2Bt@a.example",
                ],
                &["https://a.example/v1", "mailto:r+t@a.example"],
            ),
            (
                &["v=TLSRPTv1; rua=MAILTO:r@a.example?subject=x"],
                &["mailto:r@a.example"],
            ),
            (
                &["v=TLSRPTv1; rua=mailto:r@a.example,mailto:r@a.example"],
                &["mailto:r@a.example"],
            ),
            (
                &[
                    "v=TLSRPTv1; rua=mailto:r@a.example",
                    "v=TLSRPTv1; rua=mailto:s@a.example",
                ],
                &[],
            ),
            (&["v=TLSRPTv2; rua=mailto:r@a.example"], &[]),
            (&["v=TLSRPTv1; ruf=mailto:r@a.example"], &[]),
            (&["v=TLSRPTv1; rua=http://a.example/,ftp://x,mailto:r"], &[]),
            (&["v=TLSRPTv1; rua=mailto:r%0d%0aX@a.example"], &[]),
            (&["v=TLSRPTv1; rua=mailto:<r@a.example>"], &[]),
            (&["v=TLSRPTv1; rua=mailto:r%3@a.example"], &[]),
            (&["v=TLSRPTv1; rua=https://"], &[]),
            (
                &["v=TLSRPTv1; rua=https://1/,https://2/,https://3/,https://4/,https://5/"],
                &["https://1/", "https://2/", "https://3/", "https://4/"],
            ),
        ] {
            let found = parse_record(records.iter().copied());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{records:?}");
        }
    }
}
