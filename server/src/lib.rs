//! Touchline: a SQL streaming analytics server on Apache DataFusion.
//!
//! The server repeats one small act. It takes the next slice of every partition (an **epoch**: a half-open range of
//! offsets each), decodes it to Arrow, runs a continuous query's plan over it once, and now and then makes the result
//! durable in a fixed order: bundle, manifest, sinks. Readers see committed checkpoints only.
//!
//! Modules stand in the order in which data flows; `server/README.md` is the map.

pub mod config;
pub mod error;

pub mod clock;

pub mod catalog;
pub mod sql;

pub mod changelog;
pub mod plan;

pub mod source;

pub mod decode;

pub mod watermark;

pub mod pipeline;

pub mod operator;

pub mod state;

pub mod epoch;

pub mod checkpoint;
pub mod store;

pub mod sink;

pub mod status;
pub mod tables;

pub mod flight_sql;

pub mod admin;
pub mod ingest;
pub mod logging;

pub mod open_files;
pub mod panics;
pub mod registry;
pub mod server;

pub mod cases;

pub mod simulate;

pub mod cli;
