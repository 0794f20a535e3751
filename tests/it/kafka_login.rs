//! A topic behind TLS and a login (SASL_SSL with SCRAM-SHA-256) of a real broker.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::process::{Server, Site};
use crate::services::{self, Need, Outcome, SecureKafka, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Kafka, Need::SecureKafka];
    vec![
        async_trial("kafka_login::rows_are_read_through_tls_and_a_login", needs, rows_are_read),
        async_trial("kafka_login::what_keeps_a_query_from_its_topic_is_said_once_and_without_secrets", needs, refusals),
    ]
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A topic with one row, and a folder whose only query reads it.
async fn site() -> Result<Site, Failed> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services::kafka()?);
    let topic = unique("login");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for created in admin.create_topics(&[NewTopic::new(&topic, 1, TopicReplication::Fixed(1))], &options).await? {
        created.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }
    let producer: FutureProducer = config.create()?;
    let record = FutureRecord::<(), _>::to(&topic).payload("{\"id\":7,\"ts\":\"2026-01-01T12:00:00Z\"}");
    producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;

    let site = Site::new()?;
    site.write(
        "schemas/e.sql",
        &format!(
            "CREATE TABLE e (id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)\n\
             WITH ('connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json');\n"
        ),
    )?;
    site.write("queries/kept.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id FROM e;\n")?;
    Ok(site)
}

/// `changes` beside the settings that log in.
fn serve(site: &Site, kafka: &SecureKafka, changes: &[(&str, &str)]) -> Result<Server, Failed> {
    let mut settings = vec![
        ("TOUCHLINE_KAFKA_BROKERS", kafka.brokers.as_str()),
        ("TOUCHLINE_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("TOUCHLINE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"),
        ("TOUCHLINE_KAFKA_SASL_USERNAME", &kafka.user),
        ("TOUCHLINE_KAFKA_SASL_PASSWORD", &kafka.password),
        ("TOUCHLINE_KAFKA_SSL_CA_LOCATION", &kafka.ca),
        ("TOUCHLINE_KAFKA_CONNECT_TIMEOUT_MS", "3000"),
        ("TOUCHLINE_LOG", "debug"),
    ];
    settings.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    settings.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    site.serve(&settings)
}

async fn rows_are_read() -> Outcome {
    let (site, kafka) = (site().await?, SecureKafka::from_env()?);
    let server = serve(&site, &kafka, &[])?;
    for table in ["kept", "e"] {
        server.wait_for(&format!("the row of {table}"), |server| {
            let rows = server.query(&format!("SELECT id FROM {table}"))?;
            Ok((rows == [serde_json::json!({ "id": 7 })]).then_some(()))
        })?;
    }
    assert!(!server.log().contains(&kafka.password), "the log has the password");
    Ok(())
}

async fn refusals() -> Outcome {
    let (site, kafka) = (site().await?, SecureKafka::from_env()?);
    let wrong = unique("wrong");
    for (changes, state, said) in [
        (
            &[("TOUCHLINE_KAFKA_SASL_PASSWORD", wrong.as_str())],
            "FAILED",
            &["refuse the login", "hint: check sasl_mechanism"],
        ),
        // The system's authorities have not signed the broker's certificate.
        (&[("TOUCHLINE_KAFKA_SSL_CA_LOCATION", "")], "DEGRADED", &["no answer from the Kafka brokers", "certificate"]),
    ] {
        let server = serve(&site, &kafka, changes)?;
        let reason = server.wait_for(&format!("the query to be {state}"), |server| {
            let rows = server.query("SELECT state, reason FROM touchline.queries WHERE name = 'kept'")?;
            let row = rows.first().ok_or("no row")?;
            Ok((row["state"] == state).then(|| row["reason"].as_str().unwrap_or_default().to_owned()))
        })?;
        for said in said {
            assert!(reason.contains(said), "{reason}");
        }
        let log = server.log();
        assert!(!log.contains(&kafka.password) && !log.contains(&wrong), "the log has a password");
        let told = log
            .lines()
            .filter(|line| !line.contains("\"DEBUG\"") && line.contains("\"query\":\"kept\""))
            .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""));
        assert_eq!(told.count(), 1, "{log}");
        server.kill()?;
    }
    Ok(())
}
