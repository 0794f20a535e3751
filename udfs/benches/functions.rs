//! Rows a second of every function on one core: `cargo bench -p touchline-udfs --bench functions [-- NAME]`.
//!
//! Every registered function over a batch of 8,192 rows with plausible values, as a query hands them over. A function without a
//! line in `arguments` ends the benchmark, so that none is forgotten. The median of the runs is shown, with the fastest; the time is
//! that of the thread on its core.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{AggregateUDF, ColumnarValue, EmitTo, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use touchline_udfs::{Function, functions};

const ROWS: usize = 8_192;
const RUNS: usize = 15;
/// Of one run: long enough for the clock, short enough to end.
const RUN: Duration = Duration::from_millis(30);
const GROUPS: usize = 1_000;
const GOAL: f64 = 20e6;

fn main() {
    // `cargo bench` adds `--bench`.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("| function | arguments | M rows/s per core, median | fastest |\n|---|---|---|---|");
    for function in functions() {
        let name = function.description().name;
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let cases = arguments(name);
        assert!(!cases.is_empty(), "{name} has no line in `arguments`");
        for (what, arguments) in cases {
            let rates = match &function {
                Function::Scalar(_, function) => rates(|| scalar(function, &arguments)),
                Function::Aggregate(_, function) => {
                    let planned = aggregate(function, &arguments);
                    let columns: Vec<ArrayRef> =
                        arguments.iter().map(|argument| argument.to_array(ROWS).expect("an array")).collect();
                    let groups: Vec<usize> = (0..ROWS).map(|row| row * 7 % GROUPS).collect();
                    rates(|| {
                        let mut accumulator = planned.create_groups_accumulator().expect("an accumulator");
                        accumulator.update_batch(&columns, &groups, None, GROUPS).expect("an update");
                        black_box(accumulator.state(EmitTo::All).expect("a state"));
                    })
                }
            };
            let (median, fastest) = (rates[rates.len() / 2], rates[rates.len() - 1]);
            let below = if median < GOAL { " (below 20)" } else { "" };
            println!("| `{name}` | {what} | {:.1}{below} | {:.1} |", median / 1e6, fastest / 1e6);
        }
    }
}

/// Rows a second of this thread's CPU time, of each run, ascending: a busy machine changes it little.
fn rates(mut once: impl FnMut()) -> Vec<f64> {
    let mut rates: Vec<f64> = (0..=RUNS)
        .map(|_| {
            let (start, before, mut rounds) = (Instant::now(), cpu_time(), 0);
            while start.elapsed() < RUN {
                once();
                rounds += 1;
            }
            let used = match (before, cpu_time()) {
                (Some(before), Some(after)) => after.saturating_sub(before),
                _ => start.elapsed(),
            };
            f64::from(rounds) * ROWS as f64 / used.as_secs_f64().max(1e-9)
        })
        // The first warms up.
        .skip(1)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates
}

/// What this thread has had of a core; `None` where the system is not Linux.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

fn scalar(function: &ScalarUDF, arguments: &[ColumnarValue]) {
    let fields: Vec<_> =
        arguments.iter().map(|argument| Arc::new(Field::new("a", argument.data_type(), true))).collect();
    let types: Vec<DataType> = arguments.iter().map(ColumnarValue::data_type).collect();
    let returns = function.return_type(&types).expect("the right arguments");
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: arguments.to_vec(),
        arg_fields: fields,
        number_rows: ROWS,
        return_field: Arc::new(Field::new("r", returns, true)),
        config_options: Arc::default(),
    });
    black_box(result.expect("a result"));
}

fn aggregate(function: &AggregateUDF, arguments: &[ColumnarValue]) -> AggregateFunctionExpr {
    let expressions = arguments.iter().enumerate().map(|(at, argument)| match argument {
        ColumnarValue::Scalar(value) => Arc::new(Literal::new(value.clone())) as Arc<dyn PhysicalExpr>,
        ColumnarValue::Array(_) => Arc::new(Column::new("a", at)),
    });
    let fields: Vec<Field> = arguments.iter().map(|argument| Field::new("a", argument.data_type(), true)).collect();
    AggregateExprBuilder::new(Arc::new(function.clone()), expressions.collect())
        .schema(Arc::new(Schema::new(fields)))
        .alias("a")
        .build()
        .expect("the right arguments")
}

/// Numbers from `least` to below `least + width`, in no order.
fn numbers(least: f64, width: f64) -> ColumnarValue {
    let value = |row: usize| least + width * ((row * 7_919 % 10_007) as f64 / 10_007.0);
    ColumnarValue::Array(Arc::new((0..ROWS).map(|row| Some(value(row))).collect::<Float64Array>()))
}

fn counts(least: i64, width: i64) -> ColumnarValue {
    let value = |row: usize| least + (row as i64 * 7_919 % 10_007) % width;
    ColumnarValue::Array(Arc::new((0..ROWS).map(|row| Some(value(row))).collect::<Int64Array>()))
}

fn words(words: &[&str]) -> ColumnarValue {
    let word = |row: usize| words[row * 7_919 % words.len()];
    ColumnarValue::Array(Arc::new((0..ROWS).map(|row| Some(word(row))).collect::<StringViewArray>()))
}

