//! Which hits are of machines. Hits are marked and never dropped: scanners follow a tenth to a third of all links in business mail.

use std::net::IpAddr;

use skein_model::DurationMs;

use crate::address::truncate_ip;

/// Hits of the same message and recipient that are looked at; whoever makes more is a machine.
pub const PREVIOUS_MAX: usize = 64;
/// Nobody opens a message, reads it and follows a link within it.
const READING: DurationMs = DurationMs(5_000);
/// Nobody follows three links within it.
const BURST: DurationMs = DurationMs(2_000);
const BURST_LINKS: usize = 3;
/// With fewer links people do follow all.
const ALL_LINKS_MIN: usize = 4;

/// Whether a machine made a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bot {
    None,
    Likely,
    Certain,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Pixel,
    Link(u16),
    /// A link that people do not see. Transactional mail has none.
    Honeypot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Other,
}

/// An earlier hit of the same message and recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    pub asked: Asked,
    pub address: IpAddr,
    /// How long before this one.
    pub before: DurationMs,
}

/// A request, and what is known around it.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'a> {
    pub asked: Asked,
    pub method: Method,
    pub user_agent: Option<&'a str>,
    pub address: IpAddr,
    /// The address is of a hosting company's network.
    pub is_hosting: bool,
    /// None if the delivery is not known.
    pub since_delivery: Option<DurationMs>,
    /// Tracked links of the message.
    pub links: u16,
    /// The message has a pixel.
    pub has_pixel: bool,
    /// The latest first; what is behind [`PREVIOUS_MAX`] is not looked at.
    pub previous: &'a [Previous],
}

/// The reason for a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    Honeypot,
    Method,
    NoUserAgent,
    Scanner,
    Tool,
    TooMany,
    ApplePrivacy,
    TooSoon,
    Burst,
    AllLinks,
    Hosting,
    OtherNetwork,
}

impl Why {
    /// As events have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Honeypot => "honeypot",
            Self::Method => "method",
            Self::NoUserAgent => "no_user_agent",
            Self::Scanner => "scanner",
            Self::Tool => "tool",
            Self::TooMany => "too_many",
            Self::ApplePrivacy => "apple_privacy",
            Self::TooSoon => "too_soon",
            Self::Burst => "burst",
            Self::AllLinks => "all_links",
            Self::Hosting => "hosting",
            Self::OtherNetwork => "other_network",
        }
    }
}

/// Who fetches images for people: the address says nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Apple's Mail Privacy Protection: it fetches all images, whether or not anybody reads.
    Apple,
    /// A real open; later ones may come from its cache and not be seen.
    Google,
    Yahoo,
}

/// What is made of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub bot: Bot,
    pub why: Option<Why>,
    pub proxy: Option<Proxy>,
}

impl Judgement {
    /// An open that a machine made for everybody: it never counts as one of a person.
    #[must_use]
    pub fn is_machine_open(&self) -> bool {
        self.proxy == Some(Proxy::Apple)
    }
}

/// Products that look at links of mail before people do, in lower case.
const SCANNERS: &[&str] = &[
    "barracuda",
    "proofpoint",
    "mimecast",
    "ciscosecureemail",
    "cisco secure email",
    "ironport",
    "trendmicro",
    "symantec",
    "messagelabs",
    "forcepoint",
    "fireeye",
    "sophos",
    "zscaler",
    "mailguard",
    "spamhaus",
    "urlscan",
    "virustotal",
    "safelinks",
    "phishtank",
    "bitdefender",
    "kaspersky",
];

/// Programs that say what they are, in lower case.
const TOOLS: &[&str] = &[
    "curl/",
    "wget/",
    "python",
    "go-http-client",
    "java/",
    "okhttp",
    "libwww",
    "axios",
    "node-fetch",
    "httpclient",
    "headlesschrome",
    "phantomjs",
    "puppeteer",
    "playwright",
    "bot",
    "crawler",
    "spider",
    "slurp",
    "preview",
    "facebookexternalhit",
    "whatsapp",
    "scanner",
];

