use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::*;
use crate::catalog::Statement;
use crate::error::Error;
use crate::sql::session::session;
use crate::sql::{parse_file, planning_error};

#[derive(Debug)]
struct Fixed;

impl WatermarkColumns for Fixed {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        (!["still", "timeless", "twofold"].contains(&table.table())).then(|| "ts".to_owned())
    }

    fn primary_key(&self, table: &TableReference) -> Vec<String> {
        match table.table() {
            "rates" => vec!["k".to_owned()],
            "pairs" => vec!["k".to_owned(), "g".to_owned()],
            _ => vec![],
        }
    }

    fn times_of_view(&self, table: &TableReference) -> Option<Vec<String>> {
        match table.table() {
            "keyless" => Some(vec!["ts".to_owned()]),
            "timeless" => Some(vec![]),
            "twofold" => Some(vec!["ts".to_owned(), "later".to_owned()]),
            _ => None,
        }
    }
}

/// A query over tables of the columns k, g, n and ts; `a` counts milliseconds, and `zoned` has a time zone.
async fn planned(text: &str) -> Result<LogicalPlan, Error> {
    let context = session(Arc::new(Fixed), 1).expect("a session");
    for name in ["a", "b", "rates", "pairs", "still", "zoned", "keyless", "timeless", "twofold"] {
        let unit = if name == "a" { TimeUnit::Millisecond } else { TimeUnit::Microsecond };
        let zone = (name == "zoned").then(|| "UTC".into());
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8View, true),
            Field::new("g", DataType::Int64, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ts", DataType::Timestamp(unit, zone), true),
        ]));
        let table = MemTable::try_new(schema, vec![vec![]]).expect("an empty table");
        context.register_table(name, Arc::new(table)).expect("registered");
    }
    let statements = parse_file("q.sql", text).map_err(|mut errors| errors.remove(0))?;
    let Some(Statement::Select(view)) = statements.into_iter().next_back() else { panic!("not a query: {text}") };
    let statement = DfStatement::Statement(Box::new(SqlStatement::Query(view.query)));
    let state = context.state();
    let placed = |error| planning_error(error, "q.sql", &view.location);
    let plan = state.statement_to_plan(statement).await.map_err(placed)?;
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).map_err(placed)
}

