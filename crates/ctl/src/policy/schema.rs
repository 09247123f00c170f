//! JSON Schema (draft 2020-12) of resources, for editors and for checks before there is a cluster.
//!
//! It is made of what the reader of resources asks for. What keys mean together is not in it: `skeinctl provider lint` says
//! what it leaves open.

use serde_json::{Map, Value, json};
use skein_policy::{Kind, MapShape, Shape};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a kind.
pub fn of(kind: Kind) -> Value {
    let mut schema = map(&kind.shape(), true);
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".into(), json!(DIALECT));
        fields.insert("title".into(), json!(kind.name()));
    }
    schema
}

/// A key without a value is as one that is not there, unless it must be.
fn map(shape: &MapShape, is_needed: bool) -> Value {
    let properties: Map<String, Value> = shape
        .keys
        .iter()
        .map(|(key, inner)| (key.clone(), value(inner, shape.needed.contains(key))))
        .collect();
    let others = match &shape.others {
        Some(others) => value(others, true),
        None => json!(false),
    };
    json!({
        "type": types("object", is_needed),
        "properties": properties,
        "required": shape.needed,
        "additionalProperties": others,
    })
}

fn types(name: &str, is_needed: bool) -> Value {
    match is_needed {
        true => json!(name),
        false => json!([name, "null"]),
    }
}

fn value(shape: &Shape, is_needed: bool) -> Value {
    match shape {
        Shape::Map(inner) => map(inner, is_needed),
        Shape::List { of, max, or_one } => {
            let list = json!({
                "type": types("array", is_needed),
                "items": value(of, true),
                "maxItems": max,
            });
            match or_one {
                true => json!({ "anyOf": [list, value(of, is_needed)] }),
                false => list,
            }
        }
        Shape::Whole { least, most } => json!({
            "type": types("integer", is_needed),
            "minimum": least,
            "maximum": most,
        }),
        Shape::Flag => json!({ "type": types("boolean", is_needed) }),
        Shape::Word(words) => {
            let mut words: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            if !is_needed {
                words.push(Value::Null);
            }
            json!({ "enum": words })
        }
        Shape::Text(says) => {
            let types = match is_needed {
                true => json!(["string", "number"]),
                false => json!(["string", "number", "null"]),
            };
            match says.as_str() {
                "" => json!({ "type": types }),
                says => json!({ "type": types, "description": says }),
            }
        }
        Shape::Any(shapes) => {
            let each = shapes.iter().map(|shape| value(shape, is_needed));
            json!({ "anyOf": each.collect::<Vec<_>>() })
        }
    }
}
