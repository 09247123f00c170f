//! Lines of an import.

use std::borrow::Cow;
use std::fmt;

use super::super::entry::{Entry, NewEntry, Reason};
use super::super::key::{BadScope, Key, Scope, ScopeKind};
use super::super::subject::Written;
use super::fields::{self, Malformed};
use super::{Column, HEADER};
use crate::nearest;
use crate::rfc3339;
use crate::time::UnixMs;

/// The longest line of an export has 2 kB.
pub const LINE_BYTES_MAX: usize = 8 << 10;

/// What goes for a file that does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    pub scope: Scope,
    pub reason: Reason,
    pub created: UnixMs,
    pub source: String,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: u64,
    /// Empty: the whole line is.
    pub column: String,
    pub what: String,
    /// What would do.
    pub example: Cow<'static, str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}; such as {}", self.what, self.example)
    }
}

impl std::error::Error for Fault {}

/// Reads a file, line by line.
#[derive(Debug)]
pub struct Reader {
    defaults: Defaults,
    /// Of the lines so far.
    line: u64,
    /// None before the first line; empty if that was a header that cannot be read.
    columns: Option<Vec<Column>>,
}

/// What a column is not, before it is known where.
type Wrong = (Column, String);

impl Reader {
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            line: 0,
            columns: None,
        }
    }

    /// Reads the next line, with or without its end. A header and empty lines hold no entry.
    ///
    /// # Errors
    /// What is wrong with it. Lines behind it can be read, unless it is the header.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<NewEntry>, Fault> {
        self.line += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(self.fault(format!("it has more than {LINE_BYTES_MAX} octets")));
        }
        let text = str::from_utf8(line).map_err(|_| self.fault("it is not UTF-8"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        let text = if self.columns.is_none() {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let fields =
            fields::split(text).map_err(|(nth, malformed)| self.malformed(nth, malformed))?;
        if self.columns.is_none() {
            let is_header = self.header(&fields)?;
            if is_header {
                return Ok(None);
            }
        }
        self.entry(&fields).map(Some)
    }

    /// Reads the first line, unless it is an address or a domain already.
    fn header(&mut self, fields: &[Cow<'_, str>]) -> Result<bool, Fault> {
        if let [only] = fields
            && only.contains(['@', '.'])
        {
            self.columns = Some(vec![Column::Address]);
            return Ok(false);
        }
        self.columns = Some(Vec::new());
        let mut columns = Vec::with_capacity(Column::ALL.len());
        for field in fields {
            let name = field.trim().to_ascii_lowercase();
            let column = Column::of(&name).ok_or_else(|| self.unknown(&name))?;
            if columns.contains(&column) {
                return Err(self.named(&name, "it is there twice"));
            }
            columns.push(column);
        }
        if !columns.contains(&Column::Address) {
            return Err(self.named("address", "it is missing, and nothing can be without"));
        }
        self.columns = Some(columns);
        Ok(true)
    }

    fn entry(&self, fields: &[Cow<'_, str>]) -> Result<NewEntry, Fault> {
        let columns = self.columns.as_deref().unwrap_or_default();
        if columns.is_empty() {
            return Err(self.fault("the first line of the file was none of columns"));
        }
        if fields.len() != columns.len() {
            let (has, wanted) = (fields.len(), columns.len());
            return Err(self.fault(format!("it has {has} fields, and the first line {wanted}")));
        }
        let field = |column: Column| {
            let place = columns.iter().position(|one| *one == column)?;
            Some(fields[place].as_ref())
        };
        entry(&self.defaults, field).map_err(|(column, what)| Fault {
            column: column.name().to_owned(),
            example: column.example().into(),
            ..self.fault(what)
        })
    }

    fn malformed(&self, nth: usize, malformed: Malformed) -> Fault {
        let column = self.columns.as_ref().and_then(|columns| columns.get(nth));
        let what = match malformed {
            Malformed::Open => "a field begins with a quote, and none ends it on this line",
            Malformed::Behind => "something follows the quote that ends a field",
            Malformed::Inside => "a field has a quote and does not begin with one",
        };
        Fault {
            column: column.map_or("", |column| column.name()).to_owned(),
            example: r#""He said ""no"", twice""#.into(),
            ..self.fault(what)
        }
    }

    fn unknown(&self, name: &str) -> Fault {
        let names = Column::ALL.map(Column::name);
        let what = match nearest(name, names) {
            Some(near) => format!("there is no such column, but {near}"),
            None => "there is no such column".to_owned(),
        };
        self.named(name, what)
    }

    /// About a column of the header.
    fn named(&self, name: &str, what: impl Into<String>) -> Fault {
        Fault {
            column: name.to_owned(),
            ..self.fault(what)
        }
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            line: self.line,
            column: String::new(),
            what: what.into(),
            example: HEADER.into(),
        }
    }
}

fn entry<'l>(
    defaults: &Defaults,
    field: impl Fn(Column) -> Option<&'l str>,
) -> Result<NewEntry, Wrong> {
    let given = |column: Column| field(column).map_or("", str::trim);
    let written = Written::parse(given(Column::Address));
    let written = written.map_err(|error| (Column::Address, error.to_string()))?;
    let subject = written.subject.check();
    subject.map_err(|error| (Column::Address, error.to_string()))?;
    let entry = Entry {
        reason: reason(given(Column::Reason))?.unwrap_or(defaults.reason),
        source: field(Column::Source).unwrap_or(&defaults.source).to_owned(),
        created: at(Column::Created, given(Column::Created))?.unwrap_or(defaults.created),
        expires: at(Column::Expires, given(Column::Expires))?,
        note: field(Column::Note).unwrap_or_default().to_owned(),
    };
    entry.check().map_err(|error| match error.field() {
        "source" => (Column::Source, error.to_string()),
        _ => (Column::Note, error.to_string()),
    })?;
    let words = [Column::Scope, Column::Tenant, Column::Stream].map(given);
    Ok(NewEntry {
        key: Key {
            scope: scope(&defaults.scope, words)?,
            subject: written.subject,
        },
        spelling: written.spelling,
        entry,
    })
}

fn reason(name: &str) -> Result<Option<Reason>, Wrong> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = Reason::of(&name.to_ascii_lowercase());
    let unknown = || (Column::Reason, format!("there is no reason {name:?}"));
    found.map(Some).ok_or_else(unknown)
}

