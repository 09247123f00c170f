use super::*;

#[test]
fn headers_are_found_however_the_bytes_come() {
    let cases: [(&[u8], u32, bool, usize, bool); 5] = [
        (
            b"Received: x\r\n\ty\r\nReceived: z\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n",
            2,
            true,
            49,
            false,
        ),
        (b"Subject: x\r\n\r\n", 0, false, 12, false),
        (b"Subject: x\r\n", 0, false, 12, false),
        (b"no header here\r\n\r\nx", 0, false, 0, true),
        (b"", 0, false, 0, false),
    ];
    for (message, received, has_id, fields_end, separator) in cases {
        for chunk in [1, 3, 1000] {
            let mut scan = HeaderScan::new();
            for piece in message.chunks(chunk) {
                scan.push(piece);
            }
            assert_eq!(
                scan.finish(),
                ScanState::Complete,
                "{}",
                String::from_utf8_lossy(message)
            );
            let summary = scan.summary();
            let found = (
                summary.received_count,
                summary.has_message_id,
                summary.fields_end,
            );
            assert_eq!(
                found,
                (received, has_id, fields_end),
                "{}",
                String::from_utf8_lossy(message)
            );
            assert_eq!(
                summary.needs_separator(),
                separator,
                "{}",
                String::from_utf8_lossy(message)
            );
        }
    }
}

#[test]
fn endless_headers_are_refused() {
    let mut scan = HeaderScan::new();
    let field = b"X-Field: value\r\n".repeat(1001);
    assert_eq!(scan.push(&field), ScanState::TooLarge(TooLarge::Fields));
    let mut scan = HeaderScan::new();
    let long = [b"X: ".as_slice(), &vec![b'a'; MAX_HEADER_BYTES]].concat();
    assert_eq!(scan.push(&long), ScanState::TooLarge(TooLarge::Bytes));
}
