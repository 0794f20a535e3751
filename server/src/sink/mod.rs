//! Where committed rows go.

pub mod parquet;
