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
    tests.push(trial("run::windows_stand_over_static_tables_and_earlier_views", &[], windows_over_what_ends));
    tests.push(trial("run::a_file_is_final_so_that_every_query_over_it_runs", &[], files_are_final));
    tests.push(trial("run::a_value_that_an_expression_cannot_take_is_named_with_its_place", &[], failed_values));
    tests.push(trial("run::rows_that_an_expression_cannot_take_are_left_out_and_named", &[], rows_left_out));
    tests.push(trial("run::a_view_alone_prints_nothing", &[], a_view_alone));
    tests.push(trial("run::records_that_are_not_decoded_are_named_on_standard_error", &[], bad_records));
    tests.push(trial("run::values_that_a_schema_forbids_are_named_with_what_it_says", &[], forbidden_values));
    tests.push(trial("run::a_bad_record_ends_the_run_where_that_is_asked_for", &[], strict_run));
    tests.push(trial("run::an_inferred_table_is_accepted_and_reads_its_whole_file", &[], inferred));
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

/// What a query prints as CSV, over the sources and two views over them.
fn printed(site: &Site, query: &str) -> Result<String, Failed> {
    let views = "CREATE MATERIALIZED VIEW per_minute AS SELECT window_time AS at, k, count(*) AS n
           FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_time, k;
         CREATE VIEW of_a AS SELECT at, n FROM per_minute WHERE k = 'a';\n";
    site.write("query.sql", &format!("{views}{query};\n"))?;
    site.output(&["run", "sources.sql", "query.sql", "--output", "csv"])
}

fn windows_over_what_ends() -> Outcome {
    let site = site()?;
    let tumble = "TUMBLE(per_minute, at, INTERVAL '5 minutes')";
    for (query, want) in [
        (format!("SELECT window_end, sum(n) AS n FROM {tumble} GROUP BY window_end ORDER BY 1"), "12:05:00,98\n"),
        (
            "SELECT w['end'] AS e, n FROM (SELECT tumble(at, INTERVAL '5 minutes') AS w, sum(n) AS n FROM of_a GROUP BY w) ORDER BY e"
                .to_owned(),
            "12:05:00,",
        ),
        (
            "WITH u AS (SELECT at, n FROM of_a UNION ALL SELECT at, n FROM per_minute)
             SELECT window_start, sum(n) AS n FROM HOP(u, at, INTERVAL '5 minutes', INTERVAL '10 minutes')
             GROUP BY window_start ORDER BY 1"
                .to_owned(),
            "12:05:00,",
        ),
        (
            format!("SELECT k FROM per_minute WHERE n = (SELECT max(n) FROM {tumble} WHERE n < 6) GROUP BY k ORDER BY k LIMIT 1"),
            "k\na\n",
        ),
    ] {
        let found = printed(&site, &query)?;
        assert!(found.contains(want), "{query}\n{found}");
    }
    // The grouping form and the one in FROM have the same rows.
    let pairs = [
        "SELECT window_start AS s, k, sum(n) AS n FROM TUMBLE(per_minute, at, INTERVAL '2 minutes') GROUP BY window_start, k ORDER BY 1, 2",
        "SELECT w['start'] AS s, k, n FROM (SELECT tumble(at, INTERVAL '2 minutes') AS w, k, sum(n) AS n FROM per_minute GROUP BY w, k) ORDER BY 1, 2",
    ];
    assert_eq!(printed(&site, pairs[0])?, printed(&site, pairs[1])?);
    Ok(())
}

fn files_are_final() -> Outcome {
    let site = site()?;
    for (query, want) in [
        ("SELECT count(*) AS n, max(id) AS m FROM e", "n,m\n200,199\n"),
        ("SELECT DISTINCT k FROM e ORDER BY k DESC LIMIT 1", "k\nd\n"),
        ("SELECT k, count(*) AS n FROM e GROUP BY ROLLUP(k) ORDER BY k NULLS FIRST LIMIT 2", "k,n\n,200\na,50\n"),
        ("SELECT a.id FROM e a JOIN f b ON a.id = b.id + 1 WHERE a.id > 197 ORDER BY 1", "id\n198\n199\n"),
        ("SELECT id, row_number() OVER (ORDER BY id DESC) AS r FROM e ORDER BY r LIMIT 1", "id,r\n199,1\n"),
        ("SELECT id FROM e WHERE id = (SELECT max(id) FROM f)", "id\n199\n"),
        ("SELECT id FROM e EXCEPT SELECT id FROM f WHERE id > 0", "id\n0\n"),
        (
            "WITH w AS (SELECT DISTINCT k, ts FROM e) SELECT count(*) > 150 AS n FROM TUMBLE(w, ts, INTERVAL '1 hour')",
            "n\ntrue\n",
        ),
    ] {
        assert_eq!(printed(&site, query)?, want, "{query}");
    }
    // It may stand in a view that others read, and be written to a file. A mistake is one as before.
    let view = "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM e;\n";
    site.write("query.sql", &format!("{view}SELECT n + 1 AS m FROM total;\n"))?;
    assert_eq!(site.output(&["run", "sources.sql", "query.sql", "--output", "csv"])?, "m\n201\n");
    site.write("query.sql", "SELECT count(*) FROM e WHERE nope;\n")?;
    let ran = site.run(&["run", "sources.sql", "query.sql"])?;
    assert!(ran.stderr.starts_with("error: query.sql:1:30: column \"nope\" does not exist"), "{}", ran.stderr);
    Ok(())
}

