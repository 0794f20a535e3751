use arrow::util::pretty::pretty_format_batches;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;
use crate::error::Error;
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

async fn answer(context: &SessionContext, query: &str) -> Result<String, Error> {
    let batches = context.sql(query).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

/// The cells of the first row.
async fn row(context: &SessionContext, query: &str) -> Vec<String> {
    let shown = answer(context, query).await.unwrap_or_else(|error| panic!("{query}\n{}", error.report()));
    let line = shown.lines().nth(3).unwrap_or_else(|| panic!("{query} has no row"));
    line.split('|').map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
}

async fn refusal(context: &SessionContext, query: &str) -> String {
    match answer(context, query).await {
        Ok(found) => panic!("{query}\n{found}"),
        Err(error) => error.report(),
    }
}

const VALUES: &str = "(VALUES (9223372036854775807, 1, 0), (-9223372036854775808, -1, 0)) AS t(v, w, z)";

#[tokio::test]
async fn an_operator_whose_result_does_not_fit_is_an_error_with_its_values() {
    let context = context();
    let max = "9223372036854775807";
    for (query, said) in [
        ("SELECT v + w FROM {t} WHERE w > 0", "\"v + w\" does not fit into BIGINT\n  detail: {max} + 1\n"),
        ("SELECT t.v - 1 FROM {t}", "\"v - 1\" does not fit into BIGINT\n  detail: -9223372036854775808 - 1\n"),
        ("SELECT (v - 1) * 2 FROM {t} WHERE w > 0", "\"(v - 1) * 2\" does not fit into BIGINT\n"),
        ("SELECT -v FROM {t}", "\"-v\" does not fit into BIGINT\n  detail: 0 - -9223372036854775808\n"),
        ("SELECT w / z FROM {t}", "division by zero in \"w / z\"\n  detail: 1 / 0\n"),
        ("SELECT w % z FROM {t}", "division by zero in \"w % z\"\n  detail: 1 % 0\n"),
        ("SELECT w FROM {t} WHERE v * v > 0", "\"v * v\" does not fit into BIGINT\n"),
        ("SELECT CAST(v AS BIGINT UNSIGNED) * CAST(3 AS BIGINT UNSIGNED) FROM {t} WHERE w > 0", " does not fit into "),
        ("SELECT 2147483647::INT + w::INT FROM {t} WHERE w > 0", " does not fit into INT\n  detail: 2147483647 + 1\n"),
    ] {
        let (query, said) = (query.replace("{t}", VALUES), said.replace("{max}", max));
        let report = refusal(&context, &query).await;
        assert!(report.contains(&said), "{query}\n{report}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_of_its_type_is_named_with_the_cast() {
    let context = context();
    let texts = "(VALUES ('1', 'no'), ('2', NULL)) AS t(a, b)";
    for (query, said) in [
        ("SELECT CAST(a AS BIGINT), CAST(t.b AS BIGINT) FROM {t}", "\"CAST(b AS BIGINT)\" cannot take 'no'\n"),
        ("SELECT a FROM {t} WHERE (a || b)::DOUBLE > 1", "\"CAST(a || b AS DOUBLE)\" cannot take '1no'\n"),
        ("SELECT max(b::TIMESTAMP) FROM {t}", " cannot take 'no'\n"),
        ("SELECT b::BOOLEAN AND a IS NULL, b::DATE FROM {t}", "\"CAST(b AS DATE)\" cannot take 'no'\n"),
    ] {
        let query = query.replace("{t}", texts);
        let report = refusal(&context, &query).await;
        assert!(report.contains(said), "{query}\n{report}");
    }
    let frame =
        context.sql(&format!("SELECT CAST(a AS INT) + 1, a::DECIMAL(5, 2) FROM {texts}")).await.expect("planned");
    assert_eq!(frame.schema().field_names(), ["t.a + Int64(1)", "t.a"]);
    let fine = "SELECT CAST(a AS INT) + 1, a::DECIMAL(5, 2), TRY_CAST(b AS BIGINT) IS NULL, '7'::BIGINT";
    assert_eq!(row(&context, &format!("{fine} FROM {texts}")).await, ["2", "1.00", "true", "7"]);
}

#[tokio::test]
async fn what_fits_is_as_it_was_and_so_are_names_types_and_nulls() {
    let context = context();
    let query = "SELECT a + b, a - b, a * b, a / b, a % b, -a, a + NULL, 1.5 + a, DATE '2026-01-02' - 1
                 FROM (VALUES (7, 2)) AS t(a, b)";
    let frame = context.sql(query).await.expect(query);
    let names: Vec<String> = frame.schema().field_names();
    assert_eq!(names[..6], ["t.a + t.b", "t.a - t.b", "t.a * t.b", "t.a / t.b", "t.a % t.b", "(- t.a)"]);
    let cells = row(&context, query).await;
    assert_eq!(cells, ["9", "5", "14", "3", "1", "-7", "8.5", "2026-01-01"]);
    // Not evaluated where CASE does not come to it, nor where the divisor is NULL.
    let guarded =
        "SELECT CASE WHEN b = 0 THEN 0 ELSE a / b END, a / nullif(b, 0) IS NULL FROM (VALUES (7, 0)) AS t(a, b)";
    assert_eq!(row(&context, guarded).await, ["0", "true"]);
    let grouped =
        "SELECT a + 1, count(*) FROM (VALUES (1), (1)) AS t(a) GROUP BY a + 1 HAVING a + 1 > 1 ORDER BY a + 1";
    assert_eq!(row(&context, grouped).await, ["2", "2"]);
    let within =
        "SELECT count(*) FILTER (WHERE a + 1 > 2), first_value(a ORDER BY a - 3 DESC) FROM (VALUES (1), (2)) AS t(a)";
    assert_eq!(row(&context, within).await, ["1", "2"]);
    let nested = "SELECT a FROM (VALUES (1), (2)) AS t(a) WHERE a + 1 = (SELECT max(x) + 1 FROM (VALUES (2)) AS u(x) WHERE x = a) LIMIT 1 + 1";
    assert_eq!(row(&context, nested).await, ["2"]);
}

#[tokio::test]
async fn a_sum_beyond_64_bits_is_an_error_and_one_that_comes_back_is_not() {
    let context = context();
    let rows = "(VALUES ('a', 9000000000000000000), ('a', 9000000000000000000), ('b', 1)) AS t(k, v)";
    let said = "\"sum(t.v)\" does not fit into BIGINT\n  detail: the sum is 18000000000000000000\n";
    for query in [
        format!("SELECT sum(v) FROM {rows} WHERE k = 'a'"),
        format!("SELECT k, sum(v) FROM {rows} GROUP BY k"),
        format!("SELECT sum(v) OVER () FROM {rows} WHERE k = 'a'"),
    ] {
        let report = refusal(&context, &query).await;
        assert!(
            report.contains("does not fit into BIGINT\n  detail: the sum is 18000000000000000000\n"),
            "{query}\n{report}"
        );
        assert!(query.contains("OVER") || report.contains(said), "{query}\n{report}");
    }
    let back = "SELECT k, sum(v) AS s, sum(DISTINCT v) AS d, sum(v) FILTER (WHERE v < 0) AS f FROM
                (VALUES ('a', 9223372036854775807), ('a', 5), ('a', NULL), ('a', -9223372036854775807)) AS t(k, v) GROUP BY k";
    assert_eq!(row(&context, back).await, ["a", "5", "5", "-9223372036854775807"]);
    let distinct = "SELECT sum(DISTINCT v) FROM (VALUES (9000000000000000000), (8000000000000000000)) AS t(v)";
    assert!(refusal(&context, distinct).await.contains("the sum is 17000000000000000000"));
    let wide = format!("SELECT sum(CAST(v AS DECIMAL(38, 0))) AS s, sum(1.5) AS r FROM {rows}");
    assert_eq!(row(&context, &wide).await, ["18000000000000000001", "4.5"]);
    let none = "SELECT sum(v) IS NULL, sum(DISTINCT v) IS NULL FROM (VALUES (CAST(NULL AS BIGINT))) AS t(v)";
    assert_eq!(row(&context, none).await, ["true", "true"]);
    let frame = "SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s,
                 sum(DISTINCT v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS d
                 FROM (VALUES (1), (1), (4)) AS t(v) ORDER BY v DESC LIMIT 1";
    assert_eq!(row(&context, frame).await, ["5", "5"]);
}

#[tokio::test]
async fn a_sum_of_decimals_beyond_128_bits_is_an_error_and_one_that_comes_back_is_not() {
    let context = context();
    let most = "99999999999999999999999999999999999999";
    let rows = |values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| format!("(CAST('{value}' AS DECIMAL(38, 0)))")).collect();
        format!("(VALUES {}) AS t(v)", values.join(", "))
    };
    let twice = rows(&[most, most]);
    for query in [
        format!("SELECT sum(v) FROM {twice}"),
        format!("SELECT sum(v) FROM {twice} GROUP BY v IS NULL"),
        format!("SELECT sum(v) OVER () FROM {twice}"),
        format!("SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {twice}"),
        format!("SELECT sum(DISTINCT v) FROM {}", rows(&[most, "99999999999999999999999999999999999998"])),
    ] {
        let report = refusal(&context, &query).await;
        assert!(
            report.contains("does not fit into DECIMAL(38, 0)\n  detail: the sum is 19999999"),
            "{query}\n{report}"
        );
    }
    let minus = format!("-{most}");
    let back = rows(&[most, most, most, &minus, &minus, &minus, "7"]);
    for query in [
        format!("SELECT sum(v) FROM {back}"),
        format!("SELECT sum(v) FROM {back} GROUP BY v IS NULL"),
        format!("SELECT sum(DISTINCT v) FROM {back}"),
        format!("SELECT sum(v) OVER () FROM {back} LIMIT 1"),
    ] {
        assert_eq!(row(&context, &query).await, ["7"], "{query}");
    }
    let typed = "SELECT arrow_typeof(sum(v)), sum(v) FROM (VALUES (1.25), (2.50)) AS t(v)";
    assert_eq!(row(&context, typed).await[1], "3.75");
    let none = "SELECT sum(v) IS NULL, sum(DISTINCT v) IS NULL FROM (VALUES (CAST(NULL AS DECIMAL(5, 2)))) AS t(v)";
    assert_eq!(row(&context, none).await, ["true", "true"]);
}

// In whatever order they come; NaN is the greatest, as in PostgreSQL.
#[tokio::test]
async fn the_least_and_the_greatest_of_numbers_with_nan_among_them_are_the_same_in_any_order() {
    let context = context();
    for values in ["('1.5'), ('NaN'), ('-2')", "('NaN'), ('-2'), ('1.5')", "('-2'), ('1.5'), ('NaN')"] {
        for of in ["DOUBLE", "REAL"] {
            let query = format!(
                "SELECT min(CAST(x AS {of})), max(CAST(x AS {of})) FROM (VALUES {values}) AS t(x) GROUP BY x IS NULL"
            );
            assert_eq!(row(&context, &query).await, ["-2.0", "NaN"], "{query}");
        }
    }
    assert_eq!(
        row(&context, "SELECT min(x), max(x) FROM (VALUES (2), (3)) AS t(x) GROUP BY x IS NULL").await,
        ["2", "3"]
    );
}

#[tokio::test]
async fn a_long_chain_is_one_expression_with_its_own_name_and_a_short_text() {
    let context = context();
    let chain = vec!["a"; 900].join(" + ");
    let query = format!(
        "SELECT {chain} AS s, sum({chain}), a FROM (VALUES (1)) AS t(a) GROUP BY {chain}, a HAVING {chain} > 2"
    );
    assert_eq!(row(&context, &query).await, ["900", "900", "1"]);
    let frame = context.sql(&format!("SELECT {chain} FROM (VALUES (1)) AS t(a)")).await.expect("planned");
    assert_eq!(frame.schema().field(0).name(), &vec!["t.a"; 900].join(" + "));
    let report = refusal(&context, &format!("SELECT {chain} FROM (VALUES (4000000000000000000)) AS t(a)")).await;
    assert!(report.contains("\"a + a + a\" does not fit"), "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against 128 bits, row by row, whole and in parts that are merged.
    #[test]
    fn sums_are_right_or_refused(
        rows in prop::collection::vec((0_u8..2, prop::option::of(prop_oneof![
            Just(i64::MAX), Just(i64::MIN), any::<i64>(), -10_i64..10,
        ])), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let values: Vec<String> = rows.iter().map(|(k, v)| match v {
            // Its digits alone are no BIGINT.
            Some(i64::MIN) => format!("({k}, -9223372036854775807 - 1)"),
            Some(v) => format!("({k}, {v})"),
            None => format!("({k}, NULL)"),
        }).collect();
        let context = context();
        for key in 0..2 {
            let of_key: Vec<i128> =
                rows.iter().filter(|(k, _)| *k == key).filter_map(|(_, v)| v.map(i128::from)).collect();
            let query = format!(
                "SELECT k, sum(v) AS s FROM (SELECT column1 AS k, CAST(column2 AS BIGINT) AS v FROM (VALUES {})) WHERE k = {key} GROUP BY k",
                values.join(", ")
            );
            let found = runtime.block_on(answer(&context, &query));
            let want: i128 = of_key.iter().sum();
            match found {
                Ok(shown) if of_key.is_empty() => prop_assert!(shown.lines().count() <= 5),
                Ok(shown) => prop_assert!(shown.contains(&format!("| {want} ")), "{shown} {want}"),
                Err(error) => {
                    prop_assert!(i64::try_from(want).is_err(), "{}", error.report());
                    prop_assert!(error.report().contains(&format!("the sum is {want}")), "{}", error.report());
                }
            }
        }
    }
}