/// What the as-of joins of a query say, the outermost first.
async fn joins(text: &str) -> Vec<String> {
    let plan = planned(text).await.unwrap_or_else(|error| panic!("{text}: {}", error.report()));
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(join) = extension.node.as_any().downcast_ref::<AsOfJoinNode>()
        {
            assert_eq!(
                join.schema().fields().len(),
                join.inputs().iter().map(|input| input.schema().fields().len()).sum::<usize>()
            );
            found.push(node.display().to_string().replacen("AsOfJoin: ", "", 1));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("no error");
    found
}

#[tokio::test]
async fn both_spellings_mean_the_same() {
    const BACKWARD: &str = "Inner, the last b.ts <= a.ts, on=[a.k = b.k]";
    for (from, said) in [
        ("a ASOF JOIN b ON a.k = b.k AND a.ts >= b.ts", BACKWARD),
        ("a ASOF JOIN b ON (b.k = a.k) AND ((b.ts <= a.ts))", BACKWARD),
        ("a asof inner join b ON a.ts >= b.ts AND a.k = b.k", BACKWARD),
        ("a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k", BACKWARD),
        ("a ASOF JOIN b MATCH_CONDITION ((b.ts <= a.ts)) ON b.k = a.k", BACKWARD),
        ("a ASOF JOIN b AS b ON a.k = b.k AND a.ts > b.ts", "Inner, the last b.ts < a.ts, on=[a.k = b.k]"),
        ("a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts", "Left, the last b.ts <= a.ts, on=[a.k = b.k]"),
        (
            "a ASOF LEFT OUTER JOIN b MATCH_CONDITION (a.ts <= b.ts) ON a.k = b.k",
            "Left, the first b.ts >= a.ts, on=[a.k = b.k]",
        ),
        ("a ASOF JOIN b ON a.ts < b.ts", "Inner, the first b.ts > a.ts, on=[]"),
        ("a ASOF LEFT JOIN b MATCH_CONDITION (a.ts < b.ts)", "Left, the first b.ts > a.ts, on=[]"),
        (
            "a ASOF JOIN b ON a.k = b.k AND a.g = b.g AND a.ts >= b.ts + INTERVAL '5 seconds'",
            "Inner, the last b.ts <= a.ts - 5 seconds, on=[a.k = b.k, a.g = b.g]",
        ),
        (
            "(SELECT k, ts + INTERVAL '1' MINUTE AS later FROM a) x ASOF JOIN b ON later >= b.ts",
            "Inner, the last b.ts <= x.later, on=[]",
        ),
        // A distance in any form, and the time itself by the comparison that has none.
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts <= b.ts + INTERVAL '10 s'",
            "Inner, the last b.ts <= a.ts, within 10 seconds, on=[]",
        ),
        (
            "a ASOF JOIN b ON b.ts BETWEEN a.ts - INTERVAL '10 s' AND a.ts",
            "Inner, the last b.ts <= a.ts, within 10 seconds, on=[]",
        ),
        (
            "a ASOF JOIN b ON a.ts - b.ts < INTERVAL '10 s' AND a.ts >= b.ts",
            "Inner, the last b.ts <= a.ts, nearer than 10 seconds, on=[]",
        ),
        (
            "a ASOF JOIN b ON a.ts < b.ts AND INTERVAL '10 s' >= b.ts - a.ts",
            "Inner, the first b.ts > a.ts, within 10 seconds, on=[]",
        ),
        (
            "a ASOF JOIN b MATCH_CONDITION (a.ts - INTERVAL '1 s' >= b.ts) ON b.ts >= a.ts - INTERVAL '9 s'",
            "Inner, the last b.ts <= a.ts - 1 second, within 8 seconds, on=[]",
        ),
        // What is no column becomes one.
        ("a ASOF JOIN b ON a.g + 1 = b.g AND a.ts >= b.ts", "Inner, the last b.ts <= a.ts, on=[__left0 = b.g]"),
        (
            "a ASOF JOIN b ON date_trunc('minute', a.ts) >= b.ts AND a.g = b.g + 1",
            "Inner, the last b.ts <= __left0, on=[a.g = __right0]",
        ),
        ("a JOIN rates FOR SYSTEM_TIME AS OF a.ts AS r ON r.k = a.k", "Inner, the last r.ts <= a.ts, on=[a.k = r.k]"),
        (
            "a LEFT JOIN pairs FOR SYSTEM_TIME AS OF a.ts ON a.g = pairs.g AND a.k = pairs.k AND pairs.ts > a.ts - INTERVAL '1 hour'",
            "Left, the last pairs.ts <= a.ts, nearer than 1 hour, on=[a.g = pairs.g, a.k = pairs.k]",
        ),
    ] {
        assert_eq!(joins(&format!("SELECT * FROM {from}")).await, [said], "{from}");
    }
}

#[tokio::test]
async fn such_a_join_stands_wherever_a_join_stands() {
    const ON: &str = "ON a.k = b.k AND a.ts >= b.ts";
    for (text, count) in [
        (format!("WITH w AS (SELECT a.n FROM a ASOF JOIN b {ON}) SELECT * FROM w"), 1),
        (format!("SELECT * FROM (SELECT a.n FROM a ASOF JOIN b {ON}) x JOIN b ON b.n = x.n"), 1),
        (format!("SELECT * FROM (a ASOF LEFT JOIN b {ON}) JOIN rates r ON r.n = a.n"), 1),
        (
            format!(
                "SELECT * FROM still, a ASOF JOIN b {ON} LEFT JOIN still s ON s.k = a.k ASOF LEFT JOIN rates r
                 MATCH_CONDITION (b.ts >= r.ts) ON r.g = b.g WHERE a.n > (SELECT max(x.n) FROM a x ASOF JOIN b y ON x.ts > y.ts)"
            ),
            3,
        ),
        (format!("SELECT 1 FROM a ASOF JOIN (SELECT y.* FROM a x ASOF JOIN b y ON x.ts >= y.ts) b {ON}"), 2),
        // No join.
        ("SELECT asof FROM (SELECT k AS asof FROM a) x".to_owned(), 0),
        ("SELECT asof.k FROM a AS asof LEFT JOIN b ON asof.k = b.k".to_owned(), 0),
        ("SELECT x.n FROM (SELECT n, k AS asof FROM a) x JOIN b ON b.k = asof LEFT JOIN rates r ON r.n = b.n".to_owned(), 0),
    ] {
        assert_eq!(joins(&text).await.len(), count, "{text}");
    }
}

