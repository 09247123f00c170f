use super::*;

fn id_of(records: &[&str]) -> Option<String> {
    match parse_txt(records.iter().copied()) {
        Txt::Id(id) => Some(id),
        _ => None,
    }
}

#[test]
fn one_valid_record_announces_a_policy_and_anything_else_none() {
    for (records, id) in [
        (&[][..], None),
        (&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z")),
        (&["v=STSv1;id=1"], Some("1")),
        (&["v=STSv1 ; id=1 ;"], Some("1")),
        (&["v=STSv1; ext=x; id=1; more=y"], Some("1")),
        (&["v=spf1 -all", "v=STSv1; id=1"], Some("1")),
        (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
        (&["v=STSv1; id=1", "v=STSv1; id="], None),
        (&["v=STSv2; id=1"], None),
        (&["v=STSv1"], None),
        (&["v=STSv1;"], None),
        (&["V=STSv1; id=1"], None),
        (&[" v=STSv1; id=1"], None),
        (&["v=STSv1; id=a-b"], None),
        (&["v=STSv1; id=a b"], None),
        (&["v=STSv1; id=123456789012345678901234567890123"], None),
        (
            &["v=STSv1; id=12345678901234567890123456789012"],
            Some("12345678901234567890123456789012"),
        ),
        (&["id=1; v=STSv1"], None),
    ] {
        assert_eq!(id_of(records).as_deref(), id, "{records:?}");
    }
}

fn policy(mode: StsMode, mx: &[&str], max_age_s: u32) -> Result<StsPolicy, InvalidPolicy> {
    Ok(StsPolicy {
        id: "1".to_owned(),
        mode,
        mx: mx.iter().map(|mx| (*mx).to_owned()).collect(),
        max_age_s,
    })
}

#[test]
fn a_policy_is_read_line_by_line() {
    use StsMode::{Enforce, None, Testing};
    let head = "version: STSv1\nmode: enforce\n";
    let with = |rest: &str| format!("{head}{rest}");
    for (text, expected) in [
        (
            "version: STSv1\r\nmode: enforce\r\nmx: MX.a.example\r\nmx: *.b.example\r\nmax_age: 604800\r\n".to_owned(),
            policy(Enforce, &["mx.a.example", "*.b.example"], 604_800),
        ),
        (
            "max_age:1\nmx:a.example\nmode:testing\nversion:STSv1".to_owned(),
            policy(Testing, &["a.example"], 1),
        ),
        // Unknown keys, empty lines, no colon.
        (
            with("\nfoo: bar\nnothing\nmx: a.example.\nmax_age: 86400\n\n"),
            policy(Enforce, &["a.example"], 86_400),
        ),
        // The first of a key that may stand once.
        (
            with("mode: none\nmax_age: 5\nmax_age: 6\nmx: a.example\nversion: x\n"),
            policy(Enforce, &["a.example"], 5),
        ),
        (
            "version: STSv1\nmode: none\nmax_age: 86400\n".to_owned(),
            policy(None, &[], 86_400),
        ),
        (with("max_age: 31557600\nmx: a.example"), policy(Enforce, &["a.example"], MAX_AGE_S_MAX)),
        (with("max_age: 31557601\nmx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("max_age: -1\nmx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("max_age: +1\nmx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("max_age: 00000000001\nmx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("max_age:\nmx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("mx: a.example"), Err(InvalidPolicy::MaxAge)),
        (with("max_age: 1"), Err(InvalidPolicy::NoMx)),
        (with("max_age: 1\nmx: a..example"), Err(InvalidPolicy::Mx("a..example".to_owned()))),
        (with("max_age: 1\nmx: *"), Err(InvalidPolicy::Mx("*".to_owned()))),
        (with("max_age: 1\nmx: *.*.example"), Err(InvalidPolicy::Mx("*.*.example".to_owned()))),
        (with("max_age: 1\nmx: mx.*.example"), Err(InvalidPolicy::Mx("mx.*.example".to_owned()))),
        (with("max_age: 1\nmx: "), Err(InvalidPolicy::Mx(String::new()))),
        ("version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1".to_owned(), Err(InvalidPolicy::Version)),
        ("mode: enforce\nmx: a.b\nmax_age: 1".to_owned(), Err(InvalidPolicy::Version)),
        ("version: STSv1\nmode: report\nmx: a.b\nmax_age: 1".to_owned(), Err(InvalidPolicy::Mode)),
        ("version: STSv1\nmx: a.b\nmax_age: 1".to_owned(), Err(InvalidPolicy::Mode)),
        (String::new(), Err(InvalidPolicy::Version)),
        ("<html>Not found</html>".to_owned(), Err(InvalidPolicy::Version)),
    ] {
        assert_eq!(parse_policy("1", text.as_bytes()), expected, "{text:?}");
    }
    let latin = parse_policy("1", b"version: STSv1\xff");
    assert_eq!(latin, Err(InvalidPolicy::NotText));
}

#[test]
fn a_policy_is_bounded_in_bytes_and_hosts() {
    let many = |count: usize| {
        let mx: String = (0..count)
            .map(|n| format!("mx: mx{n}.a.example\n"))
            .collect();
        format!("version: STSv1\nmode: enforce\nmax_age: 1\n{mx}")
    };
    assert!(parse_policy("1", many(POLICY_MX_MAX).as_bytes()).is_ok());
    let above = parse_policy("1", many(POLICY_MX_MAX + 1).as_bytes());
    assert_eq!(above, Err(InvalidPolicy::ManyMx));
    let long = vec![b'\n'; POLICY_TEXT_BYTES_MAX + 1];
    assert_eq!(
        parse_policy("1", &long),
        Err(InvalidPolicy::TooLong(long.len()))
    );
}

#[test]
fn what_reports_say_of_a_policy_is_that_policy() {
    let text = "version: STSv1\nmode: testing\nmx: a.example\nmx: *.b.example\nmax_age: 9\n";
    let read = parse_policy("7", text.as_bytes()).unwrap();
    assert_eq!(read.lines().join("\n") + "\n", text);
}
