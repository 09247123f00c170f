//! What a reader gets of a message.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

/// Type and decoded content of each part, in order.
pub type Contents = Vec<(String, Vec<u8>)>;

/// None if the reader itself has an error at this message: mail-parser 0.11 panics at some digests.
pub fn contents(message: &[u8]) -> Option<Contents> {
    let read = || {
        let mut found = Vec::new();
        if let Some(message) = MessageParser::default().parse(message) {
            collect(&message, &mut found);
        }
        found
    };
    std::panic::catch_unwind(read).ok()
}

fn collect(message: &Message<'_>, found: &mut Contents) {
    for part in &message.parts {
        let kind = part
            .content_type()
            .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
        // What is not said is said by a conversion.
        let kind = kind.unwrap_or_else(|| "text/plain".to_owned());
        match &part.body {
            PartType::Multipart(parts) => found.push((kind, parts.len().to_string().into())),
            PartType::Message(message) => {
                found.push((kind, Vec::new()));
                collect(message, found);
            }
            _ => found.push((kind, part.contents().to_vec())),
        }
    }
}
