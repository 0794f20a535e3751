//! Statements of a run, in the process: what they print, and what stands in the files that they leave.

use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

mod records;

use super::super::infer::statement_for;
use super::*;
use crate::simulate::output::{Destination, Writing, run as simulated};
use crate::simulate::{Class, Profile, SimulationSettings};

/// Runs files of statements, `(name, text)`, that lie in `folder`.
async fn run_in(folder: &Path, files: &[(&str, &str)]) -> Result<String> {
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    paths.iter().zip(files).for_each(|(path, (_, text))| fs::write(path, text).expect("written"));
    let (statements, functions) = read_statements(&paths)?;
    let mut session = Session::new(functions, PlanSettings { partitions: 1, wide_rows: WIDE_ROWS });
    let mut out = Vec::new();
    session.run(statements, OutputFormat::Csv, &mut out).await?;
    Ok(String::from_utf8(out).expect("text"))
}

async fn prints(folder: &Path, text: &str) -> String {
    run_in(folder, &[("a.sql", text)]).await.expect("it runs")
}

async fn refused(folder: &Path, text: &str) -> String {
    run_in(folder, &[("a.sql", text)]).await.expect_err("refused").report()
}

/// What `touchline check --run` says of the same text.
async fn check_refuses(folder: &Path, text: &str) -> Vec<String> {
    fs::write(folder.join("a.sql"), text).expect("written");
    let (statements, _) = read_statements(&[folder.join("a.sql")]).expect("it parses");
    let found = mistakes(statements, PlanSettings { partitions: 1, wide_rows: WIDE_ROWS }).await;
    found.iter().map(Error::report).collect()
}

