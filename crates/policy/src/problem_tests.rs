//! What is refused, where, and with which words.

use crate::*;

pub(crate) fn problems(text: &str) -> Vec<String> {
    match Policy::parse(&[Source {
        name: "p.yaml",
        text,
    }]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Exactly one problem, at this line, with these words.
pub(crate) fn check(text: &str, line: u32, words: &str) {
    let found = problems(text);
    let [only] = found.as_slice() else {
        panic!("{} problems in\n{text}\n{found:#?}", found.len());
    };
    assert!(
        only.starts_with(&format!("p.yaml:{line}: ")),
        "{only}\n{text}"
    );
    assert!(only.contains(words), "{only}\n{text}");
}

#[test]
fn documents_must_be_resources() {
    for (text, line, words) in [
        ("- a\n", 1, "kind: is missing"),
        ("name: a\n", 1, "kind: is missing"),
        (
            "\nkind: pond\nname: a\n",
            2,
            "there is no \"pond\": there are credential, inbound, ip, pool, provider, route, tenant, warmup",
        ),
        ("kind: tenant\n", 1, "tenant: name: is missing"),
        (
            "kind: tenant\nname: a b\n",
            2,
            "tenant: name: must be up to 64",
        ),
        ("kind: tenant\nname: [a]\n", 2, "must be a single value"),
        ("kind: tenant\nname:\n", 2, "is missing"),
        (
            "kind: tenant\nname: a\nlimit: 1\n",
            3,
            "tenant \"a\": limit: is no known key: there are limits",
        ),
        (
            "kind: tenant\nname: a\n---\nkind: tenant\nname: a\n",
            4,
            "is there already (p.yaml:1)",
        ),
        ("kind: tenant\nname: a\n---\nkind: [\n", 4, "not YAML"),
    ] {
        check(text, line, words);
    }
    assert_eq!(problems(""), [""; 0]);
    assert_eq!(problems("---\n# nothing\n---\n"), [""; 0]);
}

#[test]
fn who_knows_other_files_is_told_how_these_look() {
    for (text, line, words) in [
        (
            "apiVersion: v1\nkind: Pool\nmetadata:\n  name: news\nspec:\n  members: []\n",
            1,
            "apiVersion: is a key of Kubernetes manifests, which resources are not: they are flat",
        ),
        ("kind: pool\nmetadata: {name: news}\n", 2, "\"name: news\""),
        ("kind: Pool\nname: news\n", 1, "(did you mean pool?)"),
        ("kind: tenent\nname: a\n", 1, "(did you mean tenant?)"),
        (
            "kind: tenant\nname: a\nlimit: {connections: 1}\n",
            3,
            "is no known key: there are limits, sender_domains, pools, rates, quota, weight, dsn, state (did you mean limits?)",
        ),
        (
            "kind: provider\nname: gmail\nextends: true\nper_ip: {connections: 3}\n",
            3,
            "take the name of one (did you mean google?), or leave extends out",
        ),
        (
            "kind: provider\nname: gogle\nextends: true\n",
            3,
            "(did you mean google?)",
        ),
        (
            "kind: provider\nname: hotmail.com\nextends: true\n",
            3,
            "(did you mean outlook?)",
        ),
        (
            "kind: provider\nname: acme\nextends: true\n",
            3,
            "take the name of one, or leave extends out",
        ),
        (
            "kind: route\nname: r\ntenant: t\nsender_domain: *.acme.example\npool: default\n",
            4,
            "in quotes, because of the character that it begins with: \"*.acme.example\"",
        ),
        (
            "kind: ip\nname: mail-1\nbind: 10.0.0.1\npublic: 192.0.2.1\nehlo: a.test\n---\nkind: pool\nname: p\n\
             members: [{ip: mail_1}]\n",
            9,
            "there is no ip \"mail_1\": add it, or name another (did you mean mail-1?)",
        ),
    ] {
        check(text, line, words);
    }
}

#[test]
fn what_could_not_be_read_is_missed_nowhere() {
    let pool = "kind: pool\nname: p\nmembers: [{ip: a}]\n---\n";
    check(&format!("{pool}kind: ip\nname: [\n"), 6, "not YAML");
    check(
        &format!("{pool}name: a\nbind: 192.0.2.1\n"),
        5,
        "kind: is missing",
    );
    check(pool, 3, "there is no ip \"a\"");
}

#[test]
fn all_problems_of_all_sources_come_at_once_in_order() {
    let (a, b) = (
        "kind: tenant\nname: a\nx: 1\ny: 2\n",
        "kind: pool\nname: p\nmembers: [{ip: none}]\n",
    );
    let sources = [("b.yaml", b), ("a.yaml", a)].map(|(name, text)| Source { name, text });
    let problems = Policy::parse(&sources).expect_err("three faults");
    let places: Vec<String> = problems
        .iter()
        .map(|problem| problem.place.to_string())
        .collect();
    assert_eq!(places, ["a.yaml:3", "a.yaml:4", "b.yaml:3"]);
}

#[test]
fn limits_must_make_sense() {
    for (limits, words) in [
        (
            "{connections: 0}",
            "limits.connections: must be a whole number from 1 to 65535",
        ),
        ("{connections: 1.5}", "limits.connections: must be"),
        (
            "{message_rate: 0/s}",
            "limits.message_rate: a rate of 0 lets nothing through",
        ),
        (
            "{message_rate: 10/s burst 11}",
            "burst must be from 1 to 10",
        ),
        (
            "{connection_rate: fast}",
            "limits.connection_rate: \"fast\" is no rate",
        ),
        ("{message_rate: [1/s, 2/s]}", "are about the same time"),
        ("{message_rate: [60/min, 1/60s]}", "are about the same time"),
        (
            "{message_rate: [1000/min, 500/day]}",
            "less than the 1000 that 1000/min lets through at once",
        ),
        (
            "{message_rate: [20/s, 2000000/day]}",
            "never reached, because 20/s is at most 1728020",
        ),
        (
            "{message_rate: [1/s, 2/min, 3/h, 4/day, 5/2day]}",
            "has 5 entries: 4 at most",
        ),
        (
            "{messages: 1}",
            "limits.messages: is no known key: there are connections, connection_rate, message_rate",
        ),
        ("5", "limits: must be keys with values"),
    ] {
        let found = problems(&format!("kind: tenant\nname: a\nlimits: {limits}\n"));
        assert!(
            found.iter().any(|problem| problem.contains(words)),
            "{limits}: {found:#?}"
        );
        assert!(
            found
                .iter()
                .all(|problem| problem.starts_with("p.yaml:3: tenant \"a\": ")),
            "{found:#?}"
        );
    }
    assert_eq!(
        problems("kind: tenant\nname: a\nlimits: {message_rate: [1000/min burst 500, 500/day]}\n"),
        [""; 0]
    );
}

#[test]
fn all_is_bounded() {
    let many: String = (0..=RESOURCES_MAX)
        .map(|nth| format!("kind: tenant\nname: t{nth}\n---\n"))
        .collect();
    check(
        &many,
        RESOURCES_MAX as u32 * 3 + 1,
        "is one too many: there may be 4096 of a kind",
    );
    let big = format!(
        "kind: tenant\nname: t\n# {}\n",
        "x".repeat(RESOURCE_BYTES_MAX)
    );
    check(&big, 1, "has more than 65536 bytes");
    let suffixes: Vec<String> = (0..=PATTERNS_MAX)
        .map(|nth| format!(".p{nth}.example"))
        .collect();
    check(
        &format!("kind: provider\nname: p\nmx: [{}]\n", suffixes.join(", ")),
        3,
        "mx: has 257 entries: 256 at most",
    );
    let rules: String = (0..=RULES_MAX)
        .map(|nth| format!("- {{match: busy{nth}x, action: suspend}}\n"))
        .collect();
    check(
        &format!("kind: provider\nname: p\nmx: .p.example\nautomation:\n{rules}"),
        4,
        "automation: has 257 entries: 256 at most",
    );
    let members: String = (0..=MEMBERS_MAX)
        .map(|nth| format!("- ip: a{nth}\n"))
        .collect();
    let found = problems(&format!("kind: pool\nname: p\nmembers:\n{members}"));
    assert_eq!(
        found,
        ["p.yaml:3: pool \"p\": members: has 1025 entries: 1024 at most"]
    );
    let text = "#\n".repeat(TEXT_BYTES_MAX / 2 + 1);
    check(&text, 1, "all sources together have more than");
    let faults = "kind: x\n---\n".repeat(5000);
    assert_eq!(problems(&faults).len(), 1000);
}
