//! Finding what a domain says of its MTA-STS policy (RFC 8461 3.1 and 3.3).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use skein_dns::{RecordKind, Told};
use skein_model::sts::{
    FetchFault, POLICY_TEXT_BYTES_MAX, StsPolicy, Txt, parse_policy, parse_txt,
};

use super::TlsPolicySettings;
use crate::https::{Answer, Fault};

/// RFC 8461 3.3.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
const PATH: &str = "/.well-known/mta-sts.txt";

/// What the domain announces.
pub async fn announced(settings: &TlsPolicySettings, domain: &str) -> Txt {
    let name = format!("_mta-sts.{domain}");
    match settings.questions.resolver(&name, RecordKind::Txt).await {
        Told::Records(records) => parse_txt(records.iter().map(String::as_str)),
        Told::Nothing => Txt::Absent,
        Told::Failed(_) => Txt::Failed,
    }
}

/// The policy that the domain's policy host has now, for the id that was announced.
///
/// # Errors
/// The host gives none, or none that is valid.
pub async fn fetch(
    settings: &TlsPolicySettings,
    domain: &str,
    id: &str,
) -> Result<StsPolicy, FetchFault> {
    let host = format!("mta-sts.{domain}");
    let request = Request::get(PATH)
        .header("accept", "text/plain")
        .body(Full::new(Bytes::new()))
        .map_err(|error| FetchFault::Fetch(error.to_string()))?;
    let https = &settings.https;
    // One byte more tells a text that is too long.
    let call = https.call(&host, https.port(), request, POLICY_TEXT_BYTES_MAX + 1);
    let answer = match tokio::time::timeout(FETCH_WITHIN, call).await {
        Ok(answer) => answer.map_err(|fault| match fault {
            Fault::Certificate(why) => FetchFault::WebPki(why),
            Fault::Other(why) => FetchFault::Fetch(why),
        })?,
        Err(_) => {
            let seconds = FETCH_WITHIN.as_secs();
            let why = format!("{host} does not answer within {seconds} s");
            return Err(FetchFault::Fetch(why));
        }
    };
    check(&host, &answer).map_err(FetchFault::Fetch)?;
    Ok(parse_policy(id, &answer.body)?)
}

fn check(host: &str, answer: &Answer) -> Result<(), String> {
    if answer.status != StatusCode::OK {
        let redirects = match answer.status.is_redirection() {
            true => "; redirects are not followed",
            false => "",
        };
        return Err(format!("{host} answers {}{redirects}", answer.status));
    }
    let media_type = answer.media_type.split(';').next().unwrap_or_default();
    match media_type.trim().eq_ignore_ascii_case("text/plain") {
        true => Ok(()),
        false => Err(format!(
            "{host} answers with {:?}, and a policy is text/plain",
            media_type.chars().take(80).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_with_status_200_is_a_policy() {
        let answer = |status: u16, media_type: &str| Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            media_type: media_type.to_owned(),
            body: Bytes::new(),
        };
        for (status, media_type, said) in [
            (200, "text/plain", None),
            (200, "Text/Plain; charset=utf-8", None),
            (200, "text/html", Some("text/html")),
            (200, "text/plainer", Some("text/plainer")),
            (200, "", Some("a policy is text/plain")),
            (203, "text/plain", Some("203")),
            (301, "text/plain", Some("redirects are not followed")),
            (304, "text/plain", Some("304")),
            (404, "text/plain", Some("404")),
            (500, "text/plain", Some("500")),
        ] {
            let checked = check("mta-sts.a.example", &answer(status, media_type));
            match said {
                None => assert_eq!(checked, Ok(()), "{status} {media_type}"),
                Some(said) => assert!(checked.is_err_and(|why| why.contains(said)), "{status}"),
            }
        }
    }
}
