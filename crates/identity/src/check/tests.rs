#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use skein_dkim::PrivateKey;

use super::addresses::reverse_name;
use super::*;
use crate::dns::{Answer, RecordType, Source};
use crate::finding::Id;
use crate::records::{Publisher, Slot};
use crate::{ownership_token, render};

const DOMAIN: &str = "example.com";

fn operator() -> Operator {
    Operator {
        dkim_zone: "dkim.esp.test".into(),
        return_path_host: Some("rp.esp.test".into()),
        report_address: Some("dmarc@esp.test".into()),
        tracking_host: Some("t.esp.test".into()),
        mta_sts_host: Some("mta-sts.esp.test".into()),
        tls_report_address: Some("tls@esp.test".into()),
        sources: vec![("192.0.2.1".parse().unwrap(), "a1.esp.test".into())],
    }
}

fn domain(is_delegated: bool) -> Domain {
    let key = PrivateKey::from_pem(include_bytes!("../../../dkim/tests/keys/rsa2048.pem")).unwrap();
    let slot = |selector: &str, key| Slot {
        selector: selector.into(),
        key,
        is_revoked: false,
    };
    Domain {
        name: DOMAIN.into(),
        id: "d1".into(),
        ownership_token: ownership_token(b"key", DOMAIN, "t"),
        slots: vec![slot("sk1", Some(key.public().clone())), slot("sk2", None)],
        is_delegated,
        hosted_with_policy: Some("20261130".into()),
    }
}

/// What both the zones' servers and the resolver tell, but for what is said of one of them.
#[derive(Default)]
struct World {
    records: BTreeMap<(String, RecordType), Vec<String>>,
    different: BTreeMap<(Source, String), Answer>,
    questions: usize,
}

impl World {
    /// All as it is to be.
    fn good(domain: &Domain) -> Self {
        let mut world = Self::default();
        for record in crate::records(domain, &operator()) {
            world.set(&record.name, record.record_type, &[&record.value]);
        }
        world.set(
            &reverse_name("192.0.2.1".parse().unwrap()),
            RecordType::Ptr,
            &["a1.esp.test"],
        );
        world.set("a1.esp.test", RecordType::A, &["192.0.2.1"]);
        world.set("a1.esp.test", RecordType::Txt, &["v=spf1 a -all"]);
        world
    }

    fn set(&mut self, name: &str, record_type: RecordType, values: &[&str]) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.records.insert((name.to_owned(), record_type), values);
    }

    fn txt(&mut self, name: &str, values: &[&str]) {
        self.set(name, RecordType::Txt, values);
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        let key = self
            .records
            .keys()
            .find(|(other, _)| other == name)
            .cloned();
        self.records.remove(&key.unwrap()).unwrap()
    }

    fn value(&self, name: &str) -> String {
        let mut all = self.records.iter();
        all.find(|((other, _), _)| other == name).unwrap().1[0].clone()
    }

    fn answer(&self, question: &Question) -> Answer {
        if let Some(answer) = self
            .different
            .get(&(question.source, question.name.clone()))
        {
            return answer.clone();
        }
        let key = (question.name.clone(), question.record_type);
        let records = self.records.get(&key).filter(|records| !records.is_empty());
        records.map_or(Answer::Nothing, |records| Answer::Records(records.clone()))
    }

    fn check(&mut self, domain: &Domain) -> Vec<Finding> {
        let mut answers = Answers::new();
        loop {
            match check(domain, &operator(), &answers) {
                Checked::Done(findings) => return findings,
                Checked::Ask(questions) => {
                    assert!(!questions.is_empty());
                    for question in questions {
                        self.questions += 1;
                        let answer = self.answer(&question);
                        assert!(answers.insert(question, answer).is_none(), "asked again");
                    }
                }
            }
        }
    }
}

type Change = fn(&mut World);

