//! CNAMEs to the operator's hosts: return path, tracking, MTA-STS; and the texts of MTA-STS and TLS reports.

use super::Check;
use super::published::Kind;
use crate::dns::{Question, RecordType, Source};
use crate::finding::Id;
use crate::records::{Purpose, Record};

/// Names are the same whatever their case, with or without the dot at the end.
pub fn is_host(found: &[String], expected: &str) -> bool {
    let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    found.len() == 1 && found.iter().all(|name| bare(name) == bare(expected))
}

impl Check<'_> {
    pub fn hosts(&mut self) {
        for (purpose, missing, other) in [
            (
                Purpose::ReturnPath,
                Id::ReturnPathMissing,
                Id::ReturnPathOtherTarget,
            ),
            (
                Purpose::Tracking,
                Id::TrackingMissing,
                Id::TrackingOtherTarget,
            ),
            (Purpose::MtaSts, Id::StsMissing, Id::StsMissing),
        ] {
            let kind = Kind {
                missing,
                doubled: Id::DoubledName,
            };
            for record in self.expected_of(purpose, RecordType::Cname) {
                let before = self.findings.len();
                self.published(record, &kind, |found| {
                    (!is_host(found, &record.value)).then_some(other)
                });
                let is_missing = self.findings[before..]
                    .iter()
                    .any(|found| found.id == missing);
                if is_missing && purpose == Purpose::ReturnPath {
                    self.other_records(record, before);
                }
            }
        }
    }

    /// A return path that is no CNAME has the records of a host of its own, which do not follow the operator's.
    fn other_records(&mut self, record: &Record, place: usize) {
        let mut found = Vec::new();
        for record_type in [RecordType::Mx, RecordType::A, RecordType::Txt] {
            let Some(answer) = self.lookups.resolver(&record.name, record_type) else {
                continue;
            };
            let texts = answer.records().iter();
            found.extend(texts.map(|text| format!("{record_type} {text}")));
        }
        if !found.is_empty() {
            self.findings.truncate(place);
            let question = Question::new(Source::Resolver, &record.name, RecordType::Cname);
            self.find(Id::ReturnPathNotCname, &question, &found, record);
        }
    }

    pub fn mta_sts(&mut self) {
        for (purpose, version, missing, stale) in [
            (Purpose::MtaSts, "v=STSv1", Id::StsMissing, Id::StsIdStale),
            (
                Purpose::TlsRpt,
                "v=TLSRPTv1",
                Id::TlsRptMissing,
                Id::TlsRptMissing,
            ),
        ] {
            let kind = Kind {
                missing,
                doubled: Id::DoubledName,
            };
            for record in self.expected_of(purpose, RecordType::Txt) {
                self.published(record, &kind, |found| {
                    let mut found = found.iter().filter(|text| text.starts_with(version));
                    match (found.next(), found.next()) {
                        (None, _) | (_, Some(_)) => Some(missing),
                        (Some(text), None) => (!has_tags_of(text, &record.value)).then_some(stale),
                    }
                });
            }
        }
    }
}

/// Every tag of the one text is in the other, which may have more.
fn has_tags_of(found: &str, expected: &str) -> bool {
    let tags = |text: &str| -> Vec<String> {
        let tags = text
            .split(';')
            .map(|tag| tag.split_ascii_whitespace().collect());
        tags.filter(|tag: &String| !tag.is_empty()).collect()
    };
    let found = tags(found);
    // Reports may go to several addresses.
    let is_in = |tag: &String| match tag.strip_prefix("rua=") {
        Some(address) => found
            .iter()
            .any(|tag| tag.starts_with("rua=") && tag.contains(address)),
        None => found.contains(tag),
    };
    tags(expected).iter().all(is_in)
}
