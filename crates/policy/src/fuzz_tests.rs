//! Whatever text comes: it is refused or read, and nothing panics.

use proptest::prelude::*;

use crate::policy_tests::TEXT;
use crate::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Lines of a good policy left out, doubled and swapped: whatever comes of it is refused or read, and what is read is
    /// written and read again.
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
        let sources = [Source { name: "x", text }];
        match Policy::parse(&sources) {
            Ok(policy) => for (kind, name, _) in policy.resources() {
                prop_assert!(policy.get(kind, name).is_some());
            },
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                let mut sorted = problems.clone();
                sorted.sort();
                prop_assert_eq!(problems, sorted);
            }
        }
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
                "'*.x'", "{connections: 1}", "{table: [1, 2]}", "{formula: {first: 1}}", "{socks5: 'x:1'}", "{x: 1}", "+01:00"]),
        ), 0..8),
    ) {
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let text = format!("kind: {kind}\nname: x\n{}", keys.concat());
        let _ = Policy::parse(&[Source { name: "x", text: &text }]);
    }
}
