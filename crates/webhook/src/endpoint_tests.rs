#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn settings() -> Settings {
    Settings {
        name: "crm".into(),
        url: "https://hooks.example.com/skein".into(),
        secrets: vec![Secret(SECRET.into())],
        ..Settings::default()
    }
}

#[test]
fn what_is_not_given_has_a_default() {
    let endpoint = Endpoint::new(&settings()).unwrap();
    assert_eq!(
        endpoint.limits,
        BatchLimits {
            events: 100,
            bytes: 262_144
        }
    );
    assert_eq!(endpoint.timeout, DurationMs::from_secs(20));
    assert_eq!(endpoint.after_dead_letter, AfterDeadLetter::Pause);
    assert_eq!(
        (endpoint.filter, endpoint.guard),
        (Filter::default(), Guard::default())
    );
    assert!(!endpoint.is_paused);
}

#[test]
fn all_that_is_given_is_kept() {
    let endpoint = Endpoint::new(&Settings {
        url: "http://hooks:9000/in".into(),
        tenant: Some("shop".into()),
        types: vec!["message.bounced".into(), "message.complained".into()],
        streams: vec!["receipts".into()],
        batch_events: Some(1),
        batch_bytes: Some(65_536),
        timeout: Some(DurationMs::from_secs(30)),
        secrets: vec![Secret(SECRET.into()), Secret(SECRET.into())],
        is_paused: true,
        allow_private: vec!["10.1.2.3/8".into(), "fd00::/8".into()],
        allow_ports: vec![9000],
        allow_http: true,
        after_dead_letter: Some("continue".into()),
        ..settings()
    })
    .unwrap();
    let types = [EventType::Bounced, EventType::Complained];
    assert_eq!(endpoint.filter.types, types.into());
    assert_eq!(endpoint.guard.networks[0].to_string(), "10.0.0.0/8");
    assert_eq!(endpoint.after_dead_letter, AfterDeadLetter::Continue);
    assert!(endpoint.is_paused && endpoint.secrets.len() == 2);
}

#[test]
fn each_fault_names_its_key_and_shows_an_example() {
    let check = |change: &dyn Fn(&mut Settings), told: &[&str]| {
        let mut settings = settings();
        change(&mut settings);
        let faults = Endpoint::new(&settings).map(|_| ()).unwrap_err();
        let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), told.len(), "{found:?}");
        for (found, told) in found.iter().zip(told) {
            let parts = told.split("..").all(|part| found.contains(part));
            let has_example = found.contains("such as") || found.contains("they are");
            assert!(parts && has_example, "{found} / {told}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    };
    check(&|s| s.name = String::new(), &["name must be up to 64"]);
    check(&|s| s.name = "a b".into(), &["name must be up to 64"]);
    check(
        &|s| s.url = "hooks.example.com".into(),
        &["url must be a URL"],
    );
    check(
        &|s| s.url = "http://hooks.example.com/".into(),
        &["url must begin with https://"],
    );
    check(
        &|s| s.tenant = Some("a b".into()),
        &["tenant must be the name"],
    );
    check(
        &|s| s.types = vec!["message.bounce".into()],
        &["types has..did you mean message.bounced?"],
    );
    check(&|s| s.types = vec!["x".repeat(10_000)], &["types has"]);
    check(
        &|s| s.streams = vec![String::new()],
        &["streams must be up to 32"],
    );
    check(
        &|s| s.batch_events = Some(0),
        &["batch_events must be 1 to 1000"],
    );
    check(
        &|s| s.batch_bytes = Some(1 << 20),
        &["batch_bytes must be 4096 to 262144"],
    );
    check(
        &|s| s.timeout = Some(DurationMs(14_999)),
        &["timeout must be 15s to 30s"],
    );
    check(
        &|s| s.timeout = Some(DurationMs(30_001)),
        &["timeout must be 15s to 30s"],
    );
    check(
        &|s| s.secrets.clear(),
        &["secrets must be the secret in use"],
    );
    check(&|s| s.allow_ports = vec![0], &["allow_ports must be"]);
    check(
        &|s| s.allow_private = vec!["0.0.0.0/0".into()],
        &["allow_private has 0.0.0.0/0, which is too wide"],
    );
    check(
        &|s| s.allow_private = vec!["::/0".into()],
        &["allow_private has ::/0, which is too wide"],
    );
    check(
        &|s| s.allow_private = vec!["::ffff:10.0.0.0/104".into()],
        &["write networks of IPv4 as such"],
    );
    check(
        &|s| s.allow_private = vec!["office".into()],
        &["allow_private must be networks"],
    );
    check(
        &|s| s.allow_http = true,
        &["allow_http goes with allow_private"],
    );
    check(
        &|s| s.after_dead_letter = Some("stop".into()),
        &["after_dead_letter must be pause or continue"],
    );
    let several = |s: &mut Settings| {
        s.name = String::new();
        s.batch_events = Some(0);
        s.batch_bytes = Some(0);
    };
    check(&several, &["name", "batch_events", "batch_bytes"]);
}

#[test]
fn secrets_are_not_shown() {
    let mut settings = settings();
    settings.secrets.push(Secret("hunter2".into()));
    let faults = Endpoint::new(&settings).unwrap_err();
    assert_eq!(faults[0].key, "secrets");
    let shown = format!("{faults:?}{settings:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("MfKQ9r8"),
        "{shown}"
    );
    settings.secrets.pop();
    let shown = format!("{:?}", Endpoint::new(&settings).unwrap());
    assert!(!shown.contains("MfKQ9r8"), "{shown}");
}

#[test]
fn a_name_in_a_private_network_needs_that_network() {
    let mut settings = settings();
    settings.url = "https://hooks.shop.svc.cluster.local/in".into();
    let faults = Endpoint::new(&settings).unwrap_err();
    assert!(faults[0].message.contains("internal network"), "{faults:?}");
    settings.allow_private = vec!["10.0.0.0/8".into()];
    assert!(Endpoint::new(&settings).is_ok());
}
