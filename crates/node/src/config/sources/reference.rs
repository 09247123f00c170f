//! `${NAME}` in the values of a configuration file. Pure.
//!
//! | written | becomes |
//! |---|---|
//! | `${NAME}` | the variable of the environment; an error without one |
//! | `${NAME:-default}` | the same, or the default if it is not set or empty |
//! | `$$` | `$` |
//! | `$` before anything else | itself |

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    #[error(
        "${{{0}}}: the environment has no {0}; set it, or write a default, such as ${{{0}:-value}}"
    )]
    Unset(String),
    #[error(
        "{0:?} is no reference: write ${{NAME}} or ${{NAME:-default}}, such as ${{POD_NAME}}, and $${{ for the characters ${{"
    )]
    Malformed(String),
}

/// A value as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<'t> {
    pub text: Cow<'t, str>,
    /// Some of it is from the environment, or a default that stands for that.
    pub has_references: bool,
}

/// What a value means in this environment. What comes from there is not looked at again.
pub fn resolve<'t>(
    text: &'t str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Resolved<'t>, BadReference> {
    if !text.contains('$') {
        return Ok(Resolved {
            text: text.into(),
            has_references: false,
        });
    }
    let (mut out, mut rest, mut has_references) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let malformed = || BadReference::Malformed(format!("${{{after}"));
            let (inside, after) = after.split_once('}').ok_or_else(malformed)?;
            out.push_str(&referred(inside, lookup)?);
            (rest, has_references) = (after, true);
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(Resolved {
        text: out.into(),
        has_references,
    })
}

/// What stands for `${inside}`.
fn referred(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, BadReference> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut chars = name.chars();
    let is_name = chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(BadReference::Malformed(format!("${{{inside}}}")));
    }
    match (lookup(name), default) {
        (Some(found), None) => Ok(found),
        (Some(found), Some(_)) if !found.is_empty() => Ok(found),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(BadReference::Unset(name.to_owned())),
    }
}

/// A value written so that [`resolve`] gives it back in any environment.
pub fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "POD_NAME" => "skein-0",
            "_X1" => "a\"b\n[smtp]\nhostname = \"evil\"",
            "EMPTY" => "",
            "NESTED" => "${POD_NAME} $$",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn references_defaults_and_dollars() {
        let unset = |name: &str| Err(BadReference::Unset(name.to_owned()));
        let malformed = |text: &str| Err(BadReference::Malformed(text.to_owned()));
        for (text, expected) in [
            ("plain", Ok(("plain", false))),
            ("${POD_NAME}", Ok(("skein-0", true))),
            ("${POD_NAME}.skein:7000", Ok(("skein-0.skein:7000", true))),
            ("${POD_NAME}${POD_NAME}", Ok(("skein-0skein-0", true))),
            ("${_X1}", Ok(("a\"b\n[smtp]\nhostname = \"evil\"", true))),
            ("${NONE:-10.0.0.1}", Ok(("10.0.0.1", true))),
            ("${NONE:-}", Ok(("", true))),
            ("${NONE:-a:-b}", Ok(("a:-b", true))),
            ("${EMPTY}", Ok(("", true))),
            ("${EMPTY:-x}", Ok(("x", true))),
            ("${POD_NAME:-x}", Ok(("skein-0", true))),
            ("${NESTED}", Ok(("${POD_NAME} $$", true))),
            ("$${POD_NAME}", Ok(("${POD_NAME}", false))),
            ("$$$${", Ok(("$${", false))),
            ("pa$word$", Ok(("pa$word$", false))),
            ("$POD_NAME", Ok(("$POD_NAME", false))),
            ("${NONE}", unset("NONE")),
            ("x${NONE}y", unset("NONE")),
            ("${", malformed("${")),
            ("a${POD_NAME", malformed("${POD_NAME")),
            ("${}", malformed("${}")),
            ("${1X}", malformed("${1X}")),
            ("${POD-NAME}", malformed("${POD-NAME}")),
            ("${ POD_NAME }", malformed("${ POD_NAME }")),
        ] {
            let found = resolve(text, &environment);
            let found = found.map(|found| (found.text.into_owned(), found.has_references));
            let expected = expected.map(|(text, is)| (str::to_owned(text), is));
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_itself_in_any_environment(text in "[${}:A-Z_a-z\\- ]{0,24}") {
            let escaped = escape(&text);
            let found = resolve(&escaped, &|_| None).expect("nothing is referred to");
            prop_assert!(!found.has_references);
            prop_assert_eq!(found.text, text);
        }

        /// Values of the environment are put in whole, and never read for references themselves.
        #[test]
        fn a_value_stands_where_its_reference_stood(
            before in "[a-z$ ]{0,5}[a-z ]",
            value in "[${}:A-Z_\"'\\n=\\[\\]]{0,16}",
            after in "[a-z ]{0,6}",
        ) {
            let text = format!("{}${{NAME}}{after}", escape(&before));
            let found = resolve(&text, &|name| (name == "NAME").then(|| value.clone()));
            prop_assert_eq!(found.expect("it is set").text, format!("{before}{value}{after}"));
        }
    }
}
