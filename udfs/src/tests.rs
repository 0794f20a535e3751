//! Every function through SQL: published and worked-out values, NULL rules, and input that no function may panic on.

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use super::*;

fn context() -> SessionContext {
    let context = SessionContext::new();
    register(&context);
    context
}

fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { context.sql(sql).await?.collect().await })
}

fn value(expression: &str) -> Option<f64> {
    let batches =
        run(&context(), &format!("SELECT {expression} AS value")).unwrap_or_else(|e| panic!("{expression}: {e}"));
    let column = batches[0].column(0).as_primitive::<Float64Type>();
    column.is_valid(0).then(|| column.value(0))
}

fn check(cases: &[(&str, Option<f64>)]) {
    for (expression, expected) in cases {
        let found = value(expression);
        let equal = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
            (found, expected) => found == *expected,
        };
        assert!(equal, "{expression} is {found:?}, expected {expected:?}");
    }
}

// Expected goals have the published model's values, and NULL means a foot and open play.
#[test]
fn xg_vectors() {
    check(&[
        ("xg(108, 40, 'foot', 'open')", Some(0.243784)),
        ("xg(108, 40)", Some(0.243784)),
        ("xg(108, 40, NULL, NULL)", Some(0.243784)),
        ("xg(108, 40, 'head', 'open')", Some(0.106401)),
        ("xg(108, 40, 'HEAD')", Some(0.106401)),
        ("xg(114, 40, 'foot', 'open')", Some(0.574566)),
        ("xg(100, 30, 'foot', 'open')", Some(0.067101)),
        ("xg(90, 20, 'foot', 'open')", Some(0.015658)),
        ("xg(120, 40, 'foot', 'open')", Some(0.980179)),
        ("xg(96.1, 45.1, 'foot', 'free_kick')", Some(0.096801)),
        ("xg(108, 40, 'foot', 'Penalty')", Some(0.76)),
        ("xg(NULL, 40)", None),
        ("xg(CAST('NaN' AS DOUBLE), 40)", None),
        ("xg(CAST('Infinity' AS DOUBLE), 40, 'foot', 'penalty')", None),
    ]);
    assert_eq!(value("xg(130, 40)"), value("xg(120, 40)"));
}

// Of shots worth .1, .3 and .5 at least one goes in with probability .685; without shots none does.
#[test]
fn xg_at_least_one_vectors() {
    for (values, expected) in [("(0.1), (0.3), (0.5), (NULL)", 0.685), ("(CAST(NULL AS DOUBLE))", 0.0)] {
        let sql = format!("SELECT xg_at_least_one(v) FROM (VALUES {values}) AS shots(v)");
        let batches = run(&context(), &sql).unwrap();
        assert!((batches[0].column(0).as_primitive::<Float64Type>().value(0) - expected).abs() < 1e-9, "{values}");
    }
    let error = run(&context(), "SELECT xg_at_least_one(v) FROM (VALUES (1.5)) AS shots(v)").unwrap_err();
    assert!(error.to_string().contains("xg is 1.5; it is a probability"), "{error}");
}

// Threat added is the difference of the grid's zones.
#[test]
fn xt_vectors() {
    check(&[
        ("xt_added(60, 40, 100, 40)", Some(0.09115574)),
        ("xt_added(100, 40, 60, 40)", Some(-0.09115574)),
        ("xt_added(0, 0, 120, 80)", Some(0.03154287)),
        ("xt_added(61, 41, 36, 26)", Some(-0.00579066)),
        ("xt_added(105, 10, 112, 38)", Some(0.21678370)),
        ("xt_added(61, 41, 62, 42)", Some(0.0)),
        ("xt_added(60, 40, NULL, 40)", None),
        ("xt(60, 40)", Some(0.01689528)),
        ("xt(-5, 900)", Some(0.00638303)),
    ]);
}

#[test]
fn momentum_vectors() {
    check(&[
        ("action_weight('goal')", Some(5.0)),
        ("action_weight('GOAL')", Some(5.0)),
        ("action_weight('shot_on_target')", Some(3.0)),
        ("action_weight('red_card')", Some(-3.0)),
        ("action_weight('pass')", Some(0.0)),
        ("action_weight(NULL)", None),
        ("momentum_index(2.273575, 0.5)", Some(0.469999)),
        ("momentum_index(0, 0.5)", Some(-1.0 / 3.0)),
        ("momentum_index(0, 0)", Some(0.0)),
        ("momentum_index(-3, 1)", None),
        ("momentum_index(-3, 3)", Some(-1.0)),
    ]);
}

