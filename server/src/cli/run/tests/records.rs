//! Records of other shapes than a row each: lists of rows, defaults, maps and JSON, as streams and over everything at once.

use super::*;

/// Runs a statement over files, by epochs of one record and of all, and with plans of several partitions.
async fn every_way(folder: &Path, text: &str) -> (String, String) {
    fs::write(folder.join("a.sql"), text).expect("written");
    let mut answers = Vec::new();
    for (epoch_rows, partitions) in [(None, 1), (Some(1), 1), (Some(2), 3)] {
        let (statements, functions) = read_statements(&[folder.join("a.sql")]).expect("it parses");
        let mut session = Session::new(functions, PlanSettings { partitions, wide_rows: WIDE_ROWS });
        session.epoch_rows = epoch_rows;
        let mut out = Vec::new();
        session
            .run(statements, OutputFormat::Csv, &mut out)
            .await
            .unwrap_or_else(|error| panic!("{text}\n{}", error.report()));
        answers.push((String::from_utf8(out).expect("text"), session.losses.summary()));
    }
    assert!(answers.iter().all(|(printed, _)| *printed == answers[0].0), "{answers:?}");
    answers.swap_remove(0)
}

const BATCHES: &str = r#"{"match_id":"m1","events":[{"id":1,"at":"2026-01-01T12:00:10Z"},{"id":2,"at":"2026-01-01T12:00:20Z"},{"id":3,"at":"2026-01-01T12:01:05Z"}]}
{"match_id":"m2","events":[]}
{"match_id":"m2","events":[{"id":4,"at":"2026-01-01T12:01:30Z"},{"id":"x","at":"2026-01-01T12:01:31Z"},{"id":6,"at":"2026-01-01T12:01:40Z","zone":null}]}
{"match_id":"m3"}
{"match_id":"m1","events":[{"id":7,"at":"2026-01-01T12:02:00Z","zone":"left"}]}
"#;

const EVENTS: &str = "CREATE TABLE e (match_id VARCHAR NOT NULL, id BIGINT NOT NULL, zone VARCHAR DEFAULT 'none', at TIMESTAMP(3),
  o BIGINT METADATA FROM 'offset', WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
WITH ('connector' = 'filesystem', 'path' = 'e.ndjson', 'json.rows' = '$.events[*]', 'json.path.match_id' = '$.match_id');\n";

const LEFT_OUT: &str = "1 row and 1 of 5 records of table \"e\" left out, most often (1 times): ";

#[tokio::test]
async fn elements_of_a_record_are_rows_of_a_stream_of_a_batch_and_of_a_static_table() {
    let folder = folder();
    fs::write(folder.path().join("e.ndjson"), BATCHES).expect("written");
    let stream = "SELECT match_id, id, zone, o FROM e;\n";
    let (printed, said) = every_way(folder.path(), &format!("{EVENTS}{stream}")).await;
    assert_eq!(
        printed,
        "match_id,id,zone,o\nm1,1,none,0\nm1,2,none,0\nm1,3,none,0\nm2,4,none,2\nm2,6,,2\nm1,7,left,4\n"
    );
    assert!(said.starts_with(LEFT_OUT), "{said}");
    assert!(
        said.contains("$.events[1]: field \"id\" is \"x\"; the schema says bigint")
            || said.contains("$.events is missing; 'json.rows' says that it is the list of the rows"),
        "{said}"
    );

    let windows = "SELECT window_start, match_id, count(*) AS n, max(id) AS last FROM TUMBLE(e, at, INTERVAL '1 minute') GROUP BY window_start, match_id;\n";
    let (printed, _) = every_way(folder.path(), &format!("{EVENTS}{windows}")).await;
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "2026-01-01T12:00:00,m1,2,2",
            "2026-01-01T12:01:00,m1,1,3",
            "2026-01-01T12:01:00,m2,2,6",
            "2026-01-01T12:02:00,m1,1,7",
            "window_start,match_id,n,last"
        ]
    );
    let batch = "SELECT match_id, count(id) AS n FROM e GROUP BY match_id ORDER BY match_id;\n";
    assert_eq!(every_way(folder.path(), &format!("{EVENTS}{batch}")).await.0, "match_id,n\nm1,4\nm2,2\n");
    let fixed = EVENTS.replace(", WATERMARK FOR at AS at - INTERVAL '1' MINUTE", "").replace("TABLE e", "TABLE f");
    let joined = format!("{EVENTS}{fixed}SELECT e.id, f.id AS other FROM e JOIN f ON f.id = e.id WHERE f.id > 3;\n");
    assert_eq!(every_way(folder.path(), &joined).await.0, "id,other\n4,4\n6,6\n7,7\n");
}

