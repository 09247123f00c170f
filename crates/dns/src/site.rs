/// A site's name is a metrics label and part of keys.
const SITE_BYTES_MAX: usize = 120;

/// One name for a set of MX hosts: what they share once, what differs in parentheses, such as
/// `(alt1|alt2|).aspmx.l.google.com`. Domains with the same hosts get the same name whatever the
/// preferences are. Longer than 120 bytes: the shared part and a hash of the whole.
pub(crate) fn site<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = hosts.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let (first, rest) = match names.as_slice() {
        [] => return String::new(),
        [only] => return bounded((*only).to_owned(), only),
        [first, rest @ ..] => (*first, rest),
    };
    let suffix = rest
        .iter()
        .fold(first, |shared, name| common_suffix(shared, name));
    let mut heads: Vec<&str> = names
        .iter()
        .map(|name| name[..name.len() - suffix.len()].trim_end_matches('.'))
        .collect();
    heads.sort_by_key(|head| (head.is_empty(), *head));
    let dot = if suffix.is_empty() { "" } else { "." };
    bounded(format!("({}){dot}{suffix}", heads.join("|")), suffix)
}

/// The longest run of whole labels that both names end with, without a leading dot.
fn common_suffix<'a>(a: &'a str, b: &str) -> &'a str {
    let shared = a.rsplit('.').zip(b.rsplit('.')).take_while(|(x, y)| x == y);
    let bytes: usize = shared.map(|(label, _)| label.len() + 1).sum();
    &a[a.len() - bytes.saturating_sub(1)..]
}

fn bounded(site: String, suffix: &str) -> String {
    if site.len() <= SITE_BYTES_MAX {
        return site;
    }
    let tail = &suffix[suffix.len().saturating_sub(80)..];
    format!(
        "*{:016x}.{}",
        fnv1a(site.as_bytes()),
        tail.trim_start_matches('.')
    )
}

/// FNV-1a: stable over versions and machines, which std's hasher does not promise.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_roll_up_to_one_name() {
        let rows: [(&[&str], &str); 7] = [
            (&[], ""),
            (&["mx.example.test"], "mx.example.test"),
            (
                &["mx2.example.test", "mx1.example.test"],
                "(mx1|mx2).example.test",
            ),
            (
                &[
                    "alt1.aspmx.l.google.com",
                    "aspmx.l.google.com",
                    "alt2.aspmx.l.google.com",
                ],
                "(alt1|alt2|).aspmx.l.google.com",
            ),
            (&["a.one.test", "b.two.test"], "(a.one|b.two).test"),
            (
                &["a.one.test", "a.one.example"],
                "(a.one.example|a.one.test)",
            ),
            (
                &["xmx.example.test", "mx.example.test"],
                "(mx|xmx).example.test",
            ),
        ];
        for (hosts, expected) in rows {
            assert_eq!(site(hosts.iter().copied()), expected);
        }
    }

    #[test]
    fn long_names_stay_bounded_and_distinct() {
        let many = |from: usize| {
            let names: Vec<String> = (from..from + 20)
                .map(|n| format!("host-{n:04}.mail.example.test"))
                .collect();
            site(names.iter().map(String::as_str))
        };
        let site = many(0);
        assert!(site.len() <= SITE_BYTES_MAX, "{site}");
        assert!(site.ends_with(".mail.example.test"), "{site}");
        assert_ne!(site, many(1));
        assert_eq!(site, many(0));
    }
}
