//! What becomes of resources, key by key, for people.

use skein_wire::v1::{PolicyChange, PolicyChangeKind};

use crate::show;

/// `pool/news changed`, and each key on a line of its own if they are wanted.
pub fn print(changes: &[PolicyChange], with_keys: bool) {
    for change in changes {
        let word = show::word::<PolicyChangeKind>(change.change);
        println!("{} {word}", change.resource);
        if !with_keys {
            continue;
        }
        for one in &change.keys {
            for (mark, value) in [('-', &one.before), ('+', &one.after)] {
                if let Some(value) = value {
                    let value = value.replace('\n', "\\n");
                    match one.key.as_str() {
                        "" => println!("  {mark} {value}"),
                        key => println!("  {mark} {key}: {value}"),
                    }
                }
            }
        }
    }
}

/// Whether anything is another one than before.
pub fn is_any(changes: &[PolicyChange]) -> bool {
    changes
        .iter()
        .any(|change| change.change() != PolicyChangeKind::Unchanged)
}

/// What a version changed, in a line.
pub fn summary(changes: &[PolicyChange]) -> String {
    const NAMED_MAX: usize = 3;
    let name = |change: &PolicyChange| {
        let mark = match change.change() {
            PolicyChangeKind::Added => "+",
            PolicyChangeKind::Removed => "-",
            _ => "~",
        };
        format!("{mark}{}", change.resource)
    };
    let mut named: Vec<String> = changes.iter().take(NAMED_MAX).map(name).collect();
    match changes.len().saturating_sub(NAMED_MAX) {
        0 if named.is_empty() => "nothing".to_owned(),
        0 => named.join(" "),
        more => {
            named.push(format!("and {more} more"));
            named.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_summed_up_in_a_line() {
        let change = |resource: &str, kind: PolicyChangeKind| PolicyChange {
            resource: resource.to_owned(),
            change: kind.into(),
            ..PolicyChange::default()
        };
        let all = [
            change("ip/a", PolicyChangeKind::Added),
            change("ip/b", PolicyChangeKind::Removed),
            change("pool/p", PolicyChangeKind::Changed),
            change("ip/c", PolicyChangeKind::Added),
            change("ip/d", PolicyChangeKind::Added),
        ];
        assert_eq!(summary(&all), "+ip/a -ip/b ~pool/p and 2 more");
        assert_eq!(summary(&all[..1]), "+ip/a");
        assert_eq!(summary(&[]), "nothing");
        let unchanged = change("ip/a", PolicyChangeKind::Unchanged);
        assert!(!is_any(&[unchanged.clone()]) && is_any(&[unchanged, all[0].clone()]));
    }
}