#[test]
fn possession_vectors() {
    check(&[
        ("field_tilt(70, 30)", Some(0.70)),
        ("field_tilt(130, 70)", Some(0.65)),
        ("field_tilt(0, 0)", None),
        ("possession_share(70, 30)", Some(0.70)),
        ("possession_share(0, 0)", None),
        ("pass_completion(26, 29)", Some(0.896552)),
        ("pass_completion(583, 685)", Some(0.851095)),
        ("pass_completion(0, 0)", None),
        ("ppda(207, 40)", Some(5.175)),
        ("ppda(404, 23)", Some(17.565217)),
        ("ppda(0, 5)", Some(0.0)),
        ("ppda(10, 0)", None),
    ]);
}

#[test]
fn audience_vectors() {
    check(&[
        ("emoji_sentiment('emoji_goal')", Some(0.616)),
        ("emoji_sentiment('Boo')", Some(-0.188)),
        ("emoji_sentiment('😂')", Some(0.220923)),
        ("emoji_sentiment('❤️')", Some(0.745809)),
        ("emoji_sentiment('join')", None),
        ("emoji_sentiment(NULL)", None),
        ("engagement_rate(4500, 1500, 5)", Some(0.6)),
        ("engagement_rate(90, 30, 1)", Some(3.0)),
        ("engagement_rate(0, 10, 5)", Some(0.0)),
        ("engagement_rate(5, 0, 5)", None),
        ("engagement_rate(5, 10, 0)", None),
    ]);
}

// An impossible argument is an error that names the function and the argument; so are wrong types and counts.
#[test]
fn impossible_arguments_are_named() {
    for (expression, said) in [
        ("field_tilt(-1, 3)", "field_tilt: own"),
        ("pass_completion(3, 2)", "pass_completion: completed"),
        ("ppda(1, -1)", "ppda: opponent_passes and defensive_actions"),
        ("engagement_rate(1, 1, -1)", "engagement_rate: events"),
        ("xg(1)", "xg"),
        ("xt_added(1, 2)", "xt_added"),
    ] {
        let error = run(&context(), &format!("SELECT {expression}")).unwrap_err().to_string();
        assert!(error.contains(said), "{expression}: {error}");
    }
}

// Over columns each row gives what it gives alone, and no mixture of NULL, NaN, infinities and odd words panics.
#[test]
fn columns_and_odd_values() {
    let numbers = [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::MIN), Some(-0.0), Some(108.0), Some(1e300)];
    let words = [None, Some(""), Some("head"), Some("ПЕНАЛЬТИ"), Some("\u{fe0f}"), Some("penalty"), Some("🔥")];
    let mut rows: Vec<(Option<f64>, Option<f64>, Option<&str>)> = Vec::new();
    for x in numbers {
        for y in numbers {
            rows.extend(words.map(|word| (x, y, word)));
        }
    }
    let batch = RecordBatch::try_from_iter([
        ("x", std::sync::Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0))) as _),
        ("y", std::sync::Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1))) as _),
        ("word", std::sync::Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2))) as _),
    ])
    .unwrap();
    let context = context();
    context.register_batch("rows", batch).unwrap();
    let sql = "SELECT xg(x, y, word, word) AS a, xt(x, y) AS b, xt_added(x, y, y, x) AS c, action_weight(word) AS d,
                      emoji_sentiment(word) AS e, momentum_index(x, y) AS f, xg_at_least_one(xg(x, y)) OVER () AS g FROM rows";
    let batches = run(&context, sql).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows.len());
    for (name, sql) in
        [("field_tilt", "field_tilt(x, y)"), ("ppda", "ppda(x, y)"), ("rate", "engagement_rate(x, y, x)")]
    {
        // Negative counts are errors here, never panics.
        assert!(run(&context, &format!("SELECT {sql} AS {name} FROM rows")).is_err());
        assert!(run(&context, &format!("SELECT {sql} AS {name} FROM rows WHERE x >= 0 AND y >= 0")).is_ok());
    }
    let alone = value("xg(108, 108, 'head', 'head')");
    let together =
        run(&context, "SELECT xg(x, y, word, word) AS v FROM rows WHERE x = 108 AND y = 108 AND word = 'head'")
            .unwrap();
    let together = together.iter().find(|batch| batch.num_rows() == 1).unwrap();
    assert_eq!(Some(together.column(0).as_primitive::<Float64Type>().value(0)), alone);
}