/// `CREATE TABLE name (columns)` over a file.
fn table(name: &str, columns: &str, path: &str) -> String {
    format!("CREATE TABLE {name} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{path}');\n")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn all_inserts_into_a_file_are_in_it_and_the_old_one_is_gone() {
    let folder = folder();
    for (path, old) in
        [("o.json", "{\"k\":\"old\",\"n\":0}\n"), ("o.csv", "k,n\nold,0\n"), ("o.parquet", "old"), ("o", "")]
    {
        let path_to = folder.path().join(path);
        let format = if path == "o" { ", 'format' = 'csv'" } else { "" };
        match path {
            "o" => fs::create_dir_all(&path_to).expect("a folder"),
            _ => fs::write(&path_to, old).expect("written"),
        }
        // By two spellings of the path, and by one table twice.
        let spelled = format!("../{}/{path}", folder.path().file_name().expect("a name").to_string_lossy());
        let create =
            |name: &str, path: &str| table(name, "k VARCHAR, n BIGINT", path).replace("');", &format!("'{format});"));
        let write = format!(
            "{}{}INSERT INTO o SELECT 'a', 1;\nINSERT INTO p SELECT 'b', 2 WHERE 1 = 0;\nINSERT INTO p SELECT 'c', 3;\n\
             INSERT INTO o SELECT 'd', 4;\nSELECT k, n FROM o ORDER BY n;\n",
            create("o", path),
            create("p", &spelled)
        );
        assert_eq!(prints(folder.path(), &write).await, "k,n\na,1\nc,3\nd,4\n", "{path}");
        if path == "o.csv" {
            assert_eq!(fs::read_to_string(&path_to).expect("text"), "k,n\na,1\nc,3\nd,4\n");
        }
    }
}

#[tokio::test]
async fn a_run_that_fails_leaves_the_old_file_and_nothing_beside_it() {
    let folder = folder();
    fs::write(folder.path().join("o.csv"), "k,n\nold,0\n").expect("written");
    let create = table("o", "k VARCHAR, n BIGINT", "o.csv");
    let report = refused(
        folder.path(),
        &format!(
            "{create}INSERT INTO o SELECT 'a', 1;\n\
             INSERT INTO o SELECT 'b', sum(n) FROM (VALUES (9223372036854775807), (1)) v(n);\n"
        ),
    )
    .await;
    assert!(report.contains("does not fit into BIGINT"), "{report}");
    assert_eq!(fs::read_to_string(folder.path().join("o.csv")).expect("text"), "k,n\nold,0\n");
    let names = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.sql", "o.csv"]);
}

#[tokio::test]
async fn a_file_has_one_schema_and_is_not_read_before_its_last_row() {
    let folder = folder();
    let one = table("o", "k VARCHAR, n BIGINT", "o.json");
    for (columns, path, said) in [
        ("k VARCHAR, m BIGINT", "o.json", "which has \"m\" bigint and not \"n\" bigint"),
        ("k VARCHAR, n BIGINT NOT NULL", "o.json", "which has \"n\" bigint not null and not \"n\" bigint"),
        ("k VARCHAR", "./o.json", "which has 1 columns and not 2"),
    ] {
        let other = table("p", columns, path);
        let second = if columns.contains(',') { "SELECT 'b', 2" } else { "SELECT 'b'" };
        let text = format!("{one}{other}INSERT INTO o SELECT 'a', 1;\nINSERT INTO p {second};\n");
        let report = refused(folder.path(), &text).await;
        assert!(report.contains("a.sql:4:1: two INSERTs write ") && report.contains(said), "{report}");
        assert!(report.contains("a.sql:3:1; this one has table \"p\""), "{report}");
        assert_eq!(check_refuses(folder.path(), &text).await, [report]);
    }
    let between = format!(
        "{one}CREATE VIEW v AS SELECT n FROM o;\nINSERT INTO o SELECT 'a', 1;\nSELECT n FROM v;\nINSERT INTO o SELECT 'b', 2;\n"
    );
    fs::write(folder.path().join("o.json"), "{\"k\":\"old\",\"n\":1}\n").expect("written");
    let report = refused(folder.path(), &between).await;
    assert!(report.contains("a.sql:4:1: table \"o\" is read before the last INSERT into "), "{report}");
    assert_eq!(check_refuses(folder.path(), &between).await, [report]);
    // Its old rows can be what is written, and its new ones are read behind.
    let grown = format!("{one}INSERT INTO o SELECT k, n + 1 FROM o;\nSELECT k, n FROM o;\n");
    assert_eq!(prints(folder.path(), &grown).await, "k,n\nold,2\n");
}

/// What a run of one file says of its last statement on standard error at the end, where it succeeds.
async fn summary(folder: &Path, on_bad_row: Option<OnBadRow>, text: &str) -> Result<String> {
    Ok(printed_and_said(folder, on_bad_row, 1, text).await?.1)
}

/// What a run of one file prints, and its [`summary`].
async fn printed_and_said(
    folder: &Path,
    on_bad_row: Option<OnBadRow>,
    partitions: usize,
    text: &str,
) -> Result<(String, String)> {
    fs::write(folder.join("a.sql"), text).expect("written");
    let (statements, functions) = read_statements(&[folder.join("a.sql")])?;
    let mut session = Session::new(functions, PlanSettings { partitions, wide_rows: WIDE_ROWS });
    session.on_bad_row = on_bad_row;
    let mut out = Vec::new();
    session.run(statements, OutputFormat::Csv, &mut out).await?;
    Ok((String::from_utf8(out).expect("text"), session.losses.summary()))
}

#[tokio::test]
async fn compressed_files_are_written_and_read_as_any_other() {
    let folder = folder();
    let mut answers = Vec::new();
    for path in ["o.ndjson", "o.ndjson.gz", "o.json.zst", "o.csv", "o.csv.gz", "o.csv.zst"] {
        let create = table("o", "k VARCHAR, n BIGINT", path);
        let write = format!("{create}INSERT INTO o SELECT 'a', 1;\nINSERT INTO o SELECT 'b', NULL;\n");
        assert_eq!(prints(folder.path(), &write).await, "", "{path}");
        answers.push(prints(folder.path(), &format!("{create}SELECT k, n FROM o ORDER BY k;\n")).await);
        let begins = fs::read(folder.path().join(path)).expect("bytes");
        let magic = match path {
            path if path.ends_with(".gz") => &[0x1f, 0x8b][..],
            path if path.ends_with(".zst") => &[0x28, 0xb5],
            path if path.ends_with(".csv") => b"k,n",
            _ => b"{\"k",
        };
        assert!(begins.starts_with(magic), "{path}");
    }
    assert!(answers.iter().all(|answer| answer == "k,n\na,1\nb,\n"), "{answers:?}");
    for option in ["", ", 'format' = 'parquet'"] {
        let create = table("o", "k VARCHAR", "o.parquet.gz").replace("');", &format!("'{option});"));
        let report = refused(folder.path(), &create).await;
        assert!(
            report.starts_with(&format!(
                "{}:1:1: a Parquet file cannot be a .gz file",
                folder.path().join("a.sql").display()
            )),
            "{report}"
        );
    }
}

#[tokio::test]
async fn a_run_says_how_many_of_how_many_records_it_has_left_out_and_why_most_of_them() {
    let folder = folder();
    let text = "{\"k\":\"a\",\"n\":1}\nnot json\n{\"n\":\"x\"}\n{\"k\":\"b\",\"n\":\"y\"}\n{\"k\":\"c\",\"n\":3}\n";
    fs::write(folder.path().join("e.json"), text).expect("written");
    fs::write(folder.path().join("names.csv"), "k,age\na,one\nb,2\n").expect("written");
    let stream = "CREATE TABLE e (k VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'filesystem', 'path' = 'e.json');\n";
    let fixed = table("f", "k VARCHAR, n BIGINT", "e.json");
    let names = table("names", "k VARCHAR, age INT", "names.csv");
    let of_e =
        "3 of 5 records of table \"e\" left out, most often (2 times): field \"n\" is \"x\"; the schema says bigint\n";
    let of_names = "1 of 2 records of table \"names\" left out: field \"age\" is \"one\"; the schema says int\n";
    for (query, said) in [
        // A stream, a static table, both, and the static one twice.
        ("SELECT n, k FROM e", of_e.to_owned()),
        ("SELECT count(n) FROM e", of_e.to_owned()),
        ("SELECT count(*) FROM f a JOIN f b ON a.n = b.n", of_e.replace("\"e\"", "\"f\"")),
        ("SELECT e.n, age FROM e JOIN names ON names.k = e.k", format!("{of_e}{of_names}")),
        ("SELECT k FROM names", String::new()),
    ] {
        let found = summary(folder.path(), None, &format!("{stream}{fixed}{names}{query};\n")).await.expect("it runs");
        assert_eq!(found, said, "{query}");
    }
    // Its own option, and the one of the command line.
    let strict = stream.replace("'path'", "'on-bad-row' = 'fail', 'path'");
    for (create, on_bad_row, fails) in [
        (stream, Some(OnBadRow::Fail), true),
        (&strict, None, true),
        (&strict, Some(OnBadRow::DeadLetter), false),
        (fixed.as_str(), Some(OnBadRow::Fail), true),
    ] {
        let name = if create == fixed { "f" } else { "e" };
        let found = summary(folder.path(), on_bad_row, &format!("{create}SELECT n, k FROM {name};\n")).await;
        match found {
            Ok(said) => assert!(!fails && said == of_e, "{said}"),
            Err(error) => {
                assert!(fails && error.kind().exit_code() == 64, "{}", error.report());
                assert!(error.report().contains("e.json\", record 1"), "{}", error.report());
            }
        }
    }
}

/// Rows of which `n / id` cannot take the second, and `CAST(k AS BIGINT)` the third.
fn three_rows(folder: &Path, option: &str) -> String {
    fs::write(folder.join("e.csv"), "id,n,k\n1,6,1\n0,5,2\n3,9,x\n").expect("written");
    table("e", "id BIGINT, n BIGINT, k VARCHAR", "e.csv").replace("');", &format!("'{option});"))
}

#[tokio::test]
async fn rows_that_an_expression_cannot_take_are_left_out_of_what_no_stream_can_do() {
    let folder = folder();
    let create = three_rows(folder.path(), "");
    let (division, cast) = ("division by zero in \"n / id\" (5 / 0)", "\"CAST(k AS BIGINT)\" cannot take 'x'");
    for (query, want, column, reason) in [
        ("SELECT n / id AS q FROM e ORDER BY n DESC", "q\n3\n6\n", 8, division),
        ("SELECT id FROM e ORDER BY n / id", "id\n3\n1\n", 27, division),
        ("SELECT id FROM e ORDER BY n / id LIMIT 1", "id\n3\n", 27, division),
        ("SELECT id FROM e WHERE n / id > 0 ORDER BY id", "id\n1\n3\n", 24, division),
        // Its limit goes into the filter.
        ("SELECT id FROM e WHERE n / id > 0 LIMIT 1", "id\n1\n", 24, division),
        ("SELECT sum(n / id) AS s FROM e", "s\n9\n", 12, division),
        ("SELECT k, sum(n / id) AS s FROM e GROUP BY k ORDER BY k", "k,s\n1,6\nx,3\n", 15, division),
        ("SELECT n / id AS q, count(*) AS c FROM e GROUP BY n / id ORDER BY q", "q,c\n3,1\n6,1\n", 8, division),
        ("SELECT id, sum(n / id) OVER (ORDER BY n) AS s FROM e ORDER BY n", "id,s\n1,6\n3,9\n", 16, division),
        ("SELECT a.n FROM e a JOIN e b ON CAST(a.k AS BIGINT) = b.id", "n\n6\n", 38, cast),
        (
            "SELECT a.n FROM e a JOIN e b ON a.id = b.id AND a.n / b.id > 0 ORDER BY a.n",
            "n\n6\n9\n",
            49,
            "division by zero in \"n / id\" (5 / 0)",
        ),
        // What a filter keeps from being evaluated makes no row bad.
        ("SELECT sum(n / id) FILTER (WHERE id <> 0) AS s, sum(CAST(k AS BIGINT)) AS c FROM e", "s,c\n6,3\n", 58, cast),
        ("SELECT id FROM e WHERE n > (SELECT min(n / id) FROM e) ORDER BY id", "id\n0\n1\n3\n", 40, division),
    ] {
        let place = format!("{}:2:{column}", folder.path().join("a.sql").display());
        for partitions in [1, 3] {
            let found = printed_and_said(folder.path(), None, partitions, &format!("{create}{query};\n")).await;
            let (printed, said) = found.unwrap_or_else(|error| panic!("{query}\n{}", error.report()));
            assert_eq!(printed, want, "{query}");
            assert_eq!(said, format!("1 row of the statement left out: {place}: {reason}\n"), "{query}");
        }
    }
}

#[tokio::test]
async fn a_row_of_a_table_that_says_so_fails_what_no_stream_can_do() {
    let folder = folder();
    let query = "SELECT n / id AS q FROM e ORDER BY n;\n";
    for (option, on_bad_row, fails) in [
        (", 'on-bad-row' = 'fail'", None, true),
        ("", Some(OnBadRow::Fail), true),
        (", 'on-bad-row' = 'fail'", Some(OnBadRow::DeadLetter), false),
    ] {
        let create = three_rows(folder.path(), option);
        // It also says so to who reads it by a view.
        for query in [query.to_owned(), format!("CREATE VIEW v AS SELECT * FROM e; {}", query.replace(" e ", " v "))] {
            match printed_and_said(folder.path(), on_bad_row, 1, &format!("{create}{query}")).await {
                Ok((printed, _)) => assert!(!fails && printed == "q\n6\n3\n", "{query}\n{printed}"),
                Err(error) => {
                    let report = error.report();
                    assert!(fails && error.kind().exit_code() == 64, "{report}");
                    assert!(
                        report.contains("a.sql:2:") && report.contains("division by zero in \"n / id\""),
                        "{report}"
                    );
                }
            }
        }
    }
    // Without a table there are no records that could be good.
    let of_none = "SELECT 1 / n AS q FROM (VALUES (0), (1)) v(n) ORDER BY n;\n";
    let error = summary(folder.path(), None, of_none).await.expect_err("refused");
    assert!(error.report().contains("a.sql:1:8: division by zero"), "{}", error.report());
    let (printed, _) = printed_and_said(folder.path(), Some(OnBadRow::DeadLetter), 1, of_none).await.expect("it runs");
    assert_eq!(printed, "q\n1\n");
}

#[tokio::test]
async fn rows_before_one_that_an_expression_cannot_take_are_written_once() {
    let folder = folder();
    let create = three_rows(folder.path(), "") + &table("o", "k VARCHAR, q BIGINT", "o.csv");
    let insert = "INSERT INTO o SELECT k, n AS q FROM e UNION ALL SELECT k, n / id AS q FROM e;\n";
    for partitions in [1, 3] {
        let (_, said) =
            printed_and_said(folder.path(), None, partitions, &format!("{create}{insert}")).await.expect("it runs");
        assert!(said.starts_with("1 row of the statement left out: "), "{said}");
        let written = fs::read_to_string(folder.path().join("o.csv")).expect("text");
        let mut rows: Vec<&str> = written.lines().collect();
        rows.sort_unstable();
        assert_eq!(rows, ["1,6", "1,6", "2,5", "k,q", "x,3", "x,9"]);
    }
}

#[tokio::test]
async fn where_no_row_is_to_blame_alone_the_statement_fails_with_the_first_error() {
    let folder = folder();
    let create = three_rows(folder.path(), "");
    for (query, said) in [
        ("SELECT sum(n + 9223372036854775000) AS s FROM e", "does not fit into BIGINT"),
        // Instead of NULL for what was to be compared with.
        ("SELECT id FROM e WHERE n > (SELECT 1 / (sum(id) - 4) FROM e)", "division by zero"),
    ] {
        let report = refused(folder.path(), &format!("{create}{query};\n")).await;
        assert!(report.contains("a.sql:2:") && report.contains(said), "{query}\n{report}");
    }
}

#[tokio::test]
async fn a_late_row_is_counted_beside_the_bad_ones() {
    let folder = folder();
    let rows =
        ["12:01:00", "12:05:00", "12:01:30", "12:09:00"].map(|time| format!("{{\"ts\":\"2026-01-01T{time}Z\"}}\n"));
    fs::write(folder.path().join("e.json.gz"), gzipped(rows.concat().as_bytes())).expect("written");
    let text = "CREATE TABLE e (ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'filesystem', 'path' = 'e.json.gz');
        SELECT window_start, count(*) FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start;\n";
    fs::write(folder.path().join("a.sql"), text).expect("written");
    let (statements, functions) = read_statements(&[folder.path().join("a.sql")]).expect("it parses");
    let mut session = Session::new(functions, PlanSettings { partitions: 1, wide_rows: WIDE_ROWS });
    session.epoch_rows = Some(1);
    session.run(statements, OutputFormat::Csv, &mut Vec::new()).await.expect("it runs");
    assert_eq!(session.losses.summary(), "1 late row dropped\n");
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn a_file_is_read_by_its_name() {
    let folder = folder();
    fs::create_dir(folder.path().join("in")).expect("a folder");
    fs::write(folder.path().join("in/clicks.ndjson"), "{\"page\":\"home\",\"n\":1}\n{\"page\":\"shop\",\"n\":2}\n")
        .expect("written");
    fs::write(folder.path().join("pages.csv.gz"), gzipped(b"page,title\nhome,Home\nshop,Shop\n")).expect("written");
    let write =
        table("p", "page VARCHAR, n BIGINT", "out.parquet") + "INSERT INTO p SELECT page, n FROM 'in/clicks.ndjson';\n";
    let text = write
        + "CREATE MATERIALIZED VIEW of_files AS SELECT page, n + 1 AS m FROM 'out.parquet';
SELECT c.page, title, m FROM 'in/clicks.ndjson' c JOIN 'pages.csv.gz' AS p ON p.page = c.page
  JOIN of_files f ON f.page = c.page WHERE n = (SELECT max(n) FROM 'in/clicks.ndjson');
SELECT count(*) AS n FROM 'out.parquet';\n";
    assert_eq!(prints(folder.path(), &text).await, "page,title,m\nshop,Shop,3\nn\n2\n");
    let report = refused(folder.path(), "SELECT 1;\nSELECT * FROM 'nowhere.csv';\n").await;
    assert!(report.contains("a.sql:2:1: no such file or folder: ") && report.contains("nowhere.csv"), "{report}");
    let report = refused(folder.path(), "SELECT pge FROM 'in/clicks.ndjson';\n").await;
    assert!(report.contains("a.sql:1:8: column \"pge\" does not exist"), "{report}");
    assert_eq!(check_refuses(folder.path(), "SELECT pge FROM 'in/clicks.ndjson';\n").await, [report]);
}

#[tokio::test]
async fn whatever_the_simulator_and_the_schemas_have_is_read_whole_by_an_inferred_table() {
    let folder = folder();
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/data")).expect("a folder") {
        files.push(std::path::absolute(entry.expect("a file").path()).expect("a path"));
    }
    let settings =
        SimulationSettings { span_ms: 0..240_000, answers: false, ..SimulationSettings::new(Profile::Smoke, 7) };
    let classes = vec![Class::Punctual, Class::Late, Class::Ahead];
    let writing = Writing { partitions: 1, speed: 0.0, classes, seal: false, truth: None };
    let to = Destination::Folder(folder.path().to_owned());
    simulated(&settings, &to, &writing, &Clock::System, &mut |_| ControlFlow::Continue(())).expect("simulated");
    for topic in ["match-events", "engagements", "live-matches", "player-live-stats", "team-live-stats"] {
        files.push(folder.path().join(topic).join("00.ndjson"));
        // And as people keep it.
        let packed = folder.path().join(format!("{topic}.json.gz"));
        fs::write(&packed, gzipped(&fs::read(files.last().expect("one")).expect("bytes"))).expect("written");
        files.push(packed);
    }
    assert!(files.len() > 10);
    for file in files {
        let mut bytes = Vec::new();
        crate::source::filesystem::open_text(&file).expect("opened").read_to_end(&mut bytes).expect("read");
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let records = match file.extension().is_some_and(|ending| ending == "csv") {
            true => lines.count() - 1,
            // What is no JSON at all is no row of any table.
            false => lines.filter(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).is_ok()).count(),
        };
        let statement = statement_for(&file).expect("inferred");
        let name = statement.split("CREATE TABLE ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a name");
        let columns = statement.split("(\n").nth(1).and_then(|rest| rest.split("\n) WITH").next()).expect("columns");
        let columns = columns.lines().filter_map(|line| line.trim().split(' ').next());
        // Every column is read, so that every value has to be one.
        let counts: Vec<String> =
            columns.filter(|column| *column != "WATERMARK").map(|column| format!("count({column})")).collect();
        let query = format!("{statement}SELECT count(*) AS n, {} FROM {name};\n", counts.join(", "));
        assert_eq!(check_refuses(folder.path(), &query).await, Vec::<String>::new(), "{statement}");
        let printed = prints(folder.path(), &query).await;
        let counted = printed.lines().nth(1).and_then(|line| line.split(',').next()).expect("a row");
        assert_eq!(counted, records.to_string(), "{}\n{statement}", file.display());
    }
}

