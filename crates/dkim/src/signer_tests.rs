#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use skein_model::UnixMs;

use crate::fields::Required;
use crate::{MessageSigner, PrivateKey, Signer};

const HEADER: &[u8] = b"From: a@example.com\r\nTo: b@example.org\r\nDate: Mon, 2 Jun 2025 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n";
const AT: UnixMs = UnixMs(1_750_000_000_999);

fn ed25519(domain: &str) -> Signer {
    Signer::new(
        domain,
        "ed",
        Arc::new(PrivateKey::ed25519_of(&[7; 32]).unwrap()),
    )
}

fn signed<'b>(pieces: impl IntoIterator<Item = &'b [u8]>, signers: &[Signer]) -> String {
    let mut signer = MessageSigner::new(HEADER).unwrap();
    pieces.into_iter().for_each(|piece| signer.body(piece));
    String::from_utf8(signer.finish(signers, AT).unwrap()).unwrap()
}

#[test]
fn a_signature_says_what_it_is_to_say() {
    let written = signed(
        [&b"hello\r\n"[..]],
        &[ed25519("Example.COM"), ed25519("esp.example")],
    );
    assert_eq!(written.matches("DKIM-Signature: ").count(), 2);
    assert!(written.ends_with(";\r\n"));
    assert!(written.lines().all(|line| line.len() <= 998));
    let flat: String = written.split_ascii_whitespace().collect();
    for part in [
        "v=1;a=ed25519-sha256;",
        "s=ed;d=example.com;c=relaxed/relaxed;",
        "d=esp.example;",
        "t=1750000000;",
        "h=From:From:To:To:Cc:Subject:Date:Date:Reply-To:Message-ID:Message-ID:MIME-Version:Content-Type:Content-Transfer-Encoding;",
    ] {
        assert!(flat.contains(part), "{part} is not in {flat}");
    }
    for never in ["l=", "x=", "i="] {
        assert!(!flat.contains(&format!(";{never}")), "{flat}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let signer = MessageSigner::new(HEADER).unwrap();
    assert!(signer.missing().is_empty());
    let signer = MessageSigner::new(b"From: a@example.com\r\n").unwrap();
    assert_eq!(signer.missing(), [Required::Date, Required::MessageId]);
}

proptest! {
    #[test]
    fn a_message_in_pieces_has_the_signature_of_the_whole(
        body in "[a\r\n \t]{0,60}".prop_map(|text| text.replace('\r', "").replace('\n', "\r\n")),
        bytes in 1_usize..20,
    ) {
        let signers = [ed25519("example.com")];
        let whole = signed([body.as_bytes()], &signers);
        let pieces = signed(body.as_bytes().chunks(bytes), &signers);
        prop_assert_eq!(whole, pieces);
    }
}
