//! Settings that are defined where they are used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas. `embedded` uses the log inside this process instead.
    pub brokers: String,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        KafkaSettings { brokers: "embedded".to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Partitions of a topic that is made on first use.
    pub partitions: u32,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        EmbeddedSettings { partitions: 4 }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Base URL of the service. Unset: AWS, or `AWS_ENDPOINT`.
    ///
    /// Example: `"http://127.0.0.1:9000"`
    pub endpoint: Option<String>,
    /// TOML file with `access_key_id`, `secret_access_key` and perhaps `session_token`; it wins over the environment.
    pub credentials_file: Option<PathBuf>,
}
