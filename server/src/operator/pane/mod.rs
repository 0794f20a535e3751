//! What compares the rows of one window with one another: `OVER (PARTITION BY window_start …)`, and so Top-N, dedup and shares of a total.
//!
//! ```text
//! input ─► LateGate ─► ProjectionExec: pane, columns, arguments, place ─► OperatorExec: append; close; emit
//!          late rows                                                        state: the rows of each open window
//!
//! close:   the rows of one window ─► SortExec ─► WindowAggExec ─► …         DataFusion's own, unchanged
//! ```
//!
//! What falls apart by windows needs no state beyond the rows of those that are open. When one closes, an ordinary plan of DataFusion
//! runs over its rows, and whatever that can compute is right here, too.

mod closing;
mod definition;
mod operator;
mod plan;
mod rows_exec;

pub use definition::Over;
