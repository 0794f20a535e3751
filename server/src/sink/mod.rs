//! Who receives committed rows. A sink is told a checkpoint range and makes it visible once, however often it is told.

pub mod file;
pub mod parquet;
pub mod postgres;
