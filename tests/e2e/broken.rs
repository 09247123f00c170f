//! A process that has broken its invariants ends, and says why.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::{Node, NodeConfig, http_get};
use skein_tests::{Bench, READY, skein};

/// The status of such a process.
const BROKEN: i32 = 70;

async fn mail_arrives(bench: &Bench, id: &str) {
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let message = Injected::generated(id, "a@b.test", vec!["c@d.test".into()], 300);
    let injected = injector.offer(vec![message]).await;
    assert!(injected[0].acked(), "{injected:?}");
    let verdict = bench.settle(&injected, Duration::from_secs(60)).await;
    // What arrived before is none of these.
    assert!(verdict.lost.is_empty(), "{}", verdict.summary());
}

/// A node that is to break.
fn start(bench: &Bench, env: &[(&str, &str)], args: &[&str]) -> Node {
    let mut config = NodeConfig::serve(&skein().unwrap(), &bench.config(), bench.http);
    let env = env
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    config.env = env.collect();
    config.args.extend(args.iter().map(Into::into));
    config.may_panic = true;
    Node::start(config).unwrap()
}

/// An older version could commit a command that no replica can apply. A node that has one ends each time, until it is told
/// to pass over it; what the entry holds beside that is kept, and so is everything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_entry_that_it_cannot_apply_ends_and_can_be_started_without_it() {
    let bench = Bench::new().await.unwrap();
    let mut node = bench.start().await.unwrap();
    mail_arrives(&bench, "before").await;
    node.kill9().unwrap();
    drop(node);
    let mut node = start(&bench, &[("SKEIN_FAIL_AT", "control-bad-command:4")], &[]);
    let status = node.wait(READY).await.unwrap();
    assert_eq!(status.code(), Some(BROKEN), "{}", node.log_end());
    assert!(
        http_get(bench.http, "/healthz").await.is_err(),
        "health fails"
    );
    let log = node.log_end();
    let option = log
        .split("--skip-entry ")
        .nth(1)
        .expect("the log names the option");
    let entry = option.split('`').next().unwrap();
    let (group, index) = entry.split_once(':').expect("a group and an entry");
    let named = format!("entry {index} of Raft group {group} cannot be applied");
    assert!(log.contains(&named), "{log}");
    // Again and again.
    let mut again = start(&bench, &[], &[]);
    let status = again.wait(READY).await.unwrap();
    assert!(!status.success(), "{}", again.log_end());
    assert!(again.log_end().contains(&named), "{}", again.log_end());
    let mut node = start(&bench, &[], &["--skip-entry", entry]);
    node.ready(READY).await.unwrap();
    assert!(node.log_end().contains("passed over"), "{}", node.log_end());
    mail_arrives(&bench, "after").await;
    node.kill9().unwrap();
    let mut node = start(&bench, &[], &[]);
    node.ready(READY).await.unwrap();
    mail_arrives(&bench, "without").await;
    assert_eq!(node.panic_in_log(), None);
}

/// The names of all permanent tasks, as the sources have them.
fn permanent_tasks() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let crates = skein_tests::manifest_dir().join("../crates");
    let mut folders = vec![crates];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_source = path.extension().is_some_and(|ext| ext == "rs");
            if !is_source || path.ends_with("runtime/src/lib.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for start in ["skein_runtime::task(", "skein_runtime::thread(", "watched("] {
                let calls = text.split(start).skip(1);
                let quoted = calls.filter_map(|call| {
                    let name = call.trim_start().strip_prefix('"')?;
                    Some(name.split('"').next().unwrap().to_owned())
                });
                names.extend(quoted);
            }
        }
    }
    names
}

/// What a node that is alone and has no certificates does not run, and what only an egress node does.
const ELSEWHERE: [&str; 7] = [
    "certificates",
    "egress-server",
    "health",
    "lending",
    "leaders",
    "members",
    "membership",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_when_one_of_its_loops_panics() {
    let names = permanent_tasks();
    assert!(names.len() > 35, "{names:?}");
    let here = names
        .iter()
        .filter(|name| !ELSEWHERE.contains(&name.as_str()));
    let broken = futures::stream::iter(here).map(|name| async move {
        let bench = Bench::new().await.unwrap();
        let mut node = start(&bench, &[("SKEIN_PANIC_AT", name)], &[]);
        let ended = node.wait(READY).await;
        let log = node.log_end();
        match ended {
            Ok(status) if status.code() == Some(BROKEN) => {
                let said = format!("the task \"{name}\" has panicked");
                (!log.contains(&said)).then(|| format!("{name} is not named:\n{log}"))
            }
            other => Some(format!("{name}: {other:?}\n{log}")),
        }
    });
    let failed: Vec<String> = broken
        .buffer_unordered(4)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