/// Each change of a good world, and what is found then.
const ROWS: &[(Id, bool, Change)] = &[
    (Id::OwnershipMissing, true, |world| {
        drop(world.take("_skein.example.com"))
    }),
    (Id::OwnershipMismatch, true, |world| {
        world.txt("_skein.example.com", &["skein-domain=other"])
    }),
    (Id::DoubledName, true, |world| {
        let value = world.take("_skein.example.com");
        world.txt("_skein.example.com.example.com", &[&value[0]]);
    }),
    (Id::NotEverywhere, true, |world| {
        let name = "_skein.example.com".to_owned();
        world
            .different
            .insert((Source::Resolver, name), Answer::Nothing);
    }),
    (Id::NotEverywhere, true, |world| {
        let name = "_dmarc.example.com".to_owned();
        world
            .different
            .insert((Source::Resolver, name), Answer::Nothing);
    }),
    (Id::NoAnswer, true, |world| {
        for source in [Source::Resolver, Source::Authoritative] {
            let name = "_skein.example.com".to_owned();
            world
                .different
                .insert((source, name), Answer::Failed("SERVFAIL".into()));
        }
    }),
    (Id::DkimMissing, true, |world| {
        drop(world.take("sk2._domainkey.example.com"))
    }),
    (Id::DkimMissing, false, |world| {
        drop(world.take("sk1._domainkey.example.com"))
    }),
    (Id::DkimOtherTarget, true, |world| {
        world.set(
            "sk1._domainkey.example.com",
            RecordType::Cname,
            &["sk2.d1.dkim.esp.test"],
        );
    }),
    (Id::DkimDoubledName, true, |world| {
        let value = world.take("sk1._domainkey.example.com");
        world.set(
            "sk1._domainkey.example.com.example.com",
            RecordType::Cname,
            &[&value[0]],
        );
    }),
    (Id::DkimMismatch, true, |world| {
        world.txt("sk1.d1.dkim.esp.test", &["v=DKIM1; p=AAAA"])
    }),
    (Id::DkimMismatch, false, |world| {
        world.txt("sk1._domainkey.example.com", &["v=DKIM1; p=AAAA"])
    }),
    (Id::DkimTesting, false, |world| {
        let value = format!("{}; t=y", world.value("sk1._domainkey.example.com"));
        world.txt("sk1._domainkey.example.com", &[&value]);
    }),
    (Id::DkimRevoked, false, |world| {
        world.txt("sk1._domainkey.example.com", &["v=DKIM1; p="])
    }),
    (Id::DkimTruncated, false, |world| {
        let value = world.value("sk1._domainkey.example.com");
        world.txt("sk1._domainkey.example.com", &[&value[..255]]);
    }),
    (Id::DkimMultiple, false, |world| {
        let value = world.value("sk1._domainkey.example.com");
        world.txt("sk1._domainkey.example.com", &[&value, "v=DKIM1; p="]);
    }),
    (Id::SpfMultiple, true, |world| {
        world.txt("example.com", &["v=spf1 -all", "v=spf1 ~all"])
    }),
    (Id::SpfMultiple, true, |world| {
        world.txt("example.com", &["v=spf1 include:a.test -all"]);
        world.txt("a.test", &["v=spf1 -all", "v=spf1 ~all"]);
    }),
    (Id::SpfLookups, true, |world| {
        let includes: String = (0..6).map(|at| format!(" include:i{at}.test")).collect();
        world.txt("example.com", &["x", &format!("v=spf1{includes} -all")]);
        for at in 0..6 {
            world.txt(&format!("i{at}.test"), &["v=spf1 exists:%{i}.x.test ~all"]);
        }
    }),
    (Id::SpfLookups, true, |world| {
        world.txt("example.com", &["v=spf1 include:example.com -all"])
    }),
    (Id::SpfVoid, true, |world| {
        world.txt("example.com", &["v=spf1 a:x.test mx:y.test/24 a -all"])
    }),
    (Id::SpfPlusAll, true, |world| {
        world.txt("example.com", &["v=spf1 ip4:192.0.2.0/24 all"])
    }),
    (Id::SpfPlusAll, true, |world| {
        world.txt("example.com", &["v=spf1 redirect=a.test"]);
        world.txt("a.test", &["v=spf1 +all"]);
    }),
    (Id::SpfBroken, true, |world| {
        world.txt("example.com", &["v=spf1 ip4:192.0.2 -all"])
    }),
    (Id::SpfBroken, true, |world| {
        world.txt("example.com", &["v=spf1 include:none.test -all"])
    }),
    (Id::ReturnPathMissing, true, |world| {
        drop(world.take("rp.example.com"))
    }),
    (Id::ReturnPathNotCname, true, |world| {
        world.take("rp.example.com");
        world.set("rp.example.com", RecordType::Mx, &["mx.esp.test"]);
    }),
    (Id::ReturnPathOtherTarget, true, |world| {
        world.set("rp.example.com", RecordType::Cname, &["rp.other.test"]);
    }),
    (Id::DmarcMissing, true, |world| {
        drop(world.take("_dmarc.example.com"))
    }),
    (Id::DoubledName, true, |world| {
        world.take("_dmarc.example.com");
        world.txt("_dmarc.example.com.example.com", &["v=DMARC1; p=none"]);
    }),
    (Id::DmarcMultiple, true, |world| {
        world.txt(
            "_dmarc.example.com",
            &["v=DMARC1; p=none", "v=DMARC1; p=reject"],
        );
    }),
    (Id::DmarcInvalid, true, |world| {
        world.txt("_dmarc.example.com", &["v=DMARC1; p=on"])
    }),
    (Id::DmarcInvalid, true, |world| {
        world.txt("_dmarc.example.com", &["v=DMARC1"])
    }),
    (Id::DmarcRemovedTag, true, |world| {
        world.txt("_dmarc.example.com", &["v=DMARC1; p=none; pct=50"])
    }),
    (Id::DmarcStrictSpf, true, |world| {
        world.txt("_dmarc.example.com", &["v=DMARC1; p=none; aspf=s"])
    }),
    (Id::DmarcRuaUnauthorised, true, |world| {
        drop(world.take("example.com._report._dmarc.esp.test"))
    }),
    (Id::TrackingMissing, true, |world| {
        drop(world.take("t.example.com"))
    }),
    (Id::TrackingOtherTarget, true, |world| {
        world.set("t.example.com", RecordType::Cname, &["x.test"])
    }),
    (Id::PtrNone, true, |world| {
        drop(world.take("1.2.0.192.in-addr.arpa"))
    }),
    (Id::PtrForward, true, |world| {
        world.set("a1.esp.test", RecordType::A, &["192.0.2.2"])
    }),
    (Id::EhloNoSpf, true, |world| {
        world.txt("a1.esp.test", &["x"])
    }),
    (Id::StsMissing, true, |world| {
        drop(world.take("mta-sts.example.com"))
    }),
    (Id::StsMissing, true, |world| {
        drop(world.take("_mta-sts.example.com"))
    }),
    (Id::StsIdStale, true, |world| {
        world.txt("_mta-sts.example.com", &["v=STSv1; id=1;"])
    }),
    (Id::TlsRptMissing, true, |world| {
        drop(world.take("_smtp._tls.example.com"))
    }),
];

