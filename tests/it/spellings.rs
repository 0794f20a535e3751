//! Records as two public contracts have them are read by the shipped schemas, whatever the contract calls and leaves out; and
//! statements as Flink, Arroyo and RisingWave have them run as they are.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::process::{Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("spellings::records_of_both_contracts_are_read_in_one_form", &[], both_contracts),
        trial("spellings::statements_of_three_peers_give_the_same_rows", &[], three_peers),
        trial(
            "spellings::a_computed_column_is_read_by_queries_and_by_hand_and_its_bad_records_are_kept",
            &[],
            computed,
        ),
    ]
}

/// camelCase and small letters, teams 1 and 2, the minute in `metadata`; and snake_case, capitals, teams by name, no event id.
const EVENTS: [&str; 4] = [
    r#"{"eventId":"01234567-89ab-4def-8123-456789abcdef","matchId":"12345","eventType":"goal","timestamp":"2025-11-26T15:30:00Z",
        "teamId":2,"playerId":"p9","metadata":{"minute":67,"assistPlayerId":"p7","score_home":1}}"#,
    r#"{"match_id":"12345","timestamp":"2025-11-26T15:31:00Z","event_type":"GOAL","minute":68,"team":"Brackwater United",
        "player_id":"p9","player_name":"A. Forward","assist_player_id":null,"description":"from close"}"#,
    r#"{"eventId":"11234567-89ab-4def-8123-456789abcdef","matchId":"12345","eventType":"kickoff","timestamp":"2025-11-26T14:23:00Z"}"#,
    r#"{"match_id":"12345","timestamp":"2025-11-26T15:32:00Z","event_type":"CORNER","minute":69,"team":"home","player_id":7}"#,
];
/// The REST form, and the one of the topic.
const ACTS: [&str; 2] = [
    r#"{"event_id":"21234567-89ab-4def-8123-456789abcdef","match_id":"12345","user_id":"u1","session_id":"s1",
        "engagement_type":"reaction","engagement_subtype":"emoji_goal","game_minute":67,"device_type":"mobile","platform":"ios",
        "country_code":"GB","content":"","metadata":{},"timestamp":"2025-11-26T15:30:05Z"}"#,
    r#"{"eventId":"31234567-89ab-4def-8123-456789abcdef","matchId":"12345","userId":"u2","sessionId":"s2","engagementType":"REACTION",
        "engagementSubtype":"cheer","relatedGameEventId":"01234567-89ab-4def-8123-456789abcdef","gameMinute":67,"deviceType":"watch",
        "timestamp":"2025-11-26T15:30:06Z"}"#,
];
const BOARD: &str = r#"{"match_id":"12345","timestamp":"2025-11-26T15:30:00Z","competition":"Premier League","home_team":"Arsenal",
    "away_team":"Chelsea","home_score":2,"away_score":1,"status":"LIVE","minute":67,"added_time":null}"#;
const PLAYER: &str = r#"{"match_id":"12345","player_id":"p9","timestamp":"2025-11-26T15:30:00Z","shots":3,"shots_on_target":2,"goals":1,
    "assists":0,"passes_completed":45,"pass_accuracy":87.5,"tackles":2,"interceptions":1}"#;

const QUERIES: &str = "\
CREATE MATERIALIZED VIEW events AS
SELECT event_id, match_id, event_type, team_id, team_side, player_id, assist_player_id, minute, op, revision, event_time FROM match_events;
CREATE MATERIALIZED VIEW acts AS
SELECT match_id, user_id, session_id, engagement_type, engagement_subtype, related_game_event_id, device_type, platform FROM engagements;
CREATE MATERIALIZED VIEW boards AS SELECT * FROM live_matches;
CREATE MATERIALIZED VIEW players_so_far AS SELECT * FROM player_live_stats;
";

