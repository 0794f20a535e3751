//! What librdkafka reports beside messages: kept until the source asks.

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Client-wide errors since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Events {
    news: Mutex<News>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct News {
    /// The login was refused: trying again cannot help.
    pub refused: Option<String>,
    /// A TLS handshake failed: a certificate that does not fit, or a connection that broke in the middle of it.
    pub handshake: Option<String>,
    pub all_brokers_down: bool,
    /// The last error of a connection, in librdkafka's words.
    pub last: Option<String>,
}

impl Events {
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut self.news.lock())
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Broken connections are librdkafka's daily bread; what matters of them arrives in `error`.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "{message}");
            }
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut news = self.news.lock();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::UnsupportedSASLMechanism
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => news.refused = Some(reason.to_owned()),
            Some(RDKafkaErrorCode::SSL) => news.handshake = Some(reason.to_owned()),
            Some(RDKafkaErrorCode::AllBrokersDown) => news.all_brokers_down = true,
            // The group exists in name only (see `settings`): that we may not use it is of no consequence.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
            _ => news.last = Some(reason.to_owned()),
        }
        tracing::debug!(%error, reason, "kafka client event");
    }
}

impl ConsumerContext for Events {}