#[tokio::test]
async fn above_a_join_its_columns_are_those_of_both_sides() {
    let text = "SELECT * FROM a ASOF LEFT JOIN b ON a.g + 1 = b.g AND a.ts >= b.ts";
    let plan = planned(text).await.expect("it is planned");
    let fields: Vec<_> =
        plan.schema().fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
    assert_eq!(
        fields,
        [("k", true), ("g", true), ("n", true), ("ts", true), ("k", true), ("g", true), ("n", true), ("ts", true)]
    );
}

#[tokio::test]
async fn each_mistake_has_its_own_words_and_place() {
    const FURTHER: &str = "an as-of join takes keys and comparisons of times, and not";
    for (from, place, said, hint) in [
        ("a ASOF JOIN b", "ASOF", "ASOF JOIN needs ON, with a comparison of times", "ON a.k = b.k AND a.ts >= b.ts"),
        ("a ASOF JOIN b WHERE a.k = b.k", "ASOF", "ASOF JOIN needs ON", "a.ts >= b.ts"),
        ("a ASOF JOIN b ON a.k = b.k", "a.k =", "ASOF JOIN needs a comparison of times", "a.ts >= b.ts"),
        ("a ASOF JOIN b USING (k)", "b USING", "USING and NATURAL are not available", "ON a.k = b.k"),
        ("a ASOF RIGHT JOIN b ON a.ts >= b.ts", "ASOF", "ASOF RIGHT JOIN is not available", "ASOF LEFT JOIN"),
        ("a ASOF FULL OUTER JOIN b ON a.ts >= b.ts", "ASOF", "ASOF FULL JOIN is not available", "ASOF LEFT JOIN"),
        ("a LEFT ASOF JOIN b ON a.ts >= b.ts", "ASOF", "LEFT ASOF JOIN is not available", "write ASOF LEFT JOIN"),
        (
            "a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts AND a.n > b.n) ON a.k = b.k",
            "a.ts",
            "MATCH_CONDITION holds one comparison of two times",
            "MATCH_CONDITION (a.ts >= b.ts)",
        ),
        ("a ASOF JOIN b ON a.ts >= b.ts AND a.n <> b.n", "a.n", FURTHER, "filter a side in a subquery"),
        ("a ASOF JOIN b ON a.ts >= b.ts AND b.n > 3", "b.n", FURTHER, "filter a side in a subquery"),
        ("a ASOF JOIN b ON a.ts >= b.ts AND a.k = a.k", "a.k", FURTHER, "filter a side in a subquery"),
        ("a ASOF JOIN b ON a.ts >= b.ts OR a.k = b.k", "a.ts", "ASOF JOIN needs a comparison", "a.ts >= b.ts"),
        ("a ASOF JOIN b ON a.ts >= a.ts", "a.ts", FURTHER, "filter a side in a subquery"),
        ("a ASOF JOIN b ON a.n >= b.n", "a.n", "an as-of join compares times, and a.n is BIGINT", "TIMESTAMP"),
        (
            "a ASOF JOIN zoned z ON a.ts >= z.ts",
            "a.ts",
            "of a.ts and z.ts one is a time with a zone, and the other one without",
            "cast one of them",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts > b.ts - INTERVAL '1 s'",
            "a.ts > b",
            "both comparisons say on which side of the time a row has to be, and none how near",
            "AND b.ts >= a.ts - INTERVAL '10 seconds'",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts < b.ts - INTERVAL '1 s'",
            "a.ts < b",
            "no two rows are partners",
            "AND b.ts >= a.ts - INTERVAL '10 seconds'",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts <= b.ts",
            "a.ts >= b",
            "it is not clear which of the comparisons chooses the row",
            "MATCH_CONDITION (a.ts >= b.ts)",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts <= b.ts + INTERVAL '1 month'",
            "a.ts <= b",
            "how near a row has to be cannot be said in months",
            "write days, as in INTERVAL '30 days'",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts <= date_trunc('hour', b.ts) + INTERVAL '1 s'",
            "a.ts <= d",
            "how near a row has to be is said of the times that choose it",
            "AND b.ts >= a.ts - INTERVAL '10 seconds'",
        ),
        (
            "a ASOF JOIN b ON a.ts >= b.ts AND a.ts < b.ts + INTERVAL '1 s' AND a.ts < b.ts + INTERVAL '2 s'",
            "a.ts < b.ts + INTERVAL '2",
            "an as-of join has one comparison that chooses the row",
            "leave the others out",
        ),
        (
            "rates FOR SYSTEM_TIME AS OF now()",
            "rates",
            "FOR SYSTEM_TIME AS OF belongs to a table that is joined",
            "JOIN t FOR SYSTEM_TIME AS OF e.ts",
        ),
        (
            "a CROSS JOIN rates FOR SYSTEM_TIME AS OF a.ts",
            "rates",
            "FOR SYSTEM_TIME AS OF is available with JOIN and LEFT JOIN",
            "LEFT JOIN t FOR SYSTEM_TIME AS OF e.ts",
        ),
        (
            "a JOIN still FOR SYSTEM_TIME AS OF a.ts AS s ON s.k = a.k",
            "a.ts",
            "\"still\" has no WATERMARK, so its rows are no versions",
            "join with a static table by equality of keys",
        ),
        (
            "a JOIN b FOR SYSTEM_TIME AS OF a.ts ON b.k = a.k",
            "a.ts",
            "\"b\" has no PRIMARY KEY",
            "PRIMARY KEY (…) NOT ENFORCED",
        ),
        (
            "a JOIN pairs FOR SYSTEM_TIME AS OF a.ts AS p ON p.k = a.k",
            "a.ts",
            "the join's keys do not cover the primary key (k, g) of \"pairs\"",
            "add AND p.g = …",
        ),
        (
            "a JOIN rates FOR SYSTEM_TIME AS OF a.ts AS r ON r.k = a.k AND r.g = a.g",
            "r.g",
            FURTHER,
            "or the result in WHERE",
        ),
        (
            "a JOIN rates FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00' AS r ON r.k = a.k",
            "SELECT",
            "FOR SYSTEM_TIME AS OF takes a time of the left side",
            "FOR SYSTEM_TIME AS OF e.ts",
        ),
        (
            "a JOIN x FOR SYSTEM_TIME AS OF a.ts ON x.k = a.k",
            "a.ts",
            "FOR SYSTEM_TIME AS OF reads the versions of a table or a materialized view, and this is a query or a plain view",
            "ASOF JOIN",
        ),
        (
            "a JOIN keyless FOR SYSTEM_TIME AS OF a.ts AS v ON v.k = a.k",
            "a.ts",
            "view \"keyless\" has no primary key, so it is not known of what its rows are versions",
            "WITH ('primary-key' = '…')",
        ),
        (
            "a JOIN timeless FOR SYSTEM_TIME AS OF a.ts AS v ON v.k = a.k",
            "a.ts",
            "view \"timeless\" has no column with a watermark, so its rows are no versions",
            "select the time of its stream",
        ),
        (
            "a JOIN twofold FOR SYSTEM_TIME AS OF a.ts AS v ON v.k = a.k",
            "a.ts",
            "of view \"twofold\" the columns ts, later have a watermark, and one of them orders its versions",
            "WITH ('time-column' = 'later', …)",
        ),
    ] {
        let with = if from.contains("JOIN x ") { "WITH x AS (SELECT k, ts FROM rates) " } else { "" };
        let text = format!("{with}SELECT 1 AS one FROM {from}");
        let report = planned(&text).await.expect_err(from).report();
        let column = text.find(place).expect("it stands there") + 1;
        assert!(report.starts_with(&format!("q.sql:1:{column}: ")), "{text}\n{report}");
        assert!(report.contains(said) && report.contains(hint), "{text}\n{report}");
    }
}

#[test]
fn text_that_is_cut_off_anywhere_is_a_mistake_and_no_panic() {
    let whole = "SELECT 1 FROM a ASOF LEFT OUTER JOIN (b ASOF JOIN c ON b.ts >= c.ts) MATCH_CONDITION ((a.ts >= b.ts)) ON a.k = b.k \
                 JOIN r FOR SYSTEM_TIME AS OF a.ts AS r ON r.k = a.k ASOF JOIN d USING (k)";
    for end in 0..whole.len() {
        let _ = parse_file("q.sql", &whole[..end]);
        let _ = parse_file("q.sql", &format!("{}{}", &whole[..end], ")"));
        let _ = parse_file("q.sql", &format!("SELECT 1 FROM {}", &whole[end..]));
    }
}
