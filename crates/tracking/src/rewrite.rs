//! HTML with its links led through us and a pixel at its end. All else of it stays as it is, octet by octet.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use lol_html::errors::RewritingError;
use lol_html::html_content::{Attribute, Element, EndTag};
use lol_html::{
    ElementContentHandlers, HandlerResult, HtmlRewriter, MemorySettings, Selector, Settings,
};
use thiserror::Error;

use crate::entity;
use crate::target::{Rules, looks_like_url};

/// Parts of one message; real mail has some ten.
pub const PARTS_MAX: usize = 100;

/// Octets of HTML in one part. Gmail cuts what it shows at 102 KB; ten times that is no mail that people read.
pub const HTML_BYTES_MAX: usize = 1 << 20;
/// Links that are tracked in one message; more are left alone. Long newsletters have a hundred.
pub const LINKS_MAX: u16 = 1000;
/// What the parser may hold: some thousand elements that are open. Layouts of nested tables have a hundred.
const PARSER_BYTES_MAX: usize = 512 << 10;
/// Octets of a link's text that are looked at for a URL.
const TEXT_BYTES_MAX: usize = 512;

/// What is asked of a message.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The host that links and the pixel lead to, over TLS.
    pub host: &'a str,
    pub clicks: bool,
    pub opens: bool,
    /// Parameters that each link is to have, such as `utm_source`; what a link has already stays.
    pub utm: &'a [(&'a str, &'a str)],
    /// Leave links alone whose text is a URL: readers see that they lead elsewhere, and filters take that for phishing.
    pub leave_url_texts: bool,
    /// URLs that the message names in List-Unsubscribe.
    pub unsubscribe_urls: &'a [&'a str],
}

/// What a token is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'a> {
    Link { index: u16, target: &'a str },
    Pixel,
}

/// A link that leads through us now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u16,
    pub target: String,
}

/// HTML that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub html: Vec<u8>,
    pub links: Vec<Link>,
    pub has_pixel: bool,
}

/// Why something was left as it is. The texts go on with "the message is not tracked: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Untouched {
    #[error("nothing of it is to be tracked")]
    Nothing,
    #[error("it is signed or encrypted, which a change would break")]
    Signed,
    #[error("its MIME structure is malformed")]
    Malformed,
    #[error("it has more than {} parts, or they are nested too deeply", PARTS_MAX)]
    TooManyParts,
    #[error("its HTML has more than {HTML_BYTES_MAX} octets")]
    TooLarge,
    #[error("its charset is none that holds ASCII as it is; send UTF-8")]
    Charset,
    #[error("its HTML is not encoded as it says")]
    Encoding,
    #[error("its HTML is ambiguous, or its elements are nested too deeply")]
    Ambiguous,
    #[error("its HTML is AMP, which allows no change")]
    Amp,
}

/// Rewrites HTML in a charset that holds ASCII as it is. `first_link` is the index of the first link: the parts of a message count
/// on. `sign` gives the token of a link or of the pixel, in letters, digits, `-` and `_`; None leaves a link alone.
///
/// # Errors
/// Why it is left as it is.
pub fn rewrite(
    html: &[u8],
    options: &Options<'_>,
    is_utf8: bool,
    first_link: u16,
    mut sign: impl FnMut(Mark<'_>) -> Option<String>,
) -> Result<Rewritten, Untouched> {
    if html.len() > HTML_BYTES_MAX {
        return Err(Untouched::TooLarge);
    }
    let places = find_places(html, options.clicks || !options.utm.is_empty())?;
    let rules = Rules {
        host: options.host,
        unsubscribe_urls: options.unsubscribe_urls,
        utm: options.utm,
        is_utf8,
    };
    let mut links = Vec::new();
    let mut edits: Vec<Edit> = Vec::new();
    for href in &places.links {
        let index = first_link.saturating_add(u16::try_from(links.len()).unwrap_or(u16::MAX));
        let Some(target) = target_of(html, href, &rules, options) else {
            continue;
        };
        let mark = Mark::Link {
            index,
            target: &target,
        };
        let is_tracked = options.clicks && index < LINKS_MAX;
        let token = is_tracked.then(|| sign(mark)).flatten();
        if let Some(token) = token {
            let url = format!("https://{}/c/{token}", options.host);
            edits.push((href.value.clone(), url.into_bytes()));
            links.push(Link { index, target });
        } else if !options.utm.is_empty() {
            // With its parameters at least.
            let mut url = Vec::new();
            entity::encode(&target, &mut url);
            edits.push((href.value.clone(), url));
        }
    }
    let pixel = options.opens.then(|| sign(Mark::Pixel)).flatten();
    if let Some(token) = &pixel {
        let host = options.host;
        let image = format!(
            "<img src=\"https://{host}/o/{token}\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">"
        );
        edits.push((places.body_end..places.body_end, image.into_bytes()));
    }
    let out = edited(html, edits);
    match out == html {
        true => Err(Untouched::Nothing),
        false => Ok(Rewritten {
            html: out,
            links,
            has_pixel: pixel.is_some(),
        }),
    }
}

/// What is put in the place of some octets.
type Edit = (Range<usize>, Vec<u8>);

/// The document with its edits, which do not overlap. Links may stand behind the end of the body.
fn edited(html: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(place, _)| place.start);
    let added: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(html.len() + added);
    let mut done = 0;
    for (place, new) in edits {
        out.extend_from_slice(&html[done..place.start]);
        out.extend_from_slice(&new);
        done = place.end;
    }
    out.extend_from_slice(&html[done..]);
    out
}

