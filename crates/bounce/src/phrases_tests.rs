use super::*;

#[test]
fn patterns_match_by_pieces_in_order_and_at_edges_of_words() {
    let rules = [
        vec!["mailbox ... full".to_owned(), "Boîte pleine".to_owned()],
        vec!["|spf|".to_owned()],
        vec!["full".to_owned()],
        vec![],
        vec!["ab ... ab".to_owned()],
    ];
    let phrases = Phrases::new(rules.iter().map(Vec::as_slice));
    for (text, matched) in [
        ("the mailbox is full", &[0, 2][..]),
        ("full is the mailbox", &[2]),
        ("BOITE  PLEINE", &[0]),
        ("SPF check", &[1]),
        ("no spfx, xspf", &[]),
        ("(spf)", &[1]),
        ("abab", &[4]),
        ("aba", &[]),
        ("", &[]),
    ] {
        assert_eq!(phrases.matched(&fold(text)), matched, "{text:?}");
    }
}