fn rows_left_out() -> Outcome {
    let site = site()?;
    // By a stream and in batch.
    for order in ["", " ORDER BY id"] {
        site.write("query.sql", &format!("SELECT id, 14 / (id - 7) AS x FROM e WHERE id < 10{order};\n"))?;
        let ran = site.run(&["run", "sources.sql", "query.sql", "--output", "csv"])?;
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 10), "{}", ran.stderr);
        let expected = "query.sql:1:12: division by zero in \"14 / (id - 7)\"";
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    Ok(())
}

/// By a stream and in batch, in the statement and in what it reads.
fn failed_values() -> Outcome {
    let site = site()?;
    site.write("sources.sql", &SOURCES.replace("'format' = 'json'", "'format' = 'json', 'on-bad-row' = 'fail'"))?;
    let used = "CREATE FUNCTION ratio(a BIGINT, b BIGINT) RETURNS BIGINT RETURN a / b;
CREATE VIEW halves AS SELECT ts,
  id / (id - 7) AS h FROM e;\n";
    let window = "FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start";
    for (query, place, said) in [
        (
            "SELECT id,\n 1 / (id - 7) AS x FROM e".to_owned(),
            "query.sql:5:2",
            "division by zero in \"1 / (id - 7)\"\n  detail: 1 / 0",
        ),
        ("SELECT max(1 / (id - 7)) AS x FROM e".to_owned(), "query.sql:4:12", "division by zero"),
        (
            "SELECT ratio(id, 0) AS x FROM e".to_owned(),
            "query.sql:1:65",
            "division by zero in \"a / b\"\n  detail: 0 / 0",
        ),
        ("SELECT h FROM halves".to_owned(), "query.sql:3:3", "division by zero in \"id / (id - 7)\"\n  detail: 7 / 0"),
        ("SELECT CAST(k AS BIGINT) AS k FROM e".to_owned(), "query.sql:4:13", "\"CAST(k AS BIGINT)\" cannot take '"),
        (
            "SELECT id + 9223372036854775800 AS x FROM e".to_owned(),
            "query.sql:4:8",
            "\"id + 9223372036854775800\" does not fit into BIGINT\n  detail: 8 + 9223372036854775800",
        ),
        (
            format!("SELECT window_start, sum(id - id + 4000000000000000000) AS x {window}"),
            "query.sql:4:22",
            "does not fit into BIGINT\n  detail: the sum is ",
        ),
    ] {
        site.write("query.sql", &format!("{used}{query};\n"))?;
        let ran = site.run(&["run", "sources.sql", "query.sql"])?;
        assert_eq!(ran.code, Some(64), "{query}");
        assert!(
            ran.stderr.starts_with(&format!("error: {place}: ")) && ran.stderr.contains(said),
            "{query}\n{}",
            ran.stderr
        );
    }
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
    assert!(ran.stderr.contains("2 of 3 records of table \"e\" left out"), "{}", ran.stderr);
    Ok(())
}

fn strict_run() -> Outcome {
    let site = site()?;
    site.write("names.csv", "k,name,age\na,Ana,3\nb,Bo,old\n")?;
    let table = "CREATE TABLE ages (k VARCHAR, age INT) WITH ('connector' = 'filesystem', 'path' = 'names.csv');\n";
    site.write("query.sql", &format!("{table}SELECT k, age FROM ages;\n"))?;
    let lenient = site.run(&["run", "query.sql", "--output", "csv", "--on-bad-row", "dead-letter"])?;
    assert_eq!((lenient.code, lenient.stdout.as_str()), (Some(0), "k,age\na,3\n"), "{}", lenient.stderr);
    assert!(
        lenient.stderr.contains("names.csv:3: field \"age\" is \"old\"; the schema says int"),
        "{}",
        lenient.stderr
    );
    assert!(
        lenient
            .stderr
            .ends_with("1 of 2 records of table \"ages\" left out: field \"age\" is \"old\"; the schema says int\n"),
        "{}",
        lenient.stderr
    );
    let strict = site.run(&["run", "query.sql", "--output", "csv", "--on-bad-row", "fail"])?;
    assert_eq!((strict.code, strict.stdout.as_str()), (Some(64), ""), "{}", strict.stderr);
    assert!(strict.stderr.contains("names.csv:3:6: cannot decode row from file "), "{}", strict.stderr);
    assert_eq!(site.run(&["run", "query.sql", "--on-bad-row", "ignore"])?.code, Some(2));
    Ok(())
}

fn inferred() -> Outcome {
    let site = site()?;
    for (path, name) in [("e.ndjson", "e"), ("f", "f"), ("names.csv", "names")] {
        let statement = site.output(&["infer", path])?;
        site.write(
            "query.sql",
            &format!("{statement}SELECT count(*) AS n FROM {name};\nSELECT count(*) AS n FROM '{path}';\n"),
        )?;
        site.output(&["check", "--run", "query.sql"])?;
        let records = if name == "names" { 3 } else { 200 };
        let printed = site.output(&["run", "query.sql", "--output", "csv"])?;
        assert_eq!(printed, format!("n\n{records}\nn\n{records}\n"), "{statement}");
        assert_eq!(statement.contains("WATERMARK FOR ts AS ts - INTERVAL '5' SECOND"), name != "names", "{statement}");
    }
    let ran = site.run(&["infer", "nowhere.csv"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert_eq!(site.run(&["infer", "kafka://localhost:9092"])?.code, Some(2));
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
        assert!(ran.stderr.contains("3 of 5 records of table \"e\" left out"), "{path}: {}", ran.stderr);
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
