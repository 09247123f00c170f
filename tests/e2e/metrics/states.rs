//! Each state that a metric tells of is brought about, and shows with its labels and its figure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Probe};
use skein_testkit::sink::{Act, Phase, Sink};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::{Bench, Extra, loopback, replays};

use super::listed::{check, listed};
use super::scrape::{Scrape, WITHIN, until};
use crate::warmup::late_in_the_day;

/// AUTH PLAIN for ann, with the right password and with a wrong one.
const RIGHT: &str = "AUTH PLAIN AGFubgBzZWNyZXQ=";
const WRONG: &str = "AUTH PLAIN AGFubgB3cm9uZw==";

/// Families with `*` that other tests bring about, and which.
pub const ELSEWHERE: [(&str, &str); 9] = [
    ("skein_smtp_out_tls_refusals_total", "tls_out::shared_hosts"),
    ("skein_smtp_in_checks_total", "inbound::checks"),
    ("skein_certificate_expires_timestamp_seconds", CLIENTS),
    ("skein_smtp_in_connections_refused_total", CLIENTS),
    ("skein_smtp_in_tls_total", CLIENTS),
    ("skein_raft_follower_lag_entries", "listed"),
    ("skein_raft_quorum_ack_age_seconds", "listed"),
    // Senders ask for what they were told, so real ones are hardly ever refused.
    ("skein_egress_refused_total", EGRESS),
    ("skein_egress_connect_failures_total", EGRESS),
];
const EGRESS: &str = "the tests of the crate egress";
const CLIENTS: &str = "what_clients_do_shows";

/// A value that is asserted: name, labels, and the figure.
type Figure<'f> = (&'f str, &'f [(&'f str, &'f str)], f64);