fn target_of(html: &[u8], href: &Href, rules: &Rules<'_>, options: &Options<'_>) -> Option<String> {
    let value = &html[href.value.clone()];
    let value = match std::str::from_utf8(value) {
        Ok(value) => value,
        // Letters of another charset, or of none.
        Err(_) => return None,
    };
    let target = rules.target(value)?;
    let is_url_text = || looks_like_url(&text_after(&html[href.tag_end..]));
    (!options.leave_url_texts || !is_url_text()).then_some(target)
}

/// The text of a link, without its tags, whose content begins here.
fn text_after(content: &[u8]) -> String {
    let content = &content[..TEXT_BYTES_MAX.min(content.len())];
    let mut text = Vec::new();
    let mut is_tag = false;
    for (at, byte) in content.iter().enumerate() {
        match byte {
            b'<' => {
                let closes = content[at..].get(..3);
                if closes.is_some_and(|closes| closes.eq_ignore_ascii_case(b"</a")) {
                    break;
                }
                is_tag = true;
            }
            b'>' if is_tag => is_tag = false,
            _ if is_tag => {}
            _ => text.push(*byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Where things are in a document.
#[derive(Debug, Default)]
struct Places {
    links: Vec<Href>,
    /// Where the last body ends, or else the text of the document.
    body_end: usize,
    /// The document says that it is AMP.
    is_amp: bool,
}

#[derive(Debug)]
struct Href {
    /// Of the attribute's value, without quotes.
    value: Range<usize>,
    /// Behind the tag.
    tag_end: usize,
}

thread_local! {
    /// Parsed once: it costs as much as a small document.
    static SELECTORS: Option<[Selector; 2]> = {
        let with_links = "a[href], area[href], body, html".parse();
        let without = "body, html".parse();
        with_links.ok().zip(without.ok()).map(|(one, other)| [one, other])
    };
}

fn find_places(html: &[u8], wants_links: bool) -> Result<Places, Untouched> {
    let selector = SELECTORS.with(|all| all.clone());
    let [with_links, without] = selector.expect("the selectors are well-formed");
    let selector = if wants_links { with_links } else { without };
    let places = Rc::new(RefCell::new(Places {
        body_end: html.trim_ascii_end().len(),
        ..Places::default()
    }));
    let found = Rc::clone(&places);
    let handler = ElementContentHandlers::default()
        .element(move |element: &mut Element<'_, '_>| note(element, &found));
    let memory = MemorySettings::new().with_max_allowed_memory_usage(PARSER_BYTES_MAX);
    let settings = Settings::new()
        .append_element_content_handler((std::borrow::Cow::Borrowed(&selector), handler))
        .with_strict(true)
        .with_memory_settings(memory);
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    rewriter.write(html).map_err(untouched)?;
    rewriter.end().map_err(untouched)?;
    let places = places.take();
    match places.is_amp {
        true => Err(Untouched::Amp),
        false => Ok(places),
    }
}

fn untouched(_: RewritingError) -> Untouched {
    Untouched::Ambiguous
}

fn note(element: &mut Element<'_, '_>, places: &Rc<RefCell<Places>>) -> HandlerResult {
    // Links of SVG have other rules.
    if element.namespace_uri() != "http://www.w3.org/1999/xhtml" {
        return Ok(());
    }
    match element.tag_name().as_str() {
        "html" => {
            let amp = ["\u{26a1}", "\u{26a1}4email", "amp", "amp4email"];
            places.borrow_mut().is_amp |= amp.iter().any(|name| element.has_attribute(name));
        }
        "body" => {
            let places = Rc::clone(places);
            element.on_end_tag(Box::new(move |end: &mut EndTag<'_>| {
                places.borrow_mut().body_end = end.source_location().bytes().start;
                Ok(())
            }))?;
        }
        _ => {
            let is_off = element
                .get_attribute("data-skein-track")
                .is_some_and(|value| value.trim().eq_ignore_ascii_case("off"));
            let is_href = |one: &&Attribute<'_>| one.name() == "href";
            // The first of that name is the one that counts.
            let href = element.attributes().iter().find(is_href);
            let value = href.and_then(|href| href.value_source_location());
            if let Some(value) = value.filter(|_| !is_off) {
                let tag_end = element.source_location().bytes().end;
                places.borrow_mut().links.push(Href {
                    value: value.bytes(),
                    tag_end,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
