use super::*;
use skein_model::bounce::Group;

#[test]
fn the_table_of_enhanced_codes() {
    for (codes, class) in [
        ("5.1.1 5.1.3 5.1.4 4.1.1", Some(Class::InvalidRecipient)),
        ("5.1.2 5.1.10 5.7.18", Some(Class::InvalidDomain)),
        ("5.1.6", Some(Class::Moved)),
        ("5.2.1 5.7.13 5.7.17", Some(Class::InactiveMailbox)),
        (
            "5.1.7 5.1.8 5.7.20 5.7.26 5.7.27 4.7.29 5.7.30 5.7.509 5.7.515",
            Some(Class::Auth),
        ),
        ("5.2.2 4.2.2", Some(Class::MailboxFull)),
        ("5.2.3 5.3.4", Some(Class::TooBig)),
        ("5.2.4 5.7.2", Some(Class::Policy)),
        ("4.3.1 5.3.2 4.3.0 5.4.2 4.4.5", Some(Class::Busy)),
        ("4.4.1 5.4.1 4.4.2", Some(Class::Network)),
        ("4.4.3 5.4.4", Some(Class::Dns)),
        ("5.4.6", Some(Class::Loop)),
        ("4.4.7", Some(Class::Expired)),
        ("4.5.3", Some(Class::RateLimited)),
        ("5.5.1 5.5.4 5.6.0 5.6.7", Some(Class::Protocol)),
        ("4.7.28", Some(Class::RateLimited)),
        ("5.0.0 5.7.1 5.7.0 5.2.0 5.1.0 5.5.0 5.3.0", None),
    ] {
        for code in codes.split(' ') {
            let code = Enhanced::parse(code).expect("a code");
            assert_eq!(of_enhanced(code), class, "{code}");
        }
    }
}

#[test]
fn a_vague_code_is_hardly_ever_hard() {
    for subject in 0..8 {
        for detail in 0..700 {
            let code = Enhanced::new(5, subject, detail);
            let is_hard = of_enhanced(code).is_some_and(|class| class.group() == Group::Hard);
            let is_registered = matches!((subject, detail), (7, 13 | 17 | 18));
            assert!(!(is_vague(code) && is_hard && !is_registered), "{code}");
        }
    }
}
