//! A stream plan as people read it: per node what it does, its state with its bound, what it emits, and its watermark.

use std::fmt;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use super::edge::{Bound, Edge};
use crate::changelog::Changes;
use crate::clock::Micros;
use crate::sql::{interval, text_of};
use crate::watermark::{Monotone, WatermarkExpr};

/// An expression near to how it was written.
pub(super) fn written(expr: &Expr) -> String {
    match text_of(expr) {
        // Not everything has such a form.
        text if text.contains('…') => expr.to_string(),
        text => text,
    }
}

/// One node of an explained stream plan.
#[derive(Debug, Clone)]
pub struct ExplainNode {
    /// What it does, in one line.
    pub what: String,
    /// Columns of its output that are times, with their watermarks.
    pub times: Vec<(String, WatermarkExpr)>,
    pub changes: Changes,
    pub state: Option<ExplainState>,
    /// What leaves of it before it is final.
    pub early: Option<String>,
    pub inputs: Vec<ExplainNode>,
}

/// What an operator keeps.
#[derive(Debug, Clone)]
pub struct ExplainState {
    pub operator: String,
    /// One row for each of these.
    pub per: String,
    pub bound: Bound,
    pub emits: &'static str,
    /// Rows that one input row becomes before it is aggregated, where windows cannot share panes.
    pub rows_factor: Option<i64>,
}

impl ExplainNode {
    pub(super) fn new(what: String, edge: &Edge, schema: &DFSchema, inputs: Vec<ExplainNode>) -> Self {
        let times = edge.columns.iter().zip(schema.fields());
        let times = times.filter_map(|(facts, field)| Some((field.name().clone(), facts.watermark.clone()?)));
        ExplainNode { what, times: times.collect(), changes: edge.changes.clone(), state: None, early: None, inputs }
    }

    /// The same node with other columns: a projection is not worth a line of its own.
    pub(super) fn with_times(self, edge: &Edge, schema: &DFSchema) -> Self {
        let ExplainNode { times, .. } = ExplainNode::new(String::new(), edge, schema, vec![]);
        ExplainNode { times, ..self }
    }

    /// Indented lines, the root first.
    pub fn lines(&self, names: Names<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        self.write(0, names, &mut lines);
        lines
    }

    fn write(&self, depth: usize, names: Names<'_>, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth);
        lines.push(format!("{indent}{}", self.what));
        if let Some(state) = &self.state {
            lines.push(format!("{indent}    state {}: {state}", state.operator));
            lines.push(format!("{indent}    emits {}", state.emits));
        }
        if let Some(early) = &self.early {
            lines.push(format!("{indent}    emits early, with is_final = false: {early}"));
        }
        if self.changes != Changes::Append {
            lines.push(format!("{indent}    changes: {}", self.changes));
        }
        for (column, watermark) in &self.times {
            lines.push(format!("{indent}    watermark of {column}: {}", names.watermark(watermark)));
        }
        self.inputs.iter().for_each(|input| input.write(depth + 1, names, lines));
    }
}

/// What the numbers in watermarks stand for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// What the marks of the sources are called.
    pub sources: &'a [String],
    /// The watermarks of each operator's inputs.
    pub inputs: &'a [Vec<WatermarkExpr>],
}

impl Names<'_> {
    /// A watermark in words, as far as the sources.
    pub fn watermark(&self, expr: &WatermarkExpr) -> String {
        match expr {
            WatermarkExpr::Source(mark) => self.sources.get(*mark).cloned().unwrap_or_default(),
            WatermarkExpr::Input(at) => {
                let input = self.inputs.get(at.operator).and_then(|inputs| inputs.get(at.input));
                input.map(|input| self.watermark(input)).unwrap_or_default()
            }
            WatermarkExpr::Shift(inner, by) if *by < 0 => {
                format!("{} - {}", self.watermark(inner), interval::shown(-by))
            }
            WatermarkExpr::Shift(inner, by) => format!("{} + {}", self.watermark(inner), interval::shown(*by)),
            WatermarkExpr::Monotone(inner, Monotone::Less(by)) => {
                format!("{} - {}", self.watermark(inner), interval::shown(*by))
            }
            WatermarkExpr::Monotone(inner, Monotone::Floor { unit, .. }) => {
                format!("{}, down to {}", self.watermark(inner), interval::shown(*unit))
            }
            WatermarkExpr::Monotone(inner, Monotone::FloorMonths(months)) => {
                format!("{}, down to {months} months", self.watermark(inner))
            }
            WatermarkExpr::Min(inputs) | WatermarkExpr::Slowest(inputs) => {
                let inputs: Vec<String> = inputs.iter().map(|input| self.watermark(input)).collect();
                format!("the least of ({})", inputs.join(", "))
            }
            WatermarkExpr::Constant => "nothing to wait for".to_owned(),
        }
    }
}

impl fmt::Display for ExplainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one row for each {}; {}", self.per, self.bound)?;
        match self.rows_factor {
            Some(factor) => write!(f, "; each input row is taken up to {factor} times, once for each of its windows"),
            None => Ok(()),
        }
    }
}

/// How far a watermark has got, as against a row's time.
fn passes(by: Micros) -> String {
    match by {
        0 => "passes its time".to_owned(),
        by if by < 0 => format!("is {} before its time", interval::shown(-by)),
        by => format!("passes its time by {}", interval::shown(by)),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::WindowClose { kind, allowed_lateness: 0 } => {
                write!(f, "windows of {kind} go when the watermark passes their end")
            }
            Bound::SessionClose { kind, allowed_lateness } => {
                write!(f, "a session's rows go when the watermark passes its end")?;
                if let Some(longest) = kind.longest_us() {
                    write!(f, ", at most {} after its first row,", interval::shown(longest))?;
                }
                match allowed_lateness {
                    0 => Ok(()),
                    by => write!(f, " by {}", interval::shown(*by)),
                }
            }
            Bound::Interval { after_left, after_right }
            | Bound::Nearest { after_left, after_right: Some(after_right) } => {
                write!(
                    f,
                    "a row of the left goes when the watermark of the right {}, one of the right when that of the left {}",
                    passes(*after_left),
                    passes(*after_right)
                )
            }
            Bound::Nearest { after_left, after_right: None } => {
                write!(
                    f,
                    "a row of the left goes when the watermark of the right {}, one of the right when that of the left passes the \
                     next one of its key: one row a key stays, and what the watermarks hold back",
                    passes(*after_left)
                )
            }
            Bound::WindowClose { kind, allowed_lateness } => {
                write!(
                    f,
                    "windows of {kind} go when the watermark passes their end by {}",
                    interval::shown(*allowed_lateness)
                )
            }
        }
    }
}
