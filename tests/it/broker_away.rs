//! A Kafka broker that is away, or that hangs, says nothing of its topic: no window closes for its silence, no watermark passes it, and
//! nothing that it holds is late when it is back.
//!
//! The server reaches the broker by a line that the test cuts. The test itself writes to the broker past that line, so that rows wait in
//! the topic while the server cannot see them.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::broker_line::Line;
use crate::process::{Server, Site};
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Kafka];
    vec![
        async_trial("broker_away::no_window_closes_while_its_broker_is_away", needs, || while_it_runs(Fault::Away)),
        async_trial("broker_away::no_window_closes_while_its_broker_hangs", needs, || while_it_runs(Fault::Hangs)),
        async_trial("broker_away::no_window_closes_where_a_start_finds_no_broker", needs, at_a_start),
        async_trial("broker_away::a_broker_that_hangs_holds_the_watermark_of_a_union", needs, in_a_union),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Away,
    Hangs,
}

/// Longest wait for one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long a broker is away: three times the timeout of the queries and that of their partitions, which are 3 s both.
const AWAY: Duration = Duration::from_secs(10);
/// Between two looks at a server that is to stand still.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Partition, id, and seconds after noon.
type Row = (i32, u32, u32);

/// Of two windows of 10 s. Without the second partition the watermark would be at 11 s, and the first window closed.
const FIRST: [Row; 3] = [(0, 1, 1), (1, 2, 2), (0, 3, 16)];
/// More rows of the same two windows.
const MEANWHILE: [Row; 2] = [(1, 4, 3), (0, 5, 17)];

const COUNTS: &str = "\
CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS n, sum(id) AS s FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end
EMIT TIMEOUT INTERVAL '3 seconds';
";

/// A server that holds [`FIRST`] in open windows, and the line by which it has read them: the broker says nothing more on it, so that
/// there is no silence of its own to wait for.
struct Held {
    topic: Topic,
    line: Line,
    site: Site,
    server: Server,
}

impl Held {
    async fn new() -> Result<Self, Failed> {
        let topic = Topic::new(2).await?;
        let line = topic.line().await?;
        let site = Site::new()?;
        site.write("schemas/e.sql", &table("e", &topic.name, &line.address))?;
        site.write("queries/v.sql", COUNTS)?;
        topic.write(&FIRST).await?;
        line.hang_behind(texts(&FIRST));
        let server = site.serve(&[])?;
        stands_at(&server, "e", &held())?;
        Ok(Held { topic, line, site, server })
    }
}

async fn while_it_runs(fault: Fault) -> Outcome {
    let Held { topic, line, server, site: _site } = Held::new().await?;
    if fault == Fault::Away {
        line.cut();
        is_degraded(&server)?;
    }
    topic.write(&MEANWHILE).await?;
    stands_still(&server, "e", &held()).await?;
    line.open();
    all_is_counted(&server)
}

async fn at_a_start() -> Outcome {
    let Held { topic, line, site, server } = Held::new().await?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{status}\n{log}");

    topic.write(&MEANWHILE).await?;
    line.cut();
    let server = site.serve(&[("TOUCHLINE_KAFKA_CONNECT_TIMEOUT_MS", "3000")])?;
    is_degraded(&server)?;
    // Its windows are open again, by the checkpoint.
    stands_at(&server, "e", &held())?;
    stands_still(&server, "e", &held()).await?;
    line.open();
    all_is_counted(&server)
}

