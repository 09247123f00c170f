//! Which of the known names somebody may have meant.

/// Longer texts are no names with a slip of the finger; a bound on the work.
const NAME_CHARS_MAX: usize = 64;

/// The known name that is nearest to what was written, if it is near enough to be a slip: a letter or two that are wrong,
/// missing, too many or in the other order, another case, or `-` for `_`.
pub fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| -> Vec<char> {
        let lower = text.chars().flat_map(char::to_lowercase);
        lower
            .map(|c| if c == '-' { '_' } else { c })
            .take(NAME_CHARS_MAX + 1)
            .collect()
    };
    let wanted = plain(written);
    if wanted.is_empty() || wanted.len() > NAME_CHARS_MAX {
        return None;
    }
    let measured = known.into_iter().filter_map(|name| {
        let candidate = plain(name);
        let most = wanted.len().max(candidate.len());
        // A third of the letters: `tenent` is near `tenant`, and `ip` is not near `id`.
        let allowed = (most / 3).min(2);
        let distance = distance(&wanted, &candidate);
        let is_part = wanted.len() >= 4 && candidate.starts_with(&wanted);
        (distance <= allowed || is_part).then_some((distance, name))
    });
    measured
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// ` (did you mean NAME?)`, or nothing.
pub fn did_you_mean<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(written, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// Letters to change, add, take out or swap with the next one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: [Vec<usize>; 3] = [Vec::new(), (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        rows[2] = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[1][j] + 1)
                .min(rows[2][j - 1] + 1)
                .min(rows[1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = least;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slips_are_told_from_other_names() {
        let known = [
            "hostname",
            "tenant",
            "tenants",
            "relay_networks",
            "ip",
            "pool",
            "connections",
        ];
        for (written, meant) in [
            ("hostnam", Some("hostname")),
            ("Hostname", Some("hostname")),
            ("host_name", Some("hostname")),
            ("tenent", Some("tenant")),
            ("tenatn", Some("tenant")),
            ("relay-networks", Some("relay_networks")),
            ("relay_network", Some("relay_networks")),
            ("connection", Some("connections")),
            ("conn", Some("connections")),
            ("polo", Some("pool")),
            ("id", None),
            ("secret", None),
            ("", None),
            (&"x".repeat(10_000), None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written:?}");
        }
        assert_eq!(did_you_mean("tenent", known), " (did you mean tenant?)");
        assert_eq!(did_you_mean("secret", known), "");
    }

    proptest! {
        #[test]
        fn a_name_is_nearest_to_itself_and_any_text_is_measured(name in "[a-z_]{1,20}", text in "\\PC{0,80}") {
            let known = [name.as_str(), "other_name"];
            prop_assert_eq!(nearest(&name, known), Some(name.as_str()));
            nearest(&text, known);
        }
    }
}
