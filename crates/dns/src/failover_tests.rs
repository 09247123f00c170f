//! The resolver above real sockets: each kind of bad server, at each place, for each type of question.
#![expect(clippy::unwrap_used, reason = "tests")]

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::{Config, ResolveError, Resolver};

/// What a name server of the test does. Messages are made by hand, so that they can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// UDP says that the answer is cut, TCP has it.
    GoodOverTcp,
    /// FORMERR to a client that speaks EDNS.
    GoodWithoutEdns,
    Code(u8),
    Silent,
    WrongId,
    WrongQuestion,
    Garbage,
    CutShort,
    Echo,
    Lame,
    Referral,
    OtherName,
    OtherType,
    OtherClass,
    /// UDP says that the answer is cut, and TCP says it too.
    CutOverBoth,
    /// UDP says that the answer is cut, and nothing listens on TCP.
    NoTcp,
    /// As above, and TCP is taken and says nothing.
    SilentTcp,
}

const BAD: [Kind; 22] = [
    Kind::Code(1),
    Kind::Code(2),
    Kind::Code(4),
    Kind::Code(5),
    Kind::Code(6),
    Kind::Code(9),
    Kind::Code(11),
    Kind::Code(15),
    Kind::Silent,
    Kind::WrongId,
    Kind::WrongQuestion,
    Kind::Garbage,
    Kind::CutShort,
    Kind::Echo,
    Kind::Lame,
    Kind::Referral,
    Kind::OtherName,
    Kind::OtherType,
    Kind::OtherClass,
    Kind::CutOverBoth,
    Kind::NoTcp,
    Kind::SilentTcp,
];

const NAME_AT_12: [u8; 2] = [0xc0, 0x0c];
const AA_RA: u16 = 0x0480;
const TC: u16 = 0x0200;

/// Type and data of the records of a name. `None`: the name does not exist.
fn zone(name: &str, kind: u16) -> Option<Vec<Vec<u8>>> {
    let host = |text: &str| {
        let mut wire: Vec<u8> = Vec::new();
        for label in text.split('.') {
            wire.push(u8::try_from(label.len()).unwrap());
            wire.extend(label.bytes());
        }
        wire.push(0);
        wire
    };
    let is_below = |parent: &str| name.ends_with(parent);
    if is_below("gone.test") || is_below("clean.list.test") {
        return None;
    }
    Some(match (name, kind) {
        ("d.test", 15) => vec![[vec![0, 10], host("mx.d.test")].concat()],
        ("mx.d.test" | "implicit.test", 1) => vec![vec![8, 8, 8, 8]],
        ("mx.d.test", 28) => vec![
            "2a00:1450::1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets()
                .to_vec(),
        ],
        ("4.3.2.1.in-addr.arpa", 12) => vec![host("host.d.test")],
        ("_dmarc.d.test", 16) => vec![[&[5][..], b"hello"].concat()],
        ("_25._tcp.mx.d.test", 52) => vec![vec![3, 1, 1, 7, 7, 7]],
        ("2.0.0.127.bad.list.test", 1) => vec![vec![127, 0, 0, 2]],
        _ => vec![],
    })
}

/// The question of a query: its bytes, its name, its type, and whether the query has EDNS.
fn question(query: &[u8]) -> (Vec<u8>, String, u16, bool) {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(
            String::from_utf8(query[at + 1..end].to_vec())
                .unwrap()
                .to_lowercase(),
        );
        at = end;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (
        query[12..end].to_vec(),
        labels.join("."),
        kind,
        query[11] > 0,
    )
}

fn record(name: &[u8], kind: u16, class: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [
        name,
        &kind.to_be_bytes(),
        &class.to_be_bytes(),
        &[0, 0, 0, 60],
        &length.to_be_bytes(),
        data,
    ]
    .concat()
}

