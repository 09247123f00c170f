//! Sends the reports of days that are over, at the leader of the meta group.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::RwLock;
use skein_client::Spools;
use skein_client::signing::Signing;
use skein_dkim::at_rest::Keks;
use skein_model::meta::tls_reports::{self, Command, DayRow};
use skein_model::tls_report::{Day, Destination};

use super::mail::Outgoing;
use super::retries::{Retries, is_late};
use super::{Reporter, TlsReports, json, post};
use crate::clock;

const LOOK: Duration = Duration::from_secs(1);
/// Reports that are sent at a time: a server that takes them by HTTPS may take a minute.
const AT_ONCE: usize = 16;
const PAGE: usize = 500;

/// What became of one try.
enum Tried {
    Finished,
    Again,
}

impl TlsReports {
    /// Sends reports while this node leads the meta group, as mail through these spool groups.
    pub async fn send(self, spools: Spools, keks: Arc<RwLock<Option<Arc<Keks>>>>) {
        let signing = spools.signing();
        let Some(reporter) = self.settings.reporter.clone() else {
            return std::future::pending().await;
        };
        let (mut running, mut busy) = (FuturesUnordered::new(), BTreeSet::new());
        let mut retries = Retries::default();
        loop {
            tokio::select! {
                Some((report, tried)) = running.next() => {
                    busy.remove(&report);
                    if let Tried::Again = tried {
                        retries.failed(report, clock::now());
                    }
                    continue;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if !self.group.is_leader() {
                retries = Retries::default();
                continue;
            }
            signing.share_keks(keks.read().clone());
            retries.keep(|day, domain| self.row(day, domain).is_some());
            for report in self.due(&retries, &busy, AT_ONCE - busy.len()) {
                busy.insert(report.clone());
                let (reports, reporter) = (&self, &reporter);
                let (spools, signing) = (&spools, &signing);
                running.push(async move {
                    let tried = reports.try_one(reporter, spools, signing, &report).await;
                    (report, tried)
                });
            }
        }
    }

    /// Reports whose time has come, so many.
    fn due(
        &self,
        retries: &Retries,
        busy: &BTreeSet<(Day, String)>,
        limit: usize,
    ) -> Vec<(Day, String)> {
        let (now, mut found) = (clock::now(), Vec::new());
        let mut after = (Day(0), String::new());
        loop {
            let page = tls_reports::all_counted(&self.reader, (after.0, &after.1), PAGE);
            let Some(last) = page.last().cloned() else {
                return found;
            };
            for report in page {
                if found.len() >= limit {
                    return found;
                }
                let is_due = tls_reports::is_due(&self.reader, now, report.0, &report.1);
                if is_due && !busy.contains(&report) && retries.may(&report, now) {
                    found.push(report);
                }
            }
            after = last;
        }
    }

    async fn try_one(
        &self,
        reporter: &Reporter,
        spools: &Spools,
        signing: &Signing,
        (day, domain): &(Day, String),
    ) -> Tried {
        let (day, domain) = (*day, domain.as_str());
        let Some(row) = self.row(day, domain) else {
            return Tried::Finished;
        };
        let late = is_late(day, domain, clock::now());
        let destinations = match self.destinations(domain).await {
            Ok(destinations) => destinations,
            Err(why) if late => {
                tracing::warn!(domain, why, "a report on TLS is given up");
                Vec::new()
            }
            Err(_) => return Tried::Again,
        };
        let report_id = format!("{}.{domain}@{}", json::date(day), reporter.submitter());
        let gzip = compressed(reporter, &report_id, domain, day, &row);
        let mut is_done = true;
        for destination in &destinations {
            let place = destination.to_string();
            if row.reached.iter().any(|reached| reached.place == place) {
                continue;
            }
            let sent = match destination {
                Destination::Https(uri) => {
                    post::post(&self.settings.https, uri, gzip.clone()).await
                }
                Destination::Mail(to) => {
                    let outgoing = Outgoing {
                        reporter,
                        to,
                        day,
                        domain,
                        report_id: &report_id,
                        gzip: &gzip,
                    };
                    let handed_in = outgoing.hand_in(spools, signing).await;
                    handed_in.map_err(|error| error.to_string())
                }
            };
            match sent {
                Err(why) if !late => {
                    tracing::info!(domain, place, why, "a report on TLS is sent later");
                    is_done = false;
                }
                sent => is_done &= self.reached(day, domain, place, sent.err()).await,
            }
        }
        let finish = Command::Finish {
            day,
            domain: domain.to_owned(),
        };
        match is_done && self.propose(finish).await.is_ok() {
            true => Tried::Finished,
            false => Tried::Again,
        }
    }

    /// Has it written down that a report is at one of its places, or never will be. Says whether it is.
    async fn reached(&self, day: Day, domain: &str, place: String, fault: Option<String>) -> bool {
        self.counters.reached(fault.is_none());
        tracing::info!(
            domain,
            place,
            ?fault,
            "a report on TLS is sent, or given up"
        );
        let text = |fault: String| {
            let mut text = fault.replace(char::is_control, " ");
            text.truncate(text.floor_char_boundary(500));
            text
        };
        let reach = Command::Reach {
            day,
            domain: domain.to_owned(),
            place,
            fault: fault.map(text),
        };
        self.propose(reach).await.is_ok()
    }
}

fn compressed(reporter: &Reporter, report_id: &str, domain: &str, day: Day, row: &DayRow) -> Bytes {
    let by = json::Reporter {
        organization: &reporter.organization,
        contact: &reporter.contact,
    };
    let text = json::report(by, report_id, domain, day, &row.counts);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = gzip.write_all(text.as_bytes());
    let finished = written.and_then(|()| gzip.finish());
    Bytes::from(finished.expect("memory can be written to"))
}
