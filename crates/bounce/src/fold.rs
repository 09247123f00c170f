//! Texts in one form, so that one phrase finds them however they were written.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;

/// Octets of a text that are looked at: the longest replies of providers have some 700, in several lines with links.
pub(crate) const TEXT_BYTES_MAX: usize = 2048;

/// Cuts a text to so many octets, between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// In lower case, without accents, with single spaces in place of blanks and line ends. A space stands at both ends.
pub(crate) fn fold(text: &str) -> String {
    let text = cut(text, TEXT_BYTES_MAX);
    let mut folded = String::with_capacity(text.len() + 2);
    folded.push(' ');
    if text.is_ascii() {
        text.bytes().for_each(|byte| push(byte.into(), &mut folded));
    } else {
        for c in text.chars().flat_map(char::to_lowercase) {
            match plain(c) {
                Some(others) => folded.push_str(others),
                None => push(c, &mut folded),
            }
        }
    }
    if !folded.ends_with(' ') {
        folded.push(' ');
    }
    folded
}

fn push(c: char, folded: &mut String) {
    match c {
        _ if c.is_whitespace() || c.is_control() => {
            if !folded.ends_with(' ') {
                folded.push(' ');
            }
        }
        // Full-width forms of ASCII, which are in Japanese and Chinese texts.
        '\u{ff01}'..='\u{ff5e}' => {
            let narrow = char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c);
            folded.push(narrow.to_ascii_lowercase());
        }
        _ => folded.push(c.to_ascii_lowercase()),
    }
}

/// What stands for a letter with an accent, a ligature or a typographic sign, all in lower case. None: the letter itself.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'ё' => "е",
        'й' => "и",
        // Accents of their own, and what is not seen.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' => "",
        '\u{2018}' | '\u{2019}' | '\u{b4}' | '`' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' => "-",
        '。' => ".",
        _ => return None,
    })
}

/// Decodes the encoded words of a text (RFC 2047). What is malformed, or has an unknown charset, stays as it is.
pub(crate) fn decode_words(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_after_word = false;
    while let Some(start) = rest.find("=?") {
        let (before, from) = rest.split_at(start);
        let Some((word, length)) = encoded_word(from) else {
            decoded.push_str(before);
            decoded.push_str("=?");
            rest = &from[2..];
            is_after_word = false;
            continue;
        };
        // Blanks between encoded words are not part of the text.
        if !(is_after_word && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        rest = &from[length..];
        is_after_word = true;
    }
    decoded.push_str(rest);
    decoded
}

/// Octets of an encoded word; RFC 2047 section 2 has 75, some write a whole line as one.
const WORD_BYTES_MAX: usize = 1000;

/// The word that the text begins with, and its octets.
fn encoded_word(text: &str) -> Option<(String, usize)> {
    let inner = cut(text, WORD_BYTES_MAX).strip_prefix("=?")?;
    let (charset, after_charset) = inner.split_once('?')?;
    let (encoding, after_encoding) = after_charset.split_once('?')?;
    let content = &after_encoding[..after_encoding.find("?=")?];
    let is_word = !charset.is_empty() && charset.bytes().all(|byte| byte.is_ascii_graphic());
    let octets = match encoding {
        _ if !is_word => None,
        "b" | "B" => base64_decode(content.as_bytes()),
        "q" | "Q" => Some(q_octets(content.as_bytes())),
        _ => None,
    }?;
    let length = "=?".len() + charset.len() + 1 + encoding.len() + 1 + content.len() + "?=".len();
    // RFC 2231 section 5 has a language behind the charset.
    let charset = charset.split('*').next().unwrap_or_default();
    Some((text_of(&octets, charset), length))
}

fn q_octets(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        let hex = |at: usize| char::from(*content.get(at)?).to_digit(16);
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'=', Some(high), Some(low)) => {
                octets.extend(u8::try_from(high * 16 + low));
                at += 2;
            }
            (b'_', ..) => octets.push(b' '),
            _ => octets.push(*byte),
        }
        at += 1;
    }
    octets
}

/// Octets as text. What is UTF-8 is taken as that, whatever it is said to be, unless the charset has escapes in ASCII.
pub(crate) fn text_of(octets: &[u8], charset: &str) -> String {
    let has_escapes = octets.contains(&0x1b);
    match std::str::from_utf8(octets) {
        Ok(text) if !has_escapes => text.to_owned(),
        _ => match charset_decoder(charset.as_bytes()) {
            Some(decode) if !charset.is_empty() => decode(octets),
            _ => String::from_utf8_lossy(octets).into_owned(),
        },
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
