#![expect(clippy::unwrap_used, reason = "tests")]

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, TXT};
use tokio::net::UdpSocket;

use super::*;

/// What a server knows: the data of a name, if it has the type.
type Zone = fn(&str, RecordType) -> Vec<RData>;

fn txt(strings: &[&str]) -> RData {
    RData::TXT(TXT::new(
        strings.iter().map(|text| (*text).to_owned()).collect(),
    ))
}

fn host(name: &str) -> Name {
    name::fqdn(name).unwrap()
}

/// Answers until the test ends.
async fn serve(address: SocketAddr, zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let mut message = Message::from_vec(&bytes[..length]).unwrap();
            let query = message.queries[0].clone();
            let found = zone(&name::text(query.name()), query.query_type());
            let records = found
                .into_iter()
                .map(|data| Record::from_rdata(query.name().clone(), 60, data));
            message.answers = records.collect();
            message.metadata.message_type = MessageType::Response;
            // A resolver that was asked to look names up did so.
            message.metadata.authoritative = !message.metadata.recursion_desired;
            message.metadata.recursion_available = message.metadata.recursion_desired;
            socket
                .send_to(&message.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    address
}

/// Old answers, and where the servers are.
fn of_resolver(name: &str, kind: RecordType) -> Vec<RData> {
    match (name, kind) {
        ("example.test", RecordType::NS) => vec![
            RData::NS(NS(host("ns1.example.test"))),
            RData::NS(NS(host("ns2.example.test"))),
        ],
        ("other.test", RecordType::NS) => vec![RData::NS(NS(host("ns1.example.test")))],
        ("ns1.example.test", RecordType::A) => vec![RData::A(A([127, 0, 0, 2].into()))],
        ("ns2.example.test", RecordType::A) => vec![RData::A(A([127, 0, 0, 3].into()))],
        ("a.example.test", RecordType::TXT) => vec![txt(&["old"])],
        _ => Vec::new(),
    }
}

fn of_first(name: &str, kind: RecordType) -> Vec<RData> {
    match (name, kind) {
        ("a.example.test", RecordType::TXT) => vec![txt(&["new ", "and long"])],
        ("differs.example.test", RecordType::TXT) => vec![txt(&["one"])],
        ("alias.example.test", _) => vec![RData::CNAME(CNAME(host("end.other.test")))],
        ("loop.example.test", _) => vec![RData::CNAME(CNAME(host("loop.example.test")))],
        ("end.other.test", RecordType::TXT) => vec![txt(&["at the end"])],
        _ => Vec::new(),
    }
}

fn of_second(name: &str, kind: RecordType) -> Vec<RData> {
    match (name, kind) {
        ("differs.example.test", RecordType::TXT) => vec![txt(&["other"])],
        _ => of_first(name, kind),
    }
}

#[tokio::test]
async fn the_servers_of_the_zone_say_what_is_published_and_the_resolver_what_others_see() {
    let resolver = serve(([127, 0, 0, 1], 0).into(), of_resolver).await;
    let first = serve(([127, 0, 0, 2], 0).into(), of_first).await;
    serve(([127, 0, 0, 3], first.port()).into(), of_second).await;
    let config = Config {
        servers: vec![resolver],
        allow_private: true,
        use_ipv6: false,
        ..Config::default()
    };
    let mut questions = Questions::new(&config, &[]).unwrap();
    questions.port = first.port();
    let records = |text: &str| Told::Records(vec![text.to_owned()]);
    let txt = RecordKind::Txt;
    assert_eq!(
        questions.resolver("a.example.test", txt).await,
        records("old")
    );
    for (asked, kind, expected) in [
        ("a.example.test", txt, records("new and long")),
        ("b.example.test", txt, Told::Nothing),
        ("alias.example.test", txt, records("at the end")),
        (
            "alias.example.test",
            RecordKind::Cname,
            records("end.other.test"),
        ),
        ("no name", txt, Told::Nothing),
    ] {
        assert_eq!(
            questions.authoritative(asked, kind).await,
            expected,
            "{asked}"
        );
    }
    for (asked, why) in [
        ("differs.example.test", "do not agree"),
        ("loop.example.test", "do not end"),
        ("a.nowhere.test", "no zone"),
    ] {
        match questions.authoritative(asked, txt).await {
            Told::Failed(said) => assert!(said.contains(why), "{asked}: {said}"),
            told => panic!("{asked}: {told:?}"),
        }
    }
    // Private servers are none for a node that may send to none.
    let public = Config {
        allow_private: false,
        ..config
    };
    let questions = Questions::new(&public, &[]).unwrap();
    let told = questions.authoritative("a.example.test", txt).await;
    assert!(matches!(told, Told::Failed(_)), "{told:?}");
    let questions = Questions::new(&public, &[resolver]).unwrap();
    let told = questions.authoritative("a.example.test", txt).await;
    assert_eq!(
        told,
        records("old"),
        "who is asked instead is the operator's word"
    );
}
