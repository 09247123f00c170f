//! What is refused of IPs, pools, routes and warm-ups.

use crate::problem_tests::{check, problems};

#[test]
fn ips_must_make_sense() {
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: ip\nname: a\n{keys}"), line, words);
    };
    check("ehlo: a.example\n", 1, "bind: is missing");
    check("bind: 192.0.2.1\n", 1, "ehlo: is missing");
    check(
        "bind: 192.0.2\nehlo: a.example\n",
        3,
        "bind: must be an IP address",
    );
    check(
        "bind: 0.0.0.0\nehlo: a.example\n",
        3,
        "bind: must be the address of one host",
    );
    check(
        "bind: 224.0.0.1\nehlo: a.example\n",
        3,
        "bind: must be the address of one host",
    );
    check(
        "bind: 192.0.2.1\nehlo: a b\n",
        4,
        "ehlo: must be a host name",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\npublic: '2001:db8::1'\n",
        5,
        "public: must be of the same kind",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\nstate: off\n",
        5,
        "state: must be active or suspended",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\nproxy: {}\n",
        5,
        "proxy: must name one server",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\nproxy: {socks5: 'a:1', haproxy: 'b:1'}\n",
        5,
        "proxy: must name one server",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\nproxy: {haproxy: 'b:1', user: x, password: y}\n",
        5,
        "proxy: haproxy takes no user",
    );
    check(
        "bind: 192.0.2.1\nehlo: a.example\nproxy: {socks5: 'b:1', user: x}\n",
        5,
        "proxy: must have both user and password",
    );
    for server in [
        "b",
        "b:",
        "b:0",
        "b:65536",
        ":1",
        "2001:db8::1:1080",
        "[b]:1",
        "b:+1",
    ] {
        check(
            &format!("bind: 192.0.2.1\nehlo: a.example\nproxy: {{socks5: '{server}'}}\n"),
            5,
            "proxy.socks5: must be host:port",
        );
    }
}

#[test]
fn an_address_is_one_ip() {
    let two = |a: &str, b: &str| {
        format!(
            "kind: ip\nname: z\nehlo: z.example\n{a}\n---\nkind: ip\nname: a\nehlo: a.example\n{b}\n"
        )
    };
    check(
        &two("bind: 192.0.2.1", "bind: 192.0.2.1"),
        6,
        "192.0.2.1 is the public address of ip \"z\" (p.yaml:1) as well",
    );
    check(
        &two(
            "bind: 10.0.0.1\npublic: 192.0.2.1",
            "bind: 10.0.0.1\npublic: 192.0.2.2",
        ),
        7,
        "10.0.0.1 is bound by ip \"z\" at the same place",
    );
    let homes = two(
        "bind: 10.0.0.1\npublic: 192.0.2.1\nhome: n1",
        "bind: 10.0.0.1\npublic: 192.0.2.2\nhome: n2",
    );
    assert_eq!(problems(&homes), [""; 0]);
}

#[test]
fn pools_must_make_sense() {
    let ip = "\n---\nkind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example\n";
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: pool\nname: p\n{keys}{ip}"), line, words);
    };
    check("overflow: p2\nmembers: []", 4, "members: is empty");
    check(
        "members: [{ip: a}, {ip: none}]",
        3,
        "members[2].ip: there is no ip \"none\"",
    );
    check(
        "members: [{ip: a}]\noverflow: none",
        4,
        "overflow: there is no pool \"none\"",
    );
    check(
        "members: [{ip: a, weight: 1001}]",
        3,
        "members[1].weight: must be a whole number from 1 to 1000",
    );
    check(
        "members: [{ip: a}, {ip: a}]",
        3,
        "\"a\" is a member already",
    );
    check(
        "members: [{ip: a}]\noverflow: p",
        4,
        "overflow: goes in a circle (p > p)",
    );
    let three = ["a b", "b c", "c b"].map(|pair| {
        let (name, overflow) = pair.split_once(' ').expect("two words");
        format!("kind: pool\nname: {name}\nmembers: [{{ip: a}}]\noverflow: {overflow}\n---\n")
    });
    crate::problem_tests::check(
        &format!("{}{ip}", three.concat()),
        9,
        "overflow: goes in a circle (b > c > b)",
    );
}

#[test]
fn a_name_that_is_there_but_unsound_is_no_second_problem() {
    check(
        "kind: pool\nname: p\nmembers: [{ip: a}]\n---\nkind: ip\nname: a\nbind: x\nehlo: a.example\n",
        7,
        "bind:",
    );
}

#[test]
fn routes_must_make_sense() {
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: route\nname: r\n{keys}"), line, words);
    };
    check("tenant: t\n", 1, "pool: is missing");
    check("pool: default\n", 1, "is about no mail in particular");
    check(
        "tenant: t\npool: none\n",
        4,
        "pool: there is no pool \"none\"",
    );
    check(
        "tenant: t\npool: default\npools: [default]\n",
        5,
        "pools: goes with header: true only",
    );
    check("header: true\n", 1, "pools: is missing");
    check(
        "header: true\npools: [default, none]\n",
        4,
        "pools: there is no pool \"none\"",
    );
    check(
        "header: true\npools: [default]\npool: default\n",
        5,
        "pool: does not go with header: true",
    );
    check(
        "header: true\npools: [default]\nsender_domain: a.example\n",
        5,
        "sender_domain: does not go with",
    );
    for keys in [
        "tenant: t",
        "sender_domain: '*.a.example'",
        "tenant: t\nsender_domain: a.example",
    ] {
        let lines = keys.lines().count() as u32;
        let again =
            format!("{keys}\npool: default\n---\nkind: route\nname: q\n{keys}\npool: default\n");
        check(
            &again,
            5 + lines,
            "route \"r\" (p.yaml:1) is about the same mail",
        );
    }
}

