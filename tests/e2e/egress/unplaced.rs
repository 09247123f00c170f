//! IPs that no node has.

use super::stage::{NO_LIMITS, Plan, Stage, ip, last_byte, pool, wait_for};

fn from(domain: &str, pool: &str) -> String {
    format!("---\nkind: route\nname: {pool}\nsender_domain: {domain}\npool: {pool}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_ip_that_nobody_has_goes_from_another_member_or_waits() {
    let plan = Plan {
        senders: 1,
        ..Plan::default()
    };
    let stage = Stage::new(plan).await;
    let lost = "---\nkind: ip\nname: lost\nbind: 192.0.2.77\nehlo: lost.here.test\n";
    let policy = format!(
        "{lost}{}{}{}{}{}{NO_LIMITS}",
        ip("found", 41, ""),
        pool("two", "{ip: lost, weight: 9}, {ip: found}"),
        pool("one", "{ip: lost}"),
        from("two.test", "two"),
        from("one.test", "one"),
    );
    stage.fleet.apply(&policy).unwrap();
    stage.placed(&[("found", "s1")]).await;
    let mut sent = Vec::new();
    for (sender, prefix) in [("a@two.test", "two"), ("a@one.test", "one")] {
        let mut config = stage.injector(prefix, stage.domains(2));
        config.sender = sender.to_owned();
        config.connections = 1;
        sent.push(stage.offer(config, 20).await);
    }
    wait_for("the mail of the pool of two", || {
        (stage.sink.accepted() >= 20).then_some(())
    })
    .await;
    for record in stage.sink.records() {
        assert_eq!(last_byte(record.peer.ip()), 41);
        assert_eq!(record.sender(), "a@two.test");
    }
    let waits = "lost (192.0.2.77) is at no node";
    let deferred = wait_for("the reason why the other mail waits", || {
        let events = stage.fleet.events().unwrap().into_iter();
        events
            .map(|event| event.to_string())
            .find(|event| event.contains(waits))
    })
    .await;
    assert!(
        deferred.contains("no IP of pool one can be used"),
        "{deferred}"
    );
    let events = stage.fleet.events().unwrap().into_iter();
    let bounced = events.filter(|event| event["event"] == "bounced").count();
    assert_eq!(bounced, 0);

    let listed = stage.fleet.try_skeinctl(0, &["ip", "list"]).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let row = listed
        .lines()
        .find(|line| line.trim_start().starts_with("lost "));
    assert!(row.unwrap().contains(" UNPLACED "), "{listed}");
    let doctor = stage.fleet.try_skeinctl(0, &["doctor"]).unwrap();
    let says = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        !doctor.status.success() && says.contains("ip lost is at no node"),
        "{says}"
    );

    // When it turns up, what waited goes.
    let found = policy.replace("192.0.2.77", "127.0.0.42");
    stage.fleet.apply(&found).unwrap();
    wait_for("the mail of the pool of one", || {
        let records = stage.sink.records();
        let from = records
            .iter()
            .filter(|record| last_byte(record.peer.ip()) == 42);
        (from.count() >= 20).then_some(())
    })
    .await;
}
