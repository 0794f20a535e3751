//! Simulated matches reach their destination as they are, and a server that reads them answers what the truth files say.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

use crate::process::{Server, Site};
use crate::services::{self, Need, Outcome, trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("simulate::kafka_holds_what_the_files_hold", &[Need::Kafka], kafka_holds_what_the_files_hold),
        trial("simulate::a_broker_that_does_not_answer_is_named", &[], a_broker_that_does_not_answer),
        trial("simulate::a_server_answers_what_the_truth_says", &[], a_server_answers_what_the_truth_says),
        trial("simulate::a_log_in_use_and_bad_arguments_are_refused", &[], refused),
    ]
}

const TOPICS: [&str; 5] = ["match-events", "engagements", "live-matches", "player-live-stats", "team-live-stats"];

/// The lines of a topic's files, by partition.
fn files(folder: &Path, topic: &str) -> Result<Vec<Vec<String>>, Failed> {
    let mut paths: Vec<_> =
        fs::read_dir(folder.join(topic))?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())).collect()
}

/// (key, value) of every record of a topic, by partition.
fn consumed(brokers: &str, topic: &str) -> Result<Vec<Vec<(String, String)>>, Failed> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", unique("reader")).create()?;
    let limit = Duration::from_secs(20);
    let metadata = consumer.fetch_metadata(Some(topic), limit)?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..count as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        left += consumer.fetch_watermarks(topic, partition, limit)?.1;
    }
    consumer.assign(&assignment)?;
    let mut records = vec![Vec::new(); count];
    let deadline = Instant::now() + limit;
    while left > 0 {
        if Instant::now() > deadline {
            return Err(format!("{left} records of {topic} did not come").into());
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        records[message.partition() as usize].push((text(message.key()), text(message.payload())));
        left -= 1;
    }
    Ok(records)
}

fn kafka_holds_what_the_files_hold() -> Outcome {
    let site = Site::new()?;
    let (brokers, prefix) = (services::kafka()?, unique("simulated"));
    let to = format!("kafka://{brokers}/{prefix}-");
    let simulate = |to: &str, more: &[&str]| {
        site.output(&[&["simulate", "--matches", "3", "--to", to, "--partitions"], more].concat())
    };
    let told = simulate("files", &["4"])?;
    assert_eq!(simulate(&to, &["4", "--truth", "truth"])?, told);
    for topic in TOPICS {
        let expected = files(&site.path("files"), topic)?;
        assert_eq!(expected.len(), 4, "{topic}");
        let records = consumed(&brokers, &format!("{prefix}-{topic}"))?;
        let values: Vec<Vec<String>> =
            records.iter().map(|records| records.iter().map(|(_, value)| value.clone()).collect()).collect();
        assert!(values == expected, "{topic} differs from its files");
        for (key, value) in records.iter().flatten() {
            let Ok(value) = serde_json::from_str::<Value>(value) else { continue };
            let id = &value[if topic == "engagements" { "user_id" } else { "match_id" }];
            assert!(id == key.as_str() || !id.is_string() || id == "dirt", "{topic}: {key} is not the key of {value}");
        }
    }
    for file in ["summary.json", "crowd_10s.ndjson"] {
        assert_eq!(fs::read(site.path("truth").join(file))?, fs::read(site.path("files/truth").join(file))?);
    }
    // Topics that exist keep their partitions, whatever is asked for.
    simulate(&to, &["7", "--rows", "late"])?;
    assert_eq!(consumed(&brokers, &format!("{prefix}-engagements"))?.len(), 4);
    Ok(())
}

fn a_broker_that_does_not_answer() -> Outcome {
    let site = Site::new()?;
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let ran = site.run(&["simulate", "--to", &format!("kafka://{nobody}")])?;
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("no answer from Kafka at {nobody}")), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: check host and port in --to"), "{}", ran.stderr);
    let ran = site.run(&["simulate", "--to", &format!("kafka://{nobody}/a topic")])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    Ok(())
}

const VIEWS: [&str; 3] = ["crowd_10s", "engagement_per_minute", "device_minutes"];

