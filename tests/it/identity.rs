//! What a query goes on in is what it has read: a log or a file in the place of another one is refused, and where it began is not forgotten.

use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use crate::process::{Server, Site, append};
use crate::services::{self, Need, Outcome, async_trial, trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("identity::a_log_that_was_removed_and_filled_again_is_refused", &[], another_log),
        async_trial("identity::a_topic_that_was_made_anew_is_refused", &[Need::Kafka], another_topic),
        trial("identity::what_comes_between_a_stop_and_a_start_is_read_from_the_latest_record_on", &[], between),
        trial("identity::a_file_that_sorts_first_doubles_and_loses_nothing", &[], another_file),
    ]
}

const TOPIC: &str =
    "CREATE TABLE e (id BIGINT NOT NULL) WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');\n";
const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT id FROM e;\n";

fn another_log() -> Outcome {
    let site = site(TOPIC)?;
    put(&site, 0..3)?;
    let server = serve(&site)?;
    server.wait_for("three rows", |server| has(server, &[0, 1, 2]))?;
    server.terminate()?;
    fs::remove_dir_all(site.path("touchline-data/log"))?;
    put(&site, 10..20)?;
    let server = serve(&site)?;
    is_refused(&server)?;
    server.wait_for("no other row", |server| has(server, &[0, 1, 2]))
}

async fn another_topic() -> Outcome {
    let name = unique("anew");
    let brokers = services::kafka()?;
    let site = site(&TOPIC.replace("'topic' = 'e'", &format!("'brokers' = '{brokers}', 'topic' = '{name}'")))?;
    make(&name, 0..3).await?;
    let server = serve(&site)?;
    server.wait_for("three rows", |server| has(server, &[0, 1, 2]))?;
    server.terminate()?;
    let admin: AdminClient<DefaultClientContext> = kafka()?.create()?;
    for deleted in admin.delete_topics(&[name.as_str()], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await?
    {
        deleted.map_err(|(name, code)| format!("cannot delete topic {name}: {code}"))?;
    }
    make(&name, 10..20).await?;
    let server = serve(&site)?;
    is_refused(&server)?;
    server.wait_for("no other row", |server| has(server, &[0, 1, 2]))
}

/// Longest wait for one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(30);

fn kafka() -> Result<ClientConfig, Failed> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services::kafka()?);
    Ok(config)
}

/// Makes a topic of one partition with these rows. One that has just been removed may still be there for a moment.
async fn make(name: &str, ids: std::ops::Range<i64>) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = kafka()?.create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let begun = Instant::now();
    loop {
        let new = NewTopic::new(name, 1, TopicReplication::Fixed(1));
        let created: Vec<_> = admin.create_topics(&[new], &options).await?;
        match created.into_iter().find_map(Result::err) {
            None => break,
            Some(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(200)).await,
            Some((name, code)) => return Err(format!("cannot create topic {name}: {code}").into()),
        }
    }
    let producer: FutureProducer = kafka()?.create()?;
    for id in ids {
        let text = json!({ "id": id }).to_string();
        let record = FutureRecord::<(), _>::to(name).partition(0).payload(&text);
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

fn is_refused(server: &Server) -> Outcome {
    server.wait_for("the query to be refused", |server| {
        let rows = server.query("SELECT state, reason FROM touchline.queries")?;
        let [row] = rows.as_slice() else { return Ok(None) };
        let says = row["reason"].as_str().is_some_and(|reason| reason.contains("removed and made anew"));
        if row["state"] == "BLOCKED" && says { Ok(Some(())) } else { Err(row.to_string().into()) }
    })
}

fn between() -> Outcome {
    let site = site(&TOPIC.replace("'json'", "'json', 'scan.startup.mode' = 'latest-offset'"))?;
    put(&site, 0..3)?;
    let server = serve(&site)?;
    server.wait_for("the query to know where it begins", |server| {
        let rows = server.query("SELECT position FROM touchline.lag WHERE \"partition\" = 0")?;
        Ok((rows == [json!({ "position": 3 })]).then_some(()))
    })?;
    server.terminate()?;
    put(&site, 3..5)?;
    let server = serve(&site)?;
    server.wait_for("the rows of between", |server| has(server, &[3, 4]))
}

fn another_file() -> Outcome {
    let files = "CREATE TABLE e (id BIGINT NOT NULL, at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ('connector' = 'filesystem', 'path' = '../in', 'format' = 'json');\n";
    let site = site(files)?;
    site.write("in/b.ndjson", "{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n")?;
    let server = serve(&site)?;
    server.wait_for("three rows", |server| has(server, &[0, 1, 2]))?;
    server.terminate()?;
    site.write("in/a.ndjson", "{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n{\"id\":6}\n")?;
    let server = serve(&site)?;
    server.wait_for("each row once", |server| has(server, &[0, 1, 2, 3, 4, 5, 6]))
}

fn site(schema: &str) -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", schema)?;
    site.write("queries/v.sql", VIEW)?;
    Ok(site)
}

fn serve(site: &Site) -> Result<Server, Failed> {
    site.serve(&[("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms")])
}

fn put(site: &Site, ids: std::ops::Range<i64>) -> Outcome {
    append(&*site.embedded_log()?, "e", 0, &ids.map(|id| json!({ "id": id }).to_string()).collect::<Vec<_>>())
}

/// Whether the view has these rows and no others.
fn has(server: &Server, ids: &[i64]) -> Result<Option<()>, Failed> {
    let rows = server.query("SELECT id FROM v ORDER BY id")?;
    let expected: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
    if rows == expected { Ok(Some(())) } else { Err(format!("{rows:?}").into()) }
}