/// Waits until all figures are there at once.
async fn shows(http: std::net::SocketAddr, figures: &[Figure<'_>]) -> Scrape {
    let is_so = |scrape: &Scrape| {
        let mut all = figures.iter();
        all.all(|(name, labels, value)| scrape.value(name, labels) == Some(*value))
    };
    until(http, &format!("{figures:?}"), is_so).await
}

/// A wrong password, no TLS where it is due, no PROXY header, and a stranger who wants mail relayed.
async fn what_is_refused_shows(bench: &Bench, submission: std::net::SocketAddr) {
    let relay = bench.smtp.to_string();
    let mut guess = Probe::connect_tls(submission).await.unwrap();
    guess.reply().await.unwrap();
    guess.cmd("EHLO c").await.unwrap();
    assert_eq!(guess.cmd(WRONG).await.unwrap().code, 535);
    let mut plain = Probe::connect(submission).await.unwrap();
    plain.send(b"EHLO c\r\n").await.unwrap();
    let proxy = Probe::connect_from(IpAddr::from([127, 0, 0, 5]), bench.smtp);
    proxy.await.unwrap().send(b"EHLO c\r\n").await.unwrap();
    let stranger = Probe::connect_from(IpAddr::from([127, 0, 0, 9]), bench.smtp);
    let mut stranger = stranger.await.unwrap();
    stranger.reply().await.unwrap();
    for (line, code) in [
        ("EHLO c", 250),
        ("MAIL FROM:<a@b.test>", 250),
        ("RCPT TO:<u@there.test>", 550),
    ] {
        assert_eq!(stranger.cmd(line).await.unwrap().code, code, "{line}");
    }
    let refused = [("listener", relay.as_str()), ("reason", "proxy")];
    let scrape = shows(
        bench.http,
        &[
            ("skein_smtp_in_logins_failed_total", &[], 1.0),
            ("skein_smtp_in_logins_total", &[], 1.0),
            ("skein_smtp_in_tls_failures_total", &[], 1.0),
            ("skein_smtp_in_connections_refused_total", &refused, 1.0),
            ("skein_smtp_in_relaying_refused_total", &[], 1.0),
        ],
    )
    .await;
    let ends = scrape.value(
        "skein_certificate_expires_timestamp_seconds",
        &[("port", "smtp")],
    );
    let now_s = skein_testkit::unix_ms() / 1000;
    assert!(ends > Some(now_s as f64), "{ends:?}");
    for name in ELSEWHERE.iter().filter(|(_, test)| *test == CLIENTS) {
        assert!(scrape.families.contains_key(name.0), "{}", name.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_do_shows() {
    let submission = loopback().unwrap();
    let bench = Bench::with(|folder| {
        let tls = skein_tests::self_signed(folder)?;
        Ok(Extra {
            smtp: "proxy_networks = [\"127.0.0.5/32\"]".to_owned(),
            sections: format!(
                r#"
                {tls}
                [[smtp.user]]
                name = "ann"
                password = "secret"
                tenant = "shop"
                [[smtp.listener]]
                address = "{submission}"
                kind = "submission"
                tls = "implicit"
                "#
            ),
            relay_networks: Some("[\"127.0.0.2/32\"]".to_owned()),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let _node = bench.start().await.unwrap();
    let login = submission.to_string();

    // A session over TLS that is open, and a login that went well there.
    let mut ann = Probe::connect_tls(submission).await.unwrap();
    ann.reply().await.unwrap();
    ann.cmd("EHLO c").await.unwrap();
    assert_eq!(ann.cmd(RIGHT).await.unwrap().code, 235);
    shows(
        bench.http,
        &[
            ("skein_smtp_in_tls_total", &[("version", "1.3")], 1.0),
            ("skein_smtp_in_connections", &[("listener", &login)], 1.0),
            (
                "skein_smtp_in_connections_opened_total",
                &[("listener", &login)],
                1.0,
            ),
            ("skein_smtp_in_logins_total", &[], 1.0),
            ("skein_smtp_in_logins_failed_total", &[], 0.0),
        ],
    )
    .await;

    // A message of hers, and one that is refused at its end.
    for (header, code) in [("Subject: x", 250), ("X-Skein-Priority: nonsense", 550)] {
        ann.cmd("MAIL FROM:<a@b.test>").await.unwrap();
        ann.cmd("RCPT TO:<u@there.test>").await.unwrap();
        assert_eq!(ann.cmd("DATA").await.unwrap().code, 354);
        let message = format!("{header}\r\n\r\nx\r\n.\r\n");
        ann.send(message.as_bytes()).await.unwrap();
        assert_eq!(ann.reply().await.unwrap().code, code, "{header}");
    }
    let scrape = shows(
        bench.http,
        &[
            ("skein_messages_accepted_total", &[("tenant", "shop")], 1.0),
            ("skein_messages_refused_total", &[], 1.0),
            ("skein_accept_seconds_count", &[], 2.0),
        ],
    )
    .await;
    let bytes = scrape.value("skein_accepted_bytes_total", &[("tenant", "shop")]);
    assert!(bytes > Some(15.0), "{bytes:?}");
    assert_eq!(ann.cmd("QUIT").await.unwrap().code, 221);
    shows(
        bench.http,
        &[("skein_smtp_in_connections", &[("listener", &login)], 0.0)],
    )
    .await;

    what_is_refused_shows(&bench, submission).await;
}

fn policy() -> String {
    let rule = "automation:\n  - match: '\\[TSS04\\]'\n    for: 60s\n    threshold: 2/h\n    action: suspend\n";
    format!(
        "kind: ip\nname: w1\nbind: 127.0.0.11\nehlo: w1.here.test\n---\n\
         kind: pool\nname: default\nmembers: [{{ip: w1}}]\n---\n\
         kind: provider\nname: default\nextends: true\nper_ip: {{connections: 2, connection_rate: 100/s}}\n---\n\
         kind: provider\nname: yahoo\nextends: true\n{rule}---\n\
         kind: warmup\nname: new\npool: default\nschedule: {{table: [600, 1200, 2000]}}\nproviders: {{yahoo: 50}}\n\
         floor: 5\nutc_offset: '{}'\n",
        late_in_the_day()
    )
}

/// Hands in so many messages to one address.
async fn hand_in(fleet: &Fleet, to: &str, count: usize) {
    let injector = Injector::new(InjectorConfig::to(fleet.senders[0].smtp));
    let messages = (0..count).map(|nth| {
        let id = format!("{to}-{nth}");
        Injected::generated(&id, "a@else.test", vec![to.to_owned()], 500)
    });
    let offered = injector.offer(messages.collect()).await;
    assert!(offered.iter().all(Injected::acked), "{offered:?}");
}

/// The paths on which mail goes out here.
const ELSE: [(&str, &str); 2] = [("provider", "other"), ("ip", "w1")];
const YAHOO: [(&str, &str); 2] = [("provider", "yahoo"), ("ip", "w1")];

fn outcome<'l>(
    outcome: &'l str,
    class: &'l str,
    path: [(&'l str, &'l str); 2],
) -> Vec<(&'l str, &'l str)> {
    [("outcome", outcome), ("class", class)]
        .into_iter()
        .chain(path)
        .collect()
}

/// A warm-up on its first day, with what it has used.
async fn a_warmup_shows(fleet: &Fleet) {
    let (control, sender) = (fleet.control[0].http, fleet.senders[0].http);
    hand_in(fleet, "u@else.test", 6).await;
    let delivered = outcome("delivered", "2xx", ELSE);
    shows(
        sender,
        &[
            ("skein_delivery_recipients_total", &delivered, 6.0),
            ("skein_delivery_queue_seconds_count", &[], 6.0),
            (
                "skein_smtp_out_phase_seconds_count",
                &[("phase", "dot"), ELSE[0]],
                6.0,
            ),
        ],
    )
    .await;
    let warmed = |name| [("group", "meta"), ("ip", "w1"), ("provider", name)];
    let scrape = until(control, "the warm-up's use", |scrape| {
        let used = scrape.value("skein_warmup_used", &warmed("default"));
        used >= Some(6.0)
    })
    .await;
    for (provider, budget) in [("default", 300.0), ("yahoo", 300.0)] {
        let labels = warmed(provider);
        let value = |name| scrape.value(name, &labels);
        assert_eq!(value("skein_warmup_budget"), Some(budget), "{provider}");
        assert_eq!(value("skein_warmup_stage"), Some(1.0), "{provider}");
        assert_eq!(value("skein_warmup_stages"), Some(3.0), "{provider}");
        assert_eq!(value("skein_warmup_held"), Some(0.0), "{provider}");
    }
    let used = scrape.value("skein_warmup_used", &warmed("yahoo"));
    assert_eq!(used, Some(0.0), "nothing was sent there");
}

/// A rule that a provider's reply brings into force, and what an operator holds back.
async fn what_holds_mail_back_shows(fleet: &Fleet, refusing: &Sink) {
    let (control, sender) = (fleet.control[0].http, fleet.senders[0].http);
    refusing.set_script(|moment| match moment.phase {
        Phase::Mail => Act::reply(421, "4.7.0 [TSS04] deferred"),
        _ => Act::Accept,
    });
    let suspends = [("group", "meta"), ("action", "suspend")];
    shows(control, &[("skein_automation_actions", &suspends, 0.0)]).await;
    hand_in(fleet, "u@yahoo.test", 4).await;
    until(control, "a rule in force", |scrape| {
        scrape.value("skein_automation_actions", &suspends) >= Some(1.0)
    })
    .await;
    let deferred = outcome("deferred", "4xx", YAHOO);
    until(sender, "deferrals", |scrape| {
        scrape.value("skein_delivery_recipients_total", &deferred) >= Some(2.0)
    })
    .await;

    // What an operator holds back.
    let held = |count| [("skein_suspensions", &[("group", "meta")][..], count)];
    shows(control, &held(0.0)).await;
    let suspend = ["suspend", "--domain", "held.test", "--why", "a test"];
    fleet.skeinctl(&suspend).unwrap();
    shows(control, &held(1.0)).await;
    fleet
        .skeinctl(&["resume", "--domain", "held.test"])
        .unwrap();
    shows(control, &held(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_mail_shows() {
    let fleet = Fleet::start(Plan {
        spool_groups: Some(1),
        ..Plan::default()
    })
    .await
    .unwrap();
    let (control, sender) = (fleet.control[0].http, fleet.senders[0].http);
    let sink = fleet.sink(4, "mx.else.test", &["else.test"]).await.unwrap();
    let yahoo = replays::all().unwrap().remove("yahoo").unwrap();
    let refusing = fleet.sink(3, &yahoo.host, &["yahoo.test"]).await.unwrap();
    fleet.apply(&policy()).unwrap();
    let active = |fleet: &Fleet| {
        let ips = fleet.ask(&["ip", "list"]).unwrap();
        (ips[0]["state"] == "active").then_some(())
    };
    fleet.until("the IP", WITHIN, active).await.unwrap();
    fleet.skeinctl(&["warmup", "start", "--ip", "w1"]).unwrap();

    a_warmup_shows(&fleet).await;

    // A recipient that is refused, with its DSN.
    sink.set_script(|moment| match moment.phase {
        Phase::Rcpt if moment.address.contains("gone@") => Act::reply(550, "5.1.1 no such user"),
        _ => Act::Accept,
    });
    hand_in(&fleet, "gone@else.test", 1).await;
    let bounced = outcome("bounced", "5xx", ELSE);
    shows(
        sender,
        &[
            ("skein_delivery_recipients_total", &bounced, 1.0),
            ("skein_dsns_total", &[("action", "failed")], 1.0),
        ],
    )
    .await;

    // A host that nobody is at.
    fleet
        .dns
        .host("mx.away.test", IpAddr::from([127, 0, 0, 66]));
    fleet.dns.mx("away.test", 10, "mx.away.test");
    hand_in(&fleet, "u@away.test", 1).await;
    let failed = [&ELSE[..], &[("reason", "unreachable")]].concat();
    let scrape = until(sender, "a failure", |scrape| {
        let name = "skein_smtp_out_session_failures_total";
        scrape.value(name, &failed) >= Some(1.0)
    })
    .await;
    let failures = scrape.value("skein_smtp_out_connect_failures_total", &[]);
    assert!(failures >= Some(1.0), "{failures:?}");
    let found = [("type", "mx"), ("result", "found")];
    assert!(scrape.value("skein_dns_lookups_total", &found) >= Some(2.0));

    what_holds_mail_back_shows(&fleet, &refusing).await;

    // A limit that is in use: a host that is slow, and more mail than there may be connections.
    sink.set_script(|moment| match moment.phase {
        Phase::Dot => Act::Delay(Duration::from_secs(45)),
        _ => Act::Accept,
    });
    hand_in(&fleet, "u@else.test", 8).await;
    let at_site = [("scope", "ip_site")];
    let in_use = shows(
        sender,
        &[
            ("skein_limit_connections", &at_site, 2.0),
            ("skein_limit_connections_allowed", &at_site, 2.0),
            ("skein_sender_held", &[("scope", "ip_site")], 1.0),
            ("skein_smtp_out_connections", &ELSE, 2.0),
            ("skein_egress_tunnels", &[("ip", "w1")], 2.0),
        ],
    )
    .await;
    let throttled = [("scope", "ip_site"), ("counts", "connections")];
    assert!(in_use.value("skein_limit_throttled_total", &throttled) >= Some(1.0));
    // All of the eight are open tasks of their queue meanwhile.
    let site = [("group", "1"), ("site", "mx.else.test")];
    let control = shows(control, &[("skein_queue_site_tasks", &site, 8.0)]).await;

    let (listed, sender) = (listed(), Scrape::of(sender).await);
    check(&listed, "control", &control);
    check(&listed, "sender", &sender);
    let seen: BTreeSet<&String> = [&control, &sender]
        .into_iter()
        .flat_map(|scrape| scrape.families.keys())
        .collect();
    let elsewhere = |name: &str| ELSEWHERE.iter().any(|(one, _)| *one == name);
    let never = listed.keys().filter(|name| !seen.contains(name));
    let never: Vec<&String> = never.filter(|name| !elsewhere(name)).collect();
    assert!(never.is_empty(), "no test brings these about: {never:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_domains_shows() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("dkim.key");
    std::fs::write(&key, "00112233445566778899aabbccddeeff".repeat(2)).unwrap();
    let fleet = Fleet::start(Plan {
        senders: 0,
        control_sections: format!(
            "[dkim]\nkey_file = {key:?}\nauthoritative_servers = [\"{{dns}}\"]\n"
        ),
        ..Plan::default()
    });
    let fleet = fleet.await.unwrap();
    let control = fleet.control[0].http;
    let of = |state| [("group", "meta"), ("state", state)];
    shows(control, &[("skein_domains", &of("unverified"), 0.0)]).await;
    let add = ["domain", "add", "example.test", "--tenant", "shop"];
    fleet.skeinctl(&add).unwrap();
    let output = fleet.try_skeinctl(0, &["domain", "check", "example.test"]);
    assert_eq!(output.unwrap().status.code(), Some(1));
    let scrape = shows(
        control,
        &[
            ("skein_domains", &of("unverified"), 1.0),
            ("skein_domains", &of("signing"), 0.0),
            ("skein_domains", &of("waiting"), 0.0),
        ],
    )
    .await;
    let checks = |result| {
        let labels = [("result", result)];
        scrape.value("skein_domain_checks_total", &labels)
    };
    assert!(checks("faulty") >= Some(1.0) && checks("failed") == Some(0.0));
    assert_eq!(checks("good"), Some(0.0));
}
