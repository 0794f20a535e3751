//! What can be set about Kafka: an allow-list with reasons, not a pass-through to librdkafka.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `[kafka]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas. `embedded` (the default) uses the log inside this process instead.
    pub brokers: String,
    /// How to talk to the brokers: `plaintext` (default), `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: SecurityProtocol,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; needed with the two `sasl_` protocols.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Needed with the two `sasl_` protocols.
    pub sasl_username: Option<String>,
    /// Never shown in logs or in `touchline.settings`.
    pub sasl_password: Option<Secret>,
    /// File or folder with the PEM certificates of the authorities to trust. Default: the system's.
    pub ssl_ca_location: Option<String>,
    /// Bytes fetched ahead of decoding, per table, in KiB. Default 32768. More costs memory and, past the processor's
    /// cache, speed; less makes the fetches of a lagging table smaller.
    pub fetch_queue_kbytes: u32,
    /// Bytes asked for per partition and fetch, in KiB. Default 1024. A larger record is still fetched.
    pub fetch_partition_kbytes: u32,
    /// How long a broker may hold a fetch back when nothing is there, in milliseconds. Default 100. It does not delay
    /// records, which end the wait at once; larger values mean fewer idle requests.
    pub fetch_wait_ms: u32,
    /// How long the start of a table may wait for the brokers before it is reported as unreachable, in milliseconds.
    /// Default 8000.
    pub connect_timeout_ms: u32,
    /// How often to look for new partitions, in milliseconds. Default 30000.
    pub metadata_interval_ms: u32,
}

/// The value of `brokers` that means the log inside this process.
pub const EMBEDDED: &str = "embedded";

impl Default for KafkaSettings {
    fn default() -> Self {
        KafkaSettings {
            brokers: EMBEDDED.to_owned(),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            ssl_ca_location: None,
            fetch_queue_kbytes: 32 * 1024,
            fetch_partition_kbytes: 1024,
            fetch_wait_ms: 100,
            connect_timeout_ms: 8_000,
            metadata_interval_ms: 30_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "plaintext",
            SecurityProtocol::Ssl => "ssl",
            SecurityProtocol::SaslPlaintext => "sasl_plaintext",
            SecurityProtocol::SaslSsl => "sasl_ssl",
        }
    }

    fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself: for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl KafkaSettings {
    /// Whether a table with these `brokers` (of its own, or else ours) reads the log inside this process.
    pub fn is_embedded(&self, table_brokers: Option<&str>) -> bool {
        self.brokers_for(table_brokers) == EMBEDDED
    }

    pub fn brokers_for<'a>(&'a self, table_brokers: Option<&'a str>) -> &'a str {
        table_brokers.unwrap_or(&self.brokers)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.into())
    }

    pub(super) fn fetch_wait(&self) -> Duration {
        Duration::from_millis(self.fetch_wait_ms.into())
    }

    pub(super) fn metadata_interval(&self) -> Duration {
        Duration::from_millis(self.metadata_interval_ms.into())
    }

    /// What connects: brokers and credentials. Also the beginning of a producer's settings.
    ///
    /// # Errors
    /// `Invalid` where the SASL keys do not fit together.
    pub fn connection(&self, brokers: &str) -> Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        config.set("client.id", "touchline");
        config.set("security.protocol", self.security_protocol.name());
        // An idle connection through a firewall is found dead by the kernel, not by a fetch that never returns.
        config.set("socket.keepalive.enable", "true");
        // A broker that comes back is found within a second; the default backs off to ten.
        config.set("reconnect.backoff.max.ms", "1000");
        config.set_log_level(RDKafkaLogLevel::Warning);
        if let Some(ca) = &self.ssl_ca_location {
            config.set("ssl.ca.location", ca);
        }
        if self.security_protocol.has_sasl() {
            let (Some(mechanism), Some(username), Some(password)) =
                (self.sasl_mechanism, &self.sasl_username, &self.sasl_password)
            else {
                return Err(Error::invalid(format!(
                    "security_protocol = \"{}\" lacks credentials",
                    self.security_protocol.name()
                ))
                .hint("set sasl_mechanism, sasl_username and sasl_password under [kafka]"));
            };
            config.set("sasl.mechanism", mechanism.name());
            config.set("sasl.username", username);
            config.set("sasl.password", password.reveal());
        }
        Ok(config)
    }

    pub(super) fn consumer(&self, brokers: &str) -> Result<ClientConfig> {
        let mut config = self.connection(brokers)?;
        // librdkafka wires its queues up, and lets partitions be assigned by hand, only with a group. The group is
        // never joined and nothing is committed to it: offsets live in our manifests.
        config.set("group.id", "touchline");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // A gap must be an error: every other value moves the position silently and loses or repeats records.
        config.set("auto.offset.reset", "error");
        config.set("isolation.level", "read_committed");
        // Costs nothing measurable with hardware CRC32C.
        config.set("check.crcs", "true");
        // Only the end tells the position behind control records and compacted ones.
        config.set("enable.partition.eof", "true");
        // A misspelt topic is an error to report, not a topic to create.
        config.set("allow.auto.create.topics", "false");
        config.set("queued.max.messages.kbytes", self.fetch_queue_kbytes.to_string());
        // Deep queues are slower: messages recycled while in the cache cost a third of those that are not.
        config.set("queued.min.messages", "50000");
        // The default of 1000 ms makes a sawtooth: fetching pauses for a second after each full queue.
        config.set("fetch.queue.backoff.ms", "20");
        // A record is sent as soon as it is there; waiting for more bytes would be latency.
        config.set("fetch.min.bytes", "1");
        config.set("fetch.wait.max.ms", self.fetch_wait_ms.to_string());
        let partition_bytes = u64::from(self.fetch_partition_kbytes) * 1024;
        config.set("fetch.message.max.bytes", partition_bytes.to_string());
        config.set("fetch.max.bytes", partition_bytes.max(16 << 20).to_string());
        // A partition that fails (leader moves) is asked again soon; the default waits 500 ms.
        config.set("fetch.error.backoff.ms", "100");
        config.set("topic.metadata.refresh.interval.ms", self.metadata_interval_ms.clamp(1_000, 30_000).to_string());
        Ok(config)
    }
}
