#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::config::{Config, LogFormat, Role};

fn sources(text: &str, environment: &[(&str, &str)], sets: &[&str]) -> Sources {
    let environment = environment.iter();
    Sources {
        file: None,
        text: text.to_owned(),
        environment: environment
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        sets: sets.iter().map(|set| set.parse().unwrap()).collect(),
    }
}

fn read(text: &str, environment: &[(&str, &str)], sets: &[&str]) -> Config {
    Config::of(&sources(text, environment, sets))
        .unwrap()
        .config
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let text = "[http]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n";
    let variables = [
        ("SKEIN_HTTP__LISTEN", "127.0.0.1:2"),
        ("SKEIN_LOG__FORMAT", "json"),
    ];
    let port = |config: Config| config.http.listen.port();
    assert_eq!(port(read("", &[], &[])), 7002);
    assert_eq!(port(read(text, &[], &[])), 1);
    assert_eq!(port(read(text, &variables, &[])), 2);
    let sets = ["http.listen=127.0.0.1:3", "http.listen=127.0.0.1:4"];
    let config = read(text, &variables, &sets);
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(port(config), 4, "the last of them");
}

#[test]
fn values_are_read_as_their_keys_ask_wherever_they_come_from() {
    let variables = [
        ("SKEIN_ROLE", "sender"),
        ("SKEIN_CLUSTER__PLAINTEXT", "true"),
        ("SKEIN_CLUSTER__PEERS", "a:1, b:2"),
        ("SKEIN_CLUSTER__NAME", "a,b = [\"c\"]"),
        ("SKEIN_SMTP__RELAY_NETWORKS", "[\"10.0.0.0/8\"]"),
        ("SKEIN_SMTP__PROXY_NETWORKS", ""),
        ("SKEIN_SMTP__LIMITS__RECIPIENTS", "120"),
        ("SKEIN_SMTP__LIMITS__MESSAGE_BYTES", "5MiB"),
        ("SKEIN_SMTP__LIMITS__LINE_BYTES", "1024"),
        ("SKEIN_SMTP__LIMITS__COMMAND_TIMEOUT", "7s"),
        (
            "SKEIN_SMTP__LISTENER",
            "[{address = \"127.0.0.1:5\", kind = \"relay\"}]",
        ),
        ("SKEIN_DELIVERY__PORT", "26"),
        ("SKEIN_DELIVERY__OWN_ADDRESSES", "10.0.0.1,10.0.0.2"),
        ("SKEIN_DELIVERY__SMARTHOST", "h:25"),
    ];
    let config = read("", &variables, &[]);
    assert_eq!(config.role, Role::Sender);
    assert!(config.cluster.plaintext);
    assert_eq!(config.cluster.peers, ["a:1", "b:2"]);
    assert_eq!(config.cluster.name.as_deref(), Some("a,b = [\"c\"]"));
    assert_eq!(config.smtp.relay_networks.len(), 1);
    assert!(config.smtp.proxy_networks.is_empty());
    let limits = &config.smtp.limits;
    assert_eq!(
        (limits.recipients, limits.message_bytes, limits.line_bytes),
        (120, 5 << 20, 1024)
    );
    assert_eq!(limits.command_timeout.as_secs(), 7);
    assert_eq!(config.smtp.listeners[0].address.port(), 5);
    assert_eq!(config.delivery.port, 26);
    assert_eq!(config.delivery.own_addresses.len(), 2);
    // The same by references of a file.
    let text = "role = \"${ROLE}\"\n[cluster]\nplaintext = \"${PLAIN}\"\npeers = \"${PEERS}\"\nname = \"${POD}.x\"\n\
                [delivery]\nport = \"${PORT:-26}\"\nsmarthost = \"${POD}:25\"\n[delivery.retry]\nfirst = \"${FIRST:-9}m\"\n\
                [smtp]\nrelay_networks = [\"${NET}\"]\n";
    let variables = [
        ("ROLE", "sender"),
        ("PLAIN", "true"),
        ("PEERS", "a:1,b:2"),
        ("POD", "skein-0"),
        ("NET", "10.0.0.0/8"),
    ];
    let config = read(text, &variables, &[]);
    assert_eq!(
        (config.role, config.cluster.plaintext),
        (Role::Sender, true)
    );
    assert_eq!(config.cluster.peers, ["a:1", "b:2"]);
    assert_eq!(config.cluster.name.as_deref(), Some("skein-0.x"));
    assert_eq!(config.delivery.port, 26);
    assert_eq!(config.delivery.retry.first.as_secs(), 540);
    assert_eq!(config.smtp.relay_networks.len(), 1);
}

/// File, environment, `--set`, and what the error says.
type Wrong = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static [&'static str],
);

