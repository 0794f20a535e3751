use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::Statement;
use crate::sql::{parse_statements, report, session_config};

fn definitions(text: &str) -> (Vec<FunctionDef>, Vec<Error>) {
    let (statements, errors) = parse_statements("f.sql", text);
    let definitions = statements.into_iter().filter_map(|statement| match statement {
        Statement::CreateFunction(function) => Some(function),
        _ => None,
    });
    (definitions.collect(), errors)
}

fn mistakes(text: &str) -> String {
    let (definitions, mut errors) = definitions(text);
    errors.extend(Functions::compile(&definitions).1);
    report(&errors)
}

fn compiled(text: &str) -> Functions {
    let (definitions, errors) = definitions(text);
    let (functions, mistakes) = Functions::compile(&definitions);
    assert!(errors.is_empty() && mistakes.is_empty(), "{}{}", report(&errors), report(&mistakes));
    functions
}

/// A session with these functions and rows 1, 2, NULL of `t(a DOUBLE, n BIGINT, s VARCHAR)`.
async fn context(text: &str) -> SessionContext {
    let context = SessionContext::new_with_config(session_config());
    compiled(text).udfs().for_each(|function| context.register_udf(function.as_ref().clone()));
    let rows = "CREATE TABLE t AS SELECT a * 1.5 AS a, a AS n, 'x' || a AS s FROM (VALUES (1), (2), (NULL)) AS v(a)";
    context.sql(rows).await.expect("a table").collect().await.expect("rows");
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Vec<Option<f64>> {
    let batches: Vec<RecordBatch> = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    let values = batches.iter().flat_map(|batch| {
        let column = arrow::compute::cast(batch.column(0), &DataType::Float64).expect("a number");
        column.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()
    });
    values.collect()
}

const BASIC: &str = "
CREATE FUNCTION twice(x DOUBLE) RETURNS DOUBLE RETURN x + x;
CREATE FUNCTION area(\"Width\" DOUBLE, height DOUBLE) RETURNS DOUBLE RETURN \"Width\" * HEIGHT;
CREATE FUNCTION quarter(x DOUBLE) RETURNS DOUBLE RETURN half(half(x));
CREATE FUNCTION half(x DOUBLE) RETURNS DOUBLE RETURN CASE WHEN x IS NULL THEN -1 ELSE x / 2 END;
CREATE FUNCTION answer() RETURNS BIGINT RETURN 42;
CREATE FUNCTION is_late(minute BIGINT) RETURNS BOOLEAN RETURN minute >= 85;
CREATE FUNCTION twice_or_one(x DOUBLE) RETURNS DOUBLE RETURN coalesce(x, 0.5) + coalesce(x, 0.5);
";

#[tokio::test]
async fn a_function_is_its_expression_over_its_arguments() {
    let context = context(BASIC).await;
    for (sql, expected) in [
        ("SELECT twice(a) FROM t ORDER BY n", vec![Some(3.0), Some(6.0), None]),
        ("SELECT twice(n) FROM t ORDER BY n", vec![Some(2.0), Some(4.0), None]),
        ("SELECT twice(twice(a + 1)) FROM t ORDER BY n", vec![Some(10.0), Some(16.0), None]),
        ("SELECT half(a) FROM t ORDER BY n", vec![Some(0.75), Some(1.5), Some(-1.0)]),
        ("SELECT quarter(a) FROM t ORDER BY n", vec![Some(0.375), Some(0.75), Some(-0.5)]),
        ("SELECT area(a, 2) FROM t ORDER BY n", vec![Some(3.0), Some(6.0), None]),
        ("SELECT area(height => a, \"Width\" => 10) FROM t ORDER BY n", vec![Some(15.0), Some(30.0), None]),
        ("SELECT answer() + n FROM t WHERE n = 1", vec![Some(43.0)]),
        ("SELECT sum(twice(a)) FROM t WHERE NOT is_late(n)", vec![Some(9.0)]),
        ("SELECT twice(21)", vec![Some(42.0)]),
        // Used twice, the argument is not put in, and the body is evaluated as it is.
        ("SELECT twice_or_one(a + 1) FROM t ORDER BY n", vec![Some(5.0), Some(8.0), Some(1.0)]),
        ("SELECT twice(NULL)", vec![None]),
    ] {
        assert_eq!(rows(&context, sql).await, expected, "{sql}");
    }
}

// An argument that is used twice is computed once: a random number less itself is 0.
#[tokio::test]
async fn an_argument_is_computed_once() {
    let context = context(&format!("{BASIC} CREATE FUNCTION less_itself(x DOUBLE) RETURNS DOUBLE RETURN x - x;")).await;
    assert_eq!(rows(&context, "SELECT less_itself(random()) FROM t").await, [Some(0.0); 3]);
    let plan = context.sql("SELECT twice(random() + n), half(random() + n) FROM t").await.expect("a plan");
    let plan = plan.into_optimized_plan().expect("optimized").to_string();
    assert!(plan.contains("twice(random()"), "what is used twice stays a call: {plan}");
    let plan = context.sql("SELECT twice(a), is_late(n + 1) FROM t").await.expect("a plan");
    let plan = plan.into_optimized_plan().expect("optimized").to_string();
    assert!(plan.contains("t.a + t.a") && plan.contains(">= Int64(8"), "what is cheap is put in: {plan}");
}

#[tokio::test]
async fn wrong_arguments_are_named_with_what_the_function_takes() {
    let context = context(BASIC).await;
    for (sql, expected) in [
        ("SELECT twice('a')", "twice takes (x DOUBLE), not (VARCHAR)"),
        ("SELECT twice()", "twice takes (x DOUBLE), not ()"),
        ("SELECT area(1)", "area takes (Width DOUBLE, height DOUBLE), not (BIGINT)"),
        ("SELECT is_late(1.5)", "is_late takes (minute BIGINT), not (DOUBLE)"),
    ] {
        let error = context.sql(sql).await.expect_err(sql).strip_backtrace();
        assert!(error.contains(expected), "{sql}: {error}");
    }
}

#[test]
fn mistakes_in_a_definition_have_their_place() {
    let mut wrong = String::new();
    for (text, expected) in [
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN b + 1", "f.sql:1:51: column \"b\" does not exist"),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN nosuch(a)", "f.sql:1:51: invalid function 'nosuch'"),
        (
            "CREATE FUNCTION f(a DOUBLE)\nRETURNS VARCHAR\nRETURN a * 2",
            "f.sql:3:8: the expression is DOUBLE, and the function returns VARCHAR\n  hint: write RETURNS DOUBLE, or CAST(… AS VARCHAR)",
        ),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS BIGINT RETURN a",
            "f.sql:1:51: the expression is DOUBLE, and the function returns BIGINT",
        ),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN 1 + f(a)",
            "f.sql:1:51: function \"f\" leads back to itself",
        ),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN sum(a)",
            "f.sql:1:51: sum() is an aggregate, over many rows; a function is computed from its arguments alone",
        ),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN sum(a) OVER ()", "f.sql:1:51: OVER looks at other rows"),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN a * random()", "f.sql:1:51: random() does not always give"),
        ("CREATE FUNCTION f(a BIGINT) RETURNS TIMESTAMP RETURN now()", "f.sql:1:54: now() does not always give"),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN (SELECT 1)",
            "f.sql:1:52: a function cannot contain a query",
        ),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN $1", "f.sql:1:51: `$1` means nothing in a function"),
        ("CREATE FUNCTION f(a DOUBLE, A DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:29: parameter \"a\" is given twice"),
        (
            "CREATE FUNCTION f(a MONEY) RETURNS DOUBLE RETURN 1",
            "f.sql:1:21: type MONEY of parameter \"a\" is not supported",
        ),
        ("CREATE FUNCTION f(a DOUBLE = 1) RETURNS DOUBLE RETURN 1", "f.sql:1:28: parameters have no default values"),
        ("CREATE FUNCTION f(a DOUBLE) RETURN a", "f.sql:1:29: a function says what it returns"),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE", "f.sql:1:43: expected RETURN and an expression, found the end"),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE AS $$ a $$",
            "f.sql:1:44: expected RETURN and an expression, found `AS`",
        ),
        (
            "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN a a",
            "f.sql:1:53: expected the end of the statement, found `a`",
        ),
        ("CREATE FUNCTION s.f(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:17: the name of a function has one part"),
        ("CREATE FUNCTION cast(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:17: \"cast\" is a word of SQL"),
        ("CREATE FUNCTION sqrt(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:1: there is a function \"sqrt\" already"),
        ("CREATE FUNCTION xg(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:1: there is a function \"xg\" already"),
        ("CREATE FUNCTION sum(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:1: there is a function \"sum\" already"),
        (
            "CREATE FUNCTION tumble(a DOUBLE) RETURNS DOUBLE RETURN a",
            "f.sql:1:1: there is a function \"tumble\" already",
        ),
        ("CREATE FUNCTION rank(a DOUBLE) RETURNS DOUBLE RETURN a", "f.sql:1:1: there is a function \"rank\" already"),
        ("CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN ppda(a)", "f.sql:1:51: ppda takes (opponent_passes DOUBLE"),
        (
            "CREATE OR REPLACE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN a",
            "f.sql:1:8: CREATE OR REPLACE is not needed",
        ),
    ] {
        let found = mistakes(text);
        if !found.starts_with(expected) {
            wrong.push_str(&format!("{text}\n--- expected\n{expected}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_name_is_given_once_whichever_file_it_stands_in() {
    let text = "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN a;\nCREATE FUNCTION F() RETURNS BIGINT RETURN 1;";
    assert!(
        mistakes(text)
            .starts_with("f.sql:2:1: function \"f\" is defined twice\n  detail: the first definition is at f.sql:1:1")
    );
}

#[test]
fn a_circle_is_named_and_what_only_leans_on_it_is_told_so() {
    let text = "
CREATE FUNCTION a(x DOUBLE) RETURNS DOUBLE RETURN b(x);
CREATE FUNCTION b(x DOUBLE) RETURNS DOUBLE RETURN a(x);
CREATE FUNCTION c(x DOUBLE) RETURNS DOUBLE RETURN a(x) + 1;
";
    let found = mistakes(text);
    let lines: Vec<&str> = found.lines().filter(|line| line.starts_with("f.sql")).collect();
    assert_eq!(
        lines,
        [
            "f.sql:2:51: function \"a\" leads back to itself",
            "f.sql:3:51: function \"b\" leads back to itself",
            "f.sql:4:51: function \"a\" has a mistake in its definition",
        ]
    );
}

#[test]
fn depth_and_size_are_limited() {
    let chain = |length: usize, body: fn(usize) -> String| -> String {
        let one = |at: usize| format!("CREATE FUNCTION f{at}(x DOUBLE) RETURNS DOUBLE RETURN {};\n", body(at));
        (0..length).map(one).collect()
    };
    let next = |at: usize| if at == 0 { "x".to_owned() } else { format!("f{}(x)", at - 1) };
    assert_eq!(mistakes(&chain(DEPTH_MAX, next)), "");
    assert!(mistakes(&chain(DEPTH_MAX + 1, next)).contains("functions call one another more than 8 deep"));
    // Six calls of it, seven times: some 6^7 parts, which are counted and never made.
    let wide = |at: usize| match at {
        0 => "x".to_owned(),
        _ => vec![format!("f{}(x)", at - 1); 6].join(" + "),
    };
    assert!(mistakes(&chain(7, wide)).contains("the function stands for an expression of"));
    let parameters: Vec<String> = (0..17).map(|at| format!("p{at} DOUBLE")).collect();
    let text = format!("CREATE FUNCTION f({}) RETURNS DOUBLE RETURN p0", parameters.join(", "));
    assert!(mistakes(&text).contains("a function has at most 16 parameters"));
}

#[test]
fn a_query_is_another_one_when_a_function_that_it_uses_changes() {
    let used = |functions: &str, query: &str| -> Vec<String> {
        let (statements, _) = parse_statements("q.sql", query);
        let Some(Statement::Select(view)) = statements.into_iter().next() else { panic!("not a query: {query}") };
        compiled(functions).used_by(&view.query).into_iter().map(str::to_owned).collect()
    };
    let query = "SELECT quarter(a) FROM t WHERE sqrt(a) > 1";
    let first = used(BASIC, query);
    assert_eq!(first.len(), 2, "quarter, and half by way of it: {first:?}");
    assert_eq!(first, used(&BASIC.replace("  ", " ").replace("RETURN half(", "RETURN\n  half("), query));
    assert_eq!(first, used(&BASIC.replace("x + x", "x * 2"), query));
    assert_ne!(first, used(&BASIC.replace("x / 2", "x / 3"), query));
    assert!(used(BASIC, "SELECT sqrt(a) FROM t").is_empty());
}
