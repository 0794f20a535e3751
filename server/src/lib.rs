//! Touchline: a SQL streaming analytics server on Apache DataFusion.
//!
//! The server repeats one small act. It takes the next slice of every partition (an **epoch**: a half-open range of
//! offsets each), decodes it to Arrow, runs a continuous query's plan over it once, and now and then makes the result
//! durable in a fixed order: bundle, manifest, sinks. Readers see committed checkpoints only.
//!
//! Modules stand in the order in which data flows; `server/README.md` is the map.

pub mod admin;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod logging;
pub mod server;
pub mod sink;
pub mod source;
pub mod status;
pub mod tables;