#[test]
fn every_fault_has_its_id_and_no_other() {
    let mut seen = BTreeSet::new();
    for (row, (id, is_delegated, change)) in ROWS.iter().enumerate() {
        let domain = domain(*is_delegated);
        let mut world = World::good(&domain);
        change(&mut world);
        let findings = world.check(&domain);
        let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
        // A broken include finds nothing as well, but once is no fault.
        assert_eq!(ids, [*id], "row {row}: {findings:#?}");
        let finding = &findings[0];
        assert!(
            !finding.asked.is_empty() && !finding.expected.is_empty(),
            "{finding:?}"
        );
        assert!(finding.to_string().starts_with(id.as_str()));
        assert!(world.questions < 120, "{} questions", world.questions);
        seen.insert(*id);
    }
    // A key that was revoked is none of a good domain: it has a test of its own.
    seen.insert(Id::DkimNotRevoked);
    let all: BTreeSet<_> = Id::ALL.iter().copied().collect();
    assert_eq!(seen, all);
}

#[test]
fn a_good_domain_has_no_finding() {
    for is_delegated in [true, false] {
        let domain = domain(is_delegated);
        let findings = World::good(&domain).check(&domain);
        assert!(findings.is_empty(), "{findings:#?}");
        for change in [
            |world: &mut World| {
                world.txt(
                    "example.com",
                    &["google-site=1", "v=spf1 a:a1.esp.test mx ~all"],
                )
            },
            // Others' spelling.
            |world: &mut World| world.set("rp.example.com", RecordType::Cname, &["RP.esp.TEST."]),
            |world: &mut World| {
                world.txt(
                    "_dmarc.example.com",
                    &["v=DMARC1; rua=mailto:x@sub.example.com!10m"],
                )
            },
            |world: &mut World| {
                world.txt(
                    "_smtp._tls.example.com",
                    &["v=TLSRPTv1; rua=mailto:a@b.test,mailto:tls@esp.test;"],
                )
            },
            |world: &mut World| {
                world.txt(
                    "_skein.example.com",
                    &["other", &world.value("_skein.example.com")],
                )
            },
        ] {
            let mut world = World::good(&domain);
            change(&mut world);
            let findings = world.check(&domain);
            assert!(findings.is_empty(), "{findings:#?}");
        }
    }
}