fn times() -> ColumnarValue {
    let time = |row: usize| 1_767_225_600_000 + row as i64 * 250;
    ColumnarValue::Array(Arc::new((0..ROWS).map(|row| Some(time(row))).collect::<TimestampMillisecondArray>()))
}

fn constant(value: impl Into<ScalarValue>) -> ColumnarValue {
    ColumnarValue::Scalar(value.into())
}

fn word(value: &str) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Utf8View(Some(value.to_owned())))
}

const EVENTS: [&str; 8] =
    ["pass", "shot", "shot_on_target", "goal", "corner", "foul", "final_third_entry", "interception"];
const REACTIONS: [&str; 8] =
    ["cheer", "boo", "emoji_goal", "emoji_fire", "emoji_clap", "emoji_cry", "emoji_angry", "match_commentary"];
const RECORDS: [&str; 2] = [
    r#"{"event_id":"e-1","type":"shot","team":"BUT","at":{"x":101.5,"y":33.25},"tags":["open play","left foot"]}"#,
    r#"{"event_id":"e-2","type":"pass","team":"WOL","at":{"x":61,"y":12},"tags":[],"to":{"x":70.5,"y":20}}"#,
];
const LISTS: [&str; 2] = [r#"["open play","left foot",{"x":1}]"#, "[1,2.5,3]"];
const PATHS: [&str; 2] = ["$.at.y", "$.tags[0]"];

/// What each function is measured with.
fn arguments(name: &str) -> Vec<(&'static str, Vec<ColumnarValue>)> {
    let (x, y) = (|| numbers(60.0, 60.0), || numbers(0.0, 80.0));
    let count = || numbers(0.0, 90.0);
    match name {
        "xg" => vec![
            ("x, y", vec![x(), y()]),
            ("x, y, body_part, shot_type", vec![x(), y(), words(&["foot", "head"]), words(&["open", "free_kick"])]),
            ("x, y and two constants", vec![x(), y(), word("head"), word("open")]),
        ],
        "json_object_field" | "json_object_field_text" => vec![("json, constant", vec![words(&RECORDS), word("team")])],
        "json_array_element" | "json_array_element_text" => {
            vec![("json, constant", vec![words(&LISTS), constant(ScalarValue::from(1_i64))])]
        }
        "json_value" | "json_exists" => {
            vec![
                ("json, constant", vec![words(&RECORDS), word("$.at.x")]),
                ("two columns", vec![words(&RECORDS), words(&PATHS)]),
            ]
        }
        "json_query" => vec![("json, constant", vec![words(&RECORDS), word("$.at")])],
        "json_array_length" => vec![("json", vec![words(&LISTS)])],
        "json_typeof" => vec![("json", vec![words(&RECORDS)])],
        "xg_at_least_one" => vec![("xg; 1,000 groups", vec![numbers(0.0, 1.0)])],
        "xt" => vec![("x, y", vec![x(), y()])],
        "xt_added" => vec![("x, y, end_x, end_y", vec![x(), y(), numbers(30.0, 90.0), y()])],
        "win_probability" => vec![
            ("scores, minute", vec![counts(0, 3), counts(0, 3), numbers(0.0, 95.0)]),
            (
                "all but finished",
                vec![
                    counts(0, 3),
                    counts(0, 3),
                    numbers(0.0, 95.0),
                    constant(1.7),
                    constant(1.0),
                    counts(0, 2),
                    counts(0, 2),
                ],
            ),
        ],
        "action_weight" => vec![("event_type", vec![words(&EVENTS)])],
        "decayed_sum" => {
            vec![("value, event_time, constant; 1,000 groups", vec![numbers(0.0, 5.0), times(), constant(150.0)])]
        }
        "momentum_index" => vec![("home, away", vec![count(), count()])],
        "field_tilt" | "possession_share" | "ppda" => vec![("two columns", vec![count(), numbers(1.0, 90.0)])],
        "pass_completion" => vec![("completed, attempted", vec![count(), numbers(90.0, 90.0)])],
        "heatmap" => vec![(
            "x, y, 12, 8; 1,000 groups",
            vec![x(), y(), constant(ScalarValue::from(12_i64)), constant(ScalarValue::from(8_i64))],
        )],
        "live_rating" => vec![("eight columns", (0..8).map(|_| numbers(0.0, 3.0)).collect())],
        "fpl_points" => vec![(
            "fourteen columns",
            (0..14)
                .map(|at| match at {
                    0 => words(&["GK", "DEF", "MID", "FWD"]),
                    1 => counts(0, 91),
                    4 => ColumnarValue::Scalar(ScalarValue::from(true)),
                    _ => counts(0, 4),
                })
                .collect(),
        )],
        "emoji_sentiment" => vec![
            ("names", vec![words(&REACTIONS)]),
            ("emoji", vec![words(&["😂", "❤️", "⚽", "👏", "🔥", "😭", "👎", "🥅"])]),
        ],
        "engagement_rate" => vec![("three columns", vec![count(), numbers(1.0, 90.0), numbers(1.0, 5.0)])],
        "poisson_z" => vec![("count, expected", vec![count(), numbers(1.0, 90.0)])],
        "uplift_smoothed" => vec![
            ("four columns", vec![count(), numbers(1.0, 60.0), count(), numbers(1.0, 300.0)]),
            ("two counts, two constants", vec![count(), constant(60.0), count(), constant(300.0)]),
        ],
        _ => vec![],
    }
}
