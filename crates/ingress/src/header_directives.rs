//! Fields between the client and us, which are taken out of the header before it is stored, so that what is sent is the
//! same at each attempt.

use skein_mail::field::take_fields;
use skein_mail::header::{
    CAMPAIGN_FIELD, HeaderSummary, POOL_FIELD, PRIORITY_FIELD, TRACEPARENT_FIELD,
};
use skein_model::{Priority, TraceContext, is_campaign_name};
use skein_smtp::reply::Reply;

/// What a header asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeaderDirectives {
    pub priority: Option<Priority>,
    pub pool: Option<String>,
    pub campaign: Option<String>,
    /// The span of the client's that the message comes from.
    pub trace: Option<TraceContext>,
}

/// Takes the wishes out of a message that begins with this header; returns the header without them.
///
/// One that means nothing is refused: ignored, a typing error would have receipts wait behind newsletters, and the client
/// would not know.
pub fn take(
    message: &mut Vec<u8>,
    summary: HeaderSummary,
) -> Result<(HeaderDirectives, HeaderSummary), Reply> {
    let (priority, summary) = take_one(message, summary, summary.priority_count, PRIORITY_FIELD)?;
    let (pool, summary) = take_one(message, summary, summary.pool_count, POOL_FIELD)?;
    let (campaign, summary) = take_one(message, summary, summary.campaign_count, CAMPAIGN_FIELD)?;
    let (trace, summary) = take_trace(message, summary);
    let priority = priority.map(|value| value.parse()).transpose();
    let priority = priority.map_err(|_| bad(PRIORITY_FIELD, "must be transactional or bulk"))?;
    if pool
        .as_deref()
        .is_some_and(|name| !skein_policy::is_resource_name(name))
    {
        return Err(bad(POOL_FIELD, "must be the name of a pool"));
    }
    if campaign
        .as_deref()
        .is_some_and(|name| !is_campaign_name(name))
    {
        let text = "must be a name of at most 64 letters, digits, dots, hyphens and underscores";
        return Err(bad(CAMPAIGN_FIELD, text));
    }
    let directives = HeaderDirectives {
        priority,
        pool,
        campaign,
        trace,
    };
    Ok((directives, summary))
}

/// Takes all wishes out of a message that begins with this header, unheard: those of strangers go no further, to hosts that would
/// hear them. Returns the header without them.
pub fn drop_all(message: &mut Vec<u8>, mut summary: HeaderSummary) -> HeaderSummary {
    for (count, name) in [
        (summary.priority_count, PRIORITY_FIELD),
        (summary.pool_count, POOL_FIELD),
        (summary.campaign_count, CAMPAIGN_FIELD),
        (summary.traceparent_count, TRACEPARENT_FIELD),
    ] {
        if count > 0 {
            let before = message.len();
            let values = take_fields(message, summary.fields_end, name);
            summary = summary.without_fields(values.len(), before - message.len());
        }
    }
    summary
}

/// A trace that cannot be read is none, and mail goes all the same (W3C Trace Context 3.2.2). So are two.
fn take_trace(
    message: &mut Vec<u8>,
    summary: HeaderSummary,
) -> (Option<TraceContext>, HeaderSummary) {
    if summary.traceparent_count == 0 {
        return (None, summary);
    }
    let before = message.len();
    let values = take_fields(message, summary.fields_end, TRACEPARENT_FIELD);
    let summary = summary.without_fields(values.len(), before - message.len());
    match values.as_slice() {
        [one] => (TraceContext::parse(one), summary),
        _ => (None, summary),
    }
}

fn take_one(
    message: &mut Vec<u8>,
    summary: HeaderSummary,
    count: u32,
    name: &str,
) -> Result<(Option<String>, HeaderSummary), Reply> {
    if count == 0 {
        return Ok((None, summary));
    }
    let before = message.len();
    let mut values = take_fields(message, summary.fields_end, name);
    if values.len() > 1 {
        return Err(bad(name, "is given more than once"));
    }
    let summary = summary.without_fields(values.len(), before - message.len());
    Ok((values.pop(), summary))
}

fn bad(name: &str, what: &str) -> Reply {
    Reply::new(550, (5, 6, 0), format!("{name} {what}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_mail::header::HeaderScan;

    use super::*;

    fn taken(message: &str) -> (Result<(HeaderDirectives, HeaderSummary), Reply>, String) {
        let mut scan = HeaderScan::new();
        scan.push(message.as_bytes());
        scan.finish();
        let mut bytes = message.as_bytes().to_vec();
        let taken = take(&mut bytes, scan.summary());
        (taken, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn wishes_are_taken_out_of_the_header_and_never_out_of_the_body() {
        let all = "X-Skein-Priority: bulk\r\nSubject: x\r\nX-Skein-Pool: a\r\nX-Skein-Campaign: may\r\n\r\nX-Skein-Pool: b\r\n";
        let (directives, left) = taken(all);
        let (directives, summary) = directives.unwrap();
        assert_eq!(left, "Subject: x\r\n\r\nX-Skein-Pool: b\r\n");
        assert_eq!(directives.priority, Some(Priority::Bulk));
        assert_eq!(directives.pool.as_deref(), Some("a"));
        assert_eq!(directives.campaign.as_deref(), Some("may"));
        assert_eq!(&left[..summary.fields_end], "Subject: x\r\n");
        assert_eq!((summary.field_count, summary.body_start), (1, 14));

        let none = "Subject: x\r\n\r\nX-Skein-Priority: bulk\r\n";
        let (directives, left) = taken(none);
        assert_eq!(
            (directives.unwrap().0, left.as_str()),
            (HeaderDirectives::default(), none)
        );
    }

    #[test]
    fn a_trace_is_taken_out_and_one_that_cannot_be_read_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (values, is_some) in [
            (&[good][..], true),
            (&["00-zz"], false),
            (&[good, good], false),
        ] {
            let fields: String = values
                .iter()
                .map(|value| format!("Traceparent: {value}\r\n"))
                .collect();
            let (taken, left) = taken(&format!("{fields}Subject: x\r\n\r\n"));
            let (directives, summary) = taken.unwrap();
            assert_eq!(directives.trace.is_some(), is_some, "{values:?}");
            assert_eq!(left, "Subject: x\r\n\r\n");
            assert_eq!(summary.field_count, 1);
        }
    }

    #[test]
    fn a_wish_that_means_nothing_is_refused() {
        for header in [
            "X-Skein-Priority: urgent\r\n",
            "X-Skein-Priority: bulk\r\nX-Skein-Priority: bulk\r\n",
            "X-Skein-Pool:\r\n",
            "X-Skein-Pool: two words\r\n",
            "X-Skein-Pool: a\r\nX-Skein-Pool: a\r\n",
            "X-Skein-Campaign: a b\r\n",
        ] {
            let (refused, _) = taken(&format!("{header}\r\nbody"));
            assert_eq!(refused.unwrap_err().code, 550, "{header}");
        }
    }
}