/// A domain below one with a policy needs none of its own, and its siblings take reports.
#[test]
fn a_policy_above_applies() {
    let domain = Domain {
        name: "a.b.news.example.com".into(),
        ..domain(true)
    };
    let mut world = World::good(&domain);
    world.take("_dmarc.a.b.news.example.com");
    world.txt(
        "_dmarc.example.com",
        &["v=DMARC1; p=reject; rua=mailto:d@reports.example.com"],
    );
    let findings = world.check(&domain);
    assert!(findings.is_empty(), "{findings:#?}");
    world.txt(
        "_dmarc.news.example.com",
        &["v=DMARC1; p=none; rua=mailto:d@other.example.com; aspf=s"],
    );
    let ids: Vec<_> = world
        .check(&domain)
        .iter()
        .map(|finding| finding.id)
        .collect();
    assert_eq!(ids, [Id::DmarcStrictSpf]);
    world.txt(
        "_dmarc.news.example.com",
        &["v=DMARC1; p=none; psd=n; rua=mailto:d@other.example.com"],
    );
    let ids: Vec<_> = world
        .check(&domain)
        .iter()
        .map(|finding| finding.id)
        .collect();
    assert_eq!(ids, [Id::DmarcRuaUnauthorised]);
}

#[test]
fn what_is_found_is_what_is_pasted() {
    for is_delegated in [true, false] {
        let domain = domain(is_delegated);
        let records = crate::records(&domain, &operator());
        let owner = records
            .iter()
            .filter(|record| record.publisher == Publisher::Owner);
        assert_eq!(owner.count(), if is_delegated { 9 } else { 8 });
        let zone = render::zone_file(&records);
        assert_eq!(
            zone.lines().filter(|line| !line.starts_with(';')).count(),
            records.len()
        );
        assert!(zone.contains("rp.example.com. 3600 IN CNAME rp.esp.test.\n"));
        assert!(render::table(&records, DOMAIN).contains("_dmarc "));
        let json: serde_json::Value = serde_json::from_str(&render::json(&records)).unwrap();
        assert_eq!(json[0]["type"], "TXT");
        // An empty world: each finding brings the line that mends it.
        let mut world = World::default();
        for finding in world.check(&domain) {
            let paste = finding.paste.unwrap();
            let is_source = paste.contains(".arpa.") || paste.starts_with("a1.");
            assert!(is_source || zone.contains(&paste), "{paste}");
        }
    }
    let [one, other] = ["t", "u"].map(|tenant| ownership_token(b"key", DOMAIN, tenant));
    assert!(one != other && one.len() == 32);
}

