//! Every function through SQL: published and worked-out values, NULL rules, and the words of errors.

mod properties;
mod readme;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use super::*;

fn run(sql: &str) -> Result<Vec<RecordBatch>> {
    let context = SessionContext::new();
    register(&context);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { context.sql(sql).await?.collect().await })
}

fn value(expression: &str) -> Option<f64> {
    let batches = run(&format!("SELECT {expression} AS value")).unwrap_or_else(|e| panic!("{expression}: {e}"));
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

/// The value of `SELECT expression FROM (VALUES rows) AS t(columns)`.
fn over_rows(expression: &str, columns: &str, rows: &str) -> ScalarValue {
    let sql = format!("SELECT {expression} FROM (VALUES {rows}) AS t({columns})");
    let batches = run(&sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    ScalarValue::try_from_array(batches[0].column(0), 0).unwrap()
}

fn double(value: &ScalarValue) -> f64 {
    match value {
        ScalarValue::Float64(Some(value)) => *value,
        other => panic!("{other:?} is not a double"),
    }
}

// Expected goals have the published model's values, and NULL means a foot and open play.
#[test]
fn xg_vectors() {
    check(&[
        ("xg(108, 40, 'foot', 'open')", Some(0.243784)),
        ("xg(108, 40)", Some(0.243784)),
        ("xg(108, 40, NULL, NULL)", Some(0.243784)),
        ("xg(y => 40, x => 108)", Some(0.243784)),
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
    for (rows, expected) in [("(0.1), (0.3), (0.5), (NULL)", 0.685), ("(CAST(NULL AS DOUBLE))", 0.0)] {
        assert!((double(&over_rows("xg_at_least_one(v)", "v", rows)) - expected).abs() < 1e-9, "{rows}");
    }
    let error = run("SELECT xg_at_least_one(v) FROM (VALUES (1.5)) AS shots(v)").unwrap_err();
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
        ("xt(100, 40)", Some(0.10805102)),
        ("xt(-5, 900)", Some(0.00638303)),
    ]);
}

// Home win, draw and away win as published values of the model have them; they add up to 1.
#[test]
fn win_probability_vectors() {
    for (arguments, expected) in [
        ("0, 0, 0", [0.453576, 0.253078, 0.293347]),
        ("0, 0, 45", [0.381615, 0.353681, 0.264704]),
        ("1, 0, 60", [0.762864, 0.185453, 0.051683]),
        ("0, 1, 75", [0.043243, 0.204497, 0.752260]),
        ("2, 0, 30", [0.906667, 0.070004, 0.023329]),
        ("1, 1, 85", [0.153364, 0.730998, 0.115638]),
        ("1, 0, 90", [0.934085, 0.063472, 0.002443]),
        ("0, 0, 30, NULL, NULL, 1, 0", [0.206002, 0.280789, 0.513209]),
        ("1, 1, 70, 1.53, 1.18, 0, 1", [0.441987, 0.446447, 0.111566]),
        ("2, 1, 95, 1.53, 1.18, 0, 0, true", [1.0, 0.0, 0.0]),
        ("1, 1, 95, 1.53, 1.18, 0, 0, true", [0.0, 1.0, 0.0]),
        ("0, 3, 95, 1.53, 1.18, 0, 0, true", [0.0, 0.0, 1.0]),
        ("0, 0, -10", [0.453576, 0.253078, 0.293347]),
        ("50, 0, 10", [1.0, 0.0, 0.0]),
        ("0, 9223372036854775807, 10", [0.0, 0.0, 1.0]),
    ] {
        let found = ["home", "draw", "away"]
            .map(|outcome| value(&format!("win_probability({arguments})['{outcome}']")).unwrap_or(f64::NAN));
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
        assert!(near, "win_probability({arguments}) is {found:?}, expected {expected:?}");
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    check(&[("win_probability(NULL, 0, 10)['home']", None), ("win_probability(0, 0, NULL)['home']", None)]);
}

#[test]
fn momentum_vectors() {
    check(&[
        ("action_weight('goal')", Some(5.0)),
        ("action_weight('GOAL')", Some(5.0)),
        ("action_weight('shot_on_target')", Some(3.0)),
        ("action_weight('shot')", Some(2.0)),
        ("action_weight('penalty')", Some(4.0)),
        ("action_weight('corner')", Some(1.0)),
        ("action_weight('final_third_entry')", Some(0.5)),
        ("action_weight('free_kick')", Some(0.5)),
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

// A value counts half when it is one half-life older than the latest row, whatever the order and the unit of time.
#[test]
fn decayed_sum_vectors() {
    for unit in ["TIMESTAMP(0)", "TIMESTAMP(3)", "TIMESTAMP(6)", "TIMESTAMP(9)"] {
        for (age, expected) in [(0, 1.0), (60, 0.757858), (150, 0.5), (300, 0.25)] {
            let at = |seconds: i64| format!("CAST('2026-01-10T15:{:02}:{:02}' AS {unit})", seconds / 60, seconds % 60);
            // The row that only tells the time comes first and last.
            let rows = format!("(NULL, {0}), (1.0, {1}), (NULL, {0})", at(300), at(300 - age));
            let found = double(&over_rows("decayed_sum(v, ts, 150)", "v, ts", &rows));
            assert!((found - expected).abs() < 1e-6, "{unit}, {age} s: {found}");
        }
    }
    // A home shot on target 60 s ago, an away corner 150 s ago; then an away shot 300 s ago only; then nothing.
    let index = "momentum_index(decayed_sum(CASE WHEN home THEN v END, ts, 150.0), decayed_sum(CASE WHEN NOT home THEN v END, ts, 150.0))";
    for (rows, expected) in [
        ("(true, 3.0, 240), (false, 1.0, 150), (NULL, 0.0, 300)", 0.469999),
        ("(false, 2.0, 0), (NULL, 0.0, 300)", -1.0 / 3.0),
        ("(NULL, 1.0, 300)", 0.0),
    ] {
        let columns = "home, v, at";
        let sql = format!(
            "SELECT {index} FROM (SELECT home, v, to_timestamp(at) AS ts FROM (VALUES {rows}) AS t({columns}))"
        );
        let found = run(&sql).unwrap()[0].column(0).as_primitive::<Float64Type>().value(0);
        assert!((found - expected).abs() < 1e-6, "{rows}: {found}");
    }
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
        ("ppda(207, 10+16+11+3)", Some(5.175)),
        ("ppda(404, 23)", Some(17.565217)),
        ("ppda(0, 5)", Some(0.0)),
        ("ppda(10, 0)", None),
    ]);
}

// Zones are numbered row by row; the far edges belong to the last ones; what has no place is passed over.
#[test]
fn heatmap_vectors() {
    let zones = |columns: usize, rows: usize, place: &str| -> Vec<usize> {
        let value = over_rows(&format!("heatmap(x, y, {columns}, {rows})"), "x, y", place);
        let ScalarValue::List(list) = value else { panic!("not a list") };
        let counts = list.value(0);
        let counts = counts.as_primitive::<Int64Type>();
        assert_eq!(counts.len(), columns * rows);
        (0..counts.len()).flat_map(|zone| vec![zone; usize::try_from(counts.value(zone)).unwrap()]).collect()
    };
    for (columns, rows, place, zone) in [
        (12, 8, "(0, 0)", 0),
        (12, 8, "(10, 10)", 13),
        (12, 8, "(60, 40)", 54),
        (12, 8, "(120, 80)", 95),
        (6, 3, "(60, 40)", 9),
        (6, 3, "(120, 80)", 17),
        (12, 8, "(-5, 500)", 84),
    ] {
        assert_eq!(zones(columns, rows, place), [zone], "{place} of {columns} × {rows}");
    }
    assert_eq!(zones(12, 8, "(0, 0), (NULL, 3), (3, NULL), (120, 80), (1, 1)"), [0, 0, 95]);
    assert_eq!(zones(2, 1, "(CAST(NULL AS DOUBLE), CAST(NULL AS DOUBLE))"), [0_usize; 0]);
}

#[test]
fn live_rating_vectors() {
    check(&[
        ("live_rating(1, 0, 2, 2, 1, 87.5, 0, 0)", Some(7.75)),
        ("live_rating(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)", Some(6.0)),
        ("live_rating(0, 0, 0, 0, 0, NULL, 0, 0)", Some(6.0)),
        ("live_rating(0, 0, 0, 0, 0, NULL, 0, 1)", Some(4.5)),
        ("live_rating(9, 0, 0, 0, 0, NULL, 0, 0)", Some(10.0)),
        ("live_rating(0, 0, 0, 0, 0, 0, 2, 4)", Some(1.0)),
        ("live_rating(CAST('NaN' AS DOUBLE), 0, 0, 0, 0, NULL, 0, 0)", None),
    ]);
}

#[test]
fn fpl_points_vectors() {
    for (arguments, expected) in [
        ("'GK', 90, 0, 0, true, 0, 4, 1, 0, 0, 0, 0, 0, 3", Some(15)),
        ("'GK', 90, 0, 0, false, 4, 6, 0, 0, 0, 0, 0, 0, 0", Some(2)),
        ("'DEF', 90, 1, 0, true, 0, 0, 0, 0, 0, 0, 0, 14, 3", Some(17)),
        ("'DEF', 90, 0, 0, false, 1, 0, 0, 0, 1, 0, 0, 4, 0", Some(0)),
        ("'DEF', 65, 0, 0, true, 0, 0, 0, 0, 0, 0, 1, 0, 0", Some(3)),
        ("'MID', 90, 0, 0, false, 1, 0, 0, 1, 0, 0, 0, 13, 0", Some(2)),
        ("'MID', 90, 0, 0, false, 0, 0, 0, 0, 0, 0, 0, 11, 0", Some(2)),
        ("'FWD', 90, 3, 0, false, 0, 0, 0, 0, 0, 0, 0, 0, 3", Some(17)),
        ("'FWD', 90, 0, 0, true, 0, 0, 0, 0, 0, 1, 0, 0, 0", Some(1)),
        ("'DEF', 59, 0, 0, false, 0, 0, 0, 0, 0, 0, 0, 0, 0", Some(1)),
        ("'MID', 0", Some(0)),
        ("'def', 59, NULL, NULL, NULL, NULL", Some(1)),
        ("'DEF', 59, 0, 0, true", Some(1)),
        ("NULL, 90", None),
        ("'DEF', NULL", None),
    ] {
        let batches = run(&format!("SELECT fpl_points({arguments})")).unwrap_or_else(|e| panic!("{arguments}: {e}"));
        let column = batches[0].column(0).as_primitive::<Int64Type>();
        assert_eq!(column.is_valid(0).then(|| column.value(0)), expected, "fpl_points({arguments})");
    }
}

#[test]
fn audience_vectors() {
    check(&[
        ("emoji_sentiment('emoji_goal')", Some(0.616)),
        ("emoji_sentiment('emoji_clap')", Some(0.520)),
        ("emoji_sentiment('emoji_heart')", Some(0.746)),
        ("emoji_sentiment('emoji_laugh')", Some(0.221)),
        ("emoji_sentiment('emoji_fire')", Some(0.139)),
        ("emoji_sentiment('emoji_wow')", Some(0.190)),
        ("emoji_sentiment('emoji_cry')", Some(-0.093)),
        ("emoji_sentiment('emoji_angry')", Some(-0.173)),
        ("emoji_sentiment('cheer')", Some(0.738)),
        ("emoji_sentiment('Boo')", Some(-0.188)),
        ("emoji_sentiment('😂')", Some(0.220923)),
        ("emoji_sentiment('❤️')", Some(0.745809)),
        ("emoji_sentiment('⚽')", Some(0.615894)),
        ("emoji_sentiment('👏')", Some(0.519880)),
        ("emoji_sentiment('👍')", Some(0.521271)),
        ("emoji_sentiment('🎉')", Some(0.737589)),
        ("emoji_sentiment('🙌')", Some(0.559311)),
        ("emoji_sentiment('🔥')", Some(0.139144)),
        ("emoji_sentiment('😱')", Some(0.189762)),
        ("emoji_sentiment('😭')", Some(-0.093326)),
        ("emoji_sentiment('😡')", Some(-0.172596)),
        ("emoji_sentiment('💔')", Some(-0.120846)),
        ("emoji_sentiment('👎')", Some(-0.187739)),
        ("emoji_sentiment('join')", None),
        ("emoji_sentiment(NULL)", None),
        ("engagement_rate(4500, 1500, 5)", Some(0.6)),
        ("engagement_rate(90, 30, 1)", Some(3.0)),
        ("engagement_rate(0, 10, 5)", Some(0.0)),
        ("engagement_rate(5, 0, 5)", None),
        ("engagement_rate(5, 10, 0)", None),
        ("poisson_z(160, 100)", Some(6.0)),
        ("poisson_z(12, 4)", Some(4.0)),
        ("poisson_z(4, 0)", None),
        ("poisson_z(4, -1)", None),
        ("uplift_smoothed(900, 30, 120, 60)", Some(14.946058)),
        ("uplift_smoothed(30, 30, 0, 60)", Some(122.0)),
        ("uplift_smoothed(30, 0, 0, 60)", None),
        ("uplift_smoothed(30, 30, 0, -60)", None),
    ]);
}

// An impossible argument is an error that names the function, the argument and what it may be.
#[test]
fn impossible_arguments_are_named() {
    let nan = "CAST('NaN' AS DOUBLE)";
    for (expression, said) in [
        ("field_tilt(-1, 3)", "field_tilt(-1, 3): own and opponent are counts and cannot be negative"),
        ("pass_completion(3, 2)", "pass_completion(3, 2): completed lies between 0 and attempted"),
        ("ppda(1, -1)", "ppda(1, -1): opponent_passes and defensive_actions are counts"),
        ("engagement_rate(1, 1, -1)", "engagement_rate(1, 1, -1): events, users and minutes cannot be negative"),
        ("poisson_z(-1, 4)", "poisson_z(-1, 4): count cannot be negative"),
        ("uplift_smoothed(-1, 1, 1, 1)", "after_count and before_count cannot be negative"),
        ("win_probability(-1, 0, 5)", "win_probability: home_score and away_score cannot be negative"),
        ("win_probability(0, 0, 5, 0)", "home_lambda and away_lambda are goals of a match, above 0"),
        ("win_probability(0, 0, 5, 1, 1, 12)", "home_reds and away_reds are red cards of a side, 0 to 11"),
        ("live_rating(-1, 0, 0, 0, 0, 0, 0, 0)", "live_rating: counts cannot be negative"),
        ("live_rating(0, 0, 0, 0, 0, 101, 0, 0)", "pass_accuracy is a percentage, 0 to 100"),
        ("fpl_points('COACH', 90)", "fpl_points: position is 'COACH'; it is GK, DEF, MID or FWD"),
        ("fpl_points('DEF', 90, 0, -1)", "fpl_points: assists is -1; it is a count, 0 to 1000000"),
        ("heatmap(1, 1, 0, 8)", "heatmap: 0 columns and 8 rows; there are 1 to 1000 zones"),
        ("heatmap(1, 1, 100, 100)", "heatmap: 100 columns and 100 rows"),
        ("decayed_sum(1, now(), -5)", "decayed_sum: half_life is -5; it is a number of seconds above 0"),
        ("decayed_sum(DISTINCT 1, now(), 5)", "decayed_sum has no DISTINCT form"),
    ] {
        let error = run(&format!("SELECT {expression}")).unwrap_err().to_string();
        assert!(error.contains(said), "{expression}: {error}");
        // An argument that is not a number comes before one that is impossible.
        let unknown = expression.replacen("(-1", &format!("({nan}"), 1);
        if unknown != *expression && !expression.starts_with("win") {
            run(&format!("SELECT {unknown}")).unwrap_or_else(|error| panic!("{unknown}: {error}"));
        }
    }
    let error = run("SELECT decayed_sum(v, ts, v) FROM (VALUES (1.0, now())) AS t(v, ts)").unwrap_err().to_string();
    assert!(error.contains("decayed_sum: half_life is a constant, the same for all rows"), "{error}");
}

// A wrong type or count is said in SQL's words: the function, what it takes, what it got.
#[test]
fn wrong_types_and_counts_are_said_in_the_words_of_sql() {
    let xg = "(x DOUBLE, y DOUBLE [, body_part VARCHAR [, shot_type VARCHAR]])";
    for (expression, said) in [
        ("xg()", format!("xg takes {xg}, not ()")),
        ("xg(1)", format!("xg takes {xg}, not (BIGINT)")),
        ("xg(1, 'a')", format!("xg takes {xg}, not (BIGINT, VARCHAR)")),
        ("xg(1.5, 2, 3)", format!("xg takes {xg}, not (DOUBLE, BIGINT, BIGINT)")),
        ("xg(1, 2, 'a', 'b', 'c')", format!("xg takes {xg}, not (BIGINT, BIGINT, VARCHAR, VARCHAR, VARCHAR)")),
        (
            "ppda(now(), true)",
            "ppda takes (opponent_passes DOUBLE, defensive_actions DOUBLE), not (TIMESTAMP".to_owned(),
        ),
        ("heatmap(1, 2, 1.5, 2)", "heatmap takes (x DOUBLE, y DOUBLE, columns BIGINT, rows BIGINT), not (".to_owned()),
        (
            "decayed_sum(1, 2, 3)",
            "decayed_sum takes (value DOUBLE, event_time TIMESTAMP, half_life DOUBLE), not (".to_owned(),
        ),
    ] {
        let error = run(&format!("SELECT {expression}")).unwrap_err().strip_backtrace();
        assert!(error.contains(&said), "{expression}: {error}");
        assert!(!error.contains("No function matches") && !error.contains("coercion"), "{error}");
    }
    for expression in ["xg(z => 1, x => 2)", "xg(x => 1, x => 2)"] {
        assert!(run(&format!("SELECT {expression}")).is_err());
    }
}

// Aggregates group, filter and stand over a growing window.
#[test]
fn aggregates_stand_where_others_do() {
    let rows = "(1, 0.5, 60.0), (1, 0.5, 61.0), (2, 0.1, 1.0), (3, NULL, NULL)";
    let sql = format!(
        "SELECT g, xg_at_least_one(p) AS p, xg_at_least_one(p) FILTER (WHERE p > 0.3) AS f, heatmap(x, x, 2, 1) AS h
         FROM (VALUES {rows}) AS t(g, p, x) GROUP BY g ORDER BY g"
    );
    let batches = run(&sql).unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let expected = "\
+---+-----+------+--------+
| g | p   | f    | h      |
+---+-----+------+--------+
| 1 | 0.75 | 0.75 | [0, 2] |
| 2 | 0.1 | 0.0  | [1, 0] |
| 3 | 0.0 | 0.0  | [0, 0] |
+---+-----+------+--------+";
    let words = |table: &str| {
        table
            .split(|c: char| c.is_whitespace() || "+-|".contains(c))
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let shown = shown.replace("0.09999999999999998", "0.1");
    assert_eq!(words(&shown), words(expected), "{shown}");
    let running =
        run("SELECT xg_at_least_one(p) OVER (ORDER BY i) FROM (VALUES (1, 0.5), (2, 0.5)) AS t(i, p)").unwrap();
    let running: Vec<f64> =
        running.iter().flat_map(|batch| batch.column(0).as_primitive::<Float64Type>().values().to_vec()).collect();
    assert_eq!(running, [0.5, 0.75]);
}

#[test]
fn names_are_given_once() {
    let mut names: Vec<&str> = functions().iter().map(|function| function.description().name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    for function in functions() {
        let text = function.description().markdown();
        assert!(text.len() > 60 && text.ends_with('.') || text.ends_with("CC BY 4.0)."), "{text}");
    }
}