const WRONG: [Wrong; 12] = [
    (
        "role = \"all\"
[smtp]
hostname = \"${POD}.x\"
",
        &[],
        &[],
        &["line 3: smtp.hostname: ${POD}", "set it", "${POD:-value}"],
    ),
    (
        "[smtp]\nhostname = \"${POD\"",
        &[],
        &[],
        &["line 2: smtp.hostname", "${NAME:-default}"],
    ),
    (
        "[delivery]\nport = \"${P}\"",
        &[("P", "many")],
        &[],
        &["line 2: delivery.port", "\"many\"", "u16"],
    ),
    (
        "",
        &[("SKEIN_DELIVERY__PORT", "70000")],
        &[],
        &[
            "environment variable SKEIN_DELIVERY__PORT: delivery.port",
            "u16",
        ],
    ),
    (
        "",
        &[("SKEIN_HTTP__LISTEN", "7002")],
        &[],
        &[
            "environment variable SKEIN_HTTP__LISTEN: http.listen",
            "127.0.0.1:7001",
        ],
    ),
    (
        "",
        &[("SKEIN_HTTP__LISTN", "x")],
        &[],
        &[
            "environment variable SKEIN_HTTP__LISTN",
            "did you mean `listen`?",
        ],
    ),
    (
        "",
        &[("SKEIN_HTPP__LISTEN", "x")],
        &[],
        &[
            "environment variable SKEIN_HTPP__LISTEN",
            "did you mean SKEIN_HTTP__LISTEN?",
        ],
    ),
    (
        "",
        &[],
        &["smtp.hostnam=x"],
        &["--set smtp.hostnam", "did you mean `hostname`?"],
    ),
    ("", &[], &["smpt.hostname=x"], &["did you mean `smtp`?"]),
    (
        "[[smtp.listener]]\naddress = \"127.0.0.1:1\"",
        &[("SKEIN_SMTP__LISTENER__ADDRESS", "x")],
        &[],
        &["SKEIN_SMTP__LISTENER__ADDRESS: smtp.listener", "as a whole"],
    ),
    (
        "",
        &[("SKEIN_SMTP__LISTENER", "[{adress = \"x\"}]")],
        &[],
        &[
            "SKEIN_SMTP__LISTENER: smtp.listener[1].adress",
            "did you mean `address`?",
        ],
    ),
    // Checks of what was read say it as well.
    (
        "role = \"sender\"",
        &[("SKEIN_CLUSTER__PEERS", "nowhere")],
        &[],
        &[
            "environment variable SKEIN_CLUSTER__PEERS: cluster.peers",
            "nowhere",
        ],
    ),
];

#[test]
fn errors_say_where_a_value_comes_from() {
    for (text, environment, sets, parts) in WRONG {
        let error = Config::of(&sources(text, environment, sets)).map(|_| ());
        let error = format!("{:#}", error.unwrap_err());
        for part in parts {
            assert!(
                error.contains(part),
                "{text} {environment:?} {sets:?} gave {error:?}, which lacks {part:?}"
            );
        }
    }
}

#[test]
fn passwords_may_come_from_the_environment_and_are_not_shown() {
    let text = "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[smtp.user]]\nname = \"u\"\npassword = \"${PW}\"\n";
    let variables = [
        ("PW", "a$$\"${X}\n"),
        ("SKEIN_LOG_LEVEL", "debug"),
        ("SKEIN_CLUSTER_NAME", "n"),
        ("SKEIN_BIN", "/x"),
    ];
    let read = Config::of(&sources(text, &variables, &[])).unwrap();
    assert_eq!(
        read.config.smtp.users[0].password.as_deref(),
        Some("a$$\"${X}\n")
    );
    for meant in ["SKEIN_LOG__LEVEL", "SKEIN_CLUSTER__NAME"] {
        let mut warnings = read.warnings.iter();
        assert!(warnings.any(|warning| warning.contains(meant)), "{meant}");
    }
    assert!(!read.config.to_toml(false).unwrap().contains("${X}"));
    let shown = read.config.to_toml(true).unwrap();
    let again = Config::of(&sources(&shown, &[], &[])).unwrap();
    assert_eq!(
        again.config.smtp.users[0].password,
        read.config.smtp.users[0].password
    );
    let origins = read.config.with_origins(&read.settings, false).unwrap();
    for line in ["smtp.user = [{", "# line 4", "role = \"all\"  # default"] {
        assert!(origins.contains(line), "{origins}");
    }
    assert!(!origins.contains("${X}"));
}

#[test]
fn settings_on_the_command_line_have_a_key_and_a_value() {
    let setting: Setting = "cluster.name=a=b".parse().unwrap();
    assert_eq!(
        (setting.key.as_str(), setting.value.as_str()),
        ("cluster.name", "a=b")
    );
    for bad in ["", "=", "cluster.name", "Cluster.name=x", ".a=b", "a..b=c"] {
        assert!(bad.parse::<Setting>().is_err(), "{bad}");
    }
}