/// What a check that is done has asked and heard.
fn heard(world: &World, domain: &Domain) -> Answers {
    let mut answers = Answers::new();
    while let Checked::Ask(questions) = check(domain, &operator(), &answers) {
        for question in questions {
            let answer = world.answer(&question);
            answers.insert(question, answer);
        }
    }
    answers
}

#[test]
fn the_same_answers_move_the_keys_of_a_domain() {
    use skein_model::rotation::{Answer as Shown, KeyId};
    for is_delegated in [true, false] {
        let domain = domain(is_delegated);
        let key_name = match is_delegated {
            true => "sk1.d1.dkim.esp.test",
            false => "sk1._domainkey.example.com",
        };
        for (source, name, answer, home, away) in [
            (
                Source::Resolver,
                "nobody",
                Answer::Nothing,
                Shown::Shows,
                Shown::Shows,
            ),
            (
                Source::Resolver,
                key_name,
                Answer::Nothing,
                Shown::Shows,
                Shown::Differs,
            ),
            (
                Source::Authoritative,
                key_name,
                Answer::Records(vec!["v=DKIM1; p=AAAA".into()]),
                Shown::Differs,
                Shown::Shows,
            ),
            (
                Source::Authoritative,
                "sk1._domainkey.example.com",
                Answer::Failed("silent".into()),
                Shown::Failed,
                Shown::Shows,
            ),
        ] {
            let mut world = World::good(&domain);
            world.different.insert((source, name.to_owned()), answer);
            let answers = heard(&world, &domain);
            let key_of = |selector: &str| (selector == "sk1").then_some(KeyId(1));
            let seen = crate::observation(&domain, &operator(), &answers, key_of);
            let [slot] = &seen.slots[..] else {
                panic!("{seen:?}")
            };
            let shown: Vec<Shown> = slot.answers.iter().map(|(_, shown)| *shown).collect();
            assert_eq!(shown, [home, away], "{is_delegated} {source:?} {name}");
        }
    }
}

#[test]
fn a_domain_is_whose_token_its_own_servers_show() {
    let domain = domain(false);
    let name = "_skein.example.com".to_owned();
    let nothing = || Answer::Nothing;
    let failed = || Answer::Failed("silent".into());
    for (home, away, is_owned) in [
        (None, None, true),
        (None, Some(nothing()), true),
        (Some(nothing()), None, false),
        (Some(failed()), None, true),
        (Some(failed()), Some(nothing()), false),
        (Some(failed()), Some(failed()), false),
    ] {
        let mut world = World::good(&domain);
        for (source, answer) in [(Source::Authoritative, home), (Source::Resolver, away)] {
            if let Some(answer) = answer {
                world.different.insert((source, name.clone()), answer);
            }
        }
        let answers = heard(&world, &domain);
        assert_eq!(crate::is_owned(&domain, &operator(), &answers), is_owned);
    }
}

#[test]
fn the_record_of_a_revoked_key_is_to_say_so() {
    let mut domain = domain(false);
    domain.slots[0].is_revoked = true;
    let mut world = World::good(&domain);
    assert_eq!(world.check(&domain), []);
    let record = "sk1._domainkey.example.com";
    assert!(world.value(record).ends_with("p="));
    domain.slots[0].is_revoked = false;
    let key = domain.slots[0].text().unwrap();
    world.txt(record, &[&key]);
    domain.slots[0].is_revoked = true;
    let ids: Vec<Id> = world.check(&domain).iter().map(|found| found.id).collect();
    assert_eq!(ids, [Id::DkimNotRevoked]);
}
