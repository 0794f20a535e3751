//! Sessions: the rows of a key that follow one another by no more than a gap, each with the bounds of its session.
//!
//! ```text
//! input ─► OperatorExec ─► the rows of a session when none can come any more, with window_start, window_end and window_time
//!                state: the rows of the open sessions
//! ```
//!
//! How long a session lasts is known only behind its end, and a row may join two of them. So nothing is computed of a row before that, and
//! what stands above is what stands above any rows. A row behind the watermark is late, unless a session that is still open reaches over
//! it: it then changes nothing that has been emitted.
//!
//! ```text
//! change   what an epoch's rows make of the sessions, and which of these close; state once it is applied
//! merge    which rows and sessions follow one another
//! index    the open sessions by the hash of their key, and when the next can close
//! rows     their rows, in segments; each is linked to the next one of its session
//! ```

mod change;
mod definition;
mod index;
mod merge;
mod operator;
mod rows;

pub use definition::{Sessions, Shape};
