//! YAML text as trees of nodes that know their lines.
//!
//! Scalars stay as they are written, so that a provider may be called `163` and a rate `1/min`: what a text means is
//! decided by who asks for it. Anchors, aliases, tags and directives are refused: policy is read by people, line by line,
//! and none of it may unfold into more than is written.

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// No resource nests deeper than a limits block in a rule; a bound on the stack of whoever walks a tree.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub line: u32,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Scalar {
        text: String,
        /// Whether it is written without quotes, so that nothing, `~` and `null` mean no value.
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: String,
    pub line: u32,
    pub node: Node,
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true }
            if matches!(text.as_str(), "" | "~" | "null"))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub line: u32,
    pub message: String,
}

/// The documents of a text one by one, up to the first that cannot be read. Empty ones are left out.
pub(crate) struct Documents<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    builder: Builder,
    has_failed: bool,
}

impl<'a> Documents<'a> {
    /// Each document may have so many bytes.
    pub fn new(text: &'a str, bytes_max: usize) -> Self {
        let options = granit_parser::options! {
            disallow_directives: true,
            emit_comments: false,
            flow_nesting_limit: DEPTH_MAX,
            block_nesting_limit: DEPTH_MAX,
        };
        Self {
            text,
            parser: Parser::new_from_str_with_options(text, options),
            builder: Builder {
                bytes_max,
                ..Builder::default()
            },
            has_failed: false,
        }
    }

    /// The next document that is not empty, if the text goes on.
    fn read(&mut self) -> Result<Option<Node>, Fault> {
        while let Some(next) = self.parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let line = line_number(error.marker().line());
                match to_quote(self.text, line) {
                    Some(value) => Fault {
                        line,
                        message: needs_quotes(value),
                    },
                    None => Fault {
                        line,
                        message: format!("not YAML: {}", error.kind()),
                    },
                }
            })?;
            if let Some(root) = self.builder.event(event, span)? {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Node, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.read().transpose();
        self.has_failed = matches!(next, Some(Err(_)));
        next
    }
}

/// Characters with which a value begins that is no plain text.
const BEGINS_NO_TEXT: [char; 6] = ['*', '&', '%', '@', '`', '!'];

/// The first value of a line that stands without quotes and begins with a character that YAML takes for something else.
fn to_quote(text: &str, line: u32) -> Option<&str> {
    let line = text.lines().nth(line as usize - 1)?;
    let after = |(at, _): (usize, &str)| &line[at + 1..];
    let begun = line
        .match_indices([':', '-', '[', ',', '{'])
        .map(after)
        .map(str::trim_start);
    let mut values = begun.filter(|value| value.starts_with(BEGINS_NO_TEXT));
    let value = values.next()?;
    let end = value.find([',', ']', '}', '#']).unwrap_or(value.len());
    Some(value[..end].trim_end())
}

fn needs_quotes(value: &str) -> String {
    let value = crate::shown::shown(value);
    format!("{value} must be in quotes, because of the character that it begins with: \"{value}\"")
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}

#[derive(Default)]
struct Builder {
    bytes_max: usize,
    /// Where the document begins: its offset and line.
    start: (usize, u32),
    open: Vec<Frame>,
    root: Option<Node>,
}

struct Frame {
    line: u32,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, u32)>),
}

impl Builder {
    /// The document that ends here, unless it is empty.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<Option<Node>, Fault> {
        let line = line_number(span.start.line());
        self.check_size(&event, span)?;
        match event {
            Event::DocumentEnd => {
                self.open.clear();
                return Ok(self.root.take().filter(|root| !root.is_null()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_properties(line, anchor, tag.is_some())?;
                let is_plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                let value = Value::Scalar { text, is_plain };
                self.node(Node { line, value })?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_properties(line, anchor, tag.is_some())?;
                self.begin(line, Inside::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_properties(line, anchor, tag.is_some())?;
                self.begin(line, Inside::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(fault(
                    line,
                    "aliases are not supported: write the value out, or put a text that begins with * into quotes",
                ));
            }
            _ => {}
        }
        Ok(None)
    }

    fn check_size(&mut self, event: &Event<'_>, span: Span) -> Result<(), Fault> {
        let (offset, line) = (offset(span), line_number(span.start.line()));
        if matches!(event, Event::DocumentStart(..) | Event::StreamStart) {
            self.start = (offset, line);
        }
        let (start, line) = self.start;
        let bytes_max = self.bytes_max;
        match offset.saturating_sub(start) > bytes_max && !matches!(event, Event::StreamEnd) {
            true => Err(Fault {
                line,
                message: format!("a resource has more than {bytes_max} bytes: split it"),
            }),
            false => Ok(()),
        }
    }

    fn begin(&mut self, line: u32, inside: Inside) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(fault(line, "is nested too deeply"));
        }
        if let Some(Frame { inside, .. }) = self.open.last()
            && matches!(inside, Inside::Map(_, None))
        {
            return Err(fault(line, "a key must be a plain word"));
        }
        self.open.push(Frame { line, inside });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Frame { line, inside }) = self.open.pop() else {
            return Ok(());
        };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Map(entries, _) => Value::Map(entries),
        };
        self.node(Node { line, value })
    }

    fn node(&mut self, node: Node) -> Result<(), Fault> {
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.inside {
            Inside::List(items) => items.push(node),
            Inside::Map(entries, key) => match key.take() {
                Some((key, line)) => entries.push(Entry { key, line, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(fault(node.line, "a key must be a plain word"));
                    };
                    *key = Some((text, node.line));
                }
            },
        }
        Ok(())
    }
}

