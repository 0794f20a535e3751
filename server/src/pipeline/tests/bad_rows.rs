//! Rows that an expression cannot take: left out, told with their origin, and nothing else changes.

use super::*;

const STRICT: &str = "CREATE TABLE strict (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'strict', 'format' = 'json', 'on-bad-row' = 'fail');
";

/// Rows `(id, page, n, second)` at offsets from 100 on, in one epoch that closes every window.
async fn run(pipeline: &Pipeline, of: &[(i64, &str, i64, i64)]) -> Result<Emitted> {
    let slots = pipeline.slots.len();
    let mut batches = vec![vec![]; slots];
    batches[0] = rows(pipeline, 0, of);
    let mut origins = vec![vec![]; slots];
    origins[0] = vec![Origins::records(3, 100, of.len())];
    let input = StepInput { epoch: 1, batches, origins, sources: vec![Mark::new(END); slots], ..StepInput::default() };
    let output = pipeline.step(input).await.map(Emitted::of);
    match &output {
        Ok(_) => pipeline.commit().unwrap(),
        Err(_) => pipeline.abort(),
    }
    output
}

const ROWS: [(i64, &str, i64, i64); 5] =
    [(1, "a", 6, 1), (2, "b", 4, 2), (0, "a", 5, 3), (3, "7", 9, 4), (0, "b", 1, 5)];

/// The query's rows, with both plans; the offsets of its bad rows, `-1` for results; and the reasons.
async fn taken(query: &str, of: &[(i64, &str, i64, i64)]) -> (Vec<String>, Vec<i64>, Vec<String>) {
    let mut found = Vec::new();
    for partitions in [1, 3] {
        let output =
            run(&planned(query, partitions).await, of).await.unwrap_or_else(|error| panic!("{}", error.report()));
        let shown = shown(&output.batches);
        let lines =
            shown.lines().skip(3).filter(|line| line.starts_with('|')).map(|line| line.replace(['|', ' '], ";"));
        let mut lines: Vec<String> =
            lines.map(|line| line.split(';').filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(",")).collect();
        lines.sort();
        let mut bad: Vec<(i64, String)> =
            output.bad.into_iter().map(|letter| (letter.offset.unwrap_or(-1), letter.reason)).collect();
        bad.sort();
        found.push((lines, bad.iter().map(|bad| bad.0).collect(), bad.into_iter().map(|bad| bad.1).collect()));
    }
    assert_eq!(found[0], found[1], "{query}");
    found.remove(0)
}

