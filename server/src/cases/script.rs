//! What a test says, step by step, as `parse` reads it.

use super::value::Day;
use crate::clock::Micros;
use crate::error::Location;
use crate::source::Partition;

/// The test of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// The sentence at the top of the file.
    pub(super) property: String,
    /// Files and folders with more definitions, as they are written.
    pub(super) uses: Vec<Named>,
    /// Of the times that have no date.
    pub(super) day: Day,
    /// Processing time at the beginning, where it matters.
    pub(super) clock: Option<Micros>,
    /// Watermarks are those that the rows bring about, as on a server; else they are where the test says.
    pub(super) follows_rows: bool,
    pub(super) holds: Holds,
    pub(super) steps: Vec<Step>,
    /// Mistakes that the definitions must have; there are no steps then.
    pub(super) refused: Vec<Expected>,
}

/// In which other ways the same rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Holds {
    /// In any order in which no row is late, and in batch.
    #[default]
    InBatch,
    /// In any order, but batch says something else.
    AtOnce,
    /// Where the steps are as they are written.
    StepByStep,
}

/// Something that a line names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) at: Location,
}

/// What happens in one epoch, and what must be seen of it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Of its first action.
    pub(super) line: u64,
    pub(super) actions: Vec<Action>,
    pub(super) expected: Vec<Expected>,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Rows {
        table: Named,
        partition: Partition,
        records: Vec<Record>,
    },
    /// Of one table or of all, of one partition or of all.
    Watermark {
        source: SourceName,
        at: Micros,
    },
    Idle(SourceName),
    /// Nothing comes for so long, microseconds.
    Silence(Micros),
    /// From a checkpoint, into a new pipeline.
    Restart,
    /// Of one table, or of everything.
    End(Option<Named>),
}

#[derive(Debug, Clone)]
pub(super) struct SourceName {
    pub(super) table: Option<Named>,
    pub(super) partition: Option<Partition>,
    pub(super) at: Location,
}

/// One record of a table.
#[derive(Debug, Clone)]
pub(super) enum Record {
    /// As the source has it.
    Raw(String),
    Row(Vec<(Column, Cell)>),
}

/// A column of a table of text, where it is named.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) at: Location,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Bare(String),
    /// A text, between quotes.
    Quoted(String),
}

/// A table of text.
#[derive(Debug, Clone, Default)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<GridRow>,
}

#[derive(Debug, Clone)]
pub(super) struct GridRow {
    pub(super) line: u64,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
}

/// What must be seen.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) at: Location,
    /// Of which view; `None` where there is one alone.
    pub(super) view: Option<Named>,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Rows {
        grid: Grid,
        in_order: bool,
    },
    /// All rows of open windows that readers of the view see then.
    Early(Grid),
    /// Entries of the late ledger.
    Late(Grid),
    /// Dead letters.
    Bad(Grid),
    /// The query stops with this error.
    Stops(Report),
    /// A mistake in the definitions.
    Refused(Report),
}

/// An error as people see it. What is not said of it may be anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// Place and sentence.
    pub(super) first: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
}
