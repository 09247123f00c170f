//! Versions of the policy in a cluster: who made them, what they changed, and back.

use std::process::Output;

use serde_json::Value;
use skein_tests::fleet::{Fleet, Plan};
use tempfile::TempDir;

struct World {
    fleet: Fleet,
    folder: TempDir,
}

fn ip(name: &str, n: u8) -> String {
    format!("kind: ip\nname: {name}\nbind: 192.0.2.{n}\nehlo: {name}.example.test\n")
}

fn pool(name: &str, ip: &str, rate: &str) -> String {
    format!("kind: pool\nname: {name}\nmembers: [{{ip: {ip}}}]\nlimits: {{message_rate: {rate}}}\n")
}

impl World {
    async fn start() -> Self {
        let plan = Plan {
            control: 3,
            senders: 1,
            spool_groups: Some(1),
            ..Plan::default()
        };
        Self {
            fleet: Fleet::start(plan).await.unwrap(),
            folder: TempDir::new().unwrap(),
        }
    }

    fn file(&self, text: &str) -> String {
        let path = self.folder.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// At any of the nodes.
    fn call(&self, nth: usize, args: &[&str]) -> Output {
        self.fleet.try_skeinctl(nth, args).unwrap()
    }

    fn say(&self, nth: usize, args: &[&str]) -> String {
        let output = self.call(nth, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, nth: usize, args: &[&str]) -> String {
        let output = self.call(nth, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, nth: usize, args: &[&str]) -> Value {
        serde_json::from_str(&self.say(nth, &[args, &["--json"]].concat())).unwrap()
    }
}

fn resources(world: &World, nth: usize) -> String {
    world.say(nth, &["policy", "get"])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_kept_with_who_made_it_and_can_be_gone_back_to() {
    let world = World::start().await;
    let first = format!("{}---\n{}", ip("a", 1), pool("news", "a", "10/s"));
    let path = world.file(&first);
    // What would change, before anything does.
    let differs = world.call(0, &["policy", "diff", "-f", &path]);
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    let said = String::from_utf8_lossy(&differs.stdout).into_owned();
    assert!(
        said.contains("pool/news added") && said.contains("+ limits.message_rate: 10/s"),
        "{said}"
    );
    world.say(0, &["apply", "-f", &path, "--wait"]);
    let same = world.call(1, &["policy", "diff", "-f", &path]);
    assert_eq!(
        (same.status.code(), same.stdout.len()),
        (Some(0), 0),
        "{same:?}"
    );
    let unread = world.call(1, &["policy", "diff", "-f", "/no/such/file"]);
    assert_eq!(unread.status.code(), Some(2), "{unread:?}");
    let at_first = resources(&world, 0);

    let second = first.replace("10/s", "5/s");
    let path = world.file(&second);
    let said = String::from_utf8_lossy(&world.call(2, &["policy", "diff", "-f", &path]).stdout)
        .into_owned();
    assert_eq!(
        said,
        "pool/news changed\n  - limits.message_rate: 10/s\n  + limits.message_rate: 5/s\n"
    );
    world.say(1, &["apply", "-f", &path, "--wait"]);
    world.say(2, &["policy", "delete", "pool/news", "ip/a", "--wait"]);

    let history = world.json(0, &["policy", "history"]);
    let versions = history["versions"].as_array().unwrap();
    let numbers: Vec<u64> = versions
        .iter()
        .map(|one| one["version"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 2, 1], "{history}");
    assert_eq!(history["oldest_version"], 0);
    for one in versions {
        assert!(!one["by"].as_str().unwrap().is_empty(), "{one}");
        assert!(one["at_ms"].as_u64().unwrap() > 1_500_000_000_000, "{one}");
    }
    let shown = world.say(1, &["policy", "history"]);
    assert!(
        shown.contains("-ip/a -pool/news") && shown.contains("~pool/news"),
        "{shown}"
    );
    let shown = world.say(2, &["policy", "history", "2"]);
    assert!(shown.contains("- limits.message_rate: 10/s"), "{shown}");

    let dry = world.say(0, &["policy", "rollback", "1", "--dry-run"]);
    assert!(
        dry.contains("pool/news added") && dry.contains("dry run"),
        "{dry}"
    );
    assert_eq!(resources(&world, 0), "");
    world.say(0, &["policy", "rollback", "1", "--wait"]);
    let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    for nth in 0..3 {
        assert_eq!(body(&resources(&world, nth)), body(&at_first), "node {nth}");
    }
    assert!(
        world
            .say(1, &["policy", "history"])
            .contains("back to version 1")
    );
    let unknown = world.refused(0, &["policy", "rollback", "99"]);
    assert!(unknown.contains("there are 0 to 4"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_based_on_an_old_version_are_refused_with_what_has_changed_since() {
    let world = World::start().await;
    let both = format!("{}---\n{}", ip("a", 1), ip("b", 2));
    let path = world.file(&both);
    world.say(0, &["apply", "-f", &path, "--wait"]);
    let fetched = world.say(0, &["policy", "get", "ip", "a"]);
    assert!(fetched.starts_with("# policy-version: 1\n"), "{fetched}");
    // Another resource is no concern of it.
    let path = world.file(&ip("b", 3));
    world.say(1, &["apply", "-f", &path, "--wait"]);
    let path = world.file(&fetched.replace("192.0.2.1", "192.0.2.11"));
    world.say(2, &["apply", "-f", &path, "--wait"]);
    // Now somebody has changed it since.
    let path = world.file(&fetched.replace("192.0.2.1", "192.0.2.12"));
    let refused = world.refused(0, &["apply", "-f", &path]);
    assert!(
        refused.contains("version 3 by") && refused.contains("ip/a"),
        "{refused}"
    );
    let plain = world.file(&ip("a", 12));
    let refused = world.refused(1, &["apply", "-f", &plain, "--base", "2"]);
    assert!(
        refused.contains("others have changed them since"),
        "{refused}"
    );
    let refused = world.refused(1, &["apply", "-f", &plain, "--base", "9"]);
    assert!(refused.contains("there is no 9 yet"), "{refused}");
    world.say(1, &["apply", "-f", &plain, "--base", "3", "--wait"]);
    // What is there already is changed by nobody.
    let path = world.file(&format!("# policy-version: 1\n{}", ip("a", 12)));
    world.say(0, &["apply", "-f", &path]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_takes_out_what_is_the_sources_own() {
    let world = World::start().await;
    let apply = |nth: usize, text: &str, more: &[&str]| {
        let path = world.file(text);
        world.call(nth, &[&["apply", "-f", &path][..], more].concat())
    };
    let all = |names: &[(&str, u8)]| {
        let all: Vec<String> = names.iter().map(|(name, n)| ip(name, *n)).collect();
        all.join("---\n")
    };
    let names = || {
        let found = world.json(0, &["policy", "get"]);
        let found = found.as_array().unwrap().iter();
        let named = found.map(|one| {
            format!(
                "{}:{}",
                one["name"].as_str().unwrap(),
                one["source"].as_str().unwrap()
            )
        });
        named.collect::<Vec<_>>().join(" ")
    };
    for (text, source) in [
        (all(&[("a", 1), ("b", 2)]), "git"),
        (all(&[("c", 3)]), "ci"),
    ] {
        let done = apply(0, &text, &["--source", source, "--wait"]);
        assert!(done.status.success(), "{done:?}");
    }
    assert!(apply(1, &all(&[("d", 4)]), &["--wait"]).status.success());
    assert_eq!(names(), "a:git b:git c:ci d:");
    assert!(resources(&world, 0).contains("# source: git"));
    let prune = ["--source", "git", "--prune", "--wait"];
    let dry = apply(
        2,
        &all(&[("a", 1)]),
        &["--source", "git", "--prune", "--dry-run"],
    );
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(
        said.contains("ip/b removed") && !said.contains("ip/c"),
        "{said}"
    );
    assert_eq!(names(), "a:git b:git c:ci d:");
    assert!(apply(2, &all(&[("a", 1)]), &prune).status.success());
    assert_eq!(names(), "a:git c:ci d:");
    let other = apply(0, &all(&[("a", 1), ("c", 3)]), &prune);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        !other.status.success() && said.contains("ip/c: belongs to source ci"),
        "{other:?}"
    );
    let taken = apply(
        0,
        &all(&[("a", 1), ("c", 3)]),
        &[&prune[..], &["--take-over"]].concat(),
    );
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(names(), "a:git c:git d:");
    world.say(1, &["policy", "rollback", "3", "--wait"]);
    assert_eq!(names(), "a:git b:git c:ci d:");
    let alone = apply(0, &all(&[("a", 1)]), &["--prune"]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_holds_is_shown_with_where_it_is_from_and_history_lives_through_restarts() {
    let mut world = World::start().await;
    let google = "kind: provider\nname: google\nextends: true\nper_ip: {connections: 3}\n";
    let path = world.file(google);
    world.say(0, &["apply", "-f", &path, "--wait"]);
    let shown = world.say(1, &["policy", "get", "provider", "google", "--effective"]);
    let row = |key: &str| {
        let row = shown
            .lines()
            .find(|line| line.trim_start().starts_with(key));
        row.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        row("per_ip.connections "),
        "per_ip.connections 3 here",
        "{shown}"
    );
    assert!(row("mx ").ends_with("built-in provider google"), "{shown}");
    assert_eq!(
        row("timeouts.connect "),
        "timeouts.connect 1m built-in provider default",
        "{shown}"
    );
    for nth in 0..3 {
        world.fleet.control[nth].stop().await.unwrap();
        world.fleet.control[nth].start().await.unwrap();
    }
    let history = world.json(0, &["policy", "history"]);
    assert_eq!(
        history["versions"].as_array().unwrap().len(),
        1,
        "{history}"
    );
    let schema = world.json(0, &["schema", "pool"]);
    assert_eq!(
        schema["required"],
        serde_json::json!(["kind", "name", "members"])
    );
}
