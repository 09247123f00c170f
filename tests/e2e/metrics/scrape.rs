//! What `GET /metrics` gives, read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use skein_testkit::process::http_get;

/// For something that is to show; the queues are looked through every 15 s, and a busy machine is slow.
pub const WITHIN: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(250);

/// A name with its type and the labels of its series.
pub type Families = BTreeMap<String, (String, BTreeSet<String>)>;

#[derive(Debug, Default)]
pub struct Scrape {
    pub text: String,
    pub families: Families,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Series {
    fn parse(line: &str) -> Self {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let pairs = labels.trim_end_matches('}').split("\",");
        let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
        let pairs = pairs.map(|(label, value)| (label.into(), value.trim_end_matches('"').into()));
        Self {
            name: name.to_owned(),
            labels: pairs.collect(),
            value: value.parse().unwrap(),
        }
    }
}

impl Scrape {
    pub async fn of(http: SocketAddr) -> Self {
        let (status, text) = http_get(http, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        let (mut families, mut series) = (Families::new(), Vec::new());
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                let (name, kind) = described.split_once(' ').unwrap();
                families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            } else if !line.starts_with('#') {
                let one = Series::parse(line);
                let ends = ["", "_bucket", "_sum", "_count"].iter();
                let mut bases = ends.filter_map(|end| one.name.strip_suffix(end));
                let base = bases.find(|base| families.contains_key(*base));
                let (_, labels) = families.get_mut(base.expect(line)).unwrap();
                labels.extend(one.labels.keys().filter(|name| *name != "le").cloned());
                series.push(one);
            }
        }
        Self {
            text,
            families,
            series,
        }
    }

    /// The sum of the series of this name that have these labels; none if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |one: &&Series| {
            let mut wanted = labels.iter();
            one.name == name
                && wanted.all(|(label, value)| {
                    one.labels.get(*label).is_some_and(|found| found == value)
                })
        };
        let found = self.series.iter().filter(has).map(|one| one.value);
        found.reduce(|sum, value| sum + value)
    }
}

/// Scrapes until the answer is as it should be.
pub async fn until(http: SocketAddr, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let scrape = Scrape::of(http).await;
        if is_so(&scrape) {
            return scrape;
        }
        assert!(
            tokio::time::Instant::now() < until,
            "waited in vain for {what}:\n{}",
            scrape.text
        );
        tokio::time::sleep(EVERY).await;
    }
}
