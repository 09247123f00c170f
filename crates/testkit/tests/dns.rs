//! The fake name server, asked by a resolver over UDP.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use skein_testkit::dns::{FakeDns, Fault};

async fn ask(dns: &FakeDns, name: &str, kind: RecordType, tcp: bool) -> String {
    let mut server = NameServerConfig::udp_and_tcp(dns.address().ip());
    server.connections.retain(|c| {
        tcp == (c.protocol.to_protocol() == hickory_resolver::net::xfer::Protocol::Tcp)
    });
    server.connections[0].port = dns.address().port();
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().timeout = Duration::from_millis(200);
    builder.options_mut().attempts = 1;
    builder.options_mut().cache_size = 0;
    let resolver = builder.build().unwrap();
    match resolver.lookup(name, kind).await {
        Ok(lookup) => {
            let matching = lookup
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind);
            let mut texts: Vec<String> = matching.map(|record| record.data.to_string()).collect();
            texts.sort();
            texts.join(",")
        }
        Err(error) if error.is_nx_domain() => "nxdomain".into(),
        Err(error) if error.is_no_records_found() => "none".into(),
        Err(_) => "failed".into(),
    }
}

#[tokio::test]
async fn records_and_faults_change_at_run_time() {
    use RecordType as T;
    let dns = FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    dns.domain("d.test", ip("127.0.0.2"));
    dns.host("mx.d.test", ip("::1"));
    dns.cname("alias.test", "d.test");
    dns.ptr(ip("192.0.2.1"), "host.test");
    dns.txt("_smtp._tls.d.test", "v=TLSRPTv1");
    let rows = [
        ("d.test.", T::MX, "10 mx.d.test."),
        ("D.TEST.", T::MX, "10 mx.d.test."),
        ("d.test.", T::A, "none"),
        ("mx.d.test.", T::A, "127.0.0.2"),
        ("mx.d.test.", T::AAAA, "::1"),
        ("alias.test.", T::MX, "10 mx.d.test."),
        ("1.2.0.192.in-addr.arpa.", T::PTR, "host.test."),
        ("_smtp._tls.d.test.", T::TXT, "v=TLSRPTv1"),
        ("nowhere.test.", T::A, "nxdomain"),
    ];
    for (name, kind, expected) in rows {
        for tcp in [false, true] {
            assert_eq!(
                ask(&dns, name, kind, tcp).await,
                expected,
                "{name} {kind} tcp {tcp}"
            );
        }
    }
    let faults = [
        (Some(Fault::ServFail), "failed"),
        (Some(Fault::NxDomain), "nxdomain"),
        (Some(Fault::NoAnswer), "failed"),
        (Some(Fault::NullMx), "0 ."),
        // Later than the asker waits, and early enough.
        (Some(Fault::Delay(Duration::from_secs(5))), "failed"),
        (
            Some(Fault::Delay(Duration::from_millis(10))),
            "10 mx.d.test.",
        ),
        (None, "10 mx.d.test."),
    ];
    for (fault, expected) in faults {
        dns.fault("d.test", fault);
        assert_eq!(
            ask(&dns, "d.test.", T::MX, false).await,
            expected,
            "{fault:?}"
        );
    }
    dns.wildcard(&[ip("127.0.0.9")]);
    assert_eq!(ask(&dns, "nowhere.test.", T::A, false).await, "127.0.0.9");
    assert_eq!(ask(&dns, "nowhere.test.", T::MX, false).await, "none");
    dns.remove("d.test");
    assert_eq!(ask(&dns, "d.test.", T::A, false).await, "127.0.0.9");
    assert!(dns.asked("d.test") >= 10);
}