fn offset(span: Span) -> usize {
    span.start
        .byte_offset()
        .unwrap_or_else(|| span.start.index())
}

fn fault(line: u32, message: &str) -> Fault {
    let message = message.to_owned();
    Fault { line, message }
}

fn refuse_properties(line: u32, anchor: usize, has_tag: bool) -> Result<(), Fault> {
    if anchor != 0 {
        return Err(fault(
            line,
            "anchors are not supported: write the value out, or put a text that begins with & into quotes",
        ));
    }
    if has_tag {
        return Err(fault(
            line,
            "tags are not supported: put a text that begins with ! into quotes",
        ));
    }
    Ok(())
}

/// All documents of a text, and what ended them.
#[cfg(test)]
pub(crate) fn documents(text: &str) -> (Vec<Node>, Option<Fault>) {
    let mut documents = Vec::new();
    for document in Documents::new(text, text.len()) {
        match document {
            Ok(root) => documents.push(root),
            Err(fault) => return (documents, Some(fault)),
        }
    }
    (documents, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nodes_know_their_lines_and_scalars_stay_as_written() {
        let text = "# pools\nkind: pool\nname: 0163\n---\nkind: ip\nlist:\n  - a: 1\n    b: '~'\n  - yes\n---\n";
        let (documents, fault) = documents(text);
        assert_eq!(fault, None);
        assert_eq!(documents.len(), 2);
        let Value::Map(entries) = &documents[0].value else {
            panic!("not a map");
        };
        assert_eq!(entries[1].line, 3);
        let is_plain = true;
        let text = "0163".to_owned();
        assert_eq!(entries[1].node.value, Value::Scalar { text, is_plain });
        let Value::Map(entries) = &documents[1].value else {
            panic!("not a map");
        };
        let Value::List(items) = &entries[1].node.value else {
            panic!("not a list");
        };
        assert_eq!(
            items.iter().map(|item| item.line).collect::<Vec<_>>(),
            [7, 9]
        );
        let Value::Map(entries) = &items[0].value else {
            panic!("not a map");
        };
        assert!(!entries[1].node.is_null(), "a quoted ~ is a text");
    }

    #[test]
    fn what_policy_does_not_need_is_refused_with_its_line() {
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        for (text, line, words) in [
            ("a: 1\nb: &x 2\n", 2, "anchors"),
            ("a: 1\nb: *x\n", 2, "\"*x\""),
            (
                "a: 1\nb: *.acme.example\n",
                2,
                "in quotes, because of the character that it begins with: \"*.acme.example\"",
            ),
            (
                "a: 1\nb: [x.example, *.acme.example]\n",
                2,
                "\"*.acme.example\"",
            ),
            ("a:\n  - b\n  - *.acme.example\n", 3, "\"*.acme.example\""),
            ("a: 1\nb: @acme\n", 2, "\"@acme\""),
            ("a: 1\nb: %acme # c\n", 2, "\"%acme\""),
            ("a: 1\n\nb: !!str 2\n", 3, "tags"),
            ("a: 1\n[b]: 2\n", 2, "key"),
            ("a: 1\n b: 2\n", 2, "not YAML"),
            ("a: 'x\n", 1, "not YAML"),
            ("%YAML 1.1\n---\na: 1\n", 1, "not YAML"),
            (&deep, 1, ""),
        ] {
            let (_, fault) = documents(text);
            let fault = fault.unwrap_or_else(|| panic!("no fault in {text:?}"));
            assert!(fault.message.contains(words), "{text:?}: {fault:?}");
            assert_eq!(fault.line, line, "{text:?}: {fault:?}");
        }
    }

    #[test]
    fn documents_before_a_fault_are_kept() {
        let (documents, fault) = documents("a: 1\n---\nb: [\n");
        assert_eq!((documents.len(), fault.is_some()), (1, true));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\t]{0,200}") {
            documents(&text);
        }

        #[test]
        fn no_yaml_like_text_panics(parts in proptest::collection::vec(
            prop::sample::select(vec!["a", ":", " ", "\n", "- ", "[", "]", "{", "}", "'", "\"", "|", ">", "---", "...", "&b",
                "*b", "!", "%", "#", "? ", ",", "\t", "é", "\u{feff}", "\r", "\0", "\\"]), 0..60)
        ) {
            documents(&parts.concat());
        }
    }
}
