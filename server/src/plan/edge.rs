//! What is known of the rows that flow from one node to the next.

use arrow::datatypes::TimeUnit;
use datafusion::common::DFSchema;

use crate::changelog::Changes;
use crate::clock::Micros;
use crate::sql::window::WindowKind;
use crate::watermark::WatermarkExpr;

/// An edge of a stream plan. `columns` stand in the order of the schema of the node below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edge {
    pub columns: Vec<ColumnFacts>,
    pub changes: Changes,
    /// Columns that name a row, by index; `None` where nothing is known to.
    pub key: Option<Vec<usize>>,
    /// Whether rows carry the hidden column that says where they were read, and at which index.
    pub row_id: Option<usize>,
    /// A row stands for all the windows that its pane lies in, whether a column still says so or not.
    pub in_panes: bool,
}

/// What is known of one column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnFacts {
    /// Of a time column: no later row has an earlier time than this.
    pub watermark: Option<WatermarkExpr>,
    pub window: Option<WindowColumn>,
    /// Of a time column, or a struct of window bounds: what it is a fixed length away from.
    pub moment: Option<Moment>,
}

/// A time that each row has, and how much later a column of the row is. Columns of the same moment are a fixed length apart in every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Which time: one number for each source of rows, a union's branches one after the other.
    pub of: Vec<usize>,
    pub by: Micros,
}

impl Moment {
    pub fn new(of: usize) -> Self {
        Moment { of: vec![of], by: 0 }
    }

    /// `None` where that is beyond all times.
    pub fn later(&self, by: Micros) -> Option<Self> {
        Some(Moment { of: self.of.clone(), by: self.by.checked_add(by)? })
    }

    /// Where the start of a window is this moment, that of a part of it; `None` where the length differs from window to window.
    /// `unit`: of the column.
    pub fn of_part(&self, kind: &WindowKind, part: WindowPart, unit: TimeUnit) -> Option<Self> {
        let tick = match unit {
            TimeUnit::Second => Some(1_000_000),
            TimeUnit::Millisecond => Some(1_000),
            TimeUnit::Microsecond => Some(1),
            // Microseconds do not say it.
            TimeUnit::Nanosecond => None,
        };
        match part {
            WindowPart::Start | WindowPart::Struct => Some(self.clone()),
            WindowPart::End => self.later(kind.fixed_us()?),
            WindowPart::Time => self.later(kind.fixed_us()?.checked_sub(tick?)?),
        }
    }
}

/// A column that says which window a row belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowColumn {
    pub kind: WindowKind,
    pub part: WindowPart,
    pub form: WindowForm,
    /// It is of a window below: of one that an aggregate has closed, or that another window function stands above. Beside a window
    /// that an aggregate above is to close it is a key.
    pub below: bool,
    /// The watermark at which a window is complete, as against its end.
    pub close: WatermarkExpr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowPart {
    Start,
    End,
    /// The last tick of the window: its end less one unit of the column.
    Time,
    /// A struct of start and end.
    Struct,
}

/// Whether the column has its value on this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowForm {
    /// It holds the start of the row's pane: the aggregate above makes windows of panes.
    Pane,
    /// A row for each window, and the column says which.
    Row,
}

/// What keeps the state of an operator finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A window's state goes when the watermark passes its end and the allowed lateness.
    WindowClose { kind: WindowKind, allowed_lateness: Micros },
    /// A row goes when the watermark passes the end of its session, and the allowed lateness.
    SessionClose { kind: WindowKind, allowed_lateness: Micros },
    /// A row goes when the other side's watermark passes its time by so much, microseconds: no partner is later.
    Interval { after_left: Micros, after_right: Micros },
    /// As with [`Bound::Interval`] of rows of the left. One of the right goes when the left's watermark passes its time by so much; `None`: when
    /// it passes the next one of the same key.
    Nearest { after_left: Micros, after_right: Option<Micros> },
}

impl ColumnFacts {
    /// The same column where rows come at other times: `moved` says what becomes of a watermark, and is `None` where nothing is known of that.
    pub fn with_watermarks(&self, moved: impl Fn(&WatermarkExpr) -> Option<WatermarkExpr>) -> Self {
        let window = self.window.as_ref().and_then(|window| {
            let close = moved(&window.close)?;
            Some(WindowColumn { close, ..window.clone() })
        });
        ColumnFacts { watermark: self.watermark.as_ref().and_then(&moved), window, moment: self.moment.clone() }
    }

    /// The same column above an operator that makes rows final: a window of it is one of below.
    pub fn closed_below(mut self) -> Self {
        if let Some(window) = &mut self.window {
            window.below = true;
        }
        self
    }
}

impl WindowColumn {
    /// Whether an expression that reads the column sees its value.
    pub fn has_value(&self) -> bool {
        // The pane of a tumbling window is the window.
        self.form == WindowForm::Row
            || (self.part == WindowPart::Start && matches!(self.kind, WindowKind::Tumble { .. }))
    }

    /// By how much it can be later than the time of a row of the window, microseconds.
    pub fn ahead_us(&self) -> i64 {
        match self.part {
            WindowPart::Start => 0,
            // A window without a limit comes when it has closed.
            WindowPart::End | WindowPart::Time | WindowPart::Struct => self.kind.longest_us().unwrap_or(0),
        }
    }
}

impl Edge {
    /// Of a plan without streams.
    pub fn fixed(schema: &DFSchema) -> Self {
        Edge { columns: vec![ColumnFacts::default(); schema.fields().len()], ..Edge::default() }
    }

    /// Indexes of the columns that a query can name.
    pub fn shown(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.len()).filter(|at| Some(*at) != self.row_id)
    }

    pub fn with_columns(&self, columns: Vec<ColumnFacts>, row_id: Option<usize>) -> Self {
        Edge { columns, changes: self.changes.clone(), key: None, row_id, in_panes: self.in_panes }
    }
}
