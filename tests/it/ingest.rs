//! Records by HTTP, to a real server: each answer with its body, and what is acknowledged is in the view, exactly once.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use libtest_mimic::{Failed, Trial};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use crate::process::{Server, Site, WAIT_LIMIT};
use crate::services::{self, Need, Outcome, async_trial, trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("ingest::a_killed_server_loses_nothing_that_it_has_acknowledged", &[], killed),
        trial("ingest::every_refusal_has_its_status_and_says_why", &[], refusals),
        trial("ingest::keys_open_and_close_tables_while_the_server_runs", &[], keys),
        trial("ingest::the_contract_of_the_apps_is_kept_by_the_shipped_tables", &[], contract),
        async_trial("ingest::kafka_has_what_is_acknowledged", &[Need::Kafka], into_kafka),
        trial("ingest::what_no_broker_takes_is_not_acknowledged", &[], no_broker),
    ]
}

const TABLE: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, name VARCHAR(5))
WITH ('connector' = 'kafka', 'topic' = 'e', 'http.path' = '/api/es', 'http.body' = 'es[]', 'http.key' = 'id');
CREATE TABLE closed (id BIGINT) WITH ('connector' = 'kafka', 'topic' = 'closed');
";
const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT id FROM e;\n";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", TABLE)?;
    site.write("queries/v.sql", VIEW)?;
    Ok(site)
}

/// Status, head and body of a request.
fn send(
    http: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String, Value), Failed> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server that refuses a body by its head need not read it.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("no answer to {method} {path}: {ended:?} {answer}").into());
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("not an HTTP answer")?;
    let body = serde_json::from_str(body).map_err(|error| format!("{error} in {body}"))?;
    Ok((status, head.to_ascii_lowercase(), body))
}

fn post(server: &Server, path: &str, body: &Value) -> Result<(u16, Value), Failed> {
    let (status, _, body) = send(&server.http, "POST", path, &[JSON], body.to_string().as_bytes())?;
    Ok((status, body))
}

/// Waits until all of these ids are in the view, and returns what it has, ascending.
fn ids(server: &Server, expected: &BTreeSet<i64>) -> Result<Vec<i64>, Failed> {
    server.wait_for("the rows in the view", |server| {
        let rows = server.query("SELECT id FROM v ORDER BY id")?;
        let found: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_i64()).collect();
        let lacks = expected.difference(&found.iter().copied().collect()).count();
        if lacks == 0 { Ok(Some(found)) } else { Err(format!("{lacks} of {} are missing", expected.len()).into()) }
    })
}

fn killed() -> Outcome {
    let site = site()?;
    let mut acknowledged = BTreeSet::new();
    for life in 0..3_i64 {
        let server = site.serve(&[])?;
        let http = server.http.clone();
        let (told, heard) = sync_channel::<Vec<i64>>(1_000);
        let sender = std::thread::spawn(move || {
            for batch in 0_i64.. {
                let first = life * 1_000_000 + batch * 10;
                let ids: Vec<i64> = (first..first + 10).collect();
                let es: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
                let answer = send(&http, "POST", "/api/es", &[JSON], json!({ "es": es }).to_string().as_bytes());
                if !matches!(answer, Ok((202, ..))) || told.send(ids).is_err() {
                    return;
                }
            }
        });
        // Killed in the midst of requests, and not between them.
        for _ in 0..20 {
            acknowledged.extend(heard.recv_timeout(WAIT_LIMIT)?);
        }
        server.kill()?;
        acknowledged.extend(heard.iter().flatten());
        sender.join().map_err(|_| "the sender panicked")?;
    }
    let server = site.serve(&[])?;
    let found = ids(&server, &acknowledged)?;
    let once: BTreeSet<i64> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "a record is there twice");
    Ok(())
}

/// Method, path, headers, body; status and error.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