async fn in_a_union() -> Outcome {
    let (near, far) = (Topic::new(1).await?, Topic::new(1).await?);
    let line = far.line().await?;
    let site = Site::new()?;
    site.write("schemas/near.sql", &table("near", &near.name, &services::kafka()?))?;
    site.write("schemas/far.sql", &table("far", &far.name, &line.address))?;
    site.write(
        "queries/v.sql",
        "CREATE MATERIALIZED VIEW v AS
         SELECT window_start, count(*) AS n, sum(id) AS s
         FROM TUMBLE((SELECT id, ts FROM near UNION ALL SELECT id, ts FROM far), ts, INTERVAL '10 seconds')
         GROUP BY window_start, window_end;\n",
    )?;
    near.write(&[(0, 1, 1)]).await?;
    far.write(&[(0, 2, 2)]).await?;
    line.hang_behind(texts(&[(0, 2, 2)]));
    let server = site.serve(&[])?;
    let held = [json!({ "rows_out": 0, "rows_late": 0 }), partition(0, 2)];
    stands_at(&server, "far", &held)?;
    far.write(&[(0, 3, 3)]).await?;

    // The other source goes on, far beyond the first window.
    let (begin, mut second) = (Instant::now(), 100);
    while begin.elapsed() < AWAY {
        near.write(&[(0, 1_000, second)]).await?;
        second += 1;
        assert_eq!(standing(&server, "far")?, held);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    line.open();
    // Now it answers, and has nothing more: that is idle. The mark is the other source's, at its next row.
    server.wait_for("the source that is back to be idle", |server| {
        let rows = server.query("SELECT idle FROM touchline.watermarks WHERE source = 'far'")?;
        Ok((rows == [json!({ "idle": true })]).then_some(()))
    })?;
    near.write(&[(0, 1_000, second)]).await?;
    let first = server.wait_for("the first window", |server| {
        let rows = server.query("SELECT n, s FROM v WHERE window_start = TIMESTAMP '2026-01-01 12:00:00'")?;
        Ok((!rows.is_empty()).then_some(rows))
    })?;
    assert_eq!(first, [json!({ "n": 3, "s": 6 })]);
    nothing_is_late(&server)
}

/// A topic of this test, written to past the server's line.
struct Topic {
    name: String,
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
}

impl Topic {
    async fn new(partitions: i32) -> Result<Self, Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", services::kafka()?);
        let name = unique("away");
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for created in admin.create_topics(&[new], &options).await? {
            created.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
        }
        let producer: FutureProducer = config.create()?;
        Ok(Topic { name, admin, producer })
    }

    /// A way to the broker that has the topic.
    async fn line(&self) -> Result<Line, Failed> {
        let metadata = self.admin.inner().fetch_metadata(Some(&self.name), PATIENCE)?;
        let [broker] = metadata.brokers() else { return Err("these tests can cut the way to one broker alone".into()) };
        Line::to(broker.host(), u16::try_from(broker.port())?).await
    }

    async fn write(&self, rows: &[Row]) -> Outcome {
        for row in rows {
            let text = text(row);
            let record = FutureRecord::<(), _>::to(&self.name).partition(row.0).payload(&text);
            self.producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

fn table(name: &str, topic: &str, brokers: &str) -> String {
    format!(
        "CREATE TABLE {name} (id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)\n\
         WITH ('connector' = 'kafka', 'brokers' = '{brokers}', 'topic' = '{topic}', 'format' = 'json', 'idle-timeout' = '3 seconds');\n"
    )
}

/// The record of a row.
fn text((_, id, second): &Row) -> String {
    format!("{{\"id\":{id},\"ts\":\"{}Z\"}}", at(*second))
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(text).collect()
}

fn at(second: u32) -> String {
    format!("2026-01-01T12:{:02}:{:02}", second / 60, second % 60)
}

/// What the query of [`COUNTS`] stands at once it has read [`FIRST`].
fn held() -> [Value; 3] {
    [json!({ "rows_out": 0, "rows_late": 0 }), partition(0, 16), partition(1, 2)]
}

/// A partition as it stands in `touchline.watermarks`. The newest time of the slowest one is 2 s after noon, less 5 s.
fn partition(number: i32, newest: u32) -> Value {
    let watermark = "2026-01-01T11:59:57";
    json!({ "partition": number, "event_time_max": at(newest), "idle": false, "watermark": watermark })
}

/// What the only query has emitted and what was late, then how far each partition of one of its sources has got.
fn standing(server: &Server, source: &str) -> Result<Vec<Value>, Failed> {
    let mut standing = server.query("SELECT rows_out, rows_late FROM touchline.queries")?;
    standing.extend(server.query(&format!(
        "SELECT partition, event_time_max, idle, watermark FROM touchline.watermarks WHERE source = '{source}' ORDER BY partition"
    ))?);
    Ok(standing)
}

fn stands_at(server: &Server, source: &str, held: &[Value]) -> Outcome {
    server.wait_for("the first rows to be held", |server| match standing(server, source)? {
        found if found == held => Ok(Some(())),
        found => Err(format!("it stands at {found:?}").into()),
    })
}

/// Looks at it again and again while the broker is away.
async fn stands_still(server: &Server, source: &str, held: &[Value]) -> Outcome {
    let begin = Instant::now();
    while begin.elapsed() < AWAY {
        assert_eq!(standing(server, source)?, held);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn is_degraded(server: &Server) -> Outcome {
    server.wait_for("the query to be degraded", |server| {
        let rows = server.query("SELECT state FROM touchline.queries")?;
        Ok((rows == [json!({ "state": "DEGRADED" })]).then_some(()))
    })
}

/// The broker is back and then silent: both windows close, each with all of its rows.
fn all_is_counted(server: &Server) -> Outcome {
    let rows = server.wait_for("both windows", |server| {
        let rows = server.query("SELECT n, s FROM v ORDER BY window_start")?;
        if rows.len() >= 2 {
            return Ok(Some(rows));
        }
        Err(format!("there are {rows:?}, and it stands at {:?}", server.query("SELECT * FROM touchline.watermarks")?)
            .into())
    })?;
    assert_eq!(rows, [json!({ "n": 3, "s": 7 }), json!({ "n": 2, "s": 8 })]);
    nothing_is_late(server)
}

fn nothing_is_late(server: &Server) -> Outcome {
    assert_eq!(server.query("SELECT * FROM touchline.late")?, Vec::<Value>::new());
    assert_eq!(server.query("SELECT rows_late FROM touchline.queries")?, [json!({ "rows_late": 0 })]);
    Ok(())
}
