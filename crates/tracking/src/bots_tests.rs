use super::*;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const HOME: &str = "192.0.2.10";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn hit<'a>() -> Hit<'a> {
    Hit {
        asked: Asked::Link(0),
        method: Method::Get,
        user_agent: Some(FIREFOX),
        address: ip(HOME),
        is_hosting: false,
        since_delivery: Some(DurationMs(600_000)),
        links: 5,
        has_pixel: true,
        previous: &[],
    }
}

fn before(asked: Asked, address: &str, before: u64) -> Previous {
    Previous {
        asked,
        address: ip(address),
        before: DurationMs(before),
    }
}

fn check(hit: &Hit<'_>, bot: Bot, why: Option<Why>) {
    let judgement = judge(hit);
    assert_eq!((judgement.bot, judgement.why), (bot, why), "{hit:?}");
}

#[test]
fn user_agents_are_judged() {
    let agent = |user_agent: Option<&'static str>| Hit {
        user_agent,
        ..hit()
    };
    for (name, bot, why) in [
        (Some(FIREFOX), Bot::None, None),
        // Safe Links shows a browser's; its hits are found by their time.
        (
            Some(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130 Safari/537.36",
            ),
            Bot::None,
            None,
        ),
        (Some("Mozilla/5.0"), Bot::None, None),
        (None, Bot::Certain, Some(Why::NoUserAgent)),
        (Some(""), Bot::Certain, Some(Why::NoUserAgent)),
        (Some("  "), Bot::Certain, Some(Why::NoUserAgent)),
        (Some("BarracudaCentral"), Bot::Certain, Some(Why::Scanner)),
        (
            Some("Mozilla/5.0 (compatible; Proofpoint URL Defense)"),
            Bot::Certain,
            Some(Why::Scanner),
        ),
        (Some("Mimecast"), Bot::Certain, Some(Why::Scanner)),
        (
            Some("CiscoSecureEmail/1.0"),
            Bot::Certain,
            Some(Why::Scanner),
        ),
        (Some("curl/8.1"), Bot::Certain, Some(Why::Tool)),
        (Some("python-requests/2.31"), Bot::Certain, Some(Why::Tool)),
        (
            Some("Mozilla/5.0 (compatible; bingbot/2.0)"),
            Bot::Certain,
            Some(Why::Tool),
        ),
        (
            Some("Mozilla/5.0 HeadlessChrome/120"),
            Bot::Certain,
            Some(Why::Tool),
        ),
    ] {
        check(&agent(name), bot, why);
    }
}

#[test]
fn methods_and_honeypots_are_certain() {
    check(
        &Hit {
            method: Method::Head,
            ..hit()
        },
        Bot::Certain,
        Some(Why::Method),
    );
    check(
        &Hit {
            method: Method::Other,
            ..hit()
        },
        Bot::Certain,
        Some(Why::Method),
    );
    check(
        &Hit {
            asked: Asked::Honeypot,
            ..hit()
        },
        Bot::Certain,
        Some(Why::Honeypot),
    );
}

#[test]
fn proxies_of_images_are_told() {
    let google =
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
    let yahoo = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";
    for (agent, bot, proxy) in [
        ("Mozilla/5.0", Bot::Likely, Some(Proxy::Apple)),
        (google, Bot::None, Some(Proxy::Google)),
        (yahoo, Bot::None, Some(Proxy::Yahoo)),
        (FIREFOX, Bot::None, None),
    ] {
        let open = Hit {
            asked: Asked::Pixel,
            user_agent: Some(agent),
            is_hosting: proxy.is_some(),
            ..hit()
        };
        let judgement = judge(&open);
        assert_eq!((judgement.bot, judgement.proxy), (bot, proxy), "{agent}");
        assert_eq!(judgement.is_machine_open(), proxy == Some(Proxy::Apple));
        // No proxy follows links.
        assert_eq!(
            judge(&Hit {
                user_agent: Some(agent),
                ..hit()
            })
            .proxy,
            None
        );
    }
}

#[test]
fn times_are_judged() {
    for (since, is_soon) in [
        (None, false),
        (Some(0), true),
        (Some(4_999), true),
        (Some(5_000), false),
    ] {
        let since_delivery = since.map(DurationMs);
        let (bot, why) = match is_soon {
            true => (Bot::Likely, Some(Why::TooSoon)),
            false => (Bot::None, None),
        };
        check(
            &Hit {
                since_delivery,
                ..hit()
            },
            bot,
            why,
        );
        let certain = Hit {
            since_delivery,
            method: Method::Head,
            ..hit()
        };
        check(&certain, Bot::Certain, Some(Why::Method));
    }
}

#[test]
fn hits_around_it_are_judged() {
    let link = |number, at| before(Asked::Link(number), HOME, at);
    let pixel = before(Asked::Pixel, HOME, 60_000);
    let elsewhere = before(Asked::Link(1), "198.51.100.1", 60_000);
    let nearby = before(Asked::Link(1), "192.0.2.200", 60_000);
    let rows: &[(&[Previous], Option<Why>)] = &[
        (&[pixel], None),
        (&[link(1, 2_000), link(2, 2_000)], Some(Why::Burst)),
        (&[link(1, 1_000), link(2, 2_001)], None),
        (&[link(1, 10), link(1, 20), link(0, 30)], None),
        (
            &[
                link(1, 9_000),
                link(2, 19_000),
                link(3, 29_000),
                link(4, 39_000),
            ],
            Some(Why::AllLinks),
        ),
        (&[link(1, 9_000), link(2, 19_000), link(3, 29_000)], None),
        (&[elsewhere], Some(Why::OtherNetwork)),
        (&[elsewhere, pixel], None),
        (&[nearby], None),
    ];
    for (previous, why) in rows {
        let bot = if why.is_some() {
            Bot::Likely
        } else {
            Bot::None
        };
        check(&Hit { previous, ..hit() }, bot, *why);
    }
    let all = [link(1, 9_000), link(2, 19_000)];
    check(
        &Hit {
            links: 3,
            previous: &all,
            ..hit()
        },
        Bot::None,
        None,
    );
    let many = [pixel; PREVIOUS_MAX + 1];
    check(
        &Hit {
            previous: &many,
            ..hit()
        },
        Bot::Certain,
        Some(Why::TooMany),
    );
    check(
        &Hit {
            has_pixel: false,
            previous: &[elsewhere],
            ..hit()
        },
        Bot::None,
        None,
    );
    check(
        &Hit {
            is_hosting: true,
            ..hit()
        },
        Bot::Likely,
        Some(Why::Hosting),
    );
    // An open has no links.
    check(
        &Hit {
            asked: Asked::Pixel,
            previous: &all,
            links: 0,
            ..hit()
        },
        Bot::None,
        None,
    );
}

#[test]
fn reasons_have_names_of_their_own() {
    let mut names: Vec<&str> = RULES.iter().map(|(_, why, _)| why.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
    let is_ordered = RULES.windows(2).all(|two| two[0].0 >= two[1].0);
    assert!(is_ordered, "what is certain comes first");
}