fn message(query: &[u8], flags: u16, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Vec<u8> {
    let (asked, ..) = question(query);
    let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap().to_be_bytes();
    let mut wire = query[..2].to_vec();
    wire.extend((0x8100 | flags).to_be_bytes());
    wire.extend([0, 1]);
    wire.extend(count(answers));
    wire.extend(count(authorities));
    wire.extend([0, 0]);
    wire.extend(asked);
    wire.extend(answers.iter().chain(authorities).flatten());
    wire
}

fn good(query: &[u8]) -> Vec<u8> {
    let (_, name, kind, _) = question(query);
    let soa = [&[0, 0][..], &[0; 20]].concat();
    match zone(&name, kind) {
        None => message(query, AA_RA | 3, &[], &[record(&[0], 6, 1, &soa)]),
        Some(data) if data.is_empty() => message(query, AA_RA, &[], &[record(&[0], 6, 1, &soa)]),
        Some(data) => {
            let records = data.iter().map(|data| record(&NAME_AT_12, kind, 1, data));
            message(query, AA_RA, &records.collect::<Vec<_>>(), &[])
        }
    }
}

/// The reply over UDP or TCP; `None` is silence.
fn reply(kind: Kind, query: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let (_, _, asked, has_edns) = question(query);
    let ns = |owner: &[u8]| record(owner, 2, 1, &[2, b'n', b's', 0]);
    let data: &[u8] = match asked {
        1 => &[127, 0, 0, 9],
        12 => &[1, b'x', 0],
        15 => &[0, 10, 1, b'x', 0],
        16 => &[1, b'x'],
        28 => &[9; 16],
        _ => &[3, 1, 1, 9],
    };
    let address = |name: &[u8], kind, class| record(name, kind, class, data);
    Some(match kind {
        Kind::Good => good(query),
        Kind::GoodOverTcp if is_tcp => good(query),
        Kind::GoodWithoutEdns if !has_edns => good(query),
        Kind::GoodWithoutEdns => message(query, 1, &[], &[]),
        Kind::SilentTcp if is_tcp => return None,
        Kind::GoodOverTcp | Kind::CutOverBoth | Kind::NoTcp | Kind::SilentTcp => {
            message(query, AA_RA | TC, &[], &[])
        }
        Kind::Code(code) => message(query, 0x80 | u16::from(code), &[], &[]),
        Kind::Silent => return None,
        Kind::WrongId => {
            let mut wire = good(query);
            wire[0] ^= 0x55;
            wire
        }
        Kind::WrongQuestion => {
            let mut wire = message(query, AA_RA | 3, &[], &[]);
            wire[13] = b'x';
            wire
        }
        Kind::Garbage => [&query[..2], &[0xff; 60]].concat(),
        Kind::CutShort => {
            let wire = message(query, AA_RA, &[address(&NAME_AT_12, asked, 1)], &[]);
            wire[..wire.len() - 6].to_vec()
        }
        Kind::Echo => query.to_vec(),
        Kind::Lame => message(query, 0, &[], &[]),
        Kind::Referral => message(query, 0x80, &[], &[ns(&[0])]),
        Kind::OtherName => message(query, AA_RA, &[address(&[1, b'x', 0], asked, 1)], &[]),
        Kind::OtherType => message(query, AA_RA, &[address(&NAME_AT_12, 99, 1)], &[]),
        Kind::OtherClass => message(query, AA_RA, &[address(&NAME_AT_12, asked, 3)], &[]),
    })
}

/// A name server on UDP and, but for [`Kind::NoTcp`], TCP. It lives as long as the runtime of the test.
async fn serve(kind: Kind) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 2048];
        loop {
            let (bytes, from) = udp.recv_from(&mut query).await.unwrap();
            if let Some(wire) = reply(kind, &query[..bytes], false) {
                udp.send_to(&wire, from).await.unwrap();
            }
        }
    });
    if kind != Kind::NoTcp {
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).await.unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(wire) = reply(kind, &query, true) {
                    let length = u16::try_from(wire.len()).unwrap().to_be_bytes();
                    // A client that has seen enough may be gone.
                    let _ = stream.write_all(&[&length[..], &wire].concat()).await;
                }
                open.push(stream);
            }
        });
    }
    address
}