/// Topic engagements into the embedded log in two parts, what is late in the second; the server is killed in between.
fn a_server_answers_what_the_truth_says() -> Outcome {
    let site = Site::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    site.write("schemas/engagements.sql", &fs::read_to_string(root.join("schemas/engagements.sql"))?)?;
    for view in VIEWS {
        let file = format!("queries/{view}.sql");
        site.write(&file, &fs::read_to_string(root.join(&file))?)?;
    }
    let simulate = |rows: &[&str]| {
        let arguments = ["simulate", "--seed", "5", "--matches", "2", "--partitions", "3", "--to", "embedded"];
        site.output(&[&arguments[..], &["--truth", "truth", "--rows"], rows].concat())
    };
    simulate(&["punctual", "--seal"])?;
    let summary: Value = serde_json::from_str(&fs::read_to_string(site.path("truth/summary.json"))?)?;
    let truth = |view: &str| -> Result<Vec<Value>, Failed> {
        let text = fs::read_to_string(site.path("truth").join(format!("{view}.ndjson")))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Failed::from)).collect()
    };
    let server = site.serve(&[("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms")])?;
    server.wait_for("the first windows", |server| {
        Ok((number(server, "SELECT count(*) AS n FROM crowd_10s")? > 0).then_some(()))
    })?;
    server.kill()?;
    let server = site.serve(&[])?;
    wait_for_rows(&server, &truth)?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");

    simulate(&["late"])?;
    let server = site.serve(&[])?;
    for view in VIEWS {
        let late = &summary["queries"][view]["late_entries"];
        let sql = format!("SELECT count(*) AS n FROM touchline.late WHERE query = '{view}'");
        server.wait_for("the late rows", |server| {
            Ok((number(server, &sql)? >= late.as_u64().unwrap_or(0)).then_some(()))
        })?;
        assert_eq!(number(&server, &sql)?, late.as_u64().unwrap_or(0), "{view}");
        assert!(late.as_u64() > Some(0), "{view}");
    }
    wait_for_rows(&server, &truth)?;
    let ours = |row: &Value| row["match_id"] != "dirt";
    let crowd: BTreeMap<String, Value> = server
        .query("SELECT CAST(window_start AS VARCHAR) || match_id AS id, * FROM crowd_10s ORDER BY 1")?
        .into_iter()
        .filter(ours)
        .map(|row| (row["id"].to_string(), row))
        .collect();
    let expected = truth("crowd_10s")?;
    assert_eq!(crowd.len(), expected.len());
    for (row, truth) in crowd.values().zip(&expected) {
        for column in ["match_id", "events", "reactions", "about_an_event"] {
            assert_eq!(row[column], truth[column], "{row} {truth}");
        }
    }
    // Of each kind that the query's columns show, with the reason that the truth gives.
    let dead = server.query("SELECT reason FROM touchline.dead_letters WHERE query = 'crowd_10s'")?;
    let mut left: Vec<&str> = dead.iter().filter_map(|row| row["reason"].as_str()).collect();
    for row in truth("dead_letters")?.iter().filter(|row| row["topic"] == "engagements") {
        if !row["field"].is_null() && row["field"] != "match_id" && row["field"] != "engagement_type" {
            continue;
        }
        let reason = row["reason"].as_str().unwrap_or_default();
        for _ in 0..row["records"].as_u64().unwrap_or(0) {
            let at = left.iter().position(|found| found.starts_with(reason));
            let at = at.ok_or_else(|| format!("no letter for {row} among {left:?}"))?;
            left.swap_remove(at);
        }
    }
    assert!(left.is_empty(), "letters that the truth does not know: {left:?}");
    Ok(())
}

fn wait_for_rows(server: &Server, truth: &dyn Fn(&str) -> Result<Vec<Value>, Failed>) -> Outcome {
    for view in VIEWS {
        let (expected, sql) = (truth(view)?, format!("SELECT * FROM {view} WHERE match_id <> 'dirt'"));
        server.wait_for(view, |server| {
            let rows = server.query(&sql)?;
            let sum = |rows: &[Value]| rows.iter().filter_map(|row| row["events"].as_u64()).sum::<u64>();
            let found = (rows.len(), sum(&rows));
            match found == (expected.len(), sum(&expected)) {
                true => Ok(Some(())),
                false => Err(format!("{found:?} of {:?} rows and events", (expected.len(), sum(&expected))).into()),
            }
        })?;
    }
    Ok(())
}

fn number(server: &Server, sql: &str) -> Result<u64, Failed> {
    let rows = server.query(sql)?;
    rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| format!("no number from {sql}").into())
}

fn refused() -> Outcome {
    let site = Site::new()?;
    site.output(&["simulate", "--viewers", "10", "--to", "embedded:data"])?;
    let server = site.serve(&[("TOUCHLINE_DATA_DIR", "data")])?;
    let ran = site.run(&["simulate", "--to", "embedded:data"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert!(ran.stderr.contains("another process uses the embedded log"), "{}", ran.stderr);
    drop(server);
    for (arguments, code, said) in [
        (["--matches", "51"], 64, "51 matches cannot be simulated at once\n  hint: ask for 1 to 50"),
        (["--partitions", "0"], 64, "0 partitions are not possible\n  hint: ask for 1 to 64"),
        (["--start", "noon"], 2, "write it as 2026-01-10T15:00:00Z"),
        (["--rows", "early"], 2, "[possible values: punctual, late, ahead]"),
    ] {
        let ran = site.run(&[&["simulate", "--to", "files"], &arguments[..]].concat())?;
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let ran = site.run(&["simulate", "--to", "s3://bucket"])?;
    assert!(
        ran.stderr.contains("s3:// is not a target; write a folder, kafka://HOST:PORT or embedded"),
        "{}",
        ran.stderr
    );
    Ok(())
}
