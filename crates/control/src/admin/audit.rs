//! The audit log: who has changed what, newest first.

use skein_model::meta;
use skein_wire::v1::{AuditEntry, ListAuditRequest, ListAuditResponse};
use tonic::Status;

use super::{AdminService, page};

impl AdminService {
    pub(super) fn audit_log(
        &self,
        request: &ListAuditRequest,
    ) -> Result<ListAuditResponse, Status> {
        let before = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                Status::invalid_argument("page_token: is none of an earlier answer")
            })?),
        };
        let is_wanted = |entry: &meta::AuditEntry| {
            (request.who.is_empty() || entry.who == request.who)
                && (request.call.is_empty() || entry.call.eq_ignore_ascii_case(&request.call))
                && entry.at.0 >= request.since_ms
        };
        let limit = page(request.limit, 100);
        let found = meta::audit(&self.meta, before, limit, is_wanted);
        let next_page_token = match found.keys().next() {
            Some(oldest) if found.len() == limit => oldest.to_string(),
            _ => String::new(),
        };
        let entries = found.into_iter().rev().map(|(number, entry)| {
            let (code, message) = match entry.ended {
                Some(end) => (Some(end.code), end.message),
                None => (None, String::new()),
            };
            AuditEntry {
                number,
                at_ms: entry.at.0,
                who: entry.who,
                from: entry.from,
                call: entry.call,
                asked: entry.asked,
                code,
                message,
            }
        });
        Ok(ListAuditResponse {
            entries: entries.collect(),
            next_page_token,
        })
    }
}
