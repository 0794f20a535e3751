use arrow::datatypes::{Schema, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::Statement;
use crate::error::Error;
use crate::sql::{add_window_functions, parse_file, planning_error, session_config};

#[derive(Debug)]
struct OnlyT;

impl WatermarkColumns for OnlyT {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        (table.table() == "t").then(|| "ts".to_owned())
    }
}

fn session() -> SessionContext {
    let session = SessionContext::new_with_config(session_config());
    add_window_functions(&session, Arc::new(OnlyT)).expect("registered");
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8View, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("seconds", DataType::Timestamp(TimeUnit::Second, None), true),
    ]));
    for name in ["t", "u"] {
        let table = MemTable::try_new(schema.clone(), vec![vec![]]).expect("an empty table");
        session.register_table(name, Arc::new(table)).expect("registered");
    }
    session
}

async fn plan(text: &str) -> Result<LogicalPlan, Error> {
    let statements = parse_file("q.sql", text).map_err(|mut errors| errors.remove(0))?;
    let Some(Statement::Select(view)) = statements.into_iter().next_back() else { panic!("not a query: {text}") };
    let statement = datafusion::sql::sqlparser::ast::Statement::Query(view.query);
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    session().state().statement_to_plan(statement).await.map_err(|error| planning_error(error, "q.sql", &view.location))
}

#[tokio::test]
async fn every_spelling_plans_the_same_node() {
    for call in [
        "TUMBLE(t, ts, INTERVAL '1 minute')",
        "tumble(t, INTERVAL '1' MINUTE)",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '60' SECOND))",
        "TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE))",
        "TUMBLE(SIZE => INTERVAL '1' MINUTE, DATA => t)",
        "LATERAL TUMBLE(t, t.ts, INTERVAL '1 minute')",
        "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTES)",
        "tumble(data => table t, timecol => descriptor(ts), size => interval '1' minute)",
        "Tumble(Size := INTERVAL '1:00' MINUTE TO SECOND, Data := TABLE t, TimeCol := ts)",
        "TABLE(TUMBLE(TIMECOL => DESCRIPTOR(\"ts\"), SIZE => INTERVAL '0:1' HOUR TO MINUTE, DATA => TABLE t))",
    ] {
        let plan = plan(&format!("SELECT * FROM {call}")).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(shown.contains("WindowTvf: TUMBLE(1 minute), time=t.ts"), "{call}: {shown}");
    }
    for (call, kind) in [
        ("HOP(t, INTERVAL '10 seconds', INTERVAL '1 minute')", "HOP(10 seconds, 1 minute)"),
        (
            "TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '10' SECONDS, SIZE => INTERVAL '1' MINUTES))",
            "HOP(10 seconds, 1 minute)",
        ),
        (
            "HOP(SIZE => INTERVAL '1' MINUTE, OFFSET => INTERVAL '-3 seconds', SLIDE => INTERVAL '10' SECOND, TIMECOL => ts, DATA => t)",
            "HOP(10 seconds, 1 minute, 7 seconds)",
        ),
        (
            "HOP(t, ts, INTERVAL '10 seconds', INTERVAL '1 minute', INTERVAL '-3 seconds')",
            "HOP(10 seconds, 1 minute, 7 seconds)",
        ),
        ("TUMBLE(t, INTERVAL '1 minute', -INTERVAL '20' SECOND)", "TUMBLE(1 minute, 40 seconds)"),
        ("TUMBLE(t, ts, INTERVAL '7 days', 'Europe/Berlin')", "TUMBLE(7 days, 'Europe/Berlin')"),
        (
            "TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' DAY, OFFSET => 'Asia/Beirut'))",
            "TUMBLE(1 day, 'Asia/Beirut')",
        ),
        ("CUMULATE(t, ts, INTERVAL '1 hour', INTERVAL '1 day')", "CUMULATE(1 hour, 1 day)"),
        (
            "TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY, INTERVAL '8' HOUR))",
            "CUMULATE(1 hour, 1 day, 8 hours)",
        ),
        (
            "CUMULATE(DATA => t, STEP => INTERVAL '1' DAY, SIZE => INTERVAL '7' DAY, OFFSET => 'Africa/Cairo')",
            "CUMULATE(1 day, 7 days, 'Africa/Cairo')",
        ),
        ("SESSION(t, ts, INTERVAL '5 minutes')", "SESSION(5 minutes)"),
        ("session(t, INTERVAL '5' MINUTE)", "SESSION(5 minutes)"),
        ("SESSION(t, DESCRIPTOR(ts), INTERVAL '90 seconds')", "SESSION(90 seconds)"),
    ] {
        let plan = plan(&format!("SELECT * FROM {call}")).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(shown.contains(&format!("WindowTvf: {kind}, time=t.ts")), "{call}: {shown}");
    }
}

