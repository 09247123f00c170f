use proptest::prelude::*;

use super::*;

#[test]
fn texts_have_one_form() {
    for (text, folded) in [
        ("", " "),
        ("Mailbox  FULL\r\n now", " mailbox full now "),
        ("Boîte aux lettres pleine", " boite aux lettres pleine "),
        ("Boi\u{302}te", " boite "),
        ("Straße, Łódź, Ящик", " strasse, lodz, ящик "),
        ("user\u{a0}unknown", " user unknown "),
        ("it’s “full”", " it's \"full\" "),
        ("ＵＳＥＲ　ｕｎｋｎｏｗｎ", " user unknown "),
        ("ёлкИЙ", " елкии "),
        ("İstanbul", " istanbul "),
    ] {
        assert_eq!(fold(text), folded, "{text:?}");
    }
    let long = "é".repeat(TEXT_BYTES_MAX);
    assert_eq!(fold(&long).len(), TEXT_BYTES_MAX / 2 + 2);
}

#[test]
fn encoded_words_are_decoded() {
    for (text, decoded) in [
        ("no word", "no word"),
        ("=?utf-8?B?Ym/DrnRl?= pleine", "boîte pleine"),
        (
            "a =?iso-8859-1?q?bo=EEte_b?=  =?utf-8?Q?_c?= d",
            "a boîte b c d",
        ),
        ("=?iso-2022-jp?B?GyRCJCIbKEI=?=", "あ"),
        ("=?utf-8*fr?Q?x?=", "x"),
        ("=?utf-8?X?a?= =?", "=?utf-8?X?a?= =?"),
        ("=?unknown?Q?a=zz?=", "a=zz"),
        ("=??Q?a?=", "=??Q?a?="),
    ] {
        assert_eq!(decode_words(text), decoded, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in ".*", words in "(=\\?|\\?|utf-8|[qb]|=|=\\?=|[a-z0-9 ]){0,40}") {
        let _ = (fold(&text), decode_words(&text), decode_words(&words));
    }
}
