use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use datafusion::common::TableReference;
use touchline_udfs::Function;

use super::*;
use crate::error::ErrorKind;
use crate::sql::session::session;
use crate::sql::window_tvf::WatermarkColumns;

#[derive(Debug)]
struct NoTables;

impl WatermarkColumns for NoTables {
    fn watermark_column(&self, _: &TableReference) -> Option<String> {
        None
    }
}

fn context() -> SessionContext {
    session(Arc::new(NoTables), 2).expect("a session")
}

async fn answer(context: &SessionContext, query: &str) -> std::result::Result<Vec<RecordBatch>, Error> {
    Ok(context.sql(query).await?.collect().await?)
}

async fn refusal(context: &SessionContext, query: &str) -> String {
    match answer(context, query).await {
        Ok(_) => panic!("{query} was answered"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{query}\n{}", error.report());
            error.report()
        }
    }
}

/// One row: `t` a text of 1 MB, `p` a pattern with many groups, `m` the greatest number, `n` a thousand million, `l` a list of
/// 1,000 numbers, `s` a list of texts of 1 MB together, `at` a time.
fn hostile(context: &SessionContext) {
    let texts = |text: String| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let numbers = (0..1_000).map(Some);
    let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for _ in 0..1_000 {
        list.values().append_value("ab".repeat(500));
    }
    list.append(true);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("t", texts("ab".repeat(500_000))),
        ("p", texts("(a|b)*".repeat(20))),
        ("m", Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("n", Arc::new(Int64Array::from(vec![1_000_000_000]))),
        ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(numbers)]))),
        ("s", Arc::new(list.finish())),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![0]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one row");
    context.register_batch("hostile", batch).expect("a table");
}

#[tokio::test]
async fn what_a_column_or_a_constant_asks_for_is_refused_before_it_is_made() {
    let context = context();
    hostile(&context);
    for (call, function) in [
        ("length(lpad('a', m, 'x'))", "lpad()"),
        ("length(rpad('a', n, 'x'))", "rpad()"),
        ("length(repeat('x', n))", "repeat()"),
        ("length(repeat('x', 1000000000))", "repeat()"),
        ("length(lpad('a', 9223372036854775807, 'x'))", "lpad()"),
        ("array_length(range(1, 1000000000000))", "range()"),
        ("array_length(range(m))", "range()"),
        ("array_length(generate_series(n, 1, -1))", "generate_series()"),
        ("array_length(range(at, TIMESTAMP '2020-01-01', INTERVAL '1 microsecond'))", "range()"),
        ("array_length(array_repeat('x', n))", "array_repeat()"),
        ("array_length(list_repeat(l, n))", "array_repeat()"),
        ("array_length(array_resize(l, n, 0))", "array_resize()"),
        ("length(replace(t, 'a', t))", "replace()"),
        ("length(regexp_replace(t, 'a', t, 'g'))", "regexp_replace()"),
        ("length(array_to_string(l, t))", "array_to_string()"),
        (
            "length(concat_ws(t, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q'))",
            "concat_ws()",
        ),
        ("length(concat(t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t))", "concat()"),
        ("length(t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t)", "\"||\""),
        ("array_length(make_array(t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t))", "make_array()"),
        ("levenshtein(t, t)", "levenshtein()"),
    ] {
        let report = refusal(&context, &format!("SELECT {call} FROM hostile")).await;
        assert!(report.starts_with(&format!("{function} would make a value of ")), "{call}\n{report}");
        assert!(report.contains("hint: "), "{call}\n{report}");
    }
    let typed = refusal(&context, "SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')").await;
    assert!(typed.starts_with("arrow_cast() would make values of 2000000000 bytes each"), "{typed}");
    answer(&context, "SELECT arrow_cast(NULL, 'FixedSizeBinary(24576)')").await.expect("as long as an embedding");
    let still = "SELECT range(at, TIMESTAMP '2020-01-01', INTERVAL '1 month -30 days') FROM hostile";
    assert!(refusal(&context, still).await.starts_with("the step of a range goes forwards and backwards"));
}

#[tokio::test]
async fn a_constant_that_would_be_too_large_is_refused_while_the_plan_is_made() {
    let context = context();
    for query in ["SELECT repeat('x', 1000000000)", "SELECT 1 WHERE length(lpad('a', 9223372036854775807, 'x')) > 1"] {
        let plan = context.sql(query).await.expect(query);
        let error = Error::from(plan.into_optimized_plan().expect_err(query));
        assert!(is_too_large(&error), "{}", error.report());
    }
}

