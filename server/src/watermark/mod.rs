//! Event-time progress: how far each partition has got, and therefore which rows are late and which windows may close.
//!
//! A watermark `W` on an edge of a plan promises that every later row has an event time of at least `W`. A source's is the
//! minimum over its partitions that are not idle, less the declared delay ([`SourceWatermark`]); a view that is read has one for each
//! of its times, as it has said itself ([`ViewWatermark`]). The watermark of any other
//! edge is a pure function of the sources' ([`WatermarkExpr`]), evaluated for all edges at once before an epoch runs
//! ([`Edges`]). None of them ever moves back.
//!
//! Each epoch has two thresholds: rows are late against the watermark *after the previous epoch*, windows close at the
//! watermark *after this one*. With a single threshold, rows that one operator emits at close would arrive late at the next
//! (the flaw that SPARK-40925 describes).
//!
//! No I/O and no clock here: the caller passes processing time in.

mod edges;
mod expression;
mod monotone;
mod slot;
mod source;
mod view;

pub use edges::{Edges, InputMarks, InputRef};
pub use expression::WatermarkExpr;
pub use monotone::Monotone;
pub use slot::SlotWatermark;
pub use source::{PartitionTime, SourceWatermark};
pub use view::ViewWatermark;

use crate::clock::Micros;

/// No watermark yet: nothing is late and nothing closes.
pub const NONE: Micros = Micros::MIN;
/// Bounded input has ended: every window closes.
pub const END: Micros = Micros::MAX;

/// How far event time has got on one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Microseconds since the Unix epoch; [`NONE`] and [`END`] are no times.
    pub at: Micros,
    /// Nothing comes from here, so nobody waits for it. What has ended is not idle: it will not wake.
    pub idle: bool,
}

impl Mark {
    pub const NONE: Mark = Mark { at: NONE, idle: false };
    pub const END: Mark = Mark { at: END, idle: false };

    pub fn new(at: Micros) -> Self {
        Mark { at, idle: false }
    }

    /// Of several edges that flow together: the least of those that somebody waits for.
    ///
    /// What has ended holds nothing back. Where all others are idle, nothing is known of what they will bring when they wake, so the
    /// mark is the least of them and idle itself; an ended one must not turn that into the end of everything.
    pub fn least(marks: impl Iterator<Item = Mark> + Clone) -> Mark {
        let open = marks.filter(|mark| mark.at != END);
        let awaited = open.clone().filter(|mark| !mark.idle).map(|mark| mark.at).min();
        match (awaited, open.map(|mark| mark.at).min()) {
            (Some(at), _) => Mark { at, idle: false },
            (None, Some(at)) => Mark { at, idle: true },
            (None, None) => Mark::END,
        }
    }
}