#[tokio::test]
async fn explain_shows_the_stream_plan_and_runs_nothing() {
    let folder = folder();
    fs::write(folder.path().join("e.json"), "{\"id\":1,\"ts\":\"2026-01-01T12:00:00Z\"}\n").expect("written");
    let create = "CREATE TABLE e (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('connector' = 'filesystem', 'path' = 'e.json');
CREATE TABLE o (id BIGINT) WITH ('connector' = 'filesystem', 'path' = 'o.json');
CREATE MATERIALIZED VIEW v AS SELECT window_end, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_end;\n";
    let window = "aggregate count(*) by window_end\n";
    for (explained, begins) in [
        ("MATERIALIZED VIEW v", window),
        (
            "CREATE MATERIALIZED VIEW w AS SELECT window_end, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_end",
            window,
        ),
        ("SELECT id, ts FROM e WHERE id > 0", "filter id > 0\n"),
        ("INSERT INTO o SELECT id FROM e WHERE id > 0", "filter id > 0\n"),
    ] {
        let text = format!("{create}EXPLAIN {explained};\n");
        let printed = explains(folder.path(), &text, OutputFormat::Table).await;
        assert!(printed.starts_with(begins) && printed.contains("scan e\n"), "{explained}\n{printed}");
        assert_eq!(check_refuses(folder.path(), &text).await, Vec::<String>::new());
    }
    assert!(!folder.path().join("o.json").exists());
    // What no stream can do runs at once; its plan is DataFusion's. The view below it is computed when it is read.
    let text = format!("{create}EXPLAIN SELECT max(n) FROM v;\nSELECT max(n) AS n FROM v;\n");
    let printed = explains(folder.path(), &text, OutputFormat::Table).await;
    assert!(printed.starts_with("over the whole input at once, as no stream does it:\n  "), "{printed}");
    assert!(printed.contains("Aggregate: ") && printed.contains("| 1 |"), "{printed}");
    let rows = explains(folder.path(), &format!("{create}EXPLAIN SELECT id FROM e;\n"), OutputFormat::Json).await;
    assert!(rows.starts_with("{\"plan\":\"scan e\"}\n"), "{rows}");
    for (explained, said) in [
        (
            "MATERIALIZED VIEW w",
            "a.sql:5:1: there is no materialized view \"w\" here\n  hint: it must stand before; there are v",
        ),
        ("SELECT nope FROM e", "a.sql:5:16: column \"nope\" does not exist"),
        ("CREATE VIEW x AS SELECT 1", "a.sql:5:9: only what a query does can be explained"),
        ("ANALYZE SELECT 1", "a.sql:5:9: EXPLAIN ANALYZE is not available in a file"),
    ] {
        let report = refused(folder.path(), &format!("{create}EXPLAIN {explained};\n")).await;
        assert!(report.contains(said), "{report}");
    }
}

