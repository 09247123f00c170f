//! Recording what came back about a message by mail.

use super::command::Told;
use super::state::State;
use crate::event::{Event, EventKind};
use crate::rows::Rows;

/// News of one recipient, all reports together: bounces, complaints and what takes them back. Who has a message has its token, and
/// may send any number of reports.
const NEWS_OF_RECIPIENT_MAX: usize = 8;

/// Each news counts once, however often its report is told of.
///
/// A message that is forgotten has its events kept as if it had finished now.
pub(super) fn record<R: Rows>(state: &mut State<'_, R>, told: &Told) {
    let known = state.history(told.message);
    let message = state.message(told.message);
    let (sender, tenant) = match &message {
        Some(row) => (&row.envelope.return_path, &row.envelope.tenant),
        None => (&told.sender, &told.tenant),
    };
    let recipients = accepted(&known);
    let before = known.iter().filter(|event| event.kind.told_by().is_some());
    let most = NEWS_OF_RECIPIENT_MAX * recipients.len().max(1);
    let room = most.saturating_sub(before.count());
    let address = told
        .recipient
        .and_then(|nth| recipients.get(usize::from(nth)));
    let news = told.news.iter().map(|news| {
        let mut news = news.clone();
        if let (Some(address), Some(of)) = (address, news.told_about_mut()) {
            of.clone_from(address);
        }
        news
    });
    let is_known = |news: &EventKind| known.iter().any(|event| event.kind == *news);
    let news: Vec<EventKind> = news.filter(|news| !is_known(news)).take(room).collect();
    if !news.is_empty() && message.is_none() {
        state.put_finished(state.now(), told.message);
    }
    for news in news {
        state.event_of(told.message, (sender, tenant), news);
    }
}

/// The message's recipients, in the order of its tokens.
fn accepted(known: &[Event]) -> &[String] {
    let accepted = known.iter().find_map(|event| match &event.kind {
        EventKind::Accepted { recipients, .. } => Some(recipients.as_slice()),
        _ => None,
    });
    accepted.unwrap_or_default()
}
