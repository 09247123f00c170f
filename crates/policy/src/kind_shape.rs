//! The shape of each kind of resource, as its reader asks for keys.

use std::sync::Arc;

use crate::credential::CredentialGiven;
use crate::inbound::Inbound;
use crate::ip::Ip;
use crate::names::resource_name;
use crate::place::{Kind, Place};
use crate::pool::Pool;
use crate::provider::ProviderGiven;
use crate::read::{Keys, Reader};
use crate::route::Route;
use crate::shape::{MapShape, Recorder, Shape};
use crate::tenant::Tenant;
use crate::warmup::Warmup;

impl Kind {
    /// What a resource of this kind looks like, with `kind` and `name`.
    pub fn shape(self) -> MapShape {
        let recorder = Recorder::default();
        let place = Place {
            source: Arc::from("shape"),
            line: 1,
        };
        let mut reader = Reader::new(self, "shape", place);
        let mut keys = Keys::recording(recorder.clone());
        {
            let mut top = recorder.borrow_mut();
            top.shape("kind", Shape::Word(vec![self.name().to_owned()]));
            top.shape("name", Shape::of_parser(resource_name));
            top.need("kind");
            top.need("name");
        }
        match self {
            Self::Credential => drop(CredentialGiven::read(&mut reader, &mut keys)),
            Self::Inbound => drop(Inbound::read(&mut reader, &mut keys)),
            Self::Ip => drop(Ip::read(&mut reader, &mut keys)),
            Self::Pool => drop(Pool::read(&mut reader, &mut keys)),
            Self::Provider => drop(ProviderGiven::read(&mut reader, &mut keys)),
            Self::Route => drop(Route::read(&mut reader, &mut keys)),
            Self::Tenant => drop(Tenant::read(&mut reader, &mut keys)),
            Self::Warmup => drop(Warmup::read(&mut reader, &mut keys)),
        }
        let shape = recorder.borrow().done();
        shape
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Source;
    use crate::draft::Draft;

    fn at<'s>(shape: &'s MapShape, path: &str) -> Option<&'s Shape> {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let found = &shape.keys.iter().find(|(known, _)| known == key)?.1;
        match (rest, found) {
            ("", found) => Some(found),
            (rest, Shape::Map(inner)) => at(inner, rest),
            (rest, Shape::List { of, .. }) => match &**of {
                Shape::Map(inner) => at(inner, rest),
                _ => None,
            },
            (rest, Shape::Any(shapes)) => shapes.iter().find_map(|shape| match shape {
                Shape::Map(inner) => at(inner, rest),
                _ => None,
            }),
            _ => None,
        }
    }

    #[test]
    fn shapes_say_what_the_readers_take() {
        let words = Shape::of_words;
        let whole = |least, most| Shape::Whole { least, most };
        for (kind, path, expected) in [
            (
                Kind::Provider,
                "tls",
                words(&["opportunistic", "encrypt", "require", "disable"]),
            ),
            (Kind::Provider, "per_ip.connections", whole(1, 65_535)),
            (Kind::Provider, "extends", Shape::Flag),
            (
                Kind::Provider,
                "automation.scope",
                words(&["site", "tenant", "pool"]),
            ),
            (
                Kind::Provider,
                "automation.action.connections",
                whole(1, 65_535),
            ),
            (Kind::Ip, "state", words(&["active", "suspended"])),
            (Kind::Pool, "members.weight", whole(1, 1000)),
            (
                Kind::Warmup,
                "schedule.formula.factor_percent",
                whole(101, 1000),
            ),
        ] {
            assert_eq!(at(&kind.shape(), path), Some(&expected), "{kind} {path}");
        }
        for (kind, path) in [
            (Kind::Ip, "bind"),
            (Kind::Ip, "proxy.socks5"),
            (Kind::Provider, "timeouts.dot"),
            (Kind::Provider, "total.message_rate"),
            (Kind::Provider, "mx"),
            (Kind::Route, "pools"),
            (Kind::Tenant, "limits.message_rate"),
            (Kind::Warmup, "schedule.table"),
            (Kind::Warmup, "utc_offset"),
        ] {
            assert!(at(&kind.shape(), path).is_some(), "{kind} {path}");
        }
        assert_eq!(Kind::Ip.shape().needed, ["kind", "name", "bind", "ehlo"]);
    }

    /// What the reader lists as the keys that there are when it meets one that there is not.
    #[test]
    fn the_keys_are_those_that_the_reader_names() {
        for kind in Kind::ALL {
            let text = format!("kind: {kind}\nname: x\nno_such_key: 1\n");
            let problems = Draft::read(&[Source {
                name: "t",
                text: &text,
            }])
            .into_problems();
            let said = problems
                .iter()
                .find(|problem| problem.message.contains("no_such_key"));
            let (_, listed) = said.unwrap().message.split_once("there are ").unwrap();
            let listed = listed.split(" (did you mean").next().unwrap();
            let mut listed: Vec<&str> = listed.split(", ").collect();
            listed.extend(["kind", "name"]);
            let shape = kind.shape();
            let mut keys: Vec<&str> = shape.keys.iter().map(|(key, _)| key.as_str()).collect();
            listed.sort_unstable();
            listed.dedup();
            keys.sort_unstable();
            assert_eq!(keys, listed, "{kind}");
        }
    }
}
