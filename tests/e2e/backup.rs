//! All is lost but a backup.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome};
use skein_testkit::process::Node;
use skein_testkit::sink::{Act, Phase};
use skein_tests::{Bench, Extra, operator};

const WITHIN: Duration = Duration::from_secs(60);

fn backup(bench: &Bench, command: &str, file: &PathBuf) -> Output {
    Command::new(std::env::var("SKEINCTL_BIN").unwrap())
        .args(["--server", &format!("http://{}", bench.admin)])
        .args(["backup", command])
        .arg(file)
        .output()
        .unwrap()
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node that has delivered some of its mail and has the rest in its queue.
struct Before {
    bench: Bench,
    node: Node,
    file: PathBuf,
    delivered: Vec<Injected>,
    all: Vec<Injected>,
}

async fn offer(bench: &Bench, prefix: &str, domain: &str) -> Vec<Injected> {
    let config = InjectorConfig {
        sizes: vec![0, 500, 5_000, 700_000],
        domains: vec![domain.to_owned()],
        recipients_per_message: 2,
        prefix: prefix.to_owned(),
        messages_per_connection: 20,
        ..InjectorConfig::to(bench.smtp)
    };
    let offered = Injector::new(config).run().await;
    assert!(offered.iter().all(Injected::acked), "{offered:?}");
    offered
}

async fn before(spool_groups: u16) -> Before {
    let sections = format!("[cluster]\nspool_groups = {spool_groups}\n");
    let bench = Bench::with(|_| {
        Ok(Extra {
            sections,
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    let delivered = offer(&bench, "early", "open.test").await;
    let verdict = bench.settle(&delivered, WITHIN).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(451, "4.7.1 later"),
        _ => Act::Accept,
    });
    let mut all = offer(&bench, "late", "closed.test").await;
    all.extend(delivered.iter().cloned());
    let file = bench.data().with_extension("backup");
    Before {
        bench,
        node,
        file,
        delivered,
        all,
    }
}

/// Takes a backup and loses the node.
async fn lost() -> Before {
    lost_with(1).await
}

async fn lost_with(spool_groups: u16) -> Before {
    let mut before = before(spool_groups).await;
    println!(
        "{}",
        succeeds(&backup(&before.bench, "create", &before.file))
    );
    before.node.kill9().unwrap();
    fs::remove_dir_all(before.bench.data()).unwrap();
    before
}

fn id_of(message: &Injected) -> String {
    let Outcome::Acked { reply } = &message.outcome else {
        panic!("{message:?}");
    };
    reply.rsplit(' ').next().unwrap().to_owned()
}

async fn all_arrive_once(before: &Before) {
    before.bench.sink.set_script(|_| Act::Accept);
    let verdict = before.bench.settle(&before.all, WITHIN).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    for message in [&before.delivered[0], &before.all[0]] {
        let id = id_of(message);
        let shown = crate::skeinctl(&before.bench, &["message", "show", &id]);
        assert!(shown.contains("accepted"), "{shown}");
    }
    let shown = crate::skeinctl(
        &before.bench,
        &["message", "show", &id_of(&before.delivered[0])],
    );
    assert!(shown.contains("delivered"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_everything_goes_on_from_its_backup() {
    let mut before = lost().await;
    before.node = before.bench.start().await.unwrap();
    let told = succeeds(&backup(&before.bench, "restore", &before.file));
    println!("{told}");
    assert!(told.contains("will be delivered again"), "{told}");
    all_arrive_once(&before).await;
    let told = fails(&backup(&before.bench, "restore", &before.file));
    assert!(told.contains("restored already"), "{told}");
    let more = offer(&before.bench, "new", "open.test").await;
    let verdict = before.bench.settle(&more, WITHIN).await;
    assert!(verdict.lost.is_empty(), "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_into_fewer_and_into_more_groups() {
    for (made, here) in [(5, 2), (3, 1), (2, 4)] {
        let mut before = lost_with(made).await;
        let config = fs::read_to_string(before.bench.config()).unwrap();
        let groups = |count| format!("spool_groups = {count}");
        let config = config.replace(&groups(made), &groups(here));
        fs::write(before.bench.config(), config).unwrap();
        before.node = before.bench.start().await.unwrap();
        succeeds(&backup(&before.bench, "restore", &before.file));
        all_arrive_once(&before).await;
        let told = fails(&backup(&before.bench, "restore", &before.file));
        assert!(told.contains("restored already"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_goes_on() {
    let mut before = lost().await;
    before.node = before
        .bench
        .start_to_die("control-after-propose", 9)
        .await
        .unwrap();
    fails(&backup(&before.bench, "restore", &before.file));
    before
        .node
        .wait(WITHIN)
        .await
        .expect("the failpoint ends the process");
    before.node = before.bench.start().await.unwrap();
    println!(
        "{}",
        succeeds(&backup(&before.bench, "restore", &before.file))
    );
    all_arrive_once(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_changes_nothing_and_none_goes_into_a_cluster_with_mail() {
    let mut before = lost().await;
    before.node = before.bench.start().await.unwrap();
    let whole = fs::read(&before.file).unwrap();
    let damaged = before.bench.data().with_extension("damaged");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cases: [(&[u8], &str); 3] = [
        (&flipped, "does not match its checksum"),
        (&whole[..whole.len() - 10], "not whole"),
        (b"no backup", "no backup"),
    ];
    for (bytes, reason) in cases {
        fs::write(&damaged, bytes).unwrap();
        let told = fails(&backup(&before.bench, "restore", &damaged));
        assert!(told.contains(reason), "{told}");
    }
    let status = crate::skeinctl(&before.bench, &["status", "--json"]);
    assert!(status.contains("\"open_messages\": 0"), "{status}");

    offer(&before.bench, "own", "closed.test").await;
    let told = fails(&backup(&before.bench, "restore", &before.file));
    assert!(told.contains("messages of its own"), "{told}");
}

/// Enough for a delivery that nothing holds back.
const SOON: Duration = Duration::from_millis(1500);
async fn submit(bench: &Bench, id: &str, domain: &str, campaign: &str) {
    let message = format!("X-Skein-Campaign: {campaign}\r\nX-Test-Id: {id}\r\n\r\nx\r\n");
    let to = vec![format!("user@{domain}")];
    let message = Injected::given(id, "a@b.test", to, message.as_bytes());
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let sent = injector.run_plan(vec![vec![message]]).await;
    assert!(sent[0].acked(), "{:?}", sent[0]);
}

fn has(bench: &Bench, id: &str) -> bool {
    let records = bench.sink.records();
    records
        .iter()
        .any(|record| record.test_id.as_deref() == Some(id))
}

async fn arrives(bench: &Bench, id: &str) {
    let every = Duration::from_millis(50);
    skein_tests::until(id, WITHIN, every, || has(bench, id).then_some(()))
        .await
        .unwrap();
}

/// What an operator held back is held back in the cluster that goes on, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_before_the_loss_is_held_back_after_it() {
    let bench = Bench::new().await.unwrap();
    let node = bench.start().await.unwrap();
    let args = ["suspend", "--campaign", "big", "--why", "wrong list"];
    crate::skeinctl(&bench, &args);
    for n in 0..20 {
        submit(&bench, &format!("big-{n}"), "some.test", "big").await;
    }
    let suspended_before = crate::skeinctl(&bench, &["suspend"]);
    let file = bench.data().with_extension("backup");
    succeeds(&backup(&bench, "create", &file));
    drop(node);
    fs::remove_dir_all(bench.data()).unwrap();

    let _node = bench.start().await.unwrap();
    let told = succeeds(&backup(&bench, "restore", &file));
    assert!(told.contains("1 suspensions"), "{told}");
    assert_eq!(crate::skeinctl(&bench, &["suspend"]), suspended_before);
    submit(&bench, "other", "some.test", "small").await;
    arrives(&bench, "other").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.sink.records().len(), 1, "the campaign is held back");
    crate::skeinctl(&bench, &["resume", "--campaign", "big"]);
    for n in 0..20 {
        arrives(&bench, &format!("big-{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_holds_sends_nothing_until_it_is_told() {
    let mut before = lost().await;
    before.bench.sink.set_script(|_| Act::Accept);
    let sent = before.bench.sink.records().len();
    before.node = before.bench.start().await.unwrap();
    let admin = before.bench.admin;
    let file = before.file.to_str().unwrap();
    let told = operator::skeinctl(admin, &["backup", "restore", file, "--hold"]).unwrap();
    assert!(told.contains("skeinctl resume --all"), "{told}");
    let new = offer(&before.bench, "new", "some.test").await;
    before.all.extend(new);
    tokio::time::sleep(SOON).await;
    assert_eq!(before.bench.sink.records().len(), sent);
    let listed = operator::skeinctl(admin, &["queue", "list"]).unwrap();
    assert!(
        listed.contains("closed.test") && listed.contains("suspended until"),
        "{listed}"
    );
    operator::skeinctl(admin, &["resume", "--all"]).unwrap();
    all_arrive_once(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_its_owners_replaces_nothing_and_streams() {
    let mut before = before(1).await;
    let (bench, file) = (&before.bench, &before.file);
    succeeds(&backup(bench, "create", file));
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let told = fails(&backup(bench, "create", file));
    assert!(told.contains("--force replaces it"), "{told}");
    let path = file.to_str().unwrap();
    operator::skeinctl(bench.admin, &["backup", "create", path, "--force"]).unwrap();
    let streamed = backup(bench, "create", &PathBuf::from("-"));
    assert!(streamed.status.success(), "{streamed:?}");
    assert!(streamed.stdout.starts_with(b"SKBACK01"));
    assert!(String::from_utf8_lossy(&streamed.stderr).contains("messages"));

    before.node.kill9().unwrap();
    fs::remove_dir_all(bench.data()).unwrap();
    fs::write(file, &streamed.stdout).unwrap();
    before.node = before.bench.start().await.unwrap();
    let restored = Command::new(std::env::var("SKEINCTL_BIN").unwrap())
        .args(["--server", &format!("http://{}", before.bench.admin)])
        .args(["backup", "restore", "-"])
        .stdin(Stdio::from(fs::File::open(&before.file).unwrap()))
        .output()
        .unwrap();
    succeeds(&restored);
    all_arrive_once(&before).await;
}
