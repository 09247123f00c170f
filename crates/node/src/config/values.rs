//! How single values are read: each says what a right one looks like.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use skein_model::DurationMs;
use skein_policy::{Size, Span};

/// A value of a configuration file that is written as text.
trait Value: Sized {
    /// What a right one is, with an example.
    const EXPECTED: &str;

    fn read(text: &str) -> Result<Self, String>;

    /// Of a number that stands there without quotes.
    fn of_number(number: u64) -> Result<Self, String> {
        Self::read(&number.to_string())
    }
}

/// Where to listen, or whom to ask.
struct Address(SocketAddr);

impl Value for Address {
    const EXPECTED: &str = "IP:port, such as 127.0.0.1:7001";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("{text:?} is not IP:port, such as 127.0.0.1:7001, 0.0.0.0:25 or [::1]:25")
        })
    }
}

struct Network(IpNet);

impl Value for Network {
    const EXPECTED: &str = "a network, such as 10.0.0.0/8";

    fn read(text: &str) -> Result<Self, String> {
        let network: IpNet = text.parse().map_err(|_| {
            format!("{text:?} is no network, such as 10.0.0.0/8, 192.0.2.1/32 or 2001:db8::/32")
        })?;
        let whole = network.trunc();
        match whole == network {
            true => Ok(Self(network)),
            false => {
                let one = IpNet::from(network.addr());
                Err(format!(
                    "{text:?} names an address within a network: write {whole} for the network, or {one} for the \
                     address alone"
                ))
            }
        }
    }
}

impl Value for Size {
    const EXPECTED: &str = "a size, such as 50MB or 64MiB";

    fn read(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => text.parse(),
        }
    }

    fn of_number(number: u64) -> Result<Self, String> {
        Ok(Self(number))
    }
}

impl Value for Span {
    const EXPECTED: &str = "a span of time, such as 30s, 5m, 2h or 1d";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

struct OneValue<T>(PhantomData<T>);

impl<T: Value> Visitor<'_> for OneValue<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::of_number(number).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => T::read(&number.to_string()).map_err(E::custom),
        }
    }
}

fn one<'de, T: Value, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(OneValue(PhantomData))
}

/// A value within a list or an option.
struct Wrapped<T>(T);

impl<'de, T: Value> Deserialize<'de> for Wrapped<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        one(from).map(Self)
    }
}

fn many<'de, T: Value, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<Wrapped<T>>::deserialize(from)?;
    Ok(list.into_iter().map(|Wrapped(value)| value).collect())
}

pub mod address {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        one(from).map(|Address(address)| address)
    }

    pub fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        address.serialize(to)
    }
}

pub mod optional_address {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        address::deserialize(from).map(Some)
    }

    pub fn serialize<S: Serializer>(at: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        at.serialize(to)
    }
}

pub mod addresses {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
        let list = many::<Address, D>(from)?;
        Ok(list.into_iter().map(|Address(address)| address).collect())
    }

    pub fn serialize<S: Serializer>(addresses: &[SocketAddr], to: S) -> Result<S::Ok, S::Error> {
        addresses.serialize(to)
    }
}

pub mod networks {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
        let list = many::<Network, D>(from)?;
        Ok(list.into_iter().map(|Network(network)| network).collect())
    }

    pub fn serialize<S: Serializer>(networks: &[IpNet], to: S) -> Result<S::Ok, S::Error> {
        networks.serialize(to)
    }
}

pub mod span {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        one(from).map(|Span(span)| span.into())
    }

    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Span(DurationMs::from(*span)))
    }
}

/// Sizes of any width of integer.
pub mod size {
    use super::*;

    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let Size(bytes) = one(from)?;
        T::try_from(bytes)
            .map_err(|_| de::Error::custom(format!("{bytes} is more than there can be")))
    }

    pub fn serialize<T: Serialize, S: Serializer>(size: &T, to: S) -> Result<S::Ok, S::Error> {
        size.serialize(to)
    }
}

pub mod optional_size {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        size::deserialize(from).map(Some)
    }

    pub fn serialize<S: Serializer>(size: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        size.serialize(to)
    }
}

/// A list of tables, each of which begins with its name in double brackets.
pub mod tables {
    use super::*;

    struct Tables<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a list of tables: write its name in double brackets before each of them, such as [[smtp.listener]]",
            )
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(table) = tables.next_element()? {
                read.push(table);
            }
            Ok(read)
        }
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        from.deserialize_seq(Tables(PhantomData))
    }

    pub fn serialize<T: Serialize, S: Serializer>(tables: &[T], to: S) -> Result<S::Ok, S::Error> {
        tables.serialize(to)
    }
}
