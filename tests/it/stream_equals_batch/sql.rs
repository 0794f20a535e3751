//! A piece of SQL in two spellings, and the columns that are in sight.

/// The same in Touchline's dialect and in DuckDB's.
#[derive(Debug, Clone, Default)]
pub(super) struct Sql {
    pub(super) ours: String,
    pub(super) duckdb: String,
}

impl Sql {
    pub(super) fn same(text: impl Into<String>) -> Self {
        let ours = text.into();
        Sql { duckdb: ours.clone(), ours }
    }

    pub(super) fn two(ours: impl Into<String>, duckdb: impl Into<String>) -> Self {
        Sql { ours: ours.into(), duckdb: duckdb.into() }
    }

    /// `format` with each `{}` replaced by the next part.
    pub(super) fn of(format: &str, parts: &[&Sql]) -> Self {
        let fill = |part: fn(&Sql) -> &str| {
            let (mut text, mut parts) = (String::new(), parts.iter());
            for (at, piece) in format.split("{}").enumerate() {
                if at > 0 {
                    text.push_str(parts.next().map_or("", |sql| part(sql)));
                }
                text.push_str(piece);
            }
            text
        };
        Sql { ours: fill(|sql| &sql.ours), duckdb: fill(|sql| &sql.duckdb) }
    }

    pub(super) fn list(parts: &[Sql], between: &str) -> Self {
        let join = |part: fn(&Sql) -> &str| parts.iter().map(part).collect::<Vec<_>>().join(between);
        Sql { ours: join(|sql| &sql.ours), duckdb: join(|sql| &sql.duckdb) }
    }

    pub(super) fn named(&self, name: &str) -> Self {
        Sql::of(&format!("{{}} AS {name}"), &[self])
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Whole,
    Float,
    Text,
    Bool,
    /// The column `o` of the stream tables.
    Nested,
    Time(Time),
    /// `start` and `end` of a window that has been closed.
    Window(Time),
    /// What is shown and not computed with.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time {
    pub(super) tick_us: i64,
    pub(super) watermark: bool,
    pub(super) window: WindowOf,
}

/// Whether a time is a bound of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum WindowOf {
    No,
    /// The window has not been aggregated by.
    Open,
    Closed,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    /// As it can be written in an expression.
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Column {
    pub(super) fn new(name: impl Into<String>, kind: Kind) -> Self {
        Column { name: name.into(), kind }
    }

    pub(super) fn sql(&self) -> Sql {
        Sql::same(&self.name)
    }

    pub(super) fn time(&self) -> Option<Time> {
        match self.kind {
            Kind::Time(time) => Some(time),
            _ => None,
        }
    }
}