#[tokio::test]
async fn many_rows_are_refused_together_where_each_is_allowed() {
    let context = context();
    let many = "FROM generate_series(1, 100000) AS g(v)";
    for call in ["repeat('x', 50000 + v % 2)", "lpad('a', 40000 + v % 2)", "range(v % 2, 10000)"] {
        let report = refusal(&context, &format!("SELECT {call} {many}")).await;
        assert!(report.contains(" would make up to ") && report.contains(" rows"), "{call}\n{report}");
    }
    let constant = refusal(&context, &format!("SELECT repeat('x', 1000000) {many}")).await;
    assert!(constant.starts_with("a constant would make up to "), "{constant}");
    let branch = format!("SELECT CASE WHEN v > 1 THEN repeat('x', 1000000) ELSE 'y' END {many}");
    assert!(refusal(&context, &branch).await.starts_with("a constant would make up to "));
    answer(&context, "SELECT repeat('x', 1000000) FROM generate_series(1, 10)").await.expect("ten of them");
}

/// Of these the sizes that are known before are several times what is made, of 8,192 rows together more than is allowed.
#[tokio::test]
async fn many_rows_are_taken_that_make_far_less_than_they_might() {
    let context = context();
    let (rows, many) = (8_192, "FROM generate_series(1, 8192) AS g(v)");
    for (call, length) in [
        ("regexp_replace(repeat('ab 1', 1000 + v % 2), '[0-9]{4,}', '[digits]', 'g')", 4_000),
        ("replace(repeat('abcd\nefg', 1000 + v % 2), '\n', '<br/>')", 8_000),
        ("array_to_string(range(v % 2, 100), ',')", 280),
        ("lpad(concat('a', v), 10000, 'x')", 10_000),
    ] {
        let query = format!("SELECT CAST(min(length(t)) AS BIGINT), count(t) FROM (SELECT {call} AS t {many})");
        let batches = answer(&context, &query).await.unwrap_or_else(|error| panic!("{call}\n{}", error.report()));
        let number = |column: usize| batches[0].column(column).as_primitive::<Int64Type>().value(0);
        assert!(number(0) >= length, "{call}: {}", number(0));
        assert_eq!(number(1), rows, "{call}");
    }
}

#[tokio::test]
async fn what_doubles_a_text_again_and_again_ends() {
    let context = context();
    for doubled in ["x || x", "concat(x, x)"] {
        let mut query = "WITH t0 AS (SELECT concat('0123456789', v) AS x FROM (VALUES (1), (2)) AS t(v))".to_owned();
        for level in 1..40 {
            let before = level - 1;
            query.push_str(&format!(", t{level} AS (SELECT {doubled} AS x FROM t{before})"));
        }
        let report = refusal(&context, &format!("{query} SELECT length(x) FROM t39")).await;
        assert!(report.contains(" would make a value of "), "{report}");
    }
}

#[tokio::test]
async fn names_and_values_are_as_without_limits() {
    let (context, plain) = (context(), SessionContext::new());
    for query in [
        "SELECT repeat('ab', 2), lpad('a', 3, 'x'), rpad('a', 3), range(3), generate_series(1, 5, 2), range(3, 1)",
        "SELECT v || 'x', 'y' || v || 'z', concat(v, 1), concat_ws('-', v, NULL, 'b') FROM (VALUES ('a'), (NULL)) AS t(v)",
        "SELECT array_repeat(v, 2), array_resize([v], 2), [v] || [1], array_to_string([v, 2], ',') FROM (VALUES (1)) AS t(v)",
        "SELECT replace(v, 'a', 'bb'), regexp_replace(v, '(a)', '\\1\\1', 'g'), string_to_array(v, 'a') FROM (VALUES ('aa')) AS t(v)",
        "SELECT repeat(v, 2) AS r, count(*) FROM (VALUES ('a'), ('a')) AS t(v) GROUP BY repeat(v, 2) HAVING count(*) > 1",
        "SELECT range(DATE '2024-01-01', DATE '2024-04-01', INTERVAL '1' MONTH), levenshtein('ab', 'ac'), repeat('x', NULL)",
        "SELECT v, row_number() OVER (ORDER BY v || 'x') FROM (VALUES ('b'), ('a')) AS t(v) ORDER BY v",
        "SELECT v || 'y', array_agg(v ORDER BY v || 'x'), count(*) FILTER (WHERE v || 'x' = 'ax') FROM (VALUES ('b'), ('a')) AS t(v) GROUP BY v || 'y' ORDER BY v || 'y'",
        "SELECT range(NULL, TIMESTAMP '2024-01-01', INTERVAL '1' DAY), range(TIMESTAMP '2024-01-01', NULL, INTERVAL '1' DAY)",
    ] {
        let found = answer(&context, query).await.expect(query);
        let expected = answer(&plain, query).await.expect(query);
        let shown = |batches: &[RecordBatch]| {
            arrow::util::pretty::pretty_format_batches(batches).expect("a table of text").to_string()
        };
        assert_eq!(shown(&found), shown(&expected), "{query}");
    }
}