async fn explains(folder: &Path, text: &str, format: OutputFormat) -> String {
    fs::write(folder.join("a.sql"), text).expect("written");
    let (statements, functions) = read_statements(&[folder.join("a.sql")]).expect("it parses");
    let mut session = Session::new(functions, PlanSettings { partitions: 1, wide_rows: WIDE_ROWS });
    let mut out = Vec::new();
    session.run(statements, format, &mut out).await.expect("it runs");
    String::from_utf8(out).expect("text")
}

#[tokio::test]
async fn rows_of_files_are_joined_as_of_a_time() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("a.csv", "k,ts\nx,2024-01-01T00:00:05Z\nx,2024-01-01T00:00:01Z\ny,2024-01-01T00:00:09Z\nx,\n");
    write(
        "b.csv",
        "k,v,ts\nx,1,2024-01-01T00:00:02Z\nx,2,2024-01-01T00:00:04Z\nx,3,2024-01-01T00:00:04Z\n,4,2024-01-01T00:00:08Z\n",
    );
    let tables = table("a", "k VARCHAR, ts TIMESTAMP(3)", "a.csv")
        + &table("b", "k VARCHAR, v BIGINT, ts TIMESTAMP(6)", "b.csv");
    for (join, rows) in [
        ("ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts", "x,\nx,3\ny,\nx,\n"),
        ("ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k", "x,3\n"),
        // Without an end, as it is only possible over what ends.
        ("ASOF JOIN b ON a.k = b.k AND a.ts < b.ts", "x,1\n"),
        ("ASOF JOIN b ON a.ts >= b.ts AND a.ts - b.ts < INTERVAL '1 second'", ""),
    ] {
        let query = format!("SELECT a.k, b.v FROM a {join} ORDER BY a.ts;");
        assert_eq!(prints(folder.path(), &format!("{tables}{query}")).await, format!("k,v\n{rows}"), "{join}");
        assert_eq!(check_refuses(folder.path(), &format!("{tables}{query}")).await, [] as [&str; 0]);
    }
}
