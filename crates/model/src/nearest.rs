//! The known name that was most likely meant by an unknown one.

/// A name that is longer is compared with nothing: the comparison takes the product of both lengths.
const COMPARED_BYTES_MAX: usize = 255;

/// The one of these names that is most like the given one, if a slip of the keys can have made one of the other: a third of
/// its letters may differ, be missing, be too many, or have changed places with their neighbours.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let given: Vec<char> = name.to_lowercase().chars().collect();
    let slips_max = (given.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for known in names {
        let far = best.map_or(slips_max + 1, |(slips, _)| slips);
        if known.len() > COMPARED_BYTES_MAX || known.is_empty() {
            continue;
        }
        let letters: Vec<char> = known.to_lowercase().chars().collect();
        if letters.len().abs_diff(given.len()) >= far {
            continue;
        }
        let slips = slips(&given, &letters);
        if slips < far {
            best = Some((slips, known));
        }
    }
    best.map(|(_, known)| known)
}

/// The optimal string alignment distance.
fn slips(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = last[j] + usize::from(x != y);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            let have_swapped = i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y;
            if have_swapped {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keys_is_seen_through() {
        let names = [
            "google",
            "yahoo",
            "microsoft",
            "default",
            "shop-1",
            "shop-2",
        ];
        for (given, expected) in [
            ("gooogle", Some("google")),
            ("gogle", Some("google")),
            ("goolge", Some("google")),
            ("GOOGLE", Some("google")),
            ("microsfot", Some("microsoft")),
            ("shop1", Some("shop-1")),
            ("shop-2", Some("shop-2")),
            ("yaho", Some("yahoo")),
            ("amazon", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
        assert_eq!(nearest("google", []), None);
    }

    #[test]
    fn the_distance_counts_each_slip_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "bc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(slips(&chars(a), &chars(b)), expected, "{a} {b}");
            assert_eq!(slips(&chars(b), &chars(a)), expected, "{b} {a}");
        }
    }
}