#[tokio::test]
async fn a_row_that_an_expression_cannot_take_is_one_of_its_record() {
    let folder = folder();
    fs::write(folder.path().join("e.ndjson"), BATCHES).expect("written");
    let (printed, said) =
        every_way(folder.path(), &format!("{EVENTS}SELECT id, 10 / (id - 2) / (id - 3) AS q FROM e WHERE id < 4;\n"))
            .await;
    assert_eq!(printed, "id,q\n1,5\n");
    assert!(said.starts_with("3 rows and 1 of 5 records of table \"e\" left out, most often "), "{said}");
}

#[tokio::test]
async fn an_explicit_null_takes_the_default_only_where_that_is_declared() {
    let folder = folder();
    fs::write(folder.path().join("e.ndjson"), "{}\n{\"n\":null,\"k\":null}\n{\"n\":2,\"k\":\"b\"}\n").expect("written");
    fs::write(folder.path().join("e.csv"), "n,k\n,\n2,b\n").expect("written");
    let create = |path: &str, options: &str| {
        format!(
            "CREATE TABLE t (n INT DEFAULT 40 + 2 NOT NULL, k VARCHAR DEFAULT 'a') WITH ('connector' = 'filesystem', 'path' = '{path}'{options});\n"
        )
    };
    let query = "SELECT n, k FROM t;\n";
    let (printed, said) = every_way(folder.path(), &(create("e.ndjson", "") + query)).await;
    assert_eq!(printed, "n,k\n42,a\n2,b\n");
    assert!(said.contains("field \"n\" is null; the schema says not null"), "{said}");
    let (printed, said) = every_way(folder.path(), &(create("e.ndjson", ", 'on-null' = 'default'") + query)).await;
    assert_eq!((printed.as_str(), said.as_str()), ("n,k\n42,a\n42,a\n2,b\n", ""));
    // An empty field of a CSV file is one that is missing.
    assert_eq!(every_way(folder.path(), &(create("e.csv", "") + query)).await.0, "n,k\n42,a\n2,b\n");
}

#[tokio::test]
async fn maps_are_asked_by_their_keys() {
    let folder = folder();
    let rows = r#"{"k":"a","m":{"a":1,"b":2},"s":{"x":{"y":[1,2]}}}
{"k":"b","m":{"a":1,"b":2,"b":3},"s":null}
{"k":"c","m":{},"s":{}}
{"k":"d","m":null}
{"k":"e","m":{"a":"x"}}
"#;
    fs::write(folder.path().join("e.ndjson"), rows).expect("written");
    let create = "CREATE TABLE t (k VARCHAR, m MAP<VARCHAR, BIGINT>, s MAP<STRING, MAP<VARCHAR, INT[]>>, at TIMESTAMP(3) DEFAULT '2026-01-01T00:00:00Z',
        WATERMARK FOR at AS at) WITH ('connector' = 'filesystem', 'path' = 'e.ndjson');\n";
    let (printed, said) = every_way(
        folder.path(),
        &format!("{create}SELECT k, m['a'] AS a, m[k] AS own, m['no' || 'ne'] AS none, s['x']['y'][2] AS deep, m['b'] + 1 AS b FROM t;\n"),
    )
    .await;
    assert_eq!(printed, "k,a,own,none,deep,b\na,1,1,,2,3\nb,1,3,,,4\nc,,,,,\nd,,,,,\n");
    assert!(
        said.contains("1 of 5 records") && said.contains("field \"m.a\" is \"x\"; the schema says bigint"),
        "{said}"
    );
    // In windows and over everything at once.
    let (printed, _) = every_way(
        folder.path(),
        &format!("{create}SELECT sum(m['a']) AS a, count(m) AS n, count(*) FILTER (WHERE m['b'] > 2) AS c FROM TUMBLE(t, at, INTERVAL '1 day') GROUP BY window_start;\n"),
    )
    .await;
    assert_eq!(printed, "a,n,c\n2,3,1\n");
    let (printed, _) = every_way(
        folder.path(),
        &format!("{create}SELECT k, cardinality(m) AS n, map_keys(m)[1] AS first FROM t WHERE m['a'] = 1 ORDER BY m['b'] DESC, k;\n"),
    )
    .await;
    assert_eq!(printed, "k,n,first\nb,2,a\na,2,a\n");
    // Through a file of each format that has maps.
    for path in ["o.parquet", "o.ndjson"] {
        let text = format!(
            "{create}CREATE TABLE o (k VARCHAR, m MAP<VARCHAR, BIGINT>) WITH ('connector' = 'filesystem', 'path' = '{path}');
INSERT INTO o SELECT k, m FROM t;\nSELECT k, m['b'] AS b FROM o ORDER BY k;\n"
        );
        assert_eq!(every_way(folder.path(), &text).await.0, "k,b\na,2\nb,3\nc,\nd,\n", "{path}");
    }
}

