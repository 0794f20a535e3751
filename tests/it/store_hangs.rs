//! A store that takes requests and answers none: every place says so, readers are answered, and the end of the server does not wait for it.

use std::io;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::{Server, Site};
use crate::services::{self, Need, Outcome, S3, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Kafka, Need::S3];
    vec![async_trial("store_hangs::it_is_named_everywhere_and_nothing_waits_for_it_without_an_end", needs, it_hangs)]
}

/// Longest wait for one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(30);

async fn it_hangs() -> Outcome {
    let s3 = S3::from_env()?;
    let line = Line::to(s3.endpoint.trim_start_matches("http://").trim_end_matches('/')).await?;
    let (name, brokers) = (unique("hangs"), services::kafka()?);
    let site = Site::new()?;
    site.write(
        "schemas/e.sql",
        &format!(
            "CREATE TABLE e (id BIGINT NOT NULL) WITH ('connector' = 'kafka', 'brokers' = '{brokers}', 'topic' = '{name}', \
             'format' = 'json');\n"
        ),
    )?;
    site.write("queries/v.sql", "CREATE MATERIALIZED VIEW v AS SELECT id FROM e;\n")?;
    let state = format!("s3://{}/{name}/state", s3.bucket);
    let serve = || {
        site.serve(&[
            ("TOUCHLINE_STORAGE_STATE_URL", &state),
            ("TOUCHLINE_S3_ENDPOINT", &line.address),
            ("TOUCHLINE_S3_ALLOW_HTTP", "true"),
            ("TOUCHLINE_ENGINE_STALL_AFTER", "1s"),
        ])
    };
    make(&name).await?;
    put(&name, 1).await?;
    let server = serve()?;
    server.wait_for("the first row", |server| has(server, &[1]))?;

    line.hang();
    put(&name, 2).await?;
    server.wait_for("the query to say where it stands", |server| {
        let rows = server.query("SELECT state, arguments, reason FROM touchline.queries")?;
        let [row] = rows.as_slice() else { return Ok(None) };
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        let says = text("state") == "STALLED"
            && text("arguments").starts_with("committing, ")
            && text("reason").contains("storage.state_url");
        if says { Ok(Some(())) } else { Err(row.to_string().into()) }
    })?;
    let (code, ready) = server.get("/readyz")?;
    assert!(code == 200 && ready.contains("\"STALLED\""), "its view can be read: {code} {ready}");
    let (_, metrics) = server.get("/metrics")?;
    assert!(metrics.contains("touchline_query_state{query=\"v\",state=\"STALLED\"} 1"), "{metrics}");
    let shown = site.output(&["status", "--url", &format!("grpc://{}", server.flight)])?;
    assert!(shown.contains("STALLED") && shown.contains("committing"), "{shown}");
    server.wait_for("the log to say so", |server| Ok(server.log().contains("\"state\":\"STALLED\"").then_some(())))?;
    assert_eq!(server.query("SELECT id FROM v")?, [json!({ "id": 1 })], "what is committed is in memory");

    let (status, took, log) = server.terminate()?;
    assert!(status.success(), "nothing is lost, so it is no failure: {status}\n{log}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(log.contains("query ended without a last checkpoint"), "{log}");

    line.open();
    let server = serve()?;
    server.wait_for("each row once", |server| has(server, &[1, 2]))
}

fn has(server: &Server, ids: &[i64]) -> Result<Option<()>, Failed> {
    let rows = server.query("SELECT id FROM v ORDER BY id")?;
    let wanted: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
    Ok((rows == wanted).then_some(()))
}

fn kafka() -> Result<ClientConfig, Failed> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services::kafka()?);
    Ok(config)
}

async fn make(topic: &str) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = kafka()?.create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    for created in admin.create_topics(&[new], &options).await? {
        created.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }
    Ok(())
}

async fn put(topic: &str, id: i64) -> Outcome {
    let producer: FutureProducer = kafka()?.create()?;
    let text = json!({ "id": id }).to_string();
    let record = FutureRecord::<(), _>::to(topic).partition(0).payload(&text);
    producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
    Ok(())
}

/// The way to a store, for a test to let hang. Its connections end with the runtime of the test.
struct Line {
    /// A URL for clients.
    address: String,
    silent: watch::Sender<bool>,
}

impl Line {
    async fn to(store: &str) -> Result<Self, Failed> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let (silent, is_silent) = watch::channel(false);
        let store = store.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, store.clone(), is_silent.clone()));
            }
        });
        Ok(Line { address, silent })
    }

    /// Whatever is sent from now on is taken, and never answered.
    fn hang(&self) {
        self.silent.send_replace(true);
    }

    /// For connections that are made from now on.
    fn open(&self) {
        self.silent.send_replace(false);
    }
}

async fn carry(mut client: TcpStream, store: String, mut silent: watch::Receiver<bool>) -> io::Result<()> {
    let is_silent = *silent.borrow();
    if !is_silent {
        let mut store = TcpStream::connect(store).await?;
        tokio::select! {
            biased;
            _ = silent.wait_for(|silent| *silent) => {}
            carried = tokio::io::copy_bidirectional(&mut client, &mut store) => return carried.map(drop),
        }
    }
    // What a server that is gone by then has sent must not reach the store when it answers again.
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(drop)
}
