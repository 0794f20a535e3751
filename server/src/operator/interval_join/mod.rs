//! A join of two streams whose rows are partners only where their times are near one another: `r.ts BETWEEN l.ts + from AND l.ts + to`.
//!
//! ```text
//! left  ─► OperatorExec ─► pairs, and the rows for which the watermark proves that no partner can come
//! right ─►       state: the rows of each side that can still find a partner, by time and by key
//! ```
//!
//! A row waits until the other side's watermark has passed the last time that a partner can have. A pair comes out in the epoch of its
//! later row; so do rows of a semi join. A row without a partner, where the join has such rows, comes out in the epoch in which it is
//! certain. A row behind its own side's watermark is late, as everywhere. Windows that are joined on their bounds are the case in which
//! `from` and `to` are zero.

mod buffer;
mod definition;
mod operator;
mod probe;

pub use definition::{IntervalJoin, Shape, SideColumns};