/// Short, so that silence on both transports does not make the table long.
const TIMEOUT: Duration = Duration::from_secs(2);

async fn resolver(kinds: &[Kind]) -> Resolver {
    let mut servers = Vec::new();
    for kind in kinds {
        servers.push(serve(*kind).await);
    }
    let config = Config {
        servers,
        timeout: TIMEOUT,
        attempts: 1,
        ..Config::default()
    };
    Resolver::new(config).unwrap()
}

/// Every question that the product asks, and those that it may ask: what a good server's answer comes to.
async fn ask_everything(resolver: &Resolver) -> Vec<(&'static str, String)> {
    let code = |error: ResolveError| format!("{:?}", error.enhanced());
    let plan = |domain: &'static str| async move {
        let plan = resolver.mx_plan(domain).await;
        plan.map_or_else(code, |plan| {
            let hosts = plan
                .hosts
                .iter()
                .map(|host| format!("{} {:?}", host.name, host.addrs));
            hosts.collect::<Vec<_>>().join(" ")
        })
    };
    let addresses = |host: &'static str| async move {
        let found = resolver.addresses(host).await;
        found.map_or_else(code, |found| format!("{found:?}"))
    };
    let pointer = |ip: &'static str| async move {
        let found = resolver.pointer(ip.parse().unwrap()).await;
        found.map_or_else(code, |found| format!("{found:?}"))
    };
    let raw = |name: &'static str, kind: RecordType| async move {
        let name = Name::from_ascii(name).unwrap();
        let found = resolver.raw(name, kind).await;
        found.unwrap_or_else(|| "no answer".into())
    };
    let (mx, implicit, none, gone) = tokio::join!(
        plan("d.test"),
        plan("implicit.test"),
        plan("empty.test"),
        plan("gone.test")
    );
    let (address, missing, listed, clean) = tokio::join!(
        addresses("mx.d.test."),
        addresses("gone.test."),
        addresses("2.0.0.127.bad.list.test."),
        addresses("2.0.0.127.clean.list.test.")
    );
    let (ptr, no_ptr, txt, tlsa) = tokio::join!(
        pointer("1.2.3.4"),
        pointer("1.2.3.5"),
        raw("_dmarc.d.test.", RecordType::TXT),
        raw("_25._tcp.mx.d.test.", RecordType::TLSA)
    );
    vec![
        ("MX", mx),
        ("implicit MX", implicit),
        ("no MX and no address", none),
        ("MX of no domain", gone),
        ("A and AAAA", address),
        ("A of no domain", missing),
        ("listed in a DNSBL", listed),
        ("not listed in a DNSBL", clean),
        ("PTR", ptr),
        ("no PTR", no_ptr),
        ("TXT", txt),
        ("TLSA", tlsa),
    ]
}

fn right_answers() -> Vec<(&'static str, String)> {
    let rows = [
        ("MX", "mx.d.test [8.8.8.8, 2a00:1450::1]"),
        ("implicit MX", "implicit.test [8.8.8.8]"),
        ("no MX and no address", "(5, 4, 4)"),
        ("MX of no domain", "(5, 1, 2)"),
        ("A and AAAA", "[8.8.8.8, 2a00:1450::1]"),
        ("A of no domain", "(5, 4, 4)"),
        ("listed in a DNSBL", "[127.0.0.2]"),
        ("not listed in a DNSBL", "(5, 4, 4)"),
        ("PTR", "Some(\"host.d.test\")"),
        ("no PTR", "None"),
        ("TXT", "hello"),
        ("TLSA", "3 1 1 070707"),
    ];
    rows.map(|(question, answer)| (question, answer.to_owned()))
        .to_vec()
}