#[tokio::test]
async fn a_window_stands_over_a_query_in_every_spelling() {
    for from in [
        "TUMBLE((SELECT * FROM t WHERE k > 'a'), ts, INTERVAL '1 minute')",
        "TABLE(TUMBLE((SELECT * FROM t WHERE k > 'a'), DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "TABLE(TUMBLE(TABLE (SELECT * FROM t WHERE k > 'a'), DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "TUMBLE(SIZE => INTERVAL '1' MINUTE, DATA => (SELECT * FROM t WHERE k > 'a'), TIMECOL => DESCRIPTOR(ts))",
        "TABLE(TUMBLE(DATA => TABLE (SELECT * FROM t WHERE k > 'a'), TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE))",
    ] {
        let plan = plan(&format!("SELECT * FROM {from}")).await.unwrap_or_else(|error| panic!("{from}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(
            shown.contains("WindowTvf: TUMBLE(1 minute), time=t.ts") && shown.contains("Filter"),
            "{from}: {shown}"
        );
    }
    for from in [
        "TUMBLE(w, ts, INTERVAL '1 minute')",
        "TABLE(TUMBLE(TABLE w, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "TABLE(TUMBLE(TIMECOL => DESCRIPTOR(ts), DATA => TABLE w, SIZE => INTERVAL '1' MINUTE))",
    ] {
        let query = format!("WITH w AS (SELECT * FROM t WHERE k > 'a') SELECT * FROM {from}");
        let plan = plan(&query).await.unwrap_or_else(|error| panic!("{from}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(shown.contains("WindowTvf: TUMBLE(1 minute), time=w.ts"), "{from}: {shown}");
    }
}

#[tokio::test]
async fn every_spelling_of_a_session_by_keys_plans_the_same_node() {
    for call in [
        "SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')",
        "SESSION(t PARTITION BY t.k, t.ts, INTERVAL '5' MINUTE)",
        "SESSION(t partition by (k), INTERVAL '5 minutes')",
        "SESSION(t PARTITION BY k, INTERVAL '5 minutes')",
        "TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' MINUTES))",
        "TABLE(SESSION(DATA => TABLE t PARTITION BY k, TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '5' MINUTES))",
    ] {
        let plan = plan(&format!("SELECT * FROM {call}")).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(shown.contains("WindowTvf: SESSION(5 minutes), time=t.ts, keys=t.k"), "{call}: {shown}");
    }
    for call in [
        "SESSION(t PARTITION BY k, seconds, ts, INTERVAL '5 minutes')",
        "SESSION(t PARTITION BY (k, seconds), INTERVAL '5 minutes')",
        "TABLE(SESSION(TABLE t PARTITION BY k, seconds, DESCRIPTOR(ts), INTERVAL '5' MINUTES))",
    ] {
        let plan = plan(&format!("SELECT * FROM {call}")).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let shown = plan.display_indent().to_string();
        assert!(shown.contains("time=t.ts, keys=t.k, t.seconds"), "{call}: {shown}");
    }
}

#[tokio::test]
async fn window_columns_follow_the_time_columns_type_and_name() {
    let plan =
        plan("SELECT w.window_start, window_end, w.window_time, w.k FROM TUMBLE(t, ts, INTERVAL '1 minute') AS w")
            .await;
    let plan = plan.expect("planned");
    let fields: Vec<String> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {} {}", field.name(), field.data_type(), field.is_nullable()))
        .collect();
    assert_eq!(
        fields,
        [
            "window_start Timestamp(ms) false",
            "window_end Timestamp(ms) false",
            "window_time Timestamp(ms) false",
            "k Utf8View true"
        ]
    );
}

#[tokio::test]
async fn each_mistake_in_a_window_function_has_its_place_and_remedy() {
    let tumble = "write TUMBLE(table, time_column, INTERVAL '1 minute')";
    let session = "write SESSION(table PARTITION BY keys, time_column, gap), as in SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')";
    for (from, want) in [
        ("TUMBLE(t, k, INTERVAL '1 minute')", "q.sql:2:25: column \"k\" is not a timestamp\n  hint: it is VARCHAR; cast it in a subquery, or name another column".to_owned()),
        ("TUMBLE(t, tz, INTERVAL '1 minute')", "q.sql:2:25: column \"tz\" does not exist\n  hint: did you mean \"ts\"?".to_owned()),
        ("TUMBLE(nope, ts, INTERVAL '1 minute')", "q.sql:2:22: table 'nope' not found".to_owned()),
        ("TUMBLE(u, INTERVAL '1 minute')", format!("q.sql:2:15: TUMBLE needs a time column: u has no watermark\n  hint: {tumble}")),
        ("TUMBLE((SELECT * FROM t), INTERVAL '1 minute')", format!("q.sql:2:15: TUMBLE needs a time column: a query has no watermark\n  hint: {tumble}")),
        ("TUMBLE(t, ts, '1 minute')", format!("q.sql:2:29: the window's size must be an INTERVAL, as in INTERVAL '5 minutes'\n  hint: {tumble}")),
        ("TUMBLE(t, ts, INTERVAL '1' MONTH)", format!("q.sql:2:38: the window's size must not have months or years, whose length varies; use days or shorter units\n  hint: {tumble}")),
        ("HOP(t, ts, INTERVAL '0.5' MONTH, INTERVAL '1 day')", "q.sql:2:35: the window's slide must not have months or years, whose length varies; use days or shorter units\n  hint: write HOP(table, time_column, slide, size), as in HOP(t, ts, INTERVAL '1 minute', INTERVAL '10 minutes')".to_owned()),
        ("TUMBLE(t, ts)", format!("q.sql:2:15: TUMBLE needs the size of its windows\n  hint: {tumble}")),
        ("TUMBLE(t, ts, INTERVAL '0' SECOND)", "q.sql:2:15: the window's size must be longer than zero".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1 minute', INTERVAL '1 second', 1)", format!("q.sql:2:15: TUMBLE has too many arguments\n  hint: {tumble}")),
        ("TUMBLE(t, ts, INTERVAL '1 minute', INTERVAL '1 minute')", "q.sql:2:59: the window's offset must be shorter than the window\n  hint: windows that are moved by their own length are the same windows".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1 minute', INTERVAL '-61 seconds')", "q.sql:2:59: the window's offset must be shorter than the window\n  hint: windows that are moved by their own length are the same windows".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1 year', INTERVAL '0.5 months')", format!("q.sql:2:38: the window's size must not have months or years, whose length varies; use days or shorter units\n  hint: {tumble}")),
        ("TUMBLE(t, ts, INTERVAL '1 day', INTERVAL '0.5 months')", format!("q.sql:2:56: the window's offset must not have months or years, whose length varies; use days or shorter units\n  hint: {tumble}")),
        ("TUMBLE(t, seconds, INTERVAL '1 minute', INTERVAL '500 milliseconds')", "q.sql:2:15: the window's offset is not a whole number of the time column's seconds\n  hint: declare the column with a finer TIMESTAMP(3) or TIMESTAMP(6), or use a longer window".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1 hour', 'Europe/Berlin')", "q.sql:2:48: in a time zone the window's size must be whole days\n  hint: write INTERVAL '1 day', 'Europe/Berlin', or leave the time zone out".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1' MONTH, 'Europe/Berlin')", format!("q.sql:2:38: the window's size must not have months or years, whose length varies; use days or shorter units\n  hint: {tumble}")),
        ("TUMBLE(t, ts, INTERVAL '1 day', 'Europe/Berln')", "q.sql:2:47: time zone 'Europe/Berln' is not known\n  hint: did you mean 'Europe/Berlin'?".to_owned()),
        ("TUMBLE(t, ts, INTERVAL '1 day', 8)", format!("q.sql:2:47: the window's offset must be an INTERVAL, as in INTERVAL '5 minutes'\n  hint: {tumble}")),
        ("HOP(t, ts, INTERVAL '1 day', INTERVAL '7 days', 'UTC')", "q.sql:2:63: HOP is not available in a time zone\n  hint: TUMBLE(t, ts, INTERVAL '1 day', 'Europe/Berlin') and CUMULATE are; HOP takes an offset".to_owned()),
        ("CUMULATE(t, ts, INTERVAL '2 hours', INTERVAL '3 hours')", "q.sql:2:15: the window's size must be a multiple of its step\n  hint: the step comes first: CUMULATE(t, ts, step, size)".to_owned()),
        ("CUMULATE(t, ts, INTERVAL '2 hours')", "q.sql:2:15: CUMULATE needs a step and a size\n  hint: write CUMULATE(table, time_column, step, size), as in CUMULATE(t, ts, INTERVAL '1 hour', INTERVAL '1 day')".to_owned()),
        ("CUMULATE(t, ts, INTERVAL '1 hour', INTERVAL '1 day', 'Europe/Berlin')", "q.sql:2:68: in a time zone the window's step must be whole days\n  hint: write INTERVAL '1 day', 'Europe/Berlin', or leave the time zone out".to_owned()),
        ("HOP(t, ts, INTERVAL '2 minutes', INTERVAL '1 minute')", "q.sql:2:15: the slide is longer than the window: rows between windows would be lost\n  hint: the slide comes first: HOP(t, ts, slide, size)".to_owned()),
        ("TUMBLE(t, seconds, INTERVAL '500 milliseconds')", "q.sql:2:15: the window's size is not a whole number of the time column's seconds\n  hint: declare the column with a finer TIMESTAMP(3) or TIMESTAMP(6), or use a longer window".to_owned()),
        ("TUMBLE(t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE)", "q.sql:2:22: arguments are given either all by name or all by place\n  hint: write TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("TABLE(HOP(DATA => TABLE t, SIZE => INTERVAL '1' MINUTE, INTERVAL '10' SECOND))", "q.sql:2:80: arguments are given either all by name or all by place\n  hint: write HOP(DATA => TABLE t, SLIDE => INTERVAL '10' SECOND, SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("TUMBLE(DATA => t, TIMECOL => ts, SIZES => INTERVAL '1' MINUTE)", "q.sql:2:48: TUMBLE has no argument \"SIZES\"\n  hint: write TUMBLE(DATA => TABLE t, TIMECOL => ts, SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("TUMBLE(DATA => t, TIMECOL => ts, SLIDE => INTERVAL '1' MINUTE)", "q.sql:2:48: TUMBLE has no argument \"SLIDE\"\n  hint: write TUMBLE(DATA => TABLE t, TIMECOL => ts, SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("TUMBLE(DATA => t, SIZE => INTERVAL '1' MINUTE, SIZE => INTERVAL '2' MINUTE)", "q.sql:2:62: argument SIZE is given twice\n  hint: write TUMBLE(DATA => TABLE t, SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("TUMBLE(TIMECOL => ts, SIZE => INTERVAL '1' MINUTE)", "q.sql:2:15: TUMBLE needs a table\n  hint: write TUMBLE(DATA => TABLE t, TIMECOL => ts, SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("CUMULATE(DATA => (SELECT * FROM t), TIMECOL => ts, SIZE => INTERVAL '1' MINUTE)", "q.sql:2:15: CUMULATE needs a step and a size\n  hint: write CUMULATE(DATA => (SELECT …), TIMECOL => ts, STEP => INTERVAL '1 minute', SIZE => INTERVAL '1' MINUTE)".to_owned()),
        ("SESSION(t, ts)", format!("q.sql:2:15: SESSION needs the gap that ends a session\n  hint: {session}")),
        ("SESSION(t PARTITION BY k, ts)", format!("q.sql:2:15: SESSION needs the gap that ends a session\n  hint: {session}")),
        ("SESSION(t, ts, INTERVAL '0' SECOND)", "q.sql:2:15: the window's gap must be longer than zero".to_owned()),
        ("SESSION(t, ts, INTERVAL '1' MONTH)", format!("q.sql:2:39: the window's gap must not have months or years, whose length varies; use days or shorter units\n  hint: {session}")),
        ("SESSION(t, ts, INTERVAL '-1 second')", format!("q.sql:2:39: the window's gap must not be negative\n  hint: {session}")),
        ("SESSION(t, ts, 5)", format!("q.sql:2:30: the window's gap must be an INTERVAL, as in INTERVAL '5 minutes'\n  hint: {session}")),
        ("SESSION(t, ts, INTERVAL '1 minute', INTERVAL '1 second')", format!("q.sql:2:15: SESSION has too many arguments\n  hint: {session}")),
        ("SESSION(t, k, INTERVAL '1 minute')", "q.sql:2:26: column \"k\" is not a timestamp\n  hint: it is VARCHAR; cast it in a subquery, or name another column".to_owned()),
        ("SESSION(t PARTITION BY seconds, k, INTERVAL '1 minute')", "q.sql:2:47: column \"k\" is not a timestamp\n  hint: the last name before the gap is the time; brackets hold keys alone: PARTITION BY (a, b)".to_owned()),
        ("SESSION(t PARTITION BY kk, ts, INTERVAL '1 minute')", "q.sql:2:38: column \"kk\" does not exist\n  hint: did you mean \"k\"?".to_owned()),
        ("SESSION(t PARTITION BY (upper(k)), ts, INTERVAL '1 minute')", "q.sql:2:39: a session is partitioned by columns of its table\n  hint: compute it in a subquery first".to_owned()),
        ("SESSION(t PARTITION BY k ORDER BY ts, INTERVAL '1 minute')", "q.sql:2:40: expected a comma and the time column: rows are in the order of their time, without ORDER BY, found `ORDER`".to_owned()),
        ("SESSION(t PARTITION BY (k) ORDER BY ts, INTERVAL '1 minute')", "q.sql:2:42: expected a comma and the time column: rows are in the order of their time, without ORDER BY, found `ORDER`".to_owned()),
        ("SESSION(t PARTITION BY upper(k), ts, INTERVAL '1 minute')", "q.sql:2:38: expected a column to partition by, found `upper`".to_owned()),
        ("SESSION(u, INTERVAL '1 minute')", format!("q.sql:2:15: SESSION needs a time column: u has no watermark\n  hint: {session}")),
        ("SESSION(t, seconds, INTERVAL '500 milliseconds')", "q.sql:2:15: the window's gap is not a whole number of the time column's seconds\n  hint: declare the column with a finer TIMESTAMP(3) or TIMESTAMP(6), or use a longer window".to_owned()),
        ("SESSION(DATA => t, SIZE => INTERVAL '1 minute')", "q.sql:2:34: SESSION has no argument \"SIZE\"\n  hint: write SESSION(DATA => TABLE t, GAP => INTERVAL '5 minutes')".to_owned()),
        ("SESSION(DATA => t PARTITION BY k, GAPS => INTERVAL '1 minute')", "q.sql:2:49: SESSION has no argument \"GAPS\"\n  hint: write SESSION(DATA => TABLE t PARTITION BY k, GAP => INTERVAL '1 minute')".to_owned()),
        ("TUMBLE(t PARTITION BY k, ts, INTERVAL '1 minute')", "q.sql:2:37: TUMBLE takes no PARTITION BY: its windows are the same for all rows\n  hint: leave it out, and group by the column".to_owned()),
        ("SESSION((SELECT ts, ts AS window_time FROM t), ts, INTERVAL '1 minute')", "q.sql:2:15: the table of SESSION has a column \"window_time\" already\n  hint: rename it in a subquery".to_owned()),
        ("TABLE(f(1))", "q.sql:2:21: TABLE(…) takes a window function\n  hint: write TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 minute'))".to_owned()),
        ("TUMBLE(t + 1, ts, INTERVAL '1 minute')", "q.sql:2:22: the first argument of a window function is a table\n  hint: name a table, or put a query into brackets: TUMBLE((SELECT …), ts, INTERVAL '1 minute')".to_owned()),
        ("TUMBLE((SELECT ts, ts AS window_end FROM t), ts, INTERVAL '1 minute')", "q.sql:2:15: the table of TUMBLE has a column \"window_end\" already\n  hint: rename it in a subquery".to_owned()),
    ] {
        let error = plan(&format!("SELECT 1;\nSELECT * FROM {from}")).await.expect_err(from);
        assert_eq!(error.report(), want, "{from}");
    }
}

#[tokio::test]
async fn grouping_forms_that_are_wrong_say_what_to_write() {
    for (expr, want) in [
        ("session(ts, INTERVAL '1 month')", "the window's gap must not have months"),
        ("session(ts)", "it takes a time column and an INTERVAL, the gap"),
        ("session(ts, INTERVAL '1 minute', INTERVAL '1 second')", "it takes a time column and an INTERVAL, the gap"),
        ("session(ts, INTERVAL '0 seconds')", "the window's gap must be longer than zero"),
        ("tumble(ts, INTERVAL '1 month')", "the window's size must not have months"),
        ("tumble(ts)", "it takes a time column and an INTERVAL"),
        ("tumble(k, INTERVAL '1 minute')", "it takes a time column and an INTERVAL"),
        ("tumble(INTERVAL '1 minute')", "the time column is missing; it comes before the INTERVAL"),
        ("hop(ts, INTERVAL '1 minute')", "it takes a time column and two INTERVALs, then an offset"),
        ("cumulate(ts, INTERVAL '2 s', INTERVAL '3 s')", "the window's size must be a multiple of its step"),
        ("tumble(ts, INTERVAL '1 day', 1)", "it takes a time column and an INTERVAL, then an offset or a time zone"),
    ] {
        let error = plan(&format!("SELECT {expr} AS w, count(*) FROM t GROUP BY w")).await.expect_err(expr);
        assert!(error.report().contains(want), "{expr}: {}", error.report());
    }
}