#[tokio::test]
async fn a_row_whose_value_cannot_be_computed_is_left_out_with_its_origin_and_the_place() {
    let query = "SELECT n / id AS q, page FROM clicks";
    let output = run(&planned(query, 1).await, &ROWS).await.unwrap();
    assert_eq!(output.rows(), 3);
    let [first, second] = output.bad.as_slice() else { panic!("{:?}", output.bad) };
    assert_eq!((first.topic.as_deref(), first.partition, first.offset), (Some("clicks"), Some(3), Some(102)));
    assert_eq!(second.offset, Some(104));
    let text = String::from_utf8(first.value.clone().unwrap()).unwrap();
    assert!(text.contains(r#""id":0"#) && text.contains(r#""n":5"#), "{text}");
    assert!(first.reason.starts_with("test.sql:"), "{}", first.reason);
    assert!(first.reason.ends_with(":8: division by zero in \"n / id\" (5 / 0)"), "{}", first.reason);
}

#[tokio::test]
async fn wherever_an_expression_stands_its_bad_rows_are_found() {
    let window = "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start, window_end";
    let pair = "clicks.page = pages.page AND n / id > length(title) - 100";
    for query in [
        "SELECT id FROM clicks WHERE n / id > -1".to_owned(),
        "SELECT id FROM (SELECT id, page, n / id AS q FROM clicks) WHERE q IS NOT NULL".to_owned(),
        format!("SELECT sum(n / id) AS s {window}"),
        format!("SELECT max(n) FILTER (WHERE n / id > 0) AS s {window}"),
        format!("SELECT count(*) AS s {window}, n / id"),
        format!("SELECT array_agg(page ORDER BY n / id, page) AS s {window}"),
        "SELECT n / id AS q, title FROM clicks JOIN pages ON clicks.page = pages.page".to_owned(),
        format!("SELECT id, title FROM clicks JOIN pages ON {pair}"),
        format!("SELECT id, title FROM clicks LEFT JOIN pages ON {pair}"),
        format!("SELECT id FROM clicks WHERE EXISTS (SELECT 1 FROM pages WHERE {pair})"),
        format!(
            "SELECT count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') clicks JOIN pages ON {pair} GROUP BY window_end"
        ),
    ] {
        let (_, offsets, reasons) = taken(&query, &ROWS).await;
        assert_eq!(offsets, [102, 104], "{query}: {reasons:?}");
        assert!(reasons.iter().all(|reason| reason.contains("division by zero")), "{query}: {reasons:?}");
    }
    let (rows, offsets, _) = taken("SELECT CAST(page AS BIGINT) AS p FROM clicks", &ROWS).await;
    assert_eq!((rows, offsets), (vec!["7".to_owned()], vec![100, 101, 102, 104]));
}

#[tokio::test]
async fn a_bad_row_is_in_no_result_and_all_others_are() {
    let query = "SELECT page, sum(n) AS s, sum(n / id) AS q FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
        GROUP BY window_start, window_end, page";
    assert_eq!(taken(query, &ROWS).await.0, ["7,9,3", "a,6,6", "b,4,2"]);
    let both = "SELECT n AS x FROM clicks UNION ALL SELECT n / id AS x FROM clicks";
    assert_eq!(taken(both, &ROWS).await.0, ["2", "3", "4", "6", "6", "9"]);
    // In panes of half a minute; a row of several windows is bad once.
    let hop = "SELECT window_end, sum(n / id) AS q FROM HOP(clicks, ts, INTERVAL '30 seconds', INTERVAL '1 minute')
        WHERE window_start > '1960-01-01' GROUP BY window_end";
    let (rows, offsets, _) = taken(hop, &ROWS).await;
    assert_eq!((rows.len(), offsets), (2, vec![102, 104]));
}

// The right side of AND is evaluated for a whole batch or not at all, as its rows happen to be.
#[tokio::test]
async fn what_the_text_keeps_from_being_evaluated_makes_no_row_bad() {
    for query in [
        "SELECT id FROM clicks WHERE id <> 0 AND n / id > 0",
        "SELECT id FROM clicks WHERE CASE WHEN id <> 0 THEN n / id > 0 ELSE false END",
        "SELECT id, CASE WHEN id = 0 THEN 0 ELSE n / id END AS q FROM clicks WHERE id > 0 AND n / id > 0",
    ] {
        let (rows, offsets, reasons) = taken(query, &ROWS).await;
        assert_eq!((rows.len(), offsets.len()), (3, 0), "{query}: {reasons:?}");
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_computed_is_left_out_and_the_others_go_out() {
    let of = [(1, "a", 6, 1), (2, "b", 4, 2), (3, "b", -4, 3)];
    let query = |select: &str, having: &str| {
        format!(
            "SELECT page, {select} AS q FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
            GROUP BY window_start, window_end, page {having}"
        )
    };
    for query in [query("12 / sum(n)", ""), query("2", "HAVING 12 / sum(n) > 0")] {
        let (rows, offsets, reasons) = taken(&query, &of).await;
        assert_eq!((rows, offsets), (vec!["a,2".to_owned()], vec![-1]), "{query}");
        assert!(reasons[0].contains("division by zero"), "{reasons:?}");
    }
    let output = run(&planned(&query("12 / sum(n)", ""), 1).await, &of).await.unwrap();
    let text = String::from_utf8(output.bad[0].value.clone().unwrap()).unwrap();
    assert!(text.contains(r#""page":"b""#), "{text}");
    assert_eq!(output.bad[0].topic, None);
}

#[tokio::test]
async fn a_table_that_says_so_fails_at_its_bad_rows() {
    for query in [
        "SELECT n / id AS q FROM strict",
        "SELECT 1 / (sum(n) - 25) AS q FROM TUMBLE(strict, ts, INTERVAL '1 minute') GROUP BY window_start, window_end",
    ] {
        let pipeline = planned(&format!("{STRICT}{query}"), 1).await;
        let error = run(&pipeline, &ROWS).await.unwrap_err();
        assert!(error.primary().contains("division by zero"), "{}", error.report());
        // Nothing of it has been taken.
        let output = run(&pipeline, &[(1, "a", 26, 1)]).await.unwrap();
        assert_eq!((output.rows(), output.bad.len()), (1, 0));
    }
}

#[tokio::test]
async fn many_bad_rows_are_found_in_one_go() {
    let of: Vec<(i64, &str, i64, i64)> = (0..20_000).map(|at| (at % 2, "a", at, at / 1000)).collect();
    let query = "SELECT count(*) AS c, sum(n / id) AS s FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
        GROUP BY window_start, window_end";
    let (rows, offsets, _) = taken(query, &of).await;
    assert_eq!((rows, offsets.len()), (vec!["10000,100000000".to_owned()], 10_000));
}

#[tokio::test]
async fn a_sum_that_does_not_fit_is_left_out_with_its_window_and_keys() {
    let most = i64::MAX;
    let of = [(1, "a", most, 1), (2, "a", 1, 2), (3, "b", 4, 3), (4, "c", most, 4), (5, "c", 1, 5), (6, "c", -1, 6)];
    let query = "SELECT page, window_end, sum(n) AS s, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
        GROUP BY window_start, window_end, page";
    let (rows, offsets, reasons) = taken(query, &of).await;
    let expected = ["b,1970-01-01T00:01:00,4,1".to_owned(), format!("c,1970-01-01T00:01:00,{most},3")];
    assert_eq!((rows.as_slice(), offsets.as_slice()), (expected.as_slice(), [-1].as_slice()));
    assert!(reasons[0].contains("does not fit into BIGINT"), "{reasons:?}");
    let output = run(&planned(query, 1).await, &of).await.unwrap();
    let text = String::from_utf8(output.bad[0].value.clone().unwrap()).unwrap();
    for part in [r#""operator":"window-0""#, r#""window_end":"1970-01-01T00:01:00""#, r#""page":"a""#] {
        assert!(text.contains(part), "{text}");
    }
    // Without keys, and in a table that says so.
    let all = "SELECT sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end";
    let (rows, offsets, _) = taken(all, &[(1, "a", most, 1), (2, "b", 1, 2), (3, "a", 7, 7)]).await;
    assert_eq!((rows, offsets), (vec!["7".to_owned()], vec![-1]));
    let error = run(&planned(&format!("{STRICT}{}", all.replace("clicks", "strict")), 1).await, &of).await.unwrap_err();
    assert!(error.primary().contains("does not fit into BIGINT"), "{}", error.report());
}

// Each of them would be open until its time has come.
#[tokio::test]
async fn windows_too_far_ahead_are_a_thousand_at_most() {
    let query = |table: &str| {
        format!("SELECT window_end, count(*) AS c FROM TUMBLE({table}, ts, INTERVAL '1 second') GROUP BY window_end")
    };
    let far = |from: i64, rows: i64| (from..from + rows).map(|at| (at, "a", 1, 1_000_000 + at)).collect::<Vec<_>>();
    let step = async |pipeline: &Pipeline, of: &[(i64, &str, i64, i64)]| {
        let batches = vec![rows(pipeline, 0, of)];
        let origins = vec![vec![Origins::records(0, of[0].0, of.len())]];
        let input = StepInput { epoch: 1, batches, origins, sources: vec![Mark::new(NONE)], ..StepInput::default() };
        let output = pipeline.step(input).await.map(Emitted::of);
        match &output {
            Ok(_) => pipeline.commit().unwrap(),
            Err(_) => pipeline.abort(),
        }
        output
    };
    for partitions in [1, 3] {
        let pipeline = planned(&query("clicks"), partitions).await;
        assert_eq!(step(&pipeline, &far(0, 700)).await.unwrap().bad.len(), 0);
        let output = step(&pipeline, &far(700, 400)).await.unwrap();
        assert_eq!(output.bad.iter().map(|letter| letter.offset.unwrap()).min(), Some(1_000));
        assert_eq!((output.bad.len(), pipeline.open_panes()), (100, 1_000));
        assert!(output.bad[0].reason.contains("too far ahead"), "{}", output.bad[0].reason);
        // What falls into one that is open, or is not far, is taken.
        assert_eq!(step(&pipeline, &far(5, 1)).await.unwrap().bad.len(), 0);
        assert_eq!(step(&pipeline, &[(1, "a", 1, 1)]).await.unwrap().bad.len(), 0);
        assert_eq!(pipeline.open_panes(), 1_001);
    }
    let pipeline = planned(&format!("{STRICT}{}", query("strict")), 1).await;
    assert!(step(&pipeline, &far(0, 1_001)).await.unwrap_err().primary().contains("too far ahead"));
}