fn refusals() -> Outcome {
    let site = site()?;
    let server = site.serve(&[("TOUCHLINE_HTTP_BODY_BYTES_MAX", "20kB"), ("TOUCHLINE_HTTP_EVENTS_MAX", "3")])?;
    let many = json!({ "es": [{ "id": 1 }, { "id": 2 }, { "id": 3 }, { "id": 4 }] }).to_string();
    let large = " ".repeat(30_000);
    let cases: [Case; 12] = [
        ("POST", "/api/nothing", &[JSON], "{}", 404, "not_found"),
        ("POST", "/api/ingest/nothing", &[JSON], "{}", 404, "not_found"),
        ("POST", "/api/ingest/../es", &[JSON], "{}", 404, "not_found"),
        ("POST", "/api/ingest/%65", &[JSON], "{}", 404, "not_found"),
        ("POST", "/api/ingest/closed", &[JSON], "{}", 403, "forbidden"),
        ("GET", "/api/es", &[], "", 405, "method_not_allowed"),
        ("POST", "/api/es", &[], "{}", 415, "unsupported_media_type"),
        ("POST", "/api/es", &[JSON, ("Content-Encoding", "br")], "{}", 415, "unsupported_media_type"),
        ("POST", "/api/es", &[JSON], &large, 413, "too_large"),
        ("POST", "/api/es", &[JSON], &many, 413, "too_large"),
        ("POST", "/api/es", &[JSON], "{\"es\":[", 400, "bad_request"),
        ("POST", "/api/es", &[JSON], "{\"es\":[{\"id\":\"x\"}]}", 400, "bad_request"),
    ];
    for (method, path, headers, body, status, error) in cases {
        let (found, head, said) = send(&server.http, method, path, headers, body.as_bytes())?;
        assert_eq!((found, said["error"].as_str()), (status, Some(error)), "{method} {path} {body:.40}: {said}");
        assert!(said["message"].as_str().is_some_and(|message| !message.is_empty()), "{said}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(status == 405, head.contains("allow: post"), "{head}");
    }
    let (status, said) =
        post(&server, "/api/es", &json!({ "es": [{ "id": 1, "name": "ana" }, { "id": 2, "name": "longer" }] }))?;
    assert_eq!((status, &said["accepted"], &said["rejected"]), (202, &json!(1), &json!(1)), "{said}");
    assert_eq!((&said["errors"][0]["index"], &said["errors"][0]["field"]), (&json!(1), &json!("name")), "{said}");
    assert_eq!(ids(&server, &BTreeSet::from([1]))?, [1]);
    Ok(())
}

fn keys() -> Outcome {
    let site = site()?;
    let file = site.path("keys.json").display().to_string();
    let server = site.serve(&[("TOUCHLINE_AUTH_KEYS_FILE", &file)])?;
    let made = |arguments: &[&str]| -> Result<String, Failed> {
        let all = [&["keys", "create", "--file", file.as_str()][..], arguments].concat();
        Ok(site.output(&all)?.trim().to_owned())
    };
    let with = |key: &str, ids: std::ops::Range<i64>| -> Result<(u16, String), Failed> {
        let es: Vec<Value> = ids.map(|id| json!({ "id": id })).collect();
        let body = json!({ "es": es }).to_string();
        let (status, head, _) = send(&server.http, "POST", "/api/es", &[JSON, ("X-API-Key", key)], body.as_bytes())?;
        Ok((status, head))
    };
    assert_eq!(post(&server, "/api/es", &json!({ "es": [{ "id": 0 }] }))?.0, 401);
    assert_eq!(with("tl_000000000000_0", 0..1)?.0, 401);
    let (right, other) = (made(&["--grant", "ingest:e", "--expires", "1d"])?, made(&["--grant", "ingest:other"])?);
    assert_eq!((with(&right, 1..3)?.0, with(&other, 0..1)?.0), (202, 403));
    let slow = made(&["--grant", "ingest:*", "--rate", "1"])?;
    // What is above its rate is waited for, here for more than a minute.
    assert_eq!(with(&slow, 3..100)?.0, 202);
    let (status, head) = with(&slow, 0..1)?;
    assert!(status == 429 && head.contains("retry-after: "), "{status} {head}");
    let id = right.split('_').nth(1).ok_or("no id")?;
    let listed = site.output(&["keys", "list", "--file", &file])?;
    assert!(listed.lines().count() == 3 && listed.contains(id) && !listed.contains(&right), "{listed}");
    site.output(&["keys", "revoke", id, "--file", &file])?;
    assert_eq!(with(&right, 0..1)?.0, 401);
    let sent: BTreeSet<i64> = (1..100).collect();
    assert_eq!(ids(&server, &sent)?, sent.iter().copied().collect::<Vec<_>>());
    let (_, _, log) = server.terminate()?;
    let secret = right.rsplit('_').next().ok_or("no secret")?;
    assert!(
        !log.contains(secret) && !std::fs::read_to_string(&file)?.contains(secret),
        "a secret is written somewhere"
    );
    Ok(())
}

const GOALS: &str = "event_id, team_side, minute FROM match_events";

fn contract() -> Outcome {
    let site = Site::new()?;
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas").display().to_string();
    site.write("queries/a.sql", "CREATE MATERIALIZED VIEW acts AS SELECT event_id, device_type FROM engagements;\n")?;
    site.write("queries/g.sql", &format!("CREATE MATERIALIZED VIEW goals AS SELECT {GOALS};\n"))?;
    let server = site.serve(&[("TOUCHLINE_CATALOG_SCHEMAS_DIR", &schemas)])?;
    let id = "7a1e4c52-0000-4000-8000-000000000001";
    let event = json!({
        "eventId": id, "matchId": "m1", "eventType": "goal", "timestamp": "2026-01-10T15:45:01.234Z", "teamId": 1,
        "playerId": "p9", "metadata": { "minute": 12, "score_home": 1 }
    });
    let (status, said) = post(&server, "/api/events", &event)?;
    assert_eq!((status, &said["eventId"], &said["status"]), (202, &json!(id), &json!("accepted")), "{said}");
    assert!(said["timestamp"].is_string(), "{said}");
    for (field, value) in [
        ("eventId", json!("7")),
        ("eventId", Value::Null),
        ("matchId", json!("")),
        ("eventType", json!("GOAL!")),
        ("timestamp", json!("yesterday")),
        ("timestamp", json!("2999-01-01T00:00:00Z")),
        ("teamId", json!(3)),
        ("teamId", json!("1")),
    ] {
        let mut wrong = event.clone();
        wrong[field] = value;
        let (status, said) = post(&server, "/api/events", &wrong)?;
        assert_eq!((status, &said["error"], &said["field"]), (400, &json!("bad_request"), &json!(field)), "{said}");
    }
    let act = |n: u32| {
        json!({
            "event_id": format!("7a1e4c52-0000-4000-8000-{n:012}"), "match_id": "m1", "user_id": "u1", "session_id": "s1",
            "engagement_type": "reaction", "engagement_subtype": "a new one", "device_type": "watch", "game_minute": 12,
            "metadata": { "persona": "casual" }, "timestamp": "2026-01-10T15:45:02Z"
        })
    };
    let (mut no_type, mut no_time, mut late) = (act(3), act(4), act(5));
    no_type["engagement_type"] = json!("dance");
    no_time["timestamp"] = json!("now");
    late["game_minute"] = json!(121);
    let (status, said) =
        post(&server, "/api/engagements", &json!({ "events": [act(2), no_type, no_time, late, act(6)] }))?;
    assert_eq!(
        (status, &said["accepted"], &said["rejected"], &said["status"]),
        (202, &json!(2), &json!(3), &json!("accepted"))
    );
    let errors: Vec<_> =
        said["errors"].as_array().into_iter().flatten().map(|error| (&error["index"], &error["field"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    let (kind, time, minute) = (json!("engagement_type"), json!("timestamp"), json!("game_minute"));
    assert_eq!(errors, [(&one, &kind), (&two, &time), (&three, &minute)], "{said}");
    let rows = |sql: &'static str, want: Vec<Value>| {
        server.wait_for("the rows in the view", |server| {
            let rows = server.query(sql)?;
            if rows == want { Ok(Some(())) } else { Err(format!("{rows:?}").into()) }
        })
    };
    rows("SELECT * FROM goals", vec![json!({ "event_id": id, "team_side": "home", "minute": 12 })])?;
    let acts = [2, 6].map(|n| json!({ "event_id": act(n)["event_id"], "device_type": "unknown" }));
    rows("SELECT * FROM acts ORDER BY event_id", acts.to_vec())?;
    assert_eq!(server.query("SELECT reason FROM touchline.dead_letters")?, Vec::<Value>::new());
    Ok(())
}

async fn into_kafka() -> Outcome {
    let (brokers, name) = (services::kafka()?, unique("ingest"));
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
    let new = NewTopic::new(&name, 3, TopicReplication::Fixed(1));
    for created in admin.create_topics(&[new], &AdminOptions::new().operation_timeout(Some(WAIT_LIMIT))).await? {
        created.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }
    let site = Site::new()?;
    let table = TABLE.replace("'topic' = 'e'", &format!("'topic' = '{name}', 'brokers' = '{brokers}'"));
    site.write("schemas/e.sql", &table)?;
    site.write("queries/v.sql", VIEW)?;
    let server = site.serve(&[])?;
    for request in 0..10_i64 {
        let es: Vec<Value> = (0..100).map(|at| json!({ "id": request * 100 + at })).collect();
        let (status, said) = post(&server, "/api/es", &json!({ "es": es }))?;
        assert_eq!((status, &said["accepted"]), (202, &json!(100)), "{said}");
    }
    // Acknowledged by Kafka, not by this server.
    server.kill()?;
    let server = site.serve(&[])?;
    let sent: BTreeSet<i64> = (0..1_000).collect();
    assert_eq!(ids(&server, &sent)?, sent.iter().copied().collect::<Vec<_>>());
    Ok(())
}

fn no_broker() -> Outcome {
    let site = Site::new()?;
    // Nobody listens at port 1.
    site.write("schemas/e.sql", &TABLE.replace("'topic' = 'e'", "'topic' = 'e', 'brokers' = '127.0.0.1:1'"))?;
    let server = site.serve(&[])?;
    let (status, head, said) = send(
        &server.http,
        "POST",
        "/api/es",
        &[JSON],
        json!({ "es": [{ "id": 1 }, {}, { "id": 3 }] }).to_string().as_bytes(),
    )?;
    assert_eq!((status, &said["error"], &said["accepted"]), (503, &json!("not_acknowledged"), &json!(0)), "{said}");
    assert_eq!((&said["unacknowledged"], &said["rejected"]), (&json!([0, 2]), &json!(1)), "{said}");
    assert!(head.contains("retry-after: 1"), "{head}");
    Ok(())
}
