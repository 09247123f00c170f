//! Texts of MTA-STS: the TXT record that announces a policy, and the policy.

use super::{MAX_AGE_S_MAX, POLICY_MX_MAX, POLICY_TEXT_BYTES_MAX, StsMode, StsPolicy};

/// RFC 8461 3.1.
const ID_BYTES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 253;

/// What the TXT records of `_mta-sts.DOMAIN` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txt {
    /// A policy is announced.
    Id(String),
    /// None, several, or one that makes no sense.
    Absent,
    /// The DNS gave no answer.
    Failed,
}

/// A policy that says nothing which a sender could go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    #[error("it has {0} bytes, and at most {POLICY_TEXT_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("it is not UTF-8")]
    NotText,
    #[error("it has no line \"version: STSv1\"")]
    Version,
    #[error("it has no line \"mode: enforce\", \"mode: testing\" or \"mode: none\"")]
    Mode,
    #[error("it has no line \"max_age: \" with a number of seconds up to {MAX_AGE_S_MAX}")]
    MaxAge,
    #[error("it names no MX host, such as \"mx: mail.example.com\"")]
    NoMx,
    #[error("it names more than {POLICY_MX_MAX} MX hosts")]
    ManyMx,
    #[error("{0:?} is no MX host such as mail.example.com or *.example.com")]
    Mx(String),
}

/// Reads the TXT records of `_mta-sts.DOMAIN`, each with its strings joined (RFC 8461 3.1). Records of other kinds are passed
/// over; anything but one valid record of this kind announces no policy.
pub fn parse_txt<'a>(records: impl IntoIterator<Item = &'a str>) -> Txt {
    let mut found = records.into_iter().filter_map(after_version);
    match (found.next(), found.next()) {
        (Some(fields), None) => id(fields).map_or(Txt::Absent, |id| Txt::Id(id.to_owned())),
        _ => Txt::Absent,
    }
}

/// What follows `v=STSv1;`.
fn after_version(record: &str) -> Option<&str> {
    let rest = record.strip_prefix("v=STSv1")?;
    rest.trim_start_matches([' ', '\t']).strip_prefix(';')
}

fn id(fields: &str) -> Option<&str> {
    let fields = fields
        .split(';')
        .map(|field| field.trim_matches([' ', '\t']));
    let mut ids = fields.filter_map(|field| field.strip_prefix("id="));
    let id = ids.next()?;
    let is_valid = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_valid.then_some(id)
}

/// Reads what `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` holds (RFC 8461 3.2), fetched for a record with this id. Lines end
/// with CRLF or LF; unknown keys are passed over, and of a key that may stand once the first counts.
///
/// # Errors
/// Nothing can be gone by: a field is missing or makes no sense.
pub fn parse_policy(id: &str, text: &[u8]) -> Result<StsPolicy, InvalidPolicy> {
    if text.len() > POLICY_TEXT_BYTES_MAX {
        return Err(InvalidPolicy::TooLong(text.len()));
    }
    let text = std::str::from_utf8(text).map_err(|_| InvalidPolicy::NotText)?;
    let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim_matches([' ', '\t']);
        match key.trim_end_matches([' ', '\t']) {
            "version" => _ = version.get_or_insert(value),
            "mode" => _ = mode.get_or_insert(value),
            "max_age" => _ = max_age.get_or_insert(value),
            "mx" => mx.push(pattern(value)?),
            _ => {}
        }
    }
    if version != Some("STSv1") {
        return Err(InvalidPolicy::Version);
    }
    let mode = match mode {
        Some("enforce") => StsMode::Enforce,
        Some("testing") => StsMode::Testing,
        Some("none") => StsMode::None,
        _ => return Err(InvalidPolicy::Mode),
    };
    let max_age_s = max_age.and_then(seconds).ok_or(InvalidPolicy::MaxAge)?;
    match mx.len() {
        0 if mode != StsMode::None => return Err(InvalidPolicy::NoMx),
        count if count > POLICY_MX_MAX => return Err(InvalidPolicy::ManyMx),
        _ => {}
    }
    Ok(StsPolicy {
        id: id.to_owned(),
        mode,
        mx,
        max_age_s,
    })
}

/// At most ten digits (RFC 8461 3.2), and not above the maximum.
fn seconds(text: &str) -> Option<u32> {
    let is_number =
        !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = is_number.then(|| text.parse::<u64>().ok()).flatten()?;
    u32::try_from(seconds).ok().filter(|s| *s <= MAX_AGE_S_MAX)
}

fn pattern(text: &str) -> Result<String, InvalidPolicy> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        let end = text.floor_char_boundary(NAME_BYTES_MAX);
        return Err(InvalidPolicy::Mx(text[..end].to_owned()));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