#[test]
fn warmups_must_make_sense() {
    let ip = "\n---\nkind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example\n";
    let pool = "---\nkind: pool\nname: p\nmembers: [{ip: a}]\n";
    let check = |keys: &str, line: u32, words: &str| {
        check(
            &format!("kind: warmup\nname: w\n{keys}{ip}{pool}"),
            line,
            words,
        );
    };
    check("floor: 1", 1, "must have either ips: [...] or pool: name");
    check(
        "ips: [a]\npool: p",
        4,
        "must have either ips: [...] or pool: name",
    );
    check("ips: [b]", 3, "ips: there is no ip \"b\"");
    check("pool: q", 3, "pool: there is no pool \"q\"");
    check(
        "ips: [a]\nproviders: {none: 5}",
        4,
        "providers.none: there is no provider \"none\"",
    );
    check(
        "ips: [a]\nproviders: {default: 5}",
        4,
        "providers.default: has what the others leave",
    );
    check(
        "ips: [a]\nproviders: {google: 0}",
        4,
        "providers.google: must be a whole number from 1 to 100",
    );
    check(
        "ips: [a]\nproviders: {google: 60, yahoo: 50}",
        4,
        "providers: add up to 110 percent",
    );
    check(
        "ips: [a]\nschedule: fast",
        4,
        "schedule: is no curve: there are standard and gentle",
    );
    check(
        "ips: [a]\nschedule: {}",
        4,
        "schedule: must be the name of a curve",
    );
    check(
        "ips: [a]\nschedule: {table: []}",
        4,
        "schedule.table: is empty",
    );
    check(
        "ips: [a]\nschedule: {table: [200, 100]}",
        4,
        "schedule.table: falls from 200 to 100",
    );
    check(
        "ips: [a]\nschedule: {formula: {first: 1, factor_percent: 101, max: 1000000}}",
        4,
        "schedule.formula.max: is not reached within 400 days",
    );
    check(
        "ips: [a]\nschedule: {formula: {first: 9, factor_percent: 200, max: 8}}",
        4,
        "schedule.formula.max: must be at least first, 9",
    );
    check("ips: [a]\ndays: [mon, mon]", 4, "days: names mon twice");
    check("ips: [a]\ndays: [monday]", 4, "days: must be of mon, tue");
    check("ips: [a]\ndays: []", 4, "days: is empty");
    check(
        "ips: [a]\nutc_offset: 1",
        4,
        "utc_offset: must be from -12:00",
    );
    check(
        "ips: [a]\ndeferral_max_percent: 101",
        4,
        "deferral_max_percent: must be",
    );
    check(
        "ips: [a]\n---\nkind: warmup\nname: v\npool: p",
        7,
        "pool: ip \"a\" is warmed up by \"w\" (p.yaml:1) already",
    );
}

#[test]
fn tenants_must_make_sense() {
    let pools = "---\nkind: pool\nname: p\nmembers: [{ip: i}]\noverflow: q\n---\nkind: pool\nname: q\nmembers: [{ip: i}]\n\
                 ---\nkind: ip\nname: i\nbind: 192.0.2.1\nehlo: a.example\n";
    let check = |keys: &str, line: u32, words: &str| {
        check(
            &format!("kind: tenant\nname: t\n{keys}{pools}"),
            line,
            words,
        );
    };
    for (keys, line, words) in [
        ("pools: []\n", 3, "pools: is empty"),
        ("pools: [r]\n", 3, "there is no pool \"r\""),
        ("pools: p\n", 3, "overflows into \"q\""),
        (
            "weight: 0\n",
            3,
            "weight: must be a whole number from 1 to 100",
        ),
        ("weight: 101\n", 3, "from 1 to 100"),
        (
            "quota: {tasks: 0}\n",
            3,
            "quota.tasks: must be a whole number",
        ),
        (
            "quota: {recipients: 1000000000001}\n",
            3,
            "quota.recipients: must be a whole number",
        ),
        (
            "quota: {bytes: 0}\n",
            3,
            "quota.bytes: must be more than nothing",
        ),
        (
            "quota: {bytes: much}\n",
            3,
            "quota.bytes: \"much\" is no size",
        ),
        (
            "quota: {messages: 1}\n",
            3,
            "quota.messages: is no known key: there are tasks, recipients, bytes",
        ),
        (
            "rates: {messages: fast}\n",
            3,
            "rates.messages: \"fast\" is no rate",
        ),
        (
            "rates: {recipients: [10/s, 20/s]}\n",
            3,
            "are about the same time",
        ),
        (
            "rates: {recipients_per_message: 0}\n",
            3,
            "from 1 to 100000",
        ),
        (
            "pools: [q]\n---\nkind: route\nname: r\ntenant: t\npool: p\n",
            8,
            "\"p\" is none of the pools of tenant \"t\"",
        ),
        (
            "pools: [q]\n---\nkind: route\nname: r\ntenant: t\nheader: true\npools: [q, p]\n",
            9,
            "\"p\" is none of the pools of tenant \"t\"",
        ),
    ] {
        check(keys, line, words);
    }
    let sound = format!(
        "kind: tenant\nname: t\npools: [p, q, default]\nweight: 4\nquota: {{tasks: 1000, recipients: 5000, bytes: 2GB}}\n\
         rates: {{messages: [10/s, 1000/day], recipients: 100/min, recipients_per_message: 50}}\n{pools}"
    );
    assert_eq!(problems(&sound), [""; 0]);
}
