//! Settings that are defined where they are used.

pub use crate::source::embedded::EmbeddedSettings;
pub use crate::source::kafka::KafkaSettings;
pub use crate::store::StoreSettings;
