//! Windowed aggregation: rows in, one row for each key and window out when the watermark passes the window's end.
//!
//! ```text
//! input ─► LateGate ─► AggregateExec(Partial) by (pane, key…) ─► OperatorExec: append segments; close; emit
//!          late rows       DataFusion's own, unchanged              state: segments of each pane
//! ```
//!
//! There is no shuffle: each partition appends its partial states to the pane they belong to, and closing a window merges
//! all of them. A row that is late for one window of a `HOP` still counts in the later ones.
//!
//! `early` is what leaves of windows that are still open, and `index` how it finds the keys that an epoch has touched.

mod definition;
mod early;
mod gate;
pub(super) mod held;
mod index;
mod merge;
mod operator;
pub mod panes;
mod restored;
mod spans;
pub(super) mod ties;

pub use definition::{OutputColumn, PANE, WindowAggregate};
pub use gate::LateGateExec;