/// The shipped schemas, with the records in the log.
fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    for (from, to) in [("", "schemas"), ("data", "schemas/data")] {
        fs::create_dir_all(site.path(to))?;
        for entry in fs::read_dir(shipped.join(from))? {
            let path = entry?.path();
            if path.is_file() {
                fs::copy(&path, site.path(to).join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    site.write("queries/all.sql", QUERIES)?;
    let log = site.embedded_log()?;
    append(&log, "match-events", 0, &EVENTS)?;
    append(&log, "engagements", 0, &ACTS)?;
    append(&log, "live-matches", 0, &[BOARD])?;
    append(&log, "player-live-stats", 0, &[PLAYER])?;
    Ok(site)
}

fn both_contracts() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    for (view, rows) in [("events", 4), ("acts", 2), ("boards", 1), ("players_so_far", 1)] {
        server.wait_for(&format!("{rows} rows of {view}"), |server| {
            let found = server.query(&format!("SELECT count(*) AS n FROM {view}"))?;
            if found == [json!({ "n": rows })] {
                return Ok(Some(()));
            }
            let dead = server.query("SELECT query, reason FROM touchline.dead_letters")?;
            Err(format!("there are {found:?}, and dead letters {dead:?}").into())
        })?;
    }
    let events = "SELECT event_id, event_type, team_id, team_side, player_id, assist_player_id, minute, op, revision FROM events \
                  ORDER BY event_time";
    let event = |row: [serde_json::Value; 7]| {
        let [id, kind, team, side, player, assist, minute] = row;
        json!({ "event_id": id, "event_type": kind, "team_id": team, "team_side": side, "player_id": player,
                "assist_player_id": assist, "minute": minute, "op": "upsert", "revision": 0 })
    };
    let null = || serde_json::Value::Null;
    let ids = ["11234567-89ab-4def-8123-456789abcdef", "01234567-89ab-4def-8123-456789abcdef"];
    assert_eq!(
        server.query(events)?,
        [
            event([json!(ids[0]), json!("kickoff"), null(), null(), null(), null(), null()]),
            event([json!(ids[1]), json!("goal"), json!("2"), json!("away"), json!("p9"), json!("p7"), json!(67)]),
            event([
                json!("12345:2025-11-26T15:31:00:goal:Brackwater United:p9"),
                json!("goal"),
                json!("t002"),
                null(),
                json!("p9"),
                null(),
                json!(68)
            ]),
            event([
                json!("12345:2025-11-26T15:32:00:corner:home:7"),
                json!("corner"),
                null(),
                json!("home"),
                json!("7"),
                null(),
                json!(69)
            ]),
        ]
    );
    let acts = server.query("SELECT * FROM acts ORDER BY user_id")?;
    let act = |user: &str, session: &str, subtype: &str, about: Option<&str>, device: &str, platform: &str| {
        json!({ "match_id": "12345", "user_id": user, "session_id": session, "engagement_type": "reaction",
                "engagement_subtype": subtype, "related_game_event_id": about, "device_type": device, "platform": platform })
    };
    assert_eq!(
        acts,
        [
            act("u1", "s1", "emoji_goal", None, "mobile", "ios"),
            act("u2", "s2", "cheer", Some(ids[1]), "unknown", "unknown")
        ]
    );
    let board = server.query("SELECT home_team, away_score, minute, added_time FROM boards")?;
    assert_eq!(board, [json!({ "home_team": "Arsenal", "away_score": 1, "minute": 67, "added_time": null })]);
    let player = server.query("SELECT goals, pass_accuracy FROM players_so_far")?;
    assert_eq!(player, [json!({ "goals": 1, "pass_accuracy": 87.5 })]);
    Ok(())
}

/// The same question over the same file.
const PEERS: [(&str, &str); 3] = [
    (
        "flink",
        "CREATE TABLE orders (id INT, ts_str STRING, price DECIMAL(8, 2), qty INT,
           ts AS TO_TIMESTAMP(ts_str), amount AS price * qty,
           WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
         WITH ('connector' = 'filesystem', 'path' = 'orders.csv', 'format' = 'csv');
         SELECT window_start, window_end, SUM(amount) AS amount
         FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
         GROUP BY window_start, window_end;",
    ),
    (
        "arroyo",
        "CREATE TABLE orders (id INT, ts_str TEXT NOT NULL, price DECIMAL(8, 2), qty INT,
           timestamp TIMESTAMP GENERATED ALWAYS AS (CAST(ts_str AS TIMESTAMP)),
           WATERMARK FOR timestamp AS CAST(ts_str AS TIMESTAMP) - INTERVAL '1 second')
         WITH (connector = 'filesystem', path = 'orders.csv', format = 'csv');
         SELECT w.window.start AS window_start, w.window['end'] AS window_end, amount FROM (
           SELECT tumble(interval '10 minutes') AS window, sum(price * qty) AS amount FROM orders GROUP BY 1) w;",
    ),
    (
        "risingwave",
        "CREATE SOURCE orders (id INT, ts_str VARCHAR, price DECIMAL(8, 2), qty INT, ts TIMESTAMP AS (ts_str::TIMESTAMP),
           WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
         INCLUDE offset AS o WITH (connector = 'filesystem', path = 'orders.csv') FORMAT PLAIN ENCODE CSV;
         CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, sum(price * qty) AS amount
         FROM TUMBLE(orders, ts, INTERVAL '10 minutes') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
         SELECT * FROM w;",
    ),
];

fn three_peers() -> Outcome {
    let site = Site::new()?;
    site.write(
        "orders.csv",
        "id,ts_str,price,qty\n1,2026-01-01 12:00:01,1.50,2\n2,2026-01-01 12:09:59,0.25,4\n3,2026-01-01 12:10:00,9.99,1\n",
    )?;
    let expected = "window_start,window_end,amount\n2026-01-01T12:00:00,2026-01-01T12:10:00,4.00\n\
                    2026-01-01T12:10:00,2026-01-01T12:20:00,9.99\n";
    for (peer, statements) in PEERS {
        site.write("query.sql", statements)?;
        for options in [&[][..], &["--epoch-rows", "1"]] {
            let printed = site.output(&[&["run", "query.sql", "--output", "csv"], options].concat())?;
            let mut lines: Vec<&str> = printed.lines().collect();
            lines[1..].sort_unstable();
            assert_eq!(lines.join("\n") + "\n", expected, "{peer}");
        }
    }
    // A record of which a column cannot be computed is left out and named, as one that cannot be decoded is.
    site.write("orders.csv", "id,ts_str,price,qty\n1,2026-01-01 12:00:01,1.50,2\n2,yesterday,0.25,4\n")?;
    site.write("query.sql", PEERS[1].1)?;
    let ran = site.run(&["run", "query.sql", "--output", "csv"])?;
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{}", ran.stderr);
    let reason = "orders.csv:3: query.sql:2:58: column \"timestamp\" cannot be computed: \"CAST(ts_str AS TIMESTAMP(9))\" cannot take 'yesterday'";
    assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    Ok(())
}

fn computed() -> Outcome {
    let site = Site::new()?;
    site.write(
        "schemas/orders.sql",
        "CREATE TABLE orders (
           id BIGINT NOT NULL, t BIGINT, price DOUBLE, qty BIGINT,
           ts AS TO_TIMESTAMP_LTZ(t, 3), each_qty AS 12 / qty, amount AS price * qty,
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
         ) WITH ('connector' = 'kafka', 'topic' = 'orders', 'format' = 'json');\n",
    )?;
    site.write("queries/kept.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id, ts, each_qty FROM orders;\n")?;
    site.write(
        "queries/sums.sql",
        "CREATE MATERIALIZED VIEW sums AS SELECT window_start, sum(amount) AS amount
         FROM TUMBLE(orders, ts, INTERVAL '1' MINUTE) GROUP BY window_start EMIT TIMEOUT INTERVAL '1' SECOND;\n",
    )?;
    {
        let log = site.embedded_log()?;
        let order = |id: i64, second: i64, qty: i64| {
            format!(r#"{{"id":{id},"t":{},"price":1.5,"qty":{qty}}}"#, 1_767_268_800_000 + second * 1_000)
        };
        append(&log, "orders", 0, &[order(1, 1, 2), order(2, 2, 0), order(3, 61, 4)])?;
    }
    let server = site.serve(&[])?;
    server.wait_for("two rows and a sum", |server| {
        let rows = server.query("SELECT count(*) AS n FROM kept")?;
        let sums = server.query("SELECT window_start, amount FROM sums ORDER BY window_start")?;
        if rows == [json!({ "n": 2 })] && sums.len() == 2 {
            return Ok(Some(()));
        }
        Err(format!("there are {rows:?} and {sums:?}").into())
    })?;
    assert_eq!(
        server.query("SELECT id, each_qty FROM kept ORDER BY id")?,
        [json!({ "id": 1, "each_qty": 6 }), json!({ "id": 3, "each_qty": 3 })]
    );
    // The query that does not read it has no bad record.
    let sums = server.query("SELECT amount FROM sums ORDER BY window_start")?;
    assert_eq!(sums, [json!({ "amount": 3.0 }), json!({ "amount": 6.0 })]);
    let dead = server.query("SELECT query, topic, \"offset\", \"column\", reason FROM touchline.dead_letters")?;
    let [letter] = dead.as_slice() else { return Err(format!("dead letters: {dead:?}").into()) };
    assert_eq!(
        (&letter["query"], &letter["topic"], &letter["offset"], &letter["column"]),
        (&json!("kept"), &json!("orders"), &json!(1), &json!("each_qty"))
    );
    let reason = letter["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("column \"each_qty\" cannot be computed: division by zero in \"12 / qty\" (12 / 0)"),
        "{reason}"
    );
    // The topic itself has the column, too.
    let topic =
        server.query("SELECT id, amount FROM orders WHERE ts >= TIMESTAMP '2026-01-01 12:00:02' ORDER BY id")?;
    assert_eq!(topic, [json!({ "id": 2, "amount": 0.0 }), json!({ "id": 3, "amount": 6.0 })]);
    Ok(())
}