#[tokio::test]
async fn json_is_asked_by_arrows_and_paths_in_streams_and_batches() {
    let folder = folder();
    let rows = r#"{"j":{"a":{"b":[1,"x"]},"n":7,"s":"text"},"v":{"n":1}}
{"j":[10,20],"v":"no json"}
{"j":"a string","v":null}
{"j":null}
{"j":12.50,"v":"{\"n\":2}"}
"#;
    fs::write(folder.path().join("e.ndjson"), rows).expect("written");
    let create =
        "CREATE TABLE t (j JSON, v VARCHAR, at TIMESTAMP(3) DEFAULT '2026-01-01T00:00:00Z', WATERMARK FOR at AS at)
        WITH ('connector' = 'filesystem', 'path' = 'e.ndjson');\n";
    // An arrow binds stronger than a comparison; a text is asked as well.
    for (query, want) in [
        (
            "SELECT j -> 'a' -> 'b' AS b, j ->> 0 AS first, json_typeof(j) AS kind, (v ->> 'n')::INT + 1 AS n FROM t",
            "b,first,kind,n\n\"[1,\"\"x\"\"]\",,object,2\n,10,array,\n,,string,\n,,,\n,,number,3\n",
        ),
        ("SELECT j ->> 's' AS s FROM t WHERE j ->> 's' = 'text' AND j -> 'n' IS NOT NULL", "s\ntext\n"),
        (
            "SELECT json_value(j, '$.n' RETURNING BIGINT) + 1 AS n, json_value(j, '$' RETURNING DOUBLE) AS whole,
               json_value(j, '$.s' RETURNING INT) AS none, json_query(j, '$.a.b') AS q FROM t WHERE json_exists(j, '$')",
            "n,whole,none,q\n8,,,\"[1,\"\"x\"\"]\"\n,,,\n,,,\n,12.5,,\n",
        ),
        (
            "SELECT sum(json_value(j, '$.n' RETURNING BIGINT)) AS n, max(json_array_length(j)) AS items
             FROM TUMBLE(t, at, INTERVAL '1 day') GROUP BY window_start",
            "n,items\n7,2\n",
        ),
        ("SELECT count(*) AS n FROM t WHERE v -> 'n' IS NULL", "n\n3\n"),
    ] {
        let (printed, said) = every_way(folder.path(), &format!("{create}{query};\n")).await;
        assert_eq!((printed.as_str(), said.as_str()), (want, ""), "{query}");
    }
    // What is written into a file of a type is read from it as what it was.
    for path in ["o.ndjson", "o.csv", "o.parquet"] {
        let text = format!(
            "{create}CREATE TABLE o (j JSON, n INT) WITH ('connector' = 'filesystem', 'path' = '{path}');
INSERT INTO o SELECT j, 1 FROM t;\nSELECT j, json_typeof(j) AS kind FROM o;\n"
        );
        let want = "j,kind\n\"{\"\"a\"\":{\"\"b\"\":[1,\"\"x\"\"]},\"\"n\"\":7,\"\"s\"\":\"\"text\"\"}\",object\n\"[10,20]\",array\n\
            \"\"\"a string\"\"\",string\n,\n12.50,number\n";
        assert_eq!(every_way(folder.path(), &text).await.0, want, "{path}");
        let report = refused(folder.path(), &text.replace("SELECT j, 1 FROM t", "SELECT v, 1 FROM t")).await;
        assert!(report.contains("field \"j\" is \"no json\"; the schema says json"), "{report}");
    }
}

#[tokio::test]
async fn files_whose_values_are_no_json_have_bad_records() {
    let folder = folder();
    fs::write(folder.path().join("e.csv"), "k,j\na,\"{\"\"x\"\":1}\"\nb,{x}\nc,\n").expect("written");
    let text = table("t", "k VARCHAR, j JSON", "e.csv") + "SELECT k, j ->> 'x' AS x FROM t;\n";
    let (printed, said) = every_way(folder.path(), &text).await;
    assert_eq!(printed, "k,x\na,1\nc,\n");
    assert_eq!(said, "1 of 3 records of table \"t\" left out: field \"j\" is \"{x}\"; the schema says json\n");
}

#[tokio::test]
async fn what_cannot_be_said_of_json_or_written_back_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("e.ndjson"), BATCHES).expect("written");
    for (text, said) in [
        ("SELECT json_value('{}', 'a') AS v;\n", "a.sql:1:8: json_value: 'a' is no path: it does not begin with $"),
        ("SELECT 1 -> 'a' AS v;\n", "json_object_field takes (json VARCHAR, field VARCHAR), not (BIGINT, VARCHAR)"),
        (
            format!("{EVENTS}INSERT INTO e SELECT 'm', 1, 'z', NULL;\n").as_str(),
            "cannot INSERT INTO \"e\", whose records hold several rows",
        ),
        (
            "CREATE TABLE o (j JSON[]) WITH ('connector' = 'filesystem', 'path' = 'o.ndjson');\nINSERT INTO o SELECT ['1'];\n",
            "cannot INSERT INTO \"o\", whose column \"j\" has JSON inside",
        ),
    ] {
        let report = refused(folder.path(), text).await;
        assert!(report.contains(said), "{report}");
    }
}
