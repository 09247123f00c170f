//! Who goes first at a host that is slow: tenants by weight, and what somebody waits for before the rest.

use std::sync::Arc;
use std::time::Duration;

use skein_testkit::load::{Probe, Reply};
use skein_testkit::sink::{Act, Phase, Record};
use skein_tests::{Bench, Extra};

use crate::skeinctl;

const WEIGHTS: [u32; 3] = [1, 2, 4];
const BULK_PER_TENANT: usize = 150;
const URGENT_PER_TENANT: usize = 5;
/// Small, so that the order is decided where all mail waits and not on its way.
const WINDOW: usize = 8;

/// A node that sends over one connection to a sink which takes its time, for three tenants.
async fn bench() -> Bench {
    let bench = Bench::with(|folder| {
        let mut sections = skein_tests::self_signed(folder)?;
        for tenant in 1..=WEIGHTS.len() {
            sections.push_str(&format!(
                r#"
                [[smtp.user]]
                name = "t{tenant}"
                password = "pw"
                tenant = "tenant{tenant}"
                "#
            ));
        }
        Ok(Extra {
            delivery: format!("window = {WINDOW}\nconnections_per_destination = 1"),
            sections,
            ..Extra::default()
        })
    });
    bench.await.unwrap()
}

fn each_message_takes(bench: &Bench, time: Duration) {
    bench.sink.set_script(move |moment| match moment.phase {
        Phase::Dot => Act::Delay(time),
        _ => Act::Accept,
    });
}

/// A client that is logged in as this tenant's user.
async fn client(bench: &Bench, tenant: usize) -> Probe {
    let (mut probe, _) = Probe::greet(bench.smtp).await.unwrap();
    probe.starttls().await.unwrap();
    probe.cmd("EHLO client.test").await.unwrap();
    let login = ["AHQxAHB3", "AHQyAHB3", "AHQzAHB3"][tenant];
    let reply = probe.cmd(&format!("AUTH PLAIN {login}")).await.unwrap();
    assert_eq!(reply.code, 235, "{}", reply.text());
    probe
}

async fn send(probe: &mut Probe, id: &str, parameter: &str, header: &str) -> Reply {
    let mail = format!("MAIL FROM:<a@b.test>{parameter}");
    for line in [mail.as_str(), "RCPT TO:<c@slow.test>", "DATA"] {
        let reply = probe.cmd(line).await.unwrap();
        assert!(reply.positive(), "{line}: {}", reply.text());
    }
    let message = format!("X-Test-Id: {id}\r\n{header}Subject: x\r\n\r\nhello\r\n.\r\n");
    probe.send(message.as_bytes()).await.unwrap();
    probe.reply().await.unwrap()
}

/// Tenant and kind of what arrived, in order.
fn arrivals(records: &[Arc<Record>]) -> Vec<(usize, bool)> {
    let ids = records
        .iter()
        .filter_map(|record| record.test_id.as_deref());
    ids.map(|id| {
        let mut parts = id.split('-');
        let tenant = parts.next().and_then(|tenant| tenant.parse().ok());
        (tenant.unwrap(), parts.next() == Some("urgent"))
    })
    .collect()
}

