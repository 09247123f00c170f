//! What becomes of a policy when its domain is looked at again: the cached policy, the TXT record and the fetch in, what to keep
//! out.

use super::StsPolicy;
use super::text::{InvalidPolicy, Txt};

/// Why a policy could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// Neither fetched nor refused by its certificate.
    #[error("{0}")]
    Fetch(String),
    #[error("the certificate of the policy host: {0}")]
    WebPki(String),
    #[error("the policy is not valid: {0}")]
    Invalid(#[from] InvalidPolicy),
}

/// Why a domain is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Mail goes there.
    Mail,
    /// It is time, an operator asks, or mail would fail for good (RFC 8461 5): the policy may have changed without its id.
    Refresh,
}

/// Whether the policy is to be fetched, once the TXT records are known. `live` is the policy that is cached and not too old.
pub fn wants_fetch(live: Option<&StsPolicy>, txt: &Txt, look: Look) -> bool {
    match (txt, live) {
        (Txt::Id(id), Some(live)) => look == Look::Refresh || *id != live.id,
        (Txt::Id(_), None) => true,
        (Txt::Absent | Txt::Failed, _) => false,
    }
}

/// What holds from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// This one, from now on for as long as it says.
    Replaced(StsPolicy),
    /// The cached one goes on until it is too old: a missing record revokes nothing.
    GoesOn,
    /// There is no policy.
    NoPolicy,
}

/// Decides by what was found; `fetched` is none where [`wants_fetch`] said no.
pub fn after(live: Option<&StsPolicy>, fetched: Option<&Result<StsPolicy, FetchFault>>) -> After {
    match (fetched, live) {
        (Some(Ok(policy)), _) => After::Replaced(policy.clone()),
        (Some(Err(_)) | None, Some(_)) => After::GoesOn,
        (Some(Err(_)) | None, None) => After::NoPolicy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts::StsMode;

    fn policy(id: &str, mode: StsMode) -> StsPolicy {
        StsPolicy {
            id: id.to_owned(),
            mode,
            mx: vec!["mx.a.example".to_owned()],
            max_age_s: 86_400,
        }
    }

    /// The table of RFC 8461 3 and 5: cached, TXT, fetch, and then.
    #[test]
    fn what_is_cached_what_is_announced_and_what_is_fetched_decide() {
        let old = policy("1", StsMode::Enforce);
        let fails = || Err(FetchFault::Fetch("no answer".to_owned()));
        let bad = || Err(FetchFault::Invalid(InvalidPolicy::Version));
        let id = |id: &str| Txt::Id(id.to_owned());
        let replaced = |id, mode| After::Replaced(policy(id, mode));
        let (mail, refresh) = (Look::Mail, Look::Refresh);
        for (is_cached, txt, look, fetch, then) in [
            (false, Txt::Absent, mail, None, After::NoPolicy),
            (false, Txt::Failed, mail, None, After::NoPolicy),
            (false, Txt::Absent, refresh, None, After::NoPolicy),
            (false, id("1"), mail, Some(fails()), After::NoPolicy),
            (false, id("1"), mail, Some(bad()), After::NoPolicy),
            (
                false,
                id("1"),
                mail,
                Some(Ok(policy("1", StsMode::Enforce))),
                replaced("1", StsMode::Enforce),
            ),
            (true, id("1"), mail, None, After::GoesOn),
            (true, Txt::Absent, mail, None, After::GoesOn),
            (true, Txt::Failed, mail, None, After::GoesOn),
            (true, Txt::Absent, refresh, None, After::GoesOn),
            (true, Txt::Failed, refresh, None, After::GoesOn),
            (true, id("2"), mail, Some(fails()), After::GoesOn),
            (true, id("2"), mail, Some(bad()), After::GoesOn),
            (
                true,
                id("2"),
                mail,
                Some(Ok(policy("2", StsMode::Testing))),
                replaced("2", StsMode::Testing),
            ),
            (
                true,
                id("2"),
                mail,
                Some(Ok(policy("2", StsMode::None))),
                replaced("2", StsMode::None),
            ),
            (true, id("1"), refresh, Some(fails()), After::GoesOn),
            (
                true,
                id("1"),
                refresh,
                Some(Ok(policy("1", StsMode::Enforce))),
                replaced("1", StsMode::Enforce),
            ),
        ] {
            let live = is_cached.then_some(&old);
            let row = format!("{is_cached} {txt:?} {look:?} {fetch:?}");
            assert_eq!(wants_fetch(live, &txt, look), fetch.is_some(), "{row}");
            assert_eq!(after(live, fetch.as_ref()), then, "{row}");
        }
    }
}