/// Functions without a bound: none makes more than a few times what it is given, also of its own result, and no size is a value.
const BOUNDED_BY_INPUT: &[&str] = &[
    // Of numbers and times.
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "power",
    "radians",
    "random",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "make_time",
    "now",
    "to_date",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_ltz",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "cumulate",
    "hop",
    "session",
    "tumble",
    // Of texts: a part of one, a number, or as many characters as before, of four bytes at most.
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "chr",
    "contains",
    "decode",
    "encode",
    "ends_with",
    "find_in_set",
    "initcap",
    "left",
    "lower",
    "ltrim",
    "octet_length",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    "upper",
    "uuid",
    // One of its arguments, or all without a copy.
    "arrow_field",
    "arrow_metadata",
    "arrow_typeof",
    "cast_to_type",
    "coalesce",
    "file_row_index",
    "get_field",
    "greatest",
    "input_file_name",
    "least",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "struct",
    "try_cast_to_type",
    "union_extract",
    "union_tag",
    "version",
    "with_metadata",
    // Of lists: fewer items, the same ones, or numbers.
    "array_add",
    "array_any_value",
    "array_avg",
    "array_compact",
    "array_dims",
    "array_distance",
    "array_distinct",
    "array_element",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_normalize",
    "array_pop_back",
    "array_pop_front",
    "array_position",
    "array_positions",
    "array_product",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_reverse",
    "array_scale",
    "array_slice",
    "array_sort",
    "array_subtract",
    "array_sum",
    "cardinality",
    "cosine_distance",
    "empty",
    "flatten",
    "inner_product",
    "map_entries",
    "map_extract",
    "map_keys",
    "map_values",
];

fn functions(context: &SessionContext) -> BTreeMap<String, Arc<ScalarUDF>> {
    let state = context.state();
    let all = state.scalar_functions().values();
    all.map(|function| (function.name().to_owned(), Arc::clone(function))).collect()
}

#[test]
fn every_function_has_a_bound_or_needs_none() {
    let ours: BTreeSet<String> = touchline_udfs::functions()
        .into_iter()
        .filter_map(|function| match function {
            Function::Scalar(_, function) => Some(function.name().to_owned()),
            Function::Aggregate(..) => None,
        })
        .collect();
    let (mut unknown, mut unlimited) = (Vec::new(), Vec::new());
    for (name, function) in functions(&context()) {
        let has_bound = bound::Bound::of(&name).is_some();
        if !has_bound && !ours.contains(&name) && !BOUNDED_BY_INPUT.contains(&name.as_str()) {
            unknown.push(name.clone());
        }
        if has_bound && limited(&function).is_some() {
            unlimited.push(name);
        }
    }
    assert!(unknown.is_empty(), "say in `bound` how much these can make, or list them here: {unknown:?}");
    assert!(unlimited.is_empty(), "registered without their limits: {unlimited:?}");
}

/// What comes back is measured; what a function takes meanwhile and gives back is not.
#[tokio::test]
async fn no_function_makes_more_than_its_limit_of_hostile_arguments() {
    let context = context();
    hostile(&context);
    let arguments = [
        "t",
        "m",
        "n",
        "l",
        "s",
        "t, m",
        "t, n",
        "t, t",
        "t, p",
        "n, n",
        "l, n",
        "l, m",
        "s, t",
        "l, l",
        "s, s",
        "at, t",
        "t, n, t",
        "t, m, t",
        "t, t, t",
        "t, 'a', t",
        "t, 'a', t, 'g'",
        "l, n, t",
        "l, m, n",
        "s, t, t",
        "n, m, n",
        "m, n, m",
        "t, t, n, m",
        "l, l, l, l",
    ];
    let limit = usize::try_from(BATCH_BYTES_MAX).expect("it fits");
    for name in functions(&context).into_keys() {
        for arguments in arguments {
            let query = format!("SELECT \"{name}\"({arguments}) FROM hostile");
            let since = Instant::now();
            match answer(&context, &query).await {
                Ok(batches) => {
                    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
                    assert!(bytes <= limit, "{query} made {bytes} bytes");
                }
                Err(error) => assert!(!error.primary().contains("panicked"), "{query}\n{}", error.report()),
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{query} took {:?}", since.elapsed());
        }
    }
}
