//! Whatever text comes: it is refused or read, and nothing panics.

use proptest::prelude::*;

use crate::policy_tests::TEXT;
use crate::yaml::documents;
use crate::*;

/// Each document is refused, or is there and is written as it is read.
fn check(text: &str) {
    match Policy::parse(&[Source { name: "x", text }]) {
        Err(problems) => {
            assert!(
                !problems.is_empty() && problems.is_sorted(),
                "{problems:#?}"
            );
        }
        Ok(policy) => {
            let own = policy
                .resources()
                .filter(|(_, _, place)| &*place.source == "x");
            let texts: Vec<String> = own
                .filter_map(|(kind, name, _)| policy.get(kind, name))
                .collect();
            let (documents, _) = documents(text);
            assert_eq!(texts.len(), documents.len(), "{text}");
            let written = texts.join("---\n");
            let again = Policy::parse(&[Source {
                name: "y",
                text: &written,
            }]);
            let again = again.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}\n{written}"));
            for (kind, name, _) in policy.resources() {
                assert_eq!(again.get(kind, name), policy.get(kind, name), "{text}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Lines of a good policy left out, doubled and swapped.
    #[test]
    fn no_policy_panics(moves in proptest::collection::vec((0usize..200, 0usize..200, 0u8..4), 0..12), cut in 0usize..4000) {
        let mut lines: Vec<&str> = TEXT.lines().collect();
        for (from, to, what) in moves {
            let (from, to) = (from % lines.len(), to % lines.len());
            match what {
                0 => lines.swap(from, to),
                1 => lines.insert(to, lines[from]),
                2 if lines.len() > 1 => { lines.remove(from); }
                _ => lines[to] = lines[from].split_once(": ").map_or(lines[to], |(_, value)| value),
            }
        }
        let text = lines.join("\n");
        let text = text.get(..cut).unwrap_or(&text);
        check(text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,300}", name in "\\PC{0,10}") {
        let _ = Policy::parse(&[Source { name: &name, text: &text }]);
    }

    #[test]
    fn no_value_panics(
        kind in prop::sample::select(vec!["ip", "pool", "provider", "warmup", "route", "tenant"]),
        keys in proptest::collection::vec((
            prop::sample::select(vec!["bind", "public", "ehlo", "home", "state", "limits", "proxy", "members", "overflow", "mx",
                "domains", "per_ip", "total", "tls", "timeouts", "automation", "ips", "pool", "pools", "schedule", "providers",
                "days", "utc_offset", "tenant", "sender_domain", "header", "messages_per_connection", "extends"]),
            prop::sample::select(vec!["1", "0", "-1", "x", "~", "''", "[]", "{}", "[x, y]", "{ip: x}", "[{ip: x}]", "true",
                "192.0.2.1", "99999999999999999999", "1/s", "\"é\"", "[[x]]", "[{match: x, action: {rate: 1/s}}]", ".x", "*.x",
                "'*.x'", "{connections: 1}", "{table: [1, 2]}", "{formula: {first: 1}}", "{socks5: 'x:1'}", "{x: 1}", "+01:00", "default", "{google: 5}",
                "{dot: 5m}", "standard", "[mon]", "{haproxy: 'x:1'}", "active", "require", "[default]", "a.example", "false"]),
        ), 0..8),
    ) {
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let text = format!("kind: {kind}\nname: x\n{}", keys.concat());
        check(&text);
    }
}
