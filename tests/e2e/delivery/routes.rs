//! Routes of the operator's choice.

use skein_testkit::sink::Sink;

use super::{World, accepted, address, recipients, taken};

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_route_decides_and_the_smarthost_gets_the_rest() {
    let mut world = World::new().await;
    let exact = world.sink(3, "unused-a.test").await;
    let below = world.sink(4, "unused-b.test").await;
    let smarthost = world.sink(5, "unused-c.test").await;
    world.dns.host("relay.test", address(4));
    let port = world.port;
    let routes = format!(
        r#"
        [[delivery.route]]
        domains = ["example.test"]
        hosts = ["127.0.0.99", "127.0.0.3"]
        [[delivery.route]]
        domains = ["*.example.test"]
        hosts = ["relay.test:{port}"]
        "#
    );
    let delivery = format!("smarthost = \"127.0.0.5:{port}\"");
    world.start(&delivery, &routes).await;
    for to in ["b@example.test", "b@deep.sub.example.test", "b@any.test"] {
        world.send(&[to]).await;
    }
    for (sink, to) in [
        (&exact, "b@example.test"),
        (&below, "b@deep.sub.example.test"),
        (&smarthost, "b@any.test"),
    ] {
        assert_eq!(recipients(&taken(sink, 1).await[0]), [to]);
    }
    assert_eq!(world.dns.asked("example.test"), 0, "no MX lookup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_over_tls_or_not_at_all() {
    let mut world = World::new().await;
    let start = async |last: u8, name: &str, implicit_tls, starttls| {
        let mut config = world.sink_config(last);
        config.hostname = name.to_owned();
        config.implicit_tls = implicit_tls;
        config.extensions.starttls = starttls;
        config.login = Some(("ann".into(), "s e\"cret".into()));
        world.dns.host(name, address(last));
        Sink::start(config).await.unwrap()
    };
    let starttls = start(3, "starttls.test", false, true).await;
    let implicit = start(4, "implicit.test", true, true).await;
    let plain = start(5, "plain.test", false, false).await;
    let allowed = start(6, "allowed.test", false, false).await;
    let ca = world.folder.path().join("ca.pem");
    let trusted = [&starttls, &implicit].map(|sink| sink.certificate().unwrap());
    std::fs::write(&ca, trusted.concat()).unwrap();
    let route = |name: &str, password: &str, more: &str| {
        format!(
            "[[delivery.route]]\ndomains = [\"{name}\", \"{name}.wrong\"]\nhosts = [\"{name}\"]\n\
             user = \"ann\"\npassword = '{password}'\n{more}\n"
        )
    };
    let right = "s e\"cret";
    let routes = [
        route("starttls.test", right, ""),
        route("implicit.test", right, "implicit_tls = true"),
        route("plain.test", right, "tls = \"opportunistic\""),
        route("allowed.test", right, "allow_plaintext_auth = true"),
    ];
    let delivery = format!("tls_ca = \"{}\"", ca.display());
    world.start(&delivery, &routes.concat()).await;

    for (domain, sink, tls) in [
        ("starttls.test", &starttls, true),
        ("implicit.test", &implicit, true),
        ("allowed.test", &allowed, false),
    ] {
        world.send(&[&format!("b@{domain}")]).await;
        let record = &taken(sink, 1).await[0];
        assert_eq!(record.user.as_deref(), Some("ann"), "{domain}");
        assert_eq!(record.tls, tls, "{domain}");
    }
    let id = world.send(&["b@plain.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["enhanced"], "4.7.10", "{deferred}");
    assert_eq!(accepted(&plain).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_defers_with_the_hosts_words() {
    let mut world = World::new().await;
    let mut config = world.sink_config(3);
    config.login = Some(("ann".into(), "right".into()));
    let sink = world.sink_of(config, "unused.test").await;
    let route = r#"
        [[delivery.route]]
        domains = ["*"]
        hosts = ["127.0.0.3"]
        user = "ann"
        password = "wrong"
        tls = "opportunistic"
        "#;
    world.start("", route).await;
    let id = world.send(&["b@there.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["code"], 535, "{deferred}");
    assert_eq!(sink.records().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_hosts_only_changes_the_policy() {
    let mut world = World::new().await;
    let strict = world.sink(3, "strict.test").await;
    let lax = world.sink(4, "lax.test").await;
    // The same hosts, and yet connections of different policies are not shared.
    world.dns.mx("strict-too.test", 10, "mx.lax.test");
    let route =
        "[[delivery.route]]\ndomains = [\"strict.test\", \"strict-too.test\"]\ntls = \"require\"\n";
    world.start("", route).await;
    world.send(&["b@lax.test"]).await;
    taken(&lax, 1).await;
    for domain in ["strict.test", "strict-too.test"] {
        let id = world.send(&[&format!("b@{domain}")]).await;
        let deferred = world.event(&id, "deferred").await;
        assert_eq!(deferred["enhanced"], "4.7.5", "{deferred}");
    }
    assert_eq!((accepted(&strict).len(), accepted(&lax).len()), (0, 1));
}
