#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn addresses_are_compared_without_case_quotes_and_u_labels() {
    for (text, subject, spelling) in [
        ("ann@example.com", "ann@example.com", None),
        (
            "Ann.Lee@Example.COM",
            "ann.lee@example.com",
            Some("Ann.Lee@example.com"),
        ),
        (
            "\"Ann\"@example.com",
            "ann@example.com",
            Some("\"Ann\"@example.com"),
        ),
        (
            r#""a\"@b"@example.com"#,
            "a\"@b@example.com",
            Some(r#""a\"@b"@example.com"#),
        ),
        ("\"\"@example.com", "@example.com", Some("\"\"@example.com")),
        ("ann@Bücher.example", "ann@xn--bcher-kva.example", None),
        (
            "ÄNN@example.com",
            "änn@example.com",
            Some("ÄNN@example.com"),
        ),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]", None),
        ("ann@[IPv6:2001:DB8::1]", "ann@[ipv6:2001:db8::1]", None),
        ("ann@localhost", "ann@localhost", None),
    ] {
        let written = Written::parse(text).unwrap();
        assert_eq!(written.subject, Subject::Address(subject.into()), "{text}");
        assert_eq!(written.spelling.as_deref(), spelling, "{text}");
        assert_eq!(written.subject.check(), Ok(()), "{text}");
        assert_eq!(Written::parse(written.as_str()).unwrap(), written, "{text}");
    }
    for (text, domain) in [
        ("Example.COM.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ] {
        let subject = Written::parse(text).unwrap().subject;
        assert_eq!(subject, Subject::Domain(domain.into()));
        assert_eq!(subject.domain(), domain);
    }
    let divided = Subject::Address("a\"@b@example.com".into());
    assert_eq!(divided.domain(), "example.com");
}

#[test]
fn what_is_no_subject_says_what_is_wrong() {
    let long = format!("{}@example.com", "x".repeat(250));
    for (text, expected) in [
        ("", "nothing where an address"),
        (&long, "at most 254 octets, and this one 262"),
        ("@example.com", "nothing like a local part"),
        ("a..b@example.com", "nothing like a local part"),
        ("a b@example.com", "nothing like a local part"),
        ("\"ann@example.com", "nothing like a local part"),
        ("ann@", "\"\" is no domain"),
        ("ann@exa mple.com", "\"exa mple.com\" is no domain"),
        ("ann@bob@example.com", "\"bob@example.com\" is no domain"),
        ("ann@-a.example", "is no domain such as example.com"),
        ("ann@[192.0.2]", "is no domain"),
        ("a..example", "is no domain"),
        ("ann@b\u{fc}\u{a0}.example", "is no domain"),
        ("a, b", "is no domain"),
    ] {
        let error = Written::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let address = |text: &str| Subject::Address(text.into()).check();
    assert_eq!(address("ann@example.com"), Ok(()));
    assert_eq!(address("Ann@example.com"), Err(BadSubject::NotNormal));
    assert_eq!(address("ann@example com"), Err(BadSubject::NotNormal));
    assert_eq!(address("example.com"), Err(BadSubject::NotNormal));
    assert_eq!(address("a\u{85}@example.com"), Err(BadSubject::Control));
    let long = format!("{}@example.com", "x".repeat(SUBJECT_BYTES_MAX));
    assert_eq!(address(&long), Err(BadSubject::TooLong(long.len())));
    let domain = Subject::Domain("a@example.com".into()).check();
    assert_eq!(domain, Err(BadSubject::NotNormal));
}

proptest! {
    /// However it is written, a subject is read again as the same, and may be kept.
    #[test]
    fn subjects_are_normal_once_and_for_all(
        local in "[a-zA-Z\u{c0}-\u{24f}\u{391}-\u{3a9}!#.+]{1,40}",
        quoted in "[ -~\u{c0}-\u{24f}]{0,20}",
        domain in "[a-zA-Z\u{e0}-\u{ff}]{1,20}\\.[a-z]{2,5}",
        is_quoted in any::<bool>(),
    ) {
        let local = match is_quoted {
            true => format!("\"{}\"", quoted.replace('\\', "\\\\").replace('"', "\\\"")),
            false => local,
        };
        let Ok(written) = Written::parse(&format!("{local}@{domain}")) else {
            return Ok(());
        };
        prop_assert_eq!(written.subject.check(), Ok(()));
        prop_assert!(written.subject.as_str().len() <= SUBJECT_BYTES_MAX);
        prop_assert_eq!(Written::parse(written.as_str()), Ok(written.clone()));
        let upper = Written::parse(&format!("{}@{domain}", local.to_ascii_uppercase()));
        prop_assert_eq!(upper.map(|upper| upper.subject), Ok(written.subject));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}(@\\PC{0,30})?") {
        if let Ok(written) = Written::parse(&text) {
            prop_assert_eq!(Written::parse(written.as_str()), Ok(written));
        }
    }
}
