//! The verifier of mail-auth, with records in place of the DNS.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{
    AuthenticatedMessage, DkimResult, MX, MessageAuthenticator, Parameters, RecordSet,
    ResolverCache, Txt,
};

pub struct MailAuth {
    authenticator: MessageAuthenticator,
    records: Records,
}

struct Records(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// Nothing else is asked for.
struct Nothing;

macro_rules! nothing {
    ($key:ty, $value:ty) => {
        impl ResolverCache<$key, $value> for Nothing {
            fn get<Q>(&self, _: &Q) -> Option<$value>
            where
                $key: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                None
            }

            fn remove<Q>(&self, _: &Q) -> Option<$value>
            where
                $key: Borrow<Q>,
                Q: Hash + Eq + ?Sized,
            {
                None
            }

            fn insert(&self, _: $key, _: $value, _: Instant) {}
        }
    };
}

nothing!(Box<str>, RecordSet<MX>);
nothing!(Box<str>, RecordSet<Ipv4Addr>);
nothing!(Box<str>, RecordSet<Ipv6Addr>);
nothing!(IpAddr, RecordSet<Box<str>>);

impl MailAuth {
    pub fn new(records: &BTreeMap<String, String>) -> Self {
        let records = records.iter().map(|(name, text)| {
            let key = DomainKey::parse(text.as_bytes()).unwrap();
            (
                format!("{name}.").into_boxed_str(),
                Txt::DomainKey(Arc::new(key)),
            )
        });
        let (config, options) = (ResolverConfig::default(), ResolverOpts::default());
        Self {
            authenticator: MessageAuthenticator::new(config, options).unwrap(),
            records: Records(records.collect()),
        }
    }

    /// A result for each signature. The body is given without the white space at its end, which this verifier hashes by
    /// mistake (issue 62 of mail-auth).
    pub async fn verify(&self, message: &[u8]) -> Vec<String> {
        let stripped = stripped(message);
        let message = AuthenticatedMessage::parse(&stripped).unwrap();
        let parameters = Parameters {
            params: &message,
            cache_txt: Some(&self.records),
            cache_mx: None::<&Nothing>,
            cache_ptr: None::<&Nothing>,
            cache_ipv4: None::<&Nothing>,
            cache_ipv6: None::<&Nothing>,
        };
        let outputs = self.authenticator.verify_dkim(parameters).await;
        let results = outputs.iter().map(|output| match output.result() {
            DkimResult::Pass => "pass".to_owned(),
            other => format!("{other:?}"),
        });
        results.collect()
    }
}

fn stripped(message: &[u8]) -> Vec<u8> {
    let end_of_header = message.windows(4).position(|window| window == b"\r\n\r\n");
    let (header, body) = message.split_at(end_of_header.unwrap() + 4);
    let kept = body.trim_ascii_end();
    let end: &[u8] = if kept.is_empty() { b"" } else { b"\r\n" };
    [header, kept, end].concat()
}
