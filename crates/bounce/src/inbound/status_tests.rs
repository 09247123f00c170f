use super::*;

fn summary(report: &str) -> Vec<String> {
    let line = |group: &Group| {
        let status = group.status.map(|status| status.to_string());
        format!(
            "{}|{}|{}|{}",
            group.final_recipient.as_deref().unwrap_or("-"),
            group.action.map_or("-", Action::word),
            status.as_deref().unwrap_or("-"),
            group.diagnostic.as_deref().unwrap_or("-")
        )
    };
    groups(report).iter().map(line).collect()
}

#[test]
fn reports_are_read_as_they_are_written() {
    for (report, expected) in [
        (
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550\n 5.1.1 no\n",
            &["a@b.net|failed|5.1.1|smtp; 550 5.1.1 no"][..],
        ),
        // No type, no empty lines between groups, text behind the status.
        (
            "Reporting-MTA: dns; x\nFinal-Recipient: <a@b.net>\nAction: Failed\nStatus: 5.0.0 (unknown)\nFinal-Recipient: c@b.net\nAction: delayed\nStatus:\n 4.4.1\n",
            &["a@b.net|failed|5.0.0|-", "c@b.net|delayed|4.4.1|-"],
        ),
        // The original recipient opens the next group.
        (
            "Original-Recipient: rfc822;o@b.net\nFinal-Recipient: rfc822;a@b.net\nStatus: 5.1.1\nOriginal-Recipient: rfc822;p@b.net\nFinal-Recipient: rfc822;c@b.net\nStatus: 5.2.2\n",
            &["a@b.net|-|5.1.1|-", "c@b.net|-|5.2.2|-"],
        ),
        // An empty line within a group; a diagnostic that goes on without an indent, and has an address of a page.
        (
            "Final-Recipient: rfc822;a@b.net\n\nAction: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 550-5.7.1 no\n550 5.7.1 see\nhttps://example.net/x\n",
            &["a@b.net|failed|5.7.1|smtp; 550-5.7.1 no 550 5.7.1 see https://example.net/x"],
        ),
        (
            "Final-Recipient: x400; /c=us/\nX-Actual-Recipient: rfc822; a@b.net\nAction: failed\n",
            &["a@b.net|failed|-|-"],
        ),
        ("Diagnostic-Code: smtp; 550\n", &[]),
        ("", &[]),
    ] {
        assert_eq!(summary(report), expected, "{report}");
    }
}

#[test]
fn a_report_has_two_of_its_fields() {
    assert!(is_report(
        "Final-Recipient: rfc822;a@b.net\nAction: failed\n"
    ));
    assert!(!is_report("Action: failed\n"));
    assert!(!is_report("a text on Final-Recipient: and Action: fields"));
}

#[test]
fn recipients_are_bounded() {
    let report = "Final-Recipient: rfc822;a@b.net\n\n".repeat(RECIPIENTS_MAX * 3);
    assert_eq!(groups(&report).len(), RECIPIENTS_MAX);
}