#[tokio::test]
async fn the_right_answer_is_found_wherever_the_bad_server_stands() {
    let mut runs = Vec::new();
    let goods = [Kind::Good, Kind::GoodOverTcp, Kind::GoodWithoutEdns];
    for bad in BAD {
        for good in goods {
            runs.push(vec![bad, good]);
            runs.push(vec![good, bad]);
        }
        runs.push(vec![bad, bad, Kind::Good]);
        runs.push(vec![bad, Kind::Good, bad]);
    }
    runs.extend(
        BAD.windows(2)
            .map(|pair| vec![pair[0], pair[1], Kind::Good]),
    );
    let looks = runs.into_iter().map(|kinds| async move {
        let resolver = resolver(&kinds).await;
        assert_eq!(
            ask_everything(&resolver).await,
            right_answers(),
            "{kinds:?}"
        );
    });
    // Few at once, so that the machine is not what is measured.
    stream::iter(looks)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn when_all_err_the_outcome_is_temporary_and_names_each() {
    let looks = BAD
        .iter()
        .filter(|bad| **bad != Kind::Lame)
        .map(|bad| async move {
            let other = match bad {
                Kind::Referral => Kind::Code(2),
                _ => Kind::Referral,
            };
            for kinds in [vec![*bad], vec![*bad, other], vec![Kind::Lame, *bad]] {
                let resolver = resolver(&kinds).await;
                let begun = Instant::now();
                for domain in ["d.test", "gone.test"] {
                    let error = resolver.mx_plan(domain).await.unwrap_err();
                    assert_eq!(error.enhanced(), (4, 4, 3), "{kinds:?}: {error}");
                    for server in resolver.servers() {
                        assert!(
                            error.text().contains(&server.to_string()),
                            "{kinds:?}: {error}"
                        );
                    }
                }
                // Two questions, each within its time; the rest is the machine's.
                assert!(begun.elapsed() < TIMEOUT * 4, "{kinds:?}");
                let unasked = resolver.pointer("1.2.3.4".parse().unwrap()).await;
                assert_eq!(unasked.unwrap_err().enhanced(), (4, 4, 3), "{kinds:?}");
                let unasked = resolver.addresses("2.0.0.127.clean.list.test.").await;
                assert_eq!(unasked.unwrap_err().enhanced(), (4, 4, 3), "{kinds:?}");
            }
        });
    stream::iter(looks)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn what_servers_said_is_told_in_words_of_postmasters() {
    let rows = [
        (Kind::Code(2), "answered SERVFAIL"),
        (Kind::Code(5), "answered REFUSED"),
        (Kind::Code(4), "answered NOTIMP"),
        (Kind::Code(15), "answered with code 15"),
        (Kind::Garbage, "sent an answer that cannot be read"),
        (Kind::Referral, "refers to other name servers"),
        (Kind::OtherName, "sent records of another name"),
        (Kind::CutOverBoth, "cut its answer short over TCP too"),
        (Kind::NoTcp, "TCP: connection refused"),
        // A busy machine measures a little more than the two seconds that it is given.
        (Kind::Silent, "did not answer within 2."),
    ];
    for (kind, words) in rows {
        let resolver = resolver(&[kind]).await;
        let error = resolver.mx_plan("d.test").await.unwrap_err();
        assert!(error.text().contains(words), "{kind:?}: {error}");
        let text = error.text();
        let decimals = text.split_once("within ").map(|(_, time)| time.find(" s"));
        assert!(decimals.is_none_or(|at| at == Some(3)), "{kind:?}: {text}");
    }
}

#[tokio::test]
async fn a_lame_answer_counts_if_no_server_says_more() {
    let alone = resolver(&[Kind::Lame, Kind::Lame]).await;
    let error = alone.mx_plan("d.test").await.unwrap_err();
    assert_eq!(error.enhanced(), (5, 4, 4), "{error}");
}

#[tokio::test]
async fn a_server_that_only_errs_is_not_asked_any_more() {
    let resolver = resolver(&[Kind::Silent, Kind::Good]).await;
    for n in 0..3 {
        let name = Name::from_ascii(format!("host-{n}.d.test.")).unwrap();
        resolver.raw(name, RecordType::A).await;
    }
    let begun = Instant::now();
    for n in 3..13 {
        let name = Name::from_ascii(format!("host-{n}.d.test.")).unwrap();
        resolver.raw(name, RecordType::A).await;
    }
    // Ten questions that begin with the silent server wait half a second each.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}
