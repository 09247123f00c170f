use super::*;

fn findings() -> Findings {
    Findings {
        client: IpAddr::from([192, 0, 2, 1]),
        helo: "client.test".into(),
        mail_from: "a@b.test".into(),
        iprev: Word::Pass,
        spf_helo: Word::None,
        spf_mail_from: Word::Pass,
        dkim: vec![DkimFinding {
            result: Word::Fail,
            domain: "d.test".into(),
            selector: "s1".into(),
            begin: "ab+/c".into(),
            why: "body hash",
        }],
        dmarc: DmarcFinding {
            result: Word::Fail,
            domain: "b.test".into(),
            policy: DmarcPolicy::Reject,
        },
        arc: None,
    }
}

#[test]
fn the_field_tells_all_of_it() {
    assert_eq!(
        findings().field("mx.test"),
        "Authentication-Results: mx.test;\r\n\
         \tiprev=pass policy.iprev=192.0.2.1;\r\n\
         \tspf=none smtp.helo=client.test;\r\n\
         \tspf=pass smtp.mailfrom=a@b.test;\r\n\
         \tdkim=fail (body hash) header.d=d.test header.s=s1 header.b=\"ab+/c\";\r\n\
         \tdmarc=fail header.from=b.test policy.dmarc=reject\r\n"
    );
}

#[test]
fn nothing_that_a_client_says_breaks_the_field() {
    for evil in [
        "x; dmarc=pass",
        "x\r\nX-Evil: 1",
        "\"x\\\"; spf=pass\"",
        "é.test",
        "(comment",
        "a b",
        "",
    ] {
        let mut found = findings();
        found.helo = evil.into();
        found.mail_from = format!("{evil}@{evil}");
        found.dkim[0].domain = evil.into();
        found.dkim[0].selector = evil.into();
        found.dkim[0].begin = evil.into();
        found.dmarc.domain = evil.into();
        let field = found.field("mx.test");
        assert!(field.is_ascii(), "{field}");
        assert_eq!(
            field.matches("\r\n").count(),
            field.matches("\r\n\t").count() + 1,
            "{field}"
        );
        assert_eq!(
            field.matches(';').count(),
            field.matches(";\r\n\t").count(),
            "{field}"
        );
    }
}

#[test]
fn reports_go_to_authentic_return_paths_only() {
    for (mail_from, spf, dmarc, author, expected) in [
        ("a@b.test", Word::Pass, Word::Fail, "b.test", true),
        ("a@b.test", Word::SoftFail, Word::Pass, "b.test", true),
        ("a@rp.b.test", Word::None, Word::Pass, "B.test", true),
        ("a@b.test", Word::None, Word::Pass, "other.test", false),
        ("a@xb.test", Word::None, Word::Pass, "b.test", false),
        ("a@b.test", Word::Neutral, Word::Fail, "b.test", false),
        ("a@b.test", Word::TempError, Word::None, "b.test", false),
        ("", Word::Pass, Word::Pass, "b.test", false),
    ] {
        let mut found = findings();
        found.mail_from = mail_from.into();
        found.spf_mail_from = spf;
        found.dmarc.result = dmarc;
        found.dmarc.domain = author.into();
        assert_eq!(
            found.is_return_path_authentic(),
            expected,
            "{mail_from} {spf:?} {dmarc:?}"
        );
    }
}

#[test]
fn only_what_is_sure_to_fail_is_rejected() {
    let mut found = findings();
    assert!(found.is_to_be_rejected());
    found.dmarc.policy = DmarcPolicy::Quarantine;
    assert!(!found.is_to_be_rejected());
    found.dmarc.policy = DmarcPolicy::Reject;
    found.dkim[0].result = Word::TempError;
    assert!(!found.is_to_be_rejected());
    found.dkim.clear();
    for result in Word::ALL {
        found.dmarc.result = result;
        assert_eq!(
            found.is_to_be_rejected(),
            result == Word::Fail,
            "{result:?}"
        );
    }
}
