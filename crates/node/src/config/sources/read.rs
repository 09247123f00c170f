//! Settings read into types.

use std::collections::btree_map;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::tree::{Node, Origin, Table, Value, of_value};

/// Reads a node by what its key asks for.
pub struct ReadNode(pub Node);

/// Reads a whole tree.
pub fn whole(table: Table) -> ReadNode {
    ReadNode(Node {
        value: Value::Table(table),
        origin: Origin::Default,
    })
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.number(visitor)
            }
        )*
    };
}

impl ReadNode {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Text(text) = &self.0.value else {
            return self.deserialize_any(visitor);
        };
        let text = text.trim();
        if let Ok(number) = text.parse::<u64>() {
            return visitor.visit_u64(number);
        }
        match text.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => visitor.visit_str(text),
        }
    }

    /// What a text is where a list is wanted: written in TOML, or separated by commas.
    fn list(text: &str, origin: &Origin) -> Result<Node, Fault> {
        let text = text.trim();
        if text.starts_with('[') {
            return of_value(text, origin);
        }
        let items = text.split(',').map(str::trim);
        let items = items.filter(|_| !text.is_empty()).map(|item| Node {
            value: Value::Text(item.to_owned()),
            origin: origin.clone(),
        });
        Ok(Node {
            value: Value::List(items.collect()),
            origin: origin.clone(),
        })
    }

    fn table<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Node { value, origin } = self.0;
        match value {
            Value::Text(text) if text.trim_start().starts_with('{') => {
                ReadNode(of_value(text.trim(), &origin)?).deserialize_any(visitor)
            }
            value => ReadNode(Node { value, origin }).deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for ReadNode {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.value {
            Value::Table(table) => visitor.visit_map(Entries {
                rest: table.into_iter(),
                next: None,
            }),
            Value::List(list) => visitor.visit_seq(Items {
                rest: list.into_iter(),
                nth: 0,
            }),
            Value::String(text) | Value::Text(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(is) => visitor.visit_bool(is),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text) if text.trim() == "true" => visitor.visit_bool(true),
            Value::Text(text) if text.trim() == "false" => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text) => {
                let list = Self::list(text, &self.0.origin)?;
                ReadNode(list).deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.table(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.table(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0.value {
            Value::String(name) | Value::Text(name) => {
                let name: StringDeserializer<Fault> = name.into_deserializer();
                visitor.visit_enum(Named(name))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// A value that is one of several names.
struct Named(StringDeserializer<Fault>);

impl<'de> EnumAccess<'de> for Named {
    type Error = Fault;
    type Variant = <StringDeserializer<Fault> as EnumAccess<'de>>::Variant;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Fault> {
        self.0.variant_seed(seed)
    }
}

struct Entries {
    rest: btree_map::IntoIter<String, Node>,
    next: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((name, node)) = self.rest.next() else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
        let key = seed.deserialize(key);
        let key = key.map_err(|fault| fault.within(&name).at(&node.origin))?;
        self.next = Some((name, node));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let next = self.next.take();
        let (name, node) = next.expect("a value is asked for behind its key");
        let origin = node.origin.clone();
        let value = seed.deserialize(ReadNode(node));
        value.map_err(|fault| fault.within(&name).at(&origin))
    }
}

struct Items {
    rest: std::vec::IntoIter<Node>,
    nth: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        self.nth += 1;
        let (nth, origin) = (self.nth, node.origin.clone());
        let item = seed.deserialize(ReadNode(node));
        item.map(Some)
            .map_err(|fault| fault.within_list(nth).at(&origin))
    }
}
