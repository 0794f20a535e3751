//! Requests to the way in as a whole, without sockets: what is answered, and what is in the log then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use serde_json::{Value, json};

use super::*;
use crate::catalog::{KafkaTopic, StartAt, Statement};
use crate::config::ByteSize;
use crate::ingest::keys::{Grant, Key, change};
use crate::source::embedded::{EmbeddedSettings, EmbeddedSource};
use crate::source::{PollLimits, Source};
use crate::sql::parse_file;

/// 2026-01-01T12:00:00Z
const NOW: i64 = 1_767_268_800_000_000;

const TABLES: &str = "
    CREATE TABLE votes (id UUID NOT NULL, voter VARCHAR NOT NULL CHECK (voter <> ''), n INT NOT NULL)
    WITH ('connector' = 'kafka', 'topic' = 'votes', 'http.path' = '/api/votes', 'http.body' = 'votes[]', 'http.key' = 'voter');
    CREATE TABLE notes (\"noteId\" UUID NOT NULL, words VARCHAR)
    WITH ('connector' = 'kafka', 'topic' = 'notes', 'http.path' = '/api/notes', 'http.body' = 'record', 'http.id' = 'noteId');
    CREATE TABLE closed (n INT) WITH ('connector' = 'kafka', 'topic' = 'closed');";

struct Site {
    ingest: Ingest,
    log: Arc<EmbeddedLog>,
    folder: tempfile::TempDir,
}

impl Site {
    fn new(keys_file: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let log = EmbeddedLog::open(&folder.path().join("log"), EmbeddedSettings::default(), clock.clone()).unwrap();
        let published = Arc::new(Published::default());
        for statement in parse_file("t.sql", TABLES).unwrap_or_else(|errors| panic!("{}", errors[0].report())) {
            let Statement::CreateTable(table) = statement else { panic!("{statement:?}") };
            published.put_source(Arc::new(table));
        }
        let settings = HttpSettings { body_bytes_max: ByteSize(100_000), events_max: 5, ..HttpSettings::default() };
        let ingest = Ingest::new(IngestDeps {
            published,
            settings,
            keys_file: keys_file.map(|name| folder.path().join(name)),
            kafka: KafkaSettings::default(),
            embedded: Some(Arc::clone(&log)),
            clock,
        });
        Site { ingest, log, folder }
    }

    /// Status and body of a POST of JSON.
    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.send("POST", path, &[("content-type", "application/json")], body).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = match self.ingest.take(request).await {
            Ok(outcome) => outcome.response(),
            Err(refusal) => refusal.response(),
        };
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Key and value of each record of a topic, sorted.
    fn records(&self, topic: &str) -> Vec<(Option<String>, String)> {
        let topic = KafkaTopic { topic: topic.to_owned(), brokers: None, start: StartAt::Earliest };
        let mut source = EmbeddedSource::open(&self.log, &topic, &BTreeMap::new(), None).unwrap();
        let mut found = Vec::new();
        let limits = PollLimits { records_max: 1_000, bytes_max: 1 << 24, wait: Duration::ZERO };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        source.poll(limits, &mut |record| found.push((record.key.map(text), record.value.map(text).unwrap()))).unwrap();
        found.sort();
        found
    }
}

fn id(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

fn vote(n: u32) -> String {
    format!(r#"{{"id":"{}","voter":"v{n}","n":{n}}}"#, id(n))
}

#[tokio::test]
async fn what_is_right_of_a_request_is_in_the_log_as_it_was_sent() {
    let site = Site::new(None);
    let body = format!(r#"{{"votes":[{}, {{"id":"{}","voter":"","n":2}}, {}]}}"#, vote(1), id(2), vote(3));
    let (status, said) = site.post("/api/votes", &body).await;
    let reason = said["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
    let expected = json!({
        "status": "accepted", "timestamp": "2026-01-01T12:00:00.000Z", "accepted": 2, "rejected": 1,
        "errors": [{ "index": 1, "field": "voter", "message": reason }]
    });
    assert_eq!((status, said), (202, expected));
    assert!(reason.contains("voter"), "{reason}");
    assert_eq!(site.records("votes"), [(Some("v1".to_owned()), vote(1)), (Some("v3".to_owned()), vote(3))]);
}

#[tokio::test]
async fn any_open_table_takes_lists_lines_and_single_records() {
    let site = Site::new(None);
    let lines = format!("{}\n{}\n", vote(1), vote(2));
    let written = [("content-type", "application/x-ndjson")];
    assert_eq!(site.send("POST", "/api/ingest/votes", &written, &lines).await.0, 202);
    assert_eq!(site.post("/api/ingest/votes", &format!("[{}]", vote(3))).await.0, 202);
    assert_eq!(site.post("/api/ingest/votes", &vote(4)).await.0, 202);
    let expected: Vec<_> = (1..=4).map(|n| (Some(format!("v{n}")), vote(n))).collect();
    assert_eq!(site.records("votes"), expected);
}

#[tokio::test]
async fn one_record_is_answered_by_its_id_or_by_its_field() {
    let site = Site::new(None);
    let right = format!(r#"{{"noteId":"{}","words":"x"}}"#, id(1));
    let expected = json!({ "noteId": id(1), "status": "accepted", "timestamp": "2026-01-01T12:00:00.000Z" });
    assert_eq!(site.post("/api/notes", &right).await, (202, expected));
    for (wrong, field) in [(r#"{"noteId":"7"}"#, json!("noteId")), ("{}", json!("noteId")), ("7", Value::Null)] {
        let (status, said) = site.post("/api/notes", wrong).await;
        assert_eq!((status, &said["error"], &said["field"]), (400, &json!("bad_request"), &field), "{said}");
    }
    assert_eq!(site.records("notes"), [(None, right)]);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_nothing_is_in_the_log() {
    let site = Site::new(None);
    let large = format!("[{}]", " ".repeat(100_000));
    for (path, body, status) in [
        ("/api/nothing", "{}", 404),
        ("/api/ingest/nothing", "{}", 404),
        ("/api/ingest/closed", "{}", 403),
        ("/api/votes", "not json", 400),
        ("/api/votes?wait=committed", "{\"votes\":[1]}", 400),
        ("/api/votes", "{\"votes\":[]}", 400),
        ("/api/votes", "{\"votes\":[1,2]}", 400),
        ("/api/votes", "{\"votes\":[1,2,3,4,5,6]}", 413),
        ("/api/votes", &large, 413),
    ] {
        let (found, said) = site.post(path, body).await;
        assert_eq!(found, status, "{path} {said}");
        assert!(said["error"].is_string() && said["message"].is_string() && said.get("field").is_some(), "{said}");
    }
    assert_eq!(site.send("GET", "/api/votes", &[], "").await.0, 405);
    assert_eq!(site.send("POST", "/api/votes", &[("content-type", "text/plain")], "{}").await.0, 415);
    assert!(site.records("votes").is_empty());
}

#[tokio::test]
async fn a_key_is_asked_for_before_anything_is_read() {
    let site = Site::new(Some("keys.json"));
    let (key, text) = Key::draw(vec![Grant::parse("ingest:votes").unwrap()], NOW, None, 3);
    let file = site.folder.path().join("keys.json");
    change(&file, |keys| Ok(keys.insert(key.id.clone(), Arc::new(key)))).unwrap();
    assert_eq!(site.post("/api/votes", "not json").await.0, 401);
    let headers = [("content-type", "application/json"), ("x-api-key", text.as_str())];
    let send = async |path: &str, body: &str| site.send("POST", path, &headers, body).await.0;
    assert_eq!(send("/api/notes", "not json").await, 403);
    // Whether a table exists is nobody's business who may not send to it.
    assert_eq!(send("/api/ingest/nothing", "{}").await, 403);
    assert_eq!(send("/api/votes", &format!("{{\"votes\":[{},{},{}]}}", vote(1), vote(2), vote(3))).await, 202);
    assert_eq!(send("/api/votes", &format!("{{\"votes\":[{}]}}", vote(4))).await, 429);
    assert_eq!(site.records("votes").len(), 3);
}

#[tokio::test]
async fn large_requests_are_judged_as_small_ones() {
    let site = Site::new(None);
    let long = |n: u32| format!(r#"{{"id":"{}","voter":"v{n}","n":{n},"x":"{}"}}"#, id(n), "x".repeat(AT_ONCE_BYTES));
    let (status, said) = site.post("/api/ingest/votes", &format!("[{},7,{}]", long(1), long(2))).await;
    assert_eq!((status, &said["accepted"], &said["errors"][0]["index"]), (202, &json!(2), &json!(1)), "{said}");
    assert_eq!(site.records("votes").len(), 2);
}

#[test]
fn a_body_counts_as_long_as_anything_looks_at_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let mut site = Site::new(None);
        site.ingest.room = Room::new(50 * 1024);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || _ = wait.recv());
        let body = format!("{}{}", vote(1), " ".repeat(30 * 1024));
        {
            let mut sent = Box::pin(site.post("/api/ingest/votes", &body));
            assert!(futures::poll!(sent.as_mut()).is_pending(), "it waits for the only thread");
        }
        assert_eq!(site.post("/api/ingest/votes", &body).await.0, 503, "the producer has gone, its body has not");
        drop(go);
        busy.await.unwrap();
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(site.post("/api/ingest/votes", &body).await.0, 202);
    });
}
