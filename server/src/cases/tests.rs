//! What is written is what is run, and what is not as it says is found, in each way in which it can go wrong.

use super::*;

const CLICKS: &str = "\
CREATE TABLE clicks (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'all-clicks', 'format' = 'json');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv', 'format' = 'csv');";

const COUNTS: &str = "CREATE MATERIALIZED VIEW counts AS
SELECT window_start, page, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, page;";

fn text(sql: &str, test: &str) -> String {
    format!("-- Something holds.\n{CLICKS}\n{sql}\n/* test\n{test}\n*/\n")
}

async fn outcome(sql: &str, test: &str) -> Outcome {
    let case = Case::parse("t.test.sql", &text(sql, test));
    case.unwrap_or_else(|errors| panic!("{}", crate::sql::report(&errors))).run().await
}

fn shown(outcome: &Outcome) -> String {
    outcome.failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("\n\n")
}

async fn passes(sql: &str, test: &str) -> usize {
    let outcome = outcome(sql, test).await;
    assert!(outcome.failures.is_empty(), "{}", shown(&outcome));
    outcome.runs
}

/// It fails, and says so.
async fn fails(sql: &str, test: &str, says: &str) {
    let outcome = outcome(sql, test).await;
    assert!(shown(&outcome).contains(says), "{says}\nis not what it says:\n{}", shown(&outcome));
}

fn mistakes(test: &str) -> String {
    crate::sql::report(&Case::parse("t.test.sql", &text(COUNTS, test)).expect_err(test))
}

const WINDOW: &str = "
rows clicks
  | id | page | n    | ts       |
  | 1  | a    | 5    | 00:00:01 |
  | 2  | 'b'  | NULL | 00:00:09 |
  | 3  | a    | 7    | 00:00:11 |
watermark clicks 00:00:09.999
watermark 00:00:10
expect counts
  | window_start | page | c | s    |
  | 00:00:00     | a    | 1 | 5    |
  | 00:00:00     | b    | 1 | NULL |
rows clicks partition 0
  | id | page | n | ts       |
  | 4  | a    | 1 | 00:00:09 |
late
  | table  | offset | page | missed_from | missed_to |
  | clicks | 3      | a    | 00:00:00    | 00:00:10  |
restart
end
expect
  | c | s |
  | 1 | 7 |
";

#[tokio::test]
async fn a_test_is_run_in_ten_ways_and_passes_in_all_of_them() {
    assert_eq!(passes(COUNTS, WINDOW).await, 10);
}

#[tokio::test]
async fn what_comes_out_and_is_not_expected_is_a_failure_and_so_is_what_does_not_come() {
    let without = |line: &str| WINDOW.replace(line, "");
    let wrong = WINDOW.replace("| 00:00:00     | a    | 1 | 5    |", "| 00:00:00     | a    | 2 | 5    |");
    let found = shown(&outcome(COUNTS, &wrong).await);
    let wanted = "\
t.test.sql:16: counts gives other rows than expected, as it is written
           expected                             got
           | window_start | page | c | s    |   | window_start | page | c | s    |
      18 ≠ | 00:00:00     | a    | 2 | 5    |   | 00:00:00     | a    | 1 | 5    |
      19   | 00:00:00     | b    | 1 | NULL |   | 00:00:00     | b    | 1 | NULL |";
    assert_eq!(found, wanted);
    fails(COUNTS, &without("  | 00:00:00     | b    | 1 | NULL |\n"), "   | 00:00:00     | b    | 1 | NULL |").await;
    // What is not said must not come out.
    let silent = "rows clicks\n  | page | n | ts |\n  | a | 1 | 00:00:01 |\nwatermark 00:00:10\nend";
    fails(COUNTS, silent, "t.test.sql:11: counts gives other rows than expected, as it is written").await;
    let too_early = WINDOW.replace("watermark clicks 00:00:09.999\n", "watermark clicks 00:00:10\n");
    fails(COUNTS, &too_early, "t.test.sql:14: counts gives other rows").await;
    let no_ledger = "late\n  | table  | offset | page | missed_from | missed_to |\n  | clicks | 3      | a    | 00:00:00    | 00:00:10  |\n";
    fails(COUNTS, &without(no_ledger), "counts has other late rows than expected, as it is written").await;
    fails(COUNTS, &WINDOW.replace("| 3      | a    | 00:00:00", "| 4      | a    | 00:00:00"), "has other late rows")
        .await;
    fails(COUNTS, &WINDOW.replace("| 1 | 7 |", "| 1 | 7 |\n  | 1 | 7 |"), "- | 1 | 7 |").await;
    fails(COUNTS, &WINDOW.replace("| c | s |", "| c | t |"), "view \"counts\" has no column \"t\"").await;
}

