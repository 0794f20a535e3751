//! Touchline: a SQL streaming analytics server on Apache DataFusion.
//!
//! The server repeats one small act. It takes the next slice of every partition (an **epoch**: a half-open range of
//! offsets each), decodes it to Arrow, runs a continuous query's plan over it once, and now and then makes the result
//! durable in a fixed order: bundle, manifest, sinks. Readers see committed checkpoints only.
//!
//! Modules stand in the order in which data flows; `server/README.md` is the map.

pub mod catalog;
pub mod clock;
pub mod error;
pub mod operator;
pub mod simulate;
pub mod source;
pub mod status;
pub mod tables;