type Rule = fn(&Hit<'_>) -> bool;

/// The first that holds decides: what is certain comes first.
const RULES: &[(Bot, Why, Rule)] = &[
    (Bot::Certain, Why::Honeypot, |hit| {
        hit.asked == Asked::Honeypot
    }),
    (Bot::Certain, Why::Method, |hit| hit.method != Method::Get),
    (Bot::Certain, Why::NoUserAgent, |hit| agent(hit).is_empty()),
    (Bot::Certain, Why::Scanner, |hit| names_any(hit, SCANNERS)),
    // Its name has the word of a tool in it.
    (Bot::Certain, Why::Tool, |hit| {
        proxy(hit).is_none() && names_any(hit, TOOLS)
    }),
    (Bot::Certain, Why::TooMany, |hit| {
        hit.previous.len() > PREVIOUS_MAX
    }),
    (Bot::Likely, Why::ApplePrivacy, |hit| {
        proxy(hit) == Some(Proxy::Apple)
    }),
    (Bot::Likely, Why::TooSoon, is_too_soon),
    (Bot::Likely, Why::Burst, is_burst),
    (Bot::Likely, Why::AllLinks, asks_for_all),
    // Proxies of mail providers are in such networks.
    (Bot::Likely, Why::Hosting, |hit| {
        proxy(hit).is_none() && hit.is_hosting
    }),
    (Bot::Likely, Why::OtherNetwork, is_of_another_network),
];

/// Says whether a machine made a hit.
#[must_use]
pub fn judge(hit: &Hit<'_>) -> Judgement {
    let rule = RULES.iter().find(|(_, _, holds)| holds(hit));
    Judgement {
        bot: rule.map_or(Bot::None, |(bot, _, _)| *bot),
        why: rule.map(|(_, why, _)| *why),
        proxy: proxy(hit),
    }
}

fn agent<'a>(hit: &Hit<'a>) -> &'a str {
    hit.user_agent.unwrap_or_default().trim()
}

fn names_any(hit: &Hit<'_>, names: &[&str]) -> bool {
    // Longer ones say nothing more.
    let agent: String = agent(hit).chars().take(512).collect();
    let agent = agent.to_ascii_lowercase();
    names.iter().any(|name| agent.contains(name))
}

fn proxy(hit: &Hit<'_>) -> Option<Proxy> {
    if hit.asked != Asked::Pixel {
        return None;
    }
    match agent(hit) {
        // That and nothing else.
        "Mozilla/5.0" => Some(Proxy::Apple),
        agent if agent.contains("GoogleImageProxy") => Some(Proxy::Google),
        agent if agent.contains("YahooMailProxy") => Some(Proxy::Yahoo),
        _ => None,
    }
}

fn is_too_soon(hit: &Hit<'_>) -> bool {
    hit.since_delivery.is_some_and(|since| since < READING)
}

fn earlier<'a>(hit: &Hit<'a>) -> impl Iterator<Item = &'a Previous> {
    hit.previous.iter().take(PREVIOUS_MAX)
}

/// How many different links were asked for, this one with them, by hits that are such.
fn different_links(hit: &Hit<'_>, is_such: impl Fn(&Previous) -> bool) -> usize {
    let such = earlier(hit).filter(|one| is_such(one)).map(|one| one.asked);
    let mut links: Vec<u16> = such
        .chain([hit.asked])
        .filter_map(|asked| match asked {
            Asked::Link(link) => Some(link),
            Asked::Pixel | Asked::Honeypot => None,
        })
        .collect();
    links.sort_unstable();
    links.dedup();
    links.len()
}

fn is_link(hit: &Hit<'_>) -> bool {
    matches!(hit.asked, Asked::Link(_))
}

fn is_burst(hit: &Hit<'_>) -> bool {
    is_link(hit) && different_links(hit, |one| one.before <= BURST) >= BURST_LINKS
}

fn asks_for_all(hit: &Hit<'_>) -> bool {
    let links = usize::from(hit.links);
    is_link(hit) && links >= ALL_LINKS_MIN && different_links(hit, |_| true) >= links
}

/// A click before any open, while somebody of another network is at the message as well.
fn is_of_another_network(hit: &Hit<'_>) -> bool {
    let own = truncate_ip(hit.address);
    let is_opened = earlier(hit).any(|one| one.asked == Asked::Pixel);
    let is_elsewhere = |one: &Previous| truncate_ip(one.address) != own;
    is_link(hit) && hit.has_pixel && !is_opened && earlier(hit).any(is_elsewhere)
}

#[cfg(test)]
#[path = "bots_tests.rs"]
mod tests;
