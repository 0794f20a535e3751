//! A join of each row of one side with the one of the other that is the nearest to it in time: `a ASOF JOIN b ON a.k = b.k AND a.ts >= b.ts`.
//!
//! ```text
//! left  ─► OperatorExec ─► each row of the left once, when the nearest of the right is certain
//! right ─►       state: the rows of the left that wait for that, and the rows of the right that can still be the nearest to one
//! ```
//!
//! A row of the left waits until the right's watermark has passed its time: then no nearer row can come. Where the first row behind a time is
//! looked for, it waits until that of the tolerance has been passed, too. Of the right the newest row of each key stays, and those behind the
//! least time that a row of the left can have. Over input that ends, [`batch`] does the same with the same lookup.

pub mod batch;
mod definition;
mod operator;
mod right;
mod store;
mod versions;

pub use definition::{AsOfJoin, Shape};
