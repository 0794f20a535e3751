//! `touchline run`: statements over files. The answer never depends on how the input is cut into epochs.

use std::fmt::Write;
use std::fs;

use libtest_mimic::{Failed, Trial};

use crate::process::Site;
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let cases = CASES.iter().map(|(name, query)| {
        trial(&format!("run::{name}_whole_and_in_small_epochs"), &[], move || same_however_it_is_cut(query))
    });
    let mut tests: Vec<Trial> = cases.collect();
    tests.push(trial("run::insert_writes_json_csv_and_parquet_that_read_back_alike", &[], insert_into_files));
    tests.push(trial("run::a_view_alone_prints_nothing", &[], a_view_alone));
    tests.push(trial("run::records_that_are_not_decoded_are_named_on_standard_error", &[], bad_records));
    tests.push(trial("run::values_that_a_schema_forbids_are_named_with_what_it_says", &[], forbidden_values));
    tests
}

/// Each as a `SELECT` over `SOURCES`; no row is late, however the input is cut.
const CASES: [(&str, &str); 9] = [
    ("a_projection", "SELECT id, upper(k) AS k, v * 2 AS v FROM e WHERE v > 10"),
    ("a_lookup_join", "SELECT e.id, n.name FROM e LEFT JOIN names n ON n.k = e.k WHERE e.id % 5 = 0"),
    ("a_union", "SELECT id, k FROM e WHERE id < 20 UNION ALL SELECT id, k FROM f WHERE id > 180"),
    (
        "a_tumble",
        "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, min(id) AS first
         FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, k",
    ),
    (
        "a_hop",
        "SELECT window_start, k, count(*) AS n, avg(v) AS a
         FROM HOP(e, ts, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end, k",
    ),
    (
        "filter_and_distinct",
        "SELECT window_start, count(*) FILTER (WHERE v > 50) AS high, count(DISTINCT k) AS keys
         FROM TUMBLE(e, ts, INTERVAL '30 seconds') GROUP BY window_start, window_end",
    ),
    ("the_grouping_form", "SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS n FROM e GROUP BY w"),
    (
        "the_table_form",
        "SELECT window_end, max(v) AS m FROM TABLE(TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
         GROUP BY window_start, window_end",
    ),
    (
        "a_window_over_a_union_with_a_lookup",
        "SELECT window_start, name, count(*) AS n
         FROM TUMBLE((SELECT ts, k FROM e UNION ALL SELECT ts, k FROM f), ts, INTERVAL '1 minute') u
         LEFT JOIN names ON names.k = u.k GROUP BY window_start, window_end, name",
    ),
];

const SOURCES: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR NOT NULL, v DOUBLE, ts TIMESTAMP(3) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'e.ndjson', 'format' = 'json');
CREATE TABLE f (id BIGINT NOT NULL, k VARCHAR NOT NULL, v DOUBLE, ts TIMESTAMP(3) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'f', 'format' = 'csv');
CREATE TABLE names (k VARCHAR, name VARCHAR)
WITH ('connector' = 'filesystem', 'path' = 'names.csv', 'format' = 'csv');
";

/// 200 events over ten minutes, each up to 12 s out of order; the same once more as CSV, in a folder with two files.
fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    let (mut json, mut csv) = (String::new(), [String::from("id,k,v,ts\n"), String::from("id,k,v,ts\n")]);
    for id in 0..200_u32 {
        let key = ["a", "b", "c", "d"][(id * 7 % 4) as usize];
        let value = f64::from(id * 37 % 101) + 0.5;
        let second = id * 3 + (id * 5 % 13);
        let time = format!("2026-01-01T12:{:02}:{:02}.000Z", second / 60, second % 60);
        writeln!(json, "{{\"id\":{id},\"k\":\"{key}\",\"v\":{value},\"ts\":\"{time}\"}}")?;
        writeln!(csv[usize::from(id >= 120)], "{id},{key},{value},{time}")?;
    }
    site.write("e.ndjson", &json)?;
    site.write("f/1.csv", &csv[0])?;
    site.write("f/2.csv", &csv[1])?;
    site.write("names.csv", "k,name\na,Ana\nb,\"Bo, Jr\"\nc,\n")?;
    site.write("sources.sql", SOURCES)?;
    Ok(site)
}

fn same_however_it_is_cut(query: &str) -> Outcome {
    let site = site()?;
    site.write("query.sql", &format!("{query};\n"))?;
    let answer = |options: &[&str]| -> Result<Vec<String>, Failed> {
        let arguments = [&["run", "sources.sql", "query.sql", "--output", "json"], options].concat();
        let mut lines: Vec<String> = site.output(&arguments)?.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines)
    };
    let whole = answer(&[])?;
    assert!(!whole.is_empty());
    for options in [&["--epoch-rows", "1"], &["--epoch-rows", "7"], &["--partitions", "1"]] {
        assert_eq!(answer(options)?, whole, "{options:?}");
    }
    Ok(())
}

