//! Texts of policy files in messages.

/// What an author wrote, short enough and clean enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().count() > 64 {
        short.push('…');
    }
    short
}
