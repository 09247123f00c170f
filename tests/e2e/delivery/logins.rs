//! Logins at next hops: by tokens that change, and at a real Postfix.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use skein_testkit::sink::Sink;
use skein_tests::operator;

use super::{World, accepted, address, assert_has, taken, wait_for};
use crate::postfix::Postfix;

/// A sink under TLS that wants such logins of ann by this token.
async fn relay(world: &World, last: u8, name: &str, mechanisms: &str, token: &str) -> Sink {
    let mut config = world.sink_config(last);
    config.hostname = name.to_owned();
    config.login = Some(("ann@a.test".into(), token.into()));
    config.mechanisms = mechanisms.to_owned();
    world.dns.host(name, address(last));
    Sink::start(config).await.unwrap()
}

fn route(name: &str, more: &str) -> String {
    format!(
        "[[delivery.route]]\ndomains = [\"{name}\"]\nhosts = [\"{name}\"]\nuser = \"ann@a.test\"\n{more}\n"
    )
}

/// Lines of `[delivery]` by which the sinks' certificates are trusted and mail is soon tried again.
fn trusting(world: &World, sinks: &[&Sink]) -> String {
    let ca = world.folder.path().join("ca.pem");
    let all = sinks.iter().map(|sink| sink.certificate().unwrap());
    std::fs::write(&ca, all.collect::<String>()).unwrap();
    format!(
        "tls_ca = \"{}\"\nretry.first = \"1s\"\nretry.cap = \"2s\"",
        ca.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_take_tokens_get_the_one_that_the_file_holds_now() {
    let mut world = World::new().await;
    let old = relay(
        &world,
        3,
        "gmail.test",
        "PLAIN LOGIN XOAUTH2 OAUTHBEARER",
        "tok.en-1",
    )
    .await;
    let office = relay(&world, 4, "office.test", "LOGIN XOAUTH2", "tok.en-2").await;
    let only = relay(&world, 5, "only.test", "OAUTHBEARER XOAUTH2", "tok.en-1").await;
    let delivery = trusting(&world, &[&old, &office, &only]);
    let token = world.folder.path().join("token");
    std::fs::write(&token, "tok.en-1\n").unwrap();
    let by_token = format!("token_file = \"{}\"", token.display());
    let routes = [
        route("gmail.test", &by_token),
        route("office.test", &by_token),
        route("only.test", &format!("{by_token}\nmechanism = \"xoauth2\"")),
    ];
    world.start(&delivery, &routes.concat()).await;
    for (domain, sink) in [("gmail.test", &old), ("only.test", &only)] {
        world.send(&[&format!("b@{domain}")]).await;
        let record = &taken(sink, 1).await[0];
        assert_eq!(record.user.as_deref(), Some("ann@a.test"), "{domain}");
        assert!(record.tls, "{domain}");
    }
    // An old token is refused, and the next one let in without a restart.
    let id = world.send(&["b@office.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["code"], 535, "{deferred}");
    assert_has(&deferred.to_string(), &["401"]);
    std::fs::write(&token, "tok.en-2").unwrap();
    taken(&office, 1).await;
    let all: Vec<String> = world.events().iter().map(ToString::to_string).collect();
    assert!(!all.concat().contains("tok.en"), "tokens are nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_token_and_everybody_is_told_which() {
    let mut world = World::new().await;
    let sink = relay(&world, 3, "gmail.test", "XOAUTH2", "tok.en").await;
    let delivery = trusting(&world, &[&sink]);
    let token = world.folder.path().join("token");
    let routes = route(
        "gmail.test",
        &format!("token_file = \"{}\"", token.display()),
    );
    world.start(&delivery, &routes).await;
    let id = world.send(&["b@gmail.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["enhanced"], "4.7.0", "{deferred}");
    let name = token.display().to_string();
    assert_has(
        &deferred.to_string(),
        &["delivery.route.token_file", &name, "is not there"],
    );
    assert!(accepted(&sink).is_empty());
    let doctor = || {
        let output = operator::try_skeinctl(world.admin, &["doctor"]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text).filter(|text| text.contains(&name))
    };
    let told = wait_for("the doctor's word of the file", doctor).await;
    assert_has(&told, &["delivery.route.token_file", "is not there"]);
    std::fs::write(&token, "tok.en\n").unwrap();
    taken(&sink, 1).await;
}

/// A user of the real relay, as Cyrus SASL keeps them.
fn add_user(config: &Path, user: &str, password: &str) {
    let database = config.join("sasldb2");
    let mut child = Command::new("/usr/sbin/saslpasswd2")
        .args(["-p", "-c", "-u", "next.test", "-f"])
        .arg(&database)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2 is there after `cargo xtask setup --tests`");
    let stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut { stdin }, password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let owner = Command::new("id").args(["-u", "postfix"]).output().unwrap();
    let owner = String::from_utf8(owner.stdout).unwrap();
    chown(&database, Some(owner.trim().parse().unwrap()), None).unwrap();
}

/// Postfix that gives nobody a transaction without TLS and a login.
fn submission(mechanisms: &str, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Postfix {
    let settings = "smtpd_tls_security_level = encrypt\nsmtpd_tls_auth_only = yes\n\
                    smtpd_tls_cert_file = DIR/config/cert.pem\nsmtpd_tls_key_file = DIR/config/key.pem\n\
                    smtpd_sasl_auth_enable = yes\nsmtpd_sasl_local_domain = next.test\n\
                    virtual_mailbox_domains = next.test, login.test\n\
                    smtpd_client_restrictions = permit_sasl_authenticated, reject\n";
    Postfix::start_with(settings, |dir| {
        let config = dir.join("config");
        let write = |name: &str, text: String| std::fs::write(config.join(name), text).unwrap();
        write("cert.pem", certificate.cert.pem());
        write("key.pem", certificate.signing_key.serialize_pem());
        // Debian's Postfix looks there, whatever `cyrus_sasl_config_path` says.
        std::fs::create_dir(config.join("sasl")).unwrap();
        write(
            "sasl/smtpd.conf",
            format!(
                "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: {mechanisms}\n",
                config.join("sasldb2").display()
            ),
        );
        add_user(&config, "ann", "s e\"cr\u{e9}t");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_postfix_lets_us_in_by_plain_and_login() {
    let mut world = World::new().await;
    let certificate = rcgen::generate_simple_self_signed(["next.test".to_owned()]).unwrap();
    let plain = submission("PLAIN", &certificate);
    let login = submission("LOGIN", &certificate);
    let ca = world.folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.cert.pem()).unwrap();
    world.dns.host("next.test", address(1));
    let route = |domain: &str, postfix: &Postfix, password: &str| {
        format!(
            "[[delivery.route]]\ndomains = [\"{domain}\"]\nhosts = [\"next.test:{}\"]\nuser = \"ann@next.test\"\n\
             password = '{password}'\n",
            postfix.address.port()
        )
    };
    let right = "s e\"cr\u{e9}t";
    let routes = [
        route("next.test", &plain, right),
        route("login.test", &login, right),
        route("wrong.test", &plain, "wrong"),
    ];
    let delivery = format!("tls_ca = \"{}\"", ca.display());
    world.start(&delivery, &routes.concat()).await;
    for (domain, postfix, method) in [
        ("next.test", &plain, "sasl_method=PLAIN"),
        ("login.test", &login, "sasl_method=LOGIN"),
    ] {
        world.send(&[&format!("b@{domain}")]).await;
        let arrived = || Some(postfix.mailbox()).filter(|mailbox| !mailbox.is_empty());
        wait_for("the message in Postfix's mailbox", arrived).await;
        let log = postfix.log();
        assert_has(&log, &[method, "sasl_username=ann@next.test"]);
    }
    let id = world.send(&["b@wrong.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["code"], 535, "{deferred}");
}