fn insert_into_files() -> Outcome {
    let site = site()?;
    let mut answers = Vec::new();
    for format in ["json", "csv", "parquet"] {
        let table = format!(
            "CREATE TABLE o (k VARCHAR, n BIGINT, s DOUBLE) \
             WITH ('connector' = 'filesystem', 'path' = 'out.{format}', 'format' = '{format}');\n"
        );
        site.write(
            "write.sql",
            &format!(
                "{table}INSERT INTO o SELECT k, count(*), sum(v) FROM TUMBLE(e, ts, INTERVAL '1 minute') \
                 GROUP BY window_start, window_end, k;\n"
            ),
        )?;
        assert_eq!(site.output(&["run", "sources.sql", "write.sql"])?, "");
        site.write("read.sql", &format!("{table}SELECT k, sum(n) AS n, sum(s) AS s FROM o GROUP BY k ORDER BY k;\n"))?;
        answers.push(site.output(&["run", "read.sql", "--output", "csv"])?);
    }
    assert!(answers[0].starts_with("k,n,s\na,50,"), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    Ok(())
}

fn a_view_alone() -> Outcome {
    let site = site()?;
    site.write("view.sql", "CREATE MATERIALIZED VIEW w AS SELECT id FROM e;\n")?;
    assert_eq!(site.output(&["run", "sources.sql", "view.sql"])?, "");
    Ok(())
}

fn bad_records() -> Outcome {
    let site = site()?;
    site.write("e.ndjson", "{\"id\":1,\"k\":\"a\",\"ts\":\"2026-01-01T12:00:00Z\"}\nnot json\n{\"id\":\"x\"}\n")?;
    site.write("query.sql", "SELECT id, k FROM e;\n")?;
    let ran = site.run(&["run", "sources.sql", "query.sql", "--output", "csv"])?;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, "id,k\n1,a\n");
    assert!(ran.stderr.contains("e.ndjson:2: the record is not valid JSON at byte 0: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("e.ndjson:3: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 records not decoded"), "{}", ran.stderr);
    Ok(())
}

/// The same five records as JSON, CSV and Parquet; three of them break a rule each.
fn forbidden_values() -> Outcome {
    let site = Site::new()?;
    let rows = [
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff001122", "goal", 120),
        ("no-uuid", "goal", 1),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff001123", "dance", 2),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff001124", "shot", 200),
        ("0F9EA7D6-41BE-4C0F-A1B2-99AAFF001125", "shot", 0),
    ];
    let (mut json, mut csv) = (String::new(), String::from("id,kind,minute,ts\n"));
    for (id, kind, minute) in rows {
        let ts = "2026-01-01T12:00:00Z";
        writeln!(json, "{{\"id\":\"{id}\",\"kind\":\"{kind}\",\"minute\":{minute},\"ts\":\"{ts}\"}}")?;
        writeln!(csv, "{id},{kind},{minute},{ts}")?;
    }
    site.write("in.json", &json)?;
    site.write("in.csv", &csv)?;
    let table = |name: &str, path: &str, rules: [&str; 3]| {
        let [id, kind, minute] = rules;
        format!(
            "CREATE TABLE {name} (id {id} NOT NULL, kind VARCHAR{kind}, minute INT{minute}, ts TIMESTAMP(3) NOT NULL, \
             WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', 'path' = '{path}');\n"
        )
    };
    let rules = ["UUID", " CHECK (kind IN ('goal', 'shot'))", " CHECK (minute BETWEEN 0 AND 120)"];
    let none = ["VARCHAR", "", ""];
    let copy = [table("i", "in.json", none), table("o", "in.parquet", none), "INSERT INTO o SELECT * FROM i;\n".into()];
    site.write("copy.sql", &copy.concat())?;
    site.output(&["run", "copy.sql"])?;
    let good =
        "id,kind,minute\n0f9ea7d6-41be-4c0f-a1b2-99aaff001122,goal,120\n0F9EA7D6-41BE-4C0F-A1B2-99AAFF001125,shot,0\n";
    for path in ["in.json", "in.csv", "in.parquet"] {
        site.write("read.sql", &format!("{}SELECT id, kind, minute FROM e;\n", table("e", path, rules)))?;
        let ran = site.run(&["run", "read.sql", "--output", "csv"])?;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), good), "{path}: {}", ran.stderr);
        for (record, reason) in [
            (2, "field \"id\" is \"no-uuid\"; the schema says uuid"),
            (3, "field \"kind\" is \"dance\"; the schema says one of 'goal', 'shot'"),
            (4, "field \"minute\" is 200; the schema says between 0 and 120"),
        ] {
            let place = match path {
                "in.json" => format!("{path}:{record}"),
                // Its first line is the header.
                "in.csv" => format!("{path}:{}", record + 1),
                _ => format!("{path}, record {record}"),
            };
            assert!(ran.stderr.contains(&format!("{place}: {reason}\n")), "{path}: {}", ran.stderr);
        }
        assert!(ran.stderr.contains("3 records not decoded"), "{path}: {}", ran.stderr);
    }
    // A table that is written is held to its rules as well.
    let write = [table("i", "in.json", none), table("o", "out.csv", rules), "INSERT INTO o SELECT * FROM i;\n".into()];
    site.write("write.sql", &write.concat())?;
    let ran = site.run(&["run", "write.sql"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("a row does not fit table \"o\"\n  detail: field \"id\" is \"no-uuid\""),
        "{}",
        ran.stderr
    );
    // Nor does what was begun stay under another name.
    let left: Vec<String> =
        fs::read_dir(site.path(""))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    assert!(!left.iter().any(|name| name.contains("out.csv")), "{left:?}");
    Ok(())
}
