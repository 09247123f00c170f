//! Faults of keys.

use crate::place::{Kind, Place};
use crate::read::{Keys, Reader};
use crate::yaml::documents;

fn reader() -> Reader {
    let source = "p.yaml".into();
    Reader::new(Kind::Pool, "news", Place { source, line: 1 })
}

/// Reads `a` as a number, `b` as a list, `c` as a map and `d` as a list of maps.
fn problems(text: &str) -> Vec<String> {
    let (documents, fault) = documents(text);
    assert_eq!(fault, None, "{text}");
    let reader = &mut reader();
    if let Some(mut keys) = Keys::new(reader, String::new(), &documents[0]) {
        keys.whole(reader, "a", 1..=9u32);
        keys.list(reader, "b", 2, |text| Ok(text.to_owned()));
        if let Some(inner) = keys.map(reader, "c") {
            inner.finish(reader);
        }
        for mut inner in keys.maps(reader, "d", 2) {
            inner.need(reader, "e", |text| Ok(text.to_owned()));
            inner.finish(reader);
        }
        keys.finish(reader);
    }
    reader.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn faults_name_source_line_resource_key_and_remedy() {
    for (text, expected) in [
        ("a: 1\nb: [x, y]\nd:\n- e: 1\n", ""),
        ("a: ~\nb: x\n", ""),
        (
            "a: 10\n",
            "p.yaml:1: pool \"news\": a: must be a whole number from 1 to 9",
        ),
        (
            "b: 1\na: +1\n",
            "p.yaml:2: pool \"news\": a: must be a whole number from 1 to 9",
        ),
        (
            "a: [1]\n",
            "p.yaml:1: pool \"news\": a: must be a single value",
        ),
        (
            "b: [1, 2, 3]\n",
            "p.yaml:1: pool \"news\": b: has 3 entries: 2 at most",
        ),
        (
            "b:\n- {}\n",
            "p.yaml:2: pool \"news\": b: must be a single value",
        ),
        (
            "b:\n- \n",
            "p.yaml:2: pool \"news\": b: has no value: give it, or leave the key out",
        ),
        (
            "c: 1\n",
            "p.yaml:1: pool \"news\": c: must be keys with values, such as key: value",
        ),
        (
            "d: {}\n",
            "p.yaml:1: pool \"news\": d: must be a list: begin each entry with \"- \"",
        ),
        (
            "d:\n- {}\n",
            "p.yaml:2: pool \"news\": d[1].e: is missing: give it",
        ),
        (
            "a: 1\na: 2\n",
            "p.yaml:2: pool \"news\": a: is given twice: leave one out",
        ),
        (
            "a: 1\nx: 2\n",
            "p.yaml:2: pool \"news\": x: is no known key: there are a, b, c, d",
        ),
        (
            "[a]\n",
            "p.yaml:1: pool \"news\": must be keys with values, such as key: value",
        ),
    ] {
        assert_eq!(problems(text).join("\n"), expected, "{text}");
    }
}

#[test]
fn all_faults_are_found_at_once() {
    assert_eq!(problems("a: x\nb: {}\nc: 1\nd: 1\nz: 1\n").len(), 5);
}