async fn all_arrived(bench: &Bench, count: usize) -> Vec<Arc<Record>> {
    for _ in 0..1200 {
        let records = bench.sink.records();
        if records.len() >= count {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} of {count} arrived", bench.sink.records().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_host_gets_urgent_mail_first_and_tenants_by_weight() {
    let bench = bench().await;
    each_message_takes(&bench, Duration::from_millis(200));
    let _node = bench.start().await.unwrap();
    let mut clients = Vec::new();
    for (tenant, weight) in WEIGHTS.iter().enumerate() {
        let (name, weight) = (format!("tenant{}", tenant + 1), weight.to_string());
        skeinctl(&bench, &["tenant", "set", &name, "--weight", &weight]);
        clients.push(client(&bench, tenant).await);
    }

    // A backlog of all three.
    for n in 0..BULK_PER_TENANT {
        for (tenant, probe) in clients.iter_mut().enumerate() {
            let header = if n % 2 == 0 {
                "X-Skein-Priority: bulk\r\n"
            } else {
                ""
            };
            let reply = send(probe, &format!("{tenant}-bulk-{n}"), "", header).await;
            assert_eq!(reply.code, 250, "{}", reply.text());
        }
    }
    let queues = skeinctl(&bench, &["queue", "list"]);
    assert!(
        queues.contains("tenant3") && queues.contains("bulk"),
        "{queues}"
    );
    let tenants = skeinctl(&bench, &["tenant", "list"]);
    let mut lines = tenants.lines().map(|line| line.split_whitespace());
    assert!(
        lines.any(|mut words| words.next() == Some("tenant3") && words.next() == Some("4")),
        "{tenants}"
    );

    // Somebody waits for these.
    for n in 0..URGENT_PER_TENANT {
        for (tenant, probe) in clients.iter_mut().enumerate() {
            let (parameter, header) = match n % 2 {
                0 => ("", "X-Skein-Priority: Transactional\r\n"),
                _ => (" MT-PRIORITY=4", ""),
            };
            let id = format!("{tenant}-urgent-{n}");
            let reply = send(probe, &id, parameter, header).await;
            assert_eq!(reply.code, 250, "{}", reply.text());
        }
    }
    let before = bench.sink.records().len();
    each_message_takes(&bench, Duration::from_millis(5));

    let total = WEIGHTS.len() * (BULK_PER_TENANT + URGENT_PER_TENANT);
    let records = all_arrived(&bench, total).await;
    let order = arrivals(&records);
    assert_eq!(order.len(), total, "nothing twice");
    for record in &records {
        let text = String::from_utf8_lossy(&record.message);
        assert!(!text.contains("X-Skein-Priority"), "{text}");
        assert!(text.contains("Subject: x\r\n\r\nhello"), "{text}");
    }
    let last_urgent = order.iter().rposition(|(_, urgent)| *urgent).unwrap();
    // What is on its way, two rounds of turns of all tenants, and the floor of bulk mail.
    let soon = before + WINDOW + 2 * 4 * WEIGHTS.iter().sum::<u32>() as usize;
    assert!(
        last_urgent <= soon,
        "the last urgent one came {last_urgent}th, not by {soon}: {order:?}"
    );
    assert!(
        total - last_urgent > 50,
        "the test shows nothing: {before} had arrived"
    );

    // From here to the end of the first tenant's backlog, each gets what its weight says.
    let ends =
        (0..WEIGHTS.len()).map(|tenant| order.iter().rposition(|(of, _)| *of == tenant).unwrap());
    let contended = &order[last_urgent + 1..ends.min().unwrap()];
    assert!(
        contended.len() >= 28,
        "{} are too few to judge",
        contended.len()
    );
    for (tenant, weight) in WEIGHTS.iter().enumerate() {
        let had = contended.iter().filter(|(of, _)| *of == tenant).count();
        let fair = contended.len() * *weight as usize / 7;
        // One turn at either end may be cut off.
        let tolerance = 2 * 4 * *weight as usize;
        assert!(
            had.abs_diff(fair) <= tolerance,
            "tenant {tenant} had {had} of {}: {order:?}",
            contended.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_that_means_nothing_is_refused() {
    let bench = bench().await;
    let _node = bench.start().await.unwrap();
    let mut probe = client(&bench, 0).await;
    for (header, code) in [
        ("X-Skein-Priority: urgent\r\n", 550),
        ("X-Skein-Priority:\r\n", 550),
        ("X-Skein-Priority: bulk\r\nX-Skein-Priority: bulk\r\n", 550),
        ("X-Skein-Priority:\r\n bulk\r\n", 250),
    ] {
        let reply = send(&mut probe, "0-bulk-0", "", header).await;
        assert_eq!(reply.code, code, "{header:?}: {}", reply.text());
    }
    for parameter in ["MT-PRIORITY=10", "MT-PRIORITY=x"] {
        let line = format!("MAIL FROM:<a@b.test> {parameter}");
        assert_eq!(probe.cmd(&line).await.unwrap().code, 555, "{line}");
    }
}
