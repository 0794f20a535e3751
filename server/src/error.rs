//! What went wrong, where, and what to do: the one error type of the server.
//!
//! A kind says who must act, not which function failed. `Display` prints this error alone; [`Error::report`] prints the
//! whole of it with detail, hint and causes, and is for the edges (log, command line, Flight status).

use std::fmt;

use datafusion::error::DataFusionError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The user: a statement, an option or a value is wrong. Repeating it cannot help.
    Invalid,
    /// Nobody yet: a service did not answer. Repeating may help.
    Unavailable,
    /// The operator: a limit was reached; raise it or ask for less.
    OverBudget,
    /// This process must stop: another server has taken over.
    Fenced,
    /// The operator: stored data is not what was written.
    Corrupt,
    /// Us: an invariant does not hold.
    Bug,
}

impl ErrorKind {
    /// The exit code of a process that ends with this error (sysexits.h numbering).
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Invalid => 64,
            ErrorKind::Unavailable => 69,
            ErrorKind::Bug => 70,
            ErrorKind::Corrupt => 74,
            ErrorKind::OverBudget => 75,
            ErrorKind::Fenced => 78,
        }
    }
}

/// A place in a configuration or SQL file, or in a statement that came by itself: then `file` is empty. Lines and columns
/// count from 1; 0 means the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    pub file: String,
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (line, column) if self.file.is_empty() => write!(f, "line {line}, column {column}"),
            (0, _) => write!(f, "{}", self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// See the module's first lines. Boxed, so that a `Result` stays as small as a pointer.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    primary: String,
    detail: Option<String>,
    hint: Option<String>,
    location: Option<Location>,
    lost: Option<String>,
    source: Option<Cause>,
}

impl Error {
    pub fn new(kind: ErrorKind, primary: impl Into<String>) -> Self {
        let primary = primary.into();
        Error(Box::new(Inner { kind, primary, detail: None, hint: None, location: None, lost: None, source: None }))
    }

    pub fn invalid(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, primary)
    }

    pub fn unavailable(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, primary)
    }

    pub fn over_budget(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::OverBudget, primary)
    }

    pub fn fenced(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, primary)
    }

    pub fn corrupt(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, primary)
    }

    pub fn bug(primary: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, primary)
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the place, unless a more exact one is already known.
    pub fn at(mut self, location: Location) -> Self {
        self.0.location.get_or_insert(location);
        self
    }

    /// Says in which file a line and column are that have been given without one. `None`: they are not in a file that is known here.
    pub fn placed_in(mut self, file: Option<&str>) -> Self {
        if let Some(place) = self.0.location.take_if(|place| place.file.is_empty()) {
            self.0.location = file.map(|file| Location { file: file.to_owned(), ..place });
        }
        self
    }

    /// Takes back a place that was only a stand-in for a more exact one.
    pub fn moved_from(mut self, place: &Location) -> Self {
        if self.0.location.as_ref() == Some(place) {
            self.0.location = None;
        }
        self
    }

    pub fn caused_by(mut self, source: impl Into<Cause>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says what is gone that was to be read, as in `topic "orders", partition 3, offsets 5 to 9`.
    pub fn losing(mut self, range: impl Into<String>) -> Self {
        self.0.lost = Some(range.into());
        self
    }

    /// See [`Error::losing`].
    pub fn lost(&self) -> Option<&str> {
        self.0.lost.as_deref()
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn primary(&self) -> &str {
        &self.0.primary
    }

    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    pub fn detail_text(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The same error again, for a second reader. Causes cannot be cloned: their text stands in the detail.
    pub fn duplicate(&self) -> Self {
        let mut detail: Vec<String> = self.0.detail.iter().cloned().collect();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            detail.push(error.to_string());
            cause = error.source();
        }
        Error(Box::new(Inner {
            kind: self.0.kind,
            primary: self.0.primary.clone(),
            detail: (!detail.is_empty()).then(|| detail.join(": ")),
            hint: self.0.hint.clone(),
            location: self.0.location.clone(),
            lost: self.0.lost.clone(),
            source: None,
        }))
    }

    /// The whole error over several lines: place and primary text, detail, hint, causes.
    pub fn report(&self) -> String {
        let mut out = String::new();
        if let Some(location) = &self.0.location {
            out.push_str(&format!("{location}: "));
        }
        out.push_str(&self.0.primary);
        if let Some(detail) = &self.0.detail {
            out.push_str(&format!("\n  detail: {detail}"));
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // Many libraries repeat the cause in their own text.
            if !out.contains(&text) {
                out.push_str(&format!("\n  cause: {text}"));
            }
            cause = error.source();
        }
        if let Some(hint) = &self.0.hint {
            out.push_str(&format!("\n  hint: {hint}"));
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.primary)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Our own errors travel through DataFusion as `External`; taking them out again keeps kind, place and hint.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::invalid(other.to_string()),
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Error::from(*inner),
            DataFusionError::Shared(inner) => match inner.as_ref() {
                DataFusionError::External(inner) if inner.is::<Error>() => {
                    inner.downcast_ref::<Error>().map_or_else(|| Error::bug("an error vanished"), Error::duplicate)
                }
                other => Error::new(kind_of(other), plain(other)),
            },
            other => Error::new(kind_of(&other), plain(&other)),
        }
    }
}

fn kind_of(error: &DataFusionError) -> ErrorKind {
    match error {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::OverBudget,
        DataFusionError::Internal(_) => ErrorKind::Bug,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// DataFusion's text without its kind prefix ("Error during planning: …"), which says nothing to the reader.
fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.strip_prefix(error.error_prefix_text()).unwrap_or(&text);
    text.trim().to_owned()
}

trait PrefixText {
    fn error_prefix_text(&self) -> &'static str;
}

impl PrefixText for DataFusionError {
    fn error_prefix_text(&self) -> &'static str {
        match self {
            DataFusionError::Plan(_) => "Error during planning: ",
            DataFusionError::SchemaError(..) => "Schema error: ",
            DataFusionError::SQL(..) => "SQL error: ",
            DataFusionError::NotImplemented(_) => "This feature is not implemented: ",
            DataFusionError::Execution(_) => "Execution error: ",
            DataFusionError::ArrowError(..) => "Arrow error: ",
            _ => "",
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::from(DataFusionError::from(error))
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Error::unavailable("object store request failed").caused_by(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::unavailable(error.to_string())
    }
}
