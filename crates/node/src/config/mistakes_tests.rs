//! Mistakes as people make them: refused or warned of, with key, line and what to write instead.

use super::Config;
use super::sources::Sources;

const TLS: &str = "[smtp.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
const PEERS: &str = "[cluster]\nplaintext = true\nlisten = \"10.0.0.1:7000\"\n";

fn refused(text: &str) -> String {
    match Config::parse(text) {
        Ok(_) => panic!("not refused: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

fn warned(text: &str) -> String {
    let given = Sources {
        text: text.to_owned(),
        ..Sources::default()
    };
    let read = Config::of(&given).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    read.warnings.join("\n")
}

fn check(found: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(
            found.contains(part),
            "{text}\ngave {found:?}, which lacks {part:?}"
        );
    }
}

const REFUSED: &[(&str, &[&str])] = &[
    // Single values.
    (
        "[http]\nlisten = \"127.0.0.1\"",
        &["line 2", "IP:port, such as 127.0.0.1:7001"],
    ),
    (
        "[admin]\nlisten = \"localhost:7001\"",
        &["line 2", "such as 127.0.0.1:7001"],
    ),
    (
        "[admin]\nlisten = 7001",
        &["line 2", "such as 127.0.0.1:7001"],
    ),
    (
        "[dns]\nservers = [\"8.8.8.8\"]",
        &["line 2", "\"8.8.8.8\" is not IP:port"],
    ),
    ("[dns]\nservers = \"8.8.8.8:53\"", &["line 2", "sequence"]),
    (
        "[[smtp.listener]]\naddress = \"25\"",
        &["line 2", "0.0.0.0:25"],
    ),
    (
        "[cluster]\nlisten = \"node-1:7000\"",
        &["line 2", "IP:port"],
    ),
    ("[egress]\nlisten = \":7003\"", &["line 2", "IP:port"]),
    (
        "[delivery.retry]\nfirst = 300",
        &["line 2", "\"300\" is no span of time", "30s, 5m, 2h or 1d"],
    ),
    (
        "[delivery.retry]\nfirst = \"5 fortnights\"",
        &["line 2", "30s, 5m, 2h or 1d"],
    ),
    (
        "[smtp.limits]\ncommand_timeout = true",
        &["line 2", "30s, 5m, 2h or 1d"],
    ),
    (
        "[smtp.limits]\nmessage_bytes = \"50 M\"",
        &["line 2", "50MB or 64MiB"],
    ),
    (
        "[smtp.limits]\nmessage_bytes = -1",
        &["line 2", "50MB or 64MiB"],
    ),
    (
        "[storage]\nsegment_bytes = \"much\"",
        &["line 2", "50MB or 64MiB"],
    ),
    (
        "[smtp]\nrelay_networks = [\"10.0.0.0/33\"]",
        &["line 2", "such as 10.0.0.0/8"],
    ),
    (
        "[smtp]\nrelay_networks = [\"10.0.0.5\"]",
        &["line 2", "such as 10.0.0.0/8"],
    ),
    (
        "[smtp]\nrelay_networks = [\"10.0.0.5/8\"]",
        &["line 2", "10.0.0.0/8 for the network", "10.0.0.5/32"],
    ),
    (
        "[smtp]\nproxy_networks = [\"2001:db8::1/32\"]",
        &["line 2", "2001:db8::/32", "2001:db8::1/128"],
    ),
    (
        "[smtp.listener]\naddress = \"0.0.0.0:25\"",
        &["line 1", "[[smtp.listener]]"],
    ),
    (
        "[smtp.user]\nname = \"shop\"\npassword = \"x\"",
        &["line 1", "double brackets"],
    ),
    (
        "[delivery.route]\ndomains = [\"a.test\"]",
        &["line 1", "double brackets"],
    ),
    ("role = \"sendr\"", &["line 1", "did you mean `sender`?"]),
    (
        "[smtp]\nhostnam = \"x\"",
        &["line 2", "did you mean `hostname`?"],
    ),
    (
        "[smtp]\nsmarthost = \"a:25\"",
        &["line 2", "`smarthost` is a key of [delivery]"],
    ),
    (
        "[log]\nlevel = \"verbose\"",
        &[
            "line 2: log.level",
            "\"verbose\"",
            "error, warn, info, debug or trace",
        ],
    ),
    (
        "[log]\nlevel = \"inof\"",
        &["line 2: log.level", "did you mean info?"],
    ),
    (
        "[log]\nlevel = \"skein_sender=loud\"",
        &["line 2: log.level", "skein_sender=debug,info"],
    ),
    (
        "[log]\nlevel = \"\"",
        &["line 2: log.level", "error, warn, info"],
    ),
    (
        "[dkim]\nprevious_key_file = \"old\"",
        &["line 2: dkim.previous_key_file", "without dkim.key_file"],
    ),
    // Who may do what.
    (
        "[smtp]\nrelay_networks = [\"0.0.0.0/0\"]",
        &["line 2: smtp.relay_networks", "open relay", "10.0.0.0/8"],
    ),
    (
        "[smtp]\nrelay_networks = [\"127.0.0.0/8\", \"::/0\"]",
        &["line 2: smtp.relay_networks", "::/0"],
    ),
    (
        "[smtp]\nrelay_networks = [\"128.0.0.0/1\"]",
        &["line 2: smtp.relay_networks", "open relay"],
    ),
    (
        "[smtp]\nproxy_networks = [\"0.0.0.0/0\"]",
        &["line 2: smtp.proxy_networks", "pass for any client"],
    ),
    (
        "[smtp]\nrelay_tenant = \"my tenant\"",
        &["line 2: smtp.relay_tenant", "acme-1"],
    ),
    (
        "[[smtp.user]]\nname = \"shop\"\npassword = \"x\"",
        &[
            "line 1: smtp.user",
            "nobody can log in",
            "smtp.tls.certificate",
        ],
    ),
    (
        "[[smtp.listener]]\naddress = \"0.0.0.0:25\"\n[[smtp.listener]]\naddress = \"0.0.0.0:587\"\nkind = \"submission\"",
        &[
            "line 5: smtp.listener[2].kind",
            "nobody can log in at 0.0.0.0:587",
        ],
    ),
    (
        "[[smtp.tls.sni]]\ncertificate = \"c\"\nkey = \"k\"\n",
        &["smtp.tls.sni", "needs smtp.tls.certificate"],
    ),
    (
        "[smtp.tls]\nclient_ca = \"c\"\n",
        &["line 2: smtp.tls.client_ca", "needs smtp.tls.certificate"],
    ),
    (
        "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_revoked = \"r\"\n",
        &["line 4: smtp.tls.client_revoked", "with client_ca"],
    ),
    (
        "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[smtp.tls.sni]]\ncertificate = \"d\"\n",
        &["key"],
    ),
    (
        "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[smtp.tls.sni]]\ncertificate = \"d\"\nkey = \"l\"\nnames = [\"a.*.test\"]\n",
        &["smtp.tls.sni[1].names", "*.example.com"],
    ),
    (
        "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[smtp.tls.sni]]\ncertificate = \"d\"\nkey = \"l\"\nnames = [\"a.test\", \"A.test\"]\n",
        &["smtp.tls.sni[1].names", "is there already"],
    ),
    // Twice.
    (
        "[[smtp.listener]]\naddress = \"0.0.0.0:25\"\n[[smtp.listener]]\naddress = \"0.0.0.0:25\"",
        &[
            "line 4: smtp.listener[2].address",
            "taken by smtp.listener[1].address",
        ],
    ),
    (
        "[[smtp.listener]]\naddress = \"0.0.0.0:25\"\n[[smtp.listener]]\naddress = \"10.0.0.1:25\"",
        &["line 4: smtp.listener[2].address", "another port"],
    ),
    (
        "[[smtp.listener]]\naddress = \"127.0.0.1:7002\"",
        &["line 2: smtp.listener[1].address", "taken by http.listen"],
    ),
    (
        "[admin]\nlisten = \"127.0.0.1:7002\"",
        &["line 2: admin.listen", "http.listen"],
    ),
    (
        "[dns]\nservers = [\"10.0.0.1:53\", \"10.0.0.1:53\"]",
        &["line 2: dns.servers[2]", "once"],
    ),
    (
        "[dns]\nservers = [\"0.0.0.0:53\"]",
        &["line 2: dns.servers[1]", "10.0.0.53:53"],
    ),
    (
        "[smtp]\nlistener = []",
        &["line 2: smtp.listener", "0.0.0.0:25"],
    ),
    (
        "[smtp.limits]\nconnections = 0",
        &["line 2: smtp.limits.connections", "above zero"],
    ),
    (
        "[smtp.limits]\nmessage_bytes = 0",
        &["line 2: smtp.limits.message_bytes", "above zero"],
    ),
    (
        "[delivery.retry]\nmax_age = \"0s\"",
        &["line 2: delivery.retry.max_age", "5d"],
    ),
    ("[delivery]\nport = 0", &["line 2: delivery.port", "25"]),
    (
        "[[delivery.route]]\ndomains = [\"a.test\"]\nuser = \"u\"",
        &["line 3: delivery.route[1].user", "password", "a.test"],
    ),
];

#[test]
fn what_cannot_work_is_refused_with_key_line_and_example() {
    for (text, parts) in REFUSED {
        check(&refused(text), text, parts);
    }
    let twice = format!(
        "{TLS}[[smtp.user]]\nname = \"shop\"\npassword = \"x\"\n[[smtp.user]]\nname = \"shop\"\npassword = \"y\"\n"
    );
    check(
        &refused(&twice),
        &twice,
        &["line 8: smtp.user[2].name", "there already"],
    );
    let tenant =
        format!("{TLS}[[smtp.user]]\nname = \"shop\"\npassword = \"x\"\ntenant = \"a b\"\n");
    check(
        &refused(&tenant),
        &tenant,
        &["line 7: smtp.user[1].tenant", "acme-1"],
    );
    let same =
        format!("{PEERS}peers = [\"10.0.0.1:7000\", \"10.0.0.2:7000\", \"10.0.0.2:7000\"]\n");
    check(
        &refused(&same),
        &same,
        &["line 4: cluster.peers[3]", "10.0.0.2:7000", "once"],
    );
    let missing =
        format!("{PEERS}peers = [\"10.0.0.2:7000\", \"10.0.0.3:7000\", \"10.0.0.4:7000\"]\n");
    check(
        &refused(&missing),
        &missing,
        &[
            "line 4: cluster.peers",
            "10.0.0.1:7000",
            "bootstrap_expect = 0",
        ],
    );
    check(
        &warned(&format!("{missing}bootstrap_expect = 0\nspool_groups = 4")),
        &missing,
        &[""],
    );
    let uncertified = format!("{PEERS}peers = [\"10.0.0.1:7000\"]\njoin = \"auto\"\n");
    check(
        &refused(&uncertified),
        &uncertified,
        &[
            "line 5: cluster.join",
            "[cluster.tls]",
            "skeinctl cluster add",
        ],
    );
    let unknown = uncertified.replace("auto", "open");
    check(
        &refused(&unknown),
        &unknown,
        &["line 5", "`invited`", "`auto`"],
    );
}

#[test]
fn what_has_no_effect_or_another_one_is_warned_of_with_key_and_line() {
    let sender = "role = \"sender\"\n[cluster]\npeers = [\"127.0.0.1:7000\"]\n";
    let cases: &[(&str, &[&str])] = &[
        (
            "[smtp]\nrelay_networks = [\"10.0.0.0/8\"]",
            &["line 2: smtp.relay_networks", "127.0.0.0/8", "550 5.7.1"],
        ),
        (
            "[smtp]\nrelay_networks = [\"127.0.0.0/8\", \"20.0.0.0/8\"]",
            &["line 2: smtp.relay_networks", "20.0.0.0/8 is a wide range"],
        ),
        (
            "role = \"control\"\n[delivery]\nsmarthost = \"a:25\"\n[[smtp.listener]]\naddress = \"0.0.0.0:25\"",
            &[
                "line 3: delivery.smarthost: has no effect",
                "line 4: smtp.listener: has no effect",
                "senders",
            ],
        ),
        (
            "[cluster]\naddress = \"127.0.0.1:7000\"",
            &["line 2: cluster.address: has no effect"],
        ),
        (
            "[delivery.retry]\nmax_age = \"1m\"",
            &["line 2: delivery.retry.max_age", "given up"],
        ),
        (
            "[delivery.retry]\ndelay_notice = \"9d\"",
            &["line 2: delivery.retry.delay_notice", "nobody hears"],
        ),
        (
            "[smtp.limits]\nconnections_per_client = 5000",
            &["line 2: smtp.limits.connections_per_client"],
        ),
    ];
    for (text, parts) in cases {
        check(&warned(text), text, parts);
    }
    let useless = format!(
        "{sender}listen = \"127.0.0.1:7000\"\n[admin]\nlisten = \"127.0.0.1:7001\"\n[storage]\nsoft_mark = 70\n"
    );
    let said = warned(&useless);
    check(
        &said,
        &useless,
        &[
            "line 4: cluster.listen: has no effect",
            "line 5: admin: ",
            "line 7: storage: ",
        ],
    );
    assert_eq!(said.lines().count(), 3, "one for a section: {said}");
    let no_users = format!(
        "{TLS}[[smtp.listener]]\naddress = \"0.0.0.0:465\"\ntls = \"implicit\"\nkind = \"submission\"\n"
    );
    check(
        &warned(&no_users),
        &no_users,
        &["line 7: smtp.listener[1].kind", "no [[smtp.user]]"],
    );
    let unused = format!("{TLS}[[smtp.listener]]\naddress = \"0.0.0.0:25\"\ntls = \"none\"\n");
    check(
        &warned(&unused),
        &unused,
        &["line 1: smtp.tls: has no effect"],
    );
    let unasked = format!("{TLS}client_ca = \"ca\"\n");
    check(
        &warned(&unasked),
        &unasked,
        &["line 4: smtp.tls.client_ca: has no effect"],
    );
    for (peers, words) in [(2, "less than one alone"), (4, "as 3 do")] {
        let names = (1..=peers).map(|n| format!("\"10.0.0.{n}:7000\""));
        let names: Vec<String> = names.collect();
        let text = format!("{PEERS}peers = [{}]\n", names.join(", "));
        check(
            &warned(&text),
            &text,
            &["line 4: cluster.peers", words, "use 3 or 5"],
        );
    }
}

#[test]
fn what_is_as_it_should_be_is_passed_without_a_word() {
    let users = format!("{TLS}[[smtp.user]]\nname = \"shop\"\npassword = \"x\"\n");
    let certificates = format!(
        "{TLS}client_ca = \"ca\"\nclient_revoked = \"r\"\n[[smtp.tls.sni]]\ncertificate = \"d\"\nkey = \"l\"\n\
         names = [\"a.test\", \"*.b.test\"]\n[[smtp.listener]]\naddress = \"0.0.0.0:465\"\ntls = \"implicit\"\nkind = \"submission\"\n"
    );
    let founders =
        format!("{PEERS}peers = [\"10.0.0.1:7000\", \"10.0.0.2:7000\", \"10.0.0.3:7000\"]\n");
    for text in [
        "",
        "role = \"sender\"\n[cluster]\npeers = [\"127.0.0.1:7000\"]\nname = \"s1\"\n",
        "[smtp]\nrelay_networks = [\"127.0.0.0/8\", \"::1/128\", \"10.0.0.0/8\", \"192.0.2.0/24\", \"2001:db8::/32\"]\n",
        "[smtp.limits]\nmessage_bytes = \"50MB\"\nmemory_bytes = \"128 MiB\"\ncommand_timeout = \"5 minutes\"\n",
        "[delivery.retry]\nfirst = \"1h 30m\"\ncap = \"4hours\"\nmax_age = \"1 week\"\n",
        "[log]\nlevel = \"INFO\"\n",
        "[log]\nlevel = \"skein_sender=debug,info\"\n",
        "[[smtp.listener]]\naddress = \"0.0.0.0:25\"\n[[smtp.listener]]\naddress = \"[::]:26\"\n",
        "[[smtp.listener]]\naddress = \"127.0.0.1:0\"\n[[smtp.listener]]\naddress = \"127.0.0.1:0\"\n",
        "[[smtp.listener]]\naddress = \"127.0.0.1:25\"\n[[smtp.listener]]\naddress = \"10.0.0.1:25\"\n",
        &users,
        &certificates,
        &founders,
    ] {
        assert_eq!(warned(text), "", "{text}");
    }
}