const EARLY: &str = "
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
  | a    | 7 | 00:00:02 |
early
  | page | c | s  |
  | a    | 2 | 12 |
watermark 00:00:10
expect
  | page | c | is_final |
  | a    | 2 | true     |
early nothing
";

#[tokio::test]
async fn what_is_seen_before_it_is_final_is_what_the_test_says_or_a_failure() {
    let counts = COUNTS.replace("page;", "page EMIT CHANGES;");
    passes(&counts, EARLY).await;
    let says = "counts shows other open rows than expected, as it is written";
    // Each row of it, and no others; the newest of its key alone, and none that is final.
    for (from, to) in [
        ("| a    | 2 | 12 |", "| a    | 1 | 5  |"),
        ("| a    | 2 | 12 |", "| a    | 2 | 12 |\n  | a    | 1 | 5  |"),
        ("early\n  | page | c | s  |\n  | a    | 2 | 12 |", "early nothing"),
        ("early nothing", "early\n  | page | c |\n  | a    | 2 |"),
    ] {
        assert!(EARLY.contains(from), "{from}");
        fails(&counts, &EARLY.replace(from, to), says).await;
    }
    // Where nothing is said nothing is looked at.
    let without = EARLY.replace("early\n  | page | c | s  |\n  | a    | 2 | 12 |\n", "").replace("early nothing\n", "");
    passes(&counts, &without).await;
    fails(COUNTS, EARLY, "t.test.sql:13:1: no row of view \"counts\" can be seen before it is final").await;
    fails(&counts, &EARLY.replace("| page | c | s  |", "| page | c | t  |"), "view \"counts\" has no column \"t\"")
        .await;
}

#[tokio::test]
async fn a_test_without_an_end_says_nothing_of_what_is_still_open() {
    let test = WINDOW.split("restart").next().unwrap();
    passes(COUNTS, test).await;
}

#[tokio::test]
async fn what_depends_on_when_a_row_comes_is_found_or_said() {
    // The watermark moves with the step and not within it: all rows of a step are in time or none.
    let test = "watermarks follow the rows
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:30 |
  | a    | 2 | 00:00:01 |
expect
  | window_start | c |
  | 00:00:00     | 1 |
end
expect
  | window_start | c |
  | 00:00:30     | 1 |";
    passes(COUNTS, test).await;
    // In batch the row is there that a stream says is late.
    let hop = "CREATE MATERIALIZED VIEW hops AS SELECT window_start, count(*) AS c
        FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY window_start;";
    let partly = "watermark 00:00:10
rows clicks
  | ts       |
  | 00:00:07 |
late
  | missed_from | missed_to | wholly |
  | 00:00:00    | 00:00:10  | false  |
end
expect
  | window_start | c |
  | 00:00:05     | 1 |";
    fails(hop, partly, "t.test.sql:9: a row is late for a part of what it could be in").await;
    let said = format!("not at once: the row counts in the second of its windows\n{partly}");
    passes(hop, &said).await;
    // With a timeout the window closes that the row would be in.
    let timeout = COUNTS.replace("page;", "page EMIT TIMEOUT INTERVAL '3 seconds';");
    let test = "rows clicks\n  | page | n | ts |\n  | a | 1 | 00:00:01 |\nsilence 2 seconds\nsilence 1 second\nexpect\n  | c |\n  | 1 |
rows clicks\n  | page | n | ts |\n  | a | 1 | 00:00:02 |\nlate\n  | event_time |\n  | 00:00:02 |\nend";
    passes(&timeout, test).await;
}

#[tokio::test]
async fn ties_go_by_partition_in_every_way() {
    let order = "CREATE MATERIALIZED VIEW firsts AS SELECT window_start, first_value(n ORDER BY page) AS n
        FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;";
    let test = "rows clicks partition 1
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
rows clicks partition 0
  | page | n | ts       |
  | a    | 2 | 00:00:01 |
end
expect
  | n |
  | 2 |";
    passes(order, test).await;
}

#[tokio::test]
async fn idle_sources_are_not_waited_for_and_follow_the_clock_where_the_rows_lead() {
    let by_hand =
        "rows clicks partition 0\n  | page | n | ts |\n  | a | 1 | 00:00:01 |\nwatermark clicks partition 0 00:00:10
idle clicks partition 1\nexpect\n  | c |\n  | 1 |\nend";
    passes(COUNTS, by_hand).await;
    let by_rows = "watermarks follow the rows
rows clicks partition 0\n  | page | n | ts |\n  | a | 1 | 00:00:01 |\n  | a | 2 | 00:00:15 |
rows clicks partition 1\n  | page | n | ts |\n  | a | 4 | 00:00:02 |
silence 20 seconds
rows clicks partition 0\n  | page | n | ts |\n  | a | 8 | 00:00:16 |
silence 10 seconds\nexpect\n  | window_start | s |\n  | 00:00:00 | 5 |
end\nexpect\n  | s |\n  | 10 |";
    passes(COUNTS, by_rows).await;
}