fn at(column: Column, text: &str) -> Result<Option<UnixMs>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = rfc3339::read(text);
    found
        .map(Some)
        .ok_or_else(|| (column, format!("{text:?} is no time")))
}

/// Scopes are said by their kind, or by what is given of tenant and stream; what is not given is the default's.
fn scope(default: &Scope, [kind, tenant, stream]: [&str; 3]) -> Result<Scope, Wrong> {
    let kind = match kind {
        "" if !stream.is_empty() => ScopeKind::Stream,
        "" if !tenant.is_empty() => ScopeKind::Tenant,
        "" => return Ok(default.clone()),
        kind => ScopeKind::of(&kind.to_ascii_lowercase())
            .ok_or_else(|| (Column::Scope, format!("there is no scope {kind:?}")))?,
    };
    let own = default.tenant().unwrap_or_default();
    let tenant = if tenant.is_empty() { own } else { tenant }.to_owned();
    let too_much = |column, what: &str| Err((column, what.to_owned()));
    let scope = match kind {
        ScopeKind::Global if !tenant.is_empty() && tenant != own => {
            return too_much(Column::Tenant, "what counts for everybody is of no tenant");
        }
        ScopeKind::Global | ScopeKind::Tenant if !stream.is_empty() => {
            return too_much(Column::Stream, "only the scope stream has one");
        }
        ScopeKind::Global => Scope::Global,
        ScopeKind::Tenant => Scope::Tenant(tenant),
        ScopeKind::Stream => Scope::Stream {
            tenant,
            stream: stream.to_owned(),
        },
    };
    scope.check().map_err(|error| match error {
        BadScope::Tenant(_) => (Column::Tenant, error.to_string()),
        BadScope::Stream(_) => (Column::Stream, error.to_string()),
    })?;
    Ok(scope)
}