#[tokio::test]
async fn bad_rows_stopped_queries_and_static_rows() {
    let halves = "CREATE MATERIALIZED VIEW halves AS SELECT c.id, p.title, 10 / n AS half FROM clicks c JOIN pages p ON p.page = c.page;";
    let test = "rows pages
  | page | title |
  | a    | Alpha |
rows clicks
  | id | page | n |
  | 1  | a    | 5 |
  | 2  | a    | 0 |
  | 3  | b    | 1 |
  | x  | a    | 1 |
expect
  | id | title | half |
  | 1  | Alpha | 2    |
bad
  | offset | column | id   | reason                            |
  | 1      | NULL   | 2    | 5:58: …zero…                      |
  | 3      | id     | x    | field \"id\" is \"x\"; the schema says … |
and rows clicks
  { this is no record
";
    let mistake = mistakes(test);
    assert!(mistake.contains("t.test.sql:24:1: `and` stands behind what must be seen"), "{mistake}");
    let test = test
        .replace("and rows clicks", "rows clicks")
        .replace("no record\n", "no record\nbad\n  | offset | value |\n  | 4 | { this is no record |\nend");
    passes(halves, &test).await;
    fails(
        halves,
        "rows clicks\n  | id | page | n |\n  | 1 | a | 1 |",
        "the test has no rows of the static table \"pages\"",
    )
    .await;
    let stop = CLICKS.replace("'format' = 'json')", "'format' = 'json', 'on-bad-row' = 'fail')");
    let case = format!(
        "-- It stops.\n{stop}\n{COUNTS}\n/* test\nrows clicks\n  | ts |\n  | 00:00:01 |\n  | noon |\nstops\n  cannot decode row from topic \"all-clicks\", partition 0, offset 1\n  detail: field \"ts\" is \"noon\"; …\n*/"
    );
    let outcome = Case::parse("t.test.sql", &case).unwrap().run().await;
    assert!(outcome.failures.is_empty(), "{}", shown(&outcome));
    let outcome = Case::parse("t.test.sql", &case.replace("| noon |", "| 00:00:02 |")).unwrap().run().await;
    assert!(shown(&outcome).contains("the query goes on"), "{}", shown(&outcome));
}

#[tokio::test]
async fn what_is_refused_is_said_with_its_place() {
    let sql = "CREATE MATERIALIZED VIEW v AS\nSELECT pag FROM clicks;";
    passes(sql, "refused\n  6:8: column \"pag\" does not exist\n  hint: did you mean \"page\"?").await;
    passes(sql, "refused\n  6:8: column \"pag\" …").await;
    fails(sql, "refused\n  6:9: column \"pag\" does not exist", "it is refused for a reason that is not expected")
        .await;
    fails(sql, "refused\n  6:8: column \"pag\" does not exist\n  hint: none", "not refused for this reason").await;
    fails(COUNTS, "refused\n  6:8: it is not", "t.test.sql:8:1: it is not refused for this reason: 6:8: it is not")
        .await;
    fails(sql, "rows clicks\n  | id |\n  | 1 |", "t.test.sql:6:8: column \"pag\" does not exist").await;
    let parsed = "CREATE MATERIALIZED VIEW v AS SELEC 1;";
    passes(parsed, "refused\n  5:31: …").await;
}

#[tokio::test]
async fn a_view_upon_another_is_run_with_it() {
    let above = "CREATE MATERIALIZED VIEW most AS SELECT window_start, page FROM counts WHERE c > 1;";
    let two = "rows clicks\n  | id | page | ts |\n  | 1 | a | 00:00:01 |\n  | 2 | a | 00:00:02 |\nend\nexpect counts\n  | c |\n  | 2 |\n";
    passes(&format!("{COUNTS}\n{above}"), &format!("{two}expect most\n  | page |\n  | a |")).await;
    fails(&format!("{COUNTS}\n{above}"), &format!("{two}expect most nothing"), "most gives other rows than expected")
        .await;
    // What is late below does not come back above, in whichever order rows come.
    let late = "watermark clicks 00:00:10\nrows clicks\n  | id | page | ts |\n  | 1 | a | 00:00:01 |\n  | 2 | a | 00:00:12 |\n  | 3 | a | 00:00:13 |\n\
                late counts\n  | page |\n  | a |\nend\nexpect counts\n  | c |\n  | 2 |\nexpect most\n  | window_start |\n  | 00:00:10 |";
    passes(&format!("{COUNTS}\n{above}"), late).await;
    let circle = "CREATE MATERIALIZED VIEW a AS SELECT page FROM b; CREATE MATERIALIZED VIEW b AS SELECT page FROM a;";
    fails(
        circle,
        "rows clicks\n  | id |\n  | 1 |\nexpect a nothing",
        "views read one another in a circle: a -> b -> a",
    )
    .await;
    let inlined = COUNTS.replace("MATERIALIZED ", "");
    passes(
        &format!("{inlined}\n{above}"),
        "rows clicks\n  | id | page | ts |\n  | 1 | a | 00:00:01 |\n  | 2 | a | 00:00:02 |\nend\nexpect\n  | page |\n  | a |",
    )
    .await;
}

#[test]
fn mistakes_of_a_test_are_found_at_their_places_and_all_at_once() {
    for (test, says) in [
        ("rows clicks\n  | id |\n  |  |\nend", "t.test.sql:10:6: the cell is empty\n  hint: write NULL, or ''"),
        ("rows clicks\n  | id | id |\n  | 1 | 2 |", "t.test.sql:9:10: column \"id\" stands in the header twice"),
        ("rows clicks\n  | id |\n  | 1 | 2 |", "t.test.sql:10:1: the row has 2 cells, and the header 1"),
        ("rows clicks\n  | id |\n  | 'a |", "t.test.sql:10:5: the quote is not closed"),
        ("rows clicks\n  | id |\n  | 1 ", "t.test.sql:10:6: expected a | behind the cell"),
        ("expect counts\n  | c |\n  | 1 |", "t.test.sql:8:1: nothing has happened yet"),
        ("watermark clicks soon", "t.test.sql:8:18: \"soon\" is no time"),
        ("end\nexpect counts", "t.test.sql:9:1: no row is expected"),
        ("end\nexpect nothing\n  | c |\n  | 1 |", "nothing is expected, and rows are"),
        ("end\nclock 00:00:01", "this is said before anything happens"),
        ("silence for a while", "t.test.sql:8:9: the silence must be a number and a unit"),
        ("wait 3 seconds", "t.test.sql:8:1: no line of a test begins with \"wait\""),
        ("not in batch", "cannot read this \"not\""),
        ("watermarks follow the rows\nwatermark 00:00:01", "the watermarks follow the rows"),
        ("  | 1 |", "nothing stands above that this line could belong to"),
        ("restart\n  | 1 |", "nothing belongs to \"restart\""),
        ("end\nexpect nothing\nexpect nothing", "\"expect\" is said twice of one step"),
        ("and rows clicks\n  | id |\n  | 1 |", "`and` has nothing to be joined to"),
        ("", "nothing happens in the test"),
        ("end\nrefused\n  1:1: it is", "what is refused does not run"),
    ] {
        let found = mistakes(test);
        assert!(found.contains(says), "{test}\n{found}");
    }
    let both = mistakes("wait\nsing");
    assert!(both.contains("\"wait\"") && both.contains("\"sing\""), "{both}");
    let none = Case::parse("t.test.sql", CLICKS).expect_err("no test");
    let none = crate::sql::report(&none);
    assert!(none.contains("the file has no test") && none.contains("nothing says what the test is for"), "{none}");
}

#[tokio::test]
async fn what_a_test_names_has_to_be_there() {
    for (test, says) in [
        (
            "rows click\n  | id |\n  | 1 |",
            "t.test.sql:8:6: there is no table \"click\"\n  hint: there are clicks, pages",
        ),
        ("rows clicks\n  | it |\n  | 1 |", "t.test.sql:9:5: table \"clicks\" has no column \"it\""),
        (
            "end\nexpect count nothing",
            "t.test.sql:9:8: there is no materialized view \"count\"\n  hint: there are counts",
        ),
        ("rows clicks", "there are no rows"),
        ("rows clicks\n  | id |\n  | 1 |\nrows pages\n  | page |\n  | a |", "a static table is read once"),
        ("watermark pages 00:00:01", "table \"pages\" has no watermark"),
    ] {
        fails(COUNTS, test, says).await;
    }
    let two = format!("{COUNTS}\nCREATE MATERIALIZED VIEW ids AS SELECT id FROM clicks;");
    fails(&two, "end\nexpect nothing", "the view is not named\n  hint: the test is about counts and ids").await;
    let named = "rows clicks\n  | id | ts |\n  | 1 | 00:00:01 |\nexpect ids\n  | id |\n  | 1 |\nend\nexpect counts\n  | page | c |\n  | NULL | 1 |";
    passes(&two, named).await;
}
