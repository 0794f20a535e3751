use super::*;
use crate::catalog::Statement;
use crate::sql::parse_file;

/// The report of an error whose statement is `query`, which stands in `q.sql`.
fn placed(primary: &str, query: &str) -> String {
    let statements = parse_file("q.sql", query).expect(query);
    let Some(Statement::Select(view)) = statements.first() else { panic!("{query} is no SELECT") };
    let written = [Written { file: "q.sql", code: Code::Query(&view.query) }];
    at_failed_value(Error::invalid(primary), &view.location, &written).report()
}

#[test]
fn an_expression_that_the_error_names_is_found_among_others() {
    let zero = |text: &str| format!("division by zero in \"{text}\"");
    for (primary, query, place) in [
        (zero("v / w"), "SELECT a / b,\n  e.v / \"w\" FROM e", "q.sql:2:3"),
        (zero("(a + 1) / b"), "SELECT b / a, (a+1) / CAST(b AS BIGINT) FROM e", "q.sql:1:16"),
        (zero("sum(e.v) / count(*)"), "SELECT 1 / a, sum(v) / count(*) FROM e", "q.sql:1:15"),
        ("\"v + w\" does not fit into BIGINT".to_owned(), "SELECT w + v, v + w FROM e", "q.sql:1:15"),
        ("\"-v\" does not fit into BIGINT".to_owned(), "SELECT - v FROM e", "q.sql:1:10"),
        (
            "\"CAST(a || 'x' AS DOUBLE)\" cannot take 'y'".to_owned(),
            "SELECT CAST(a AS DOUBLE), (e.a || 'x')::DOUBLE FROM e",
            "q.sql:1:28",
        ),
        ("\"sum(2)\" does not fit into BIGINT".to_owned(), "SELECT sum(CAST(2 AS BIGINT)) OVER () FROM e", "q.sql:1:8"),
        ("\"sum(e.v)\" does not fit into BIGINT".to_owned(), "SELECT k,\n sum(v) FROM e GROUP BY k", "q.sql:2:2"),
    ] {
        let report = placed(&primary, query);
        assert_eq!(report.lines().next(), Some(format!("{place}: {primary}").as_str()), "{query}");
    }
}

#[test]
fn the_words_of_a_kernel_become_plain_and_are_placed_where_only_one_expression_can_have_failed() {
    let cast = "cast error: Cannot cast string 'it's' to value of Int64 type";
    let said = "'it's' is no BIGINT\n  hint: TRY_CAST gives NULL instead";
    assert_eq!(placed(cast, "SELECT a, b::BIGINT, CAST(c AS DOUBLE) FROM e"), format!("q.sql:1:11: {said}"));
    assert_eq!(placed(cast, "SELECT CAST(a AS BIGINT), CAST(b AS BIGINT) FROM e"), said, "either of the two");
    assert_eq!(placed(cast, "SELECT TRY_CAST(a AS BIGINT) FROM e"), said, "none of them");
    let narrow = "Cast error: Can't cast value 300 to type Int8";
    assert!(placed(narrow, "SELECT CAST(a AS TINYINT) FROM e").starts_with("q.sql:1:13: 300 is no TINYINT\n"));
    let time = "Parser error: Error parsing timestamp from 'noon': error parsing date";
    let found = placed(time, "SELECT to_timestamp(a) FROM e");
    assert!(found.starts_with("q.sql:1:8: 'noon' is no time\n  detail: error parsing date\n"), "{found}");
    assert!(placed("Divide by zero error", "SELECT a % b FROM e").starts_with("q.sql:1:8: division by zero\n"));
}

#[test]
fn a_call_that_would_make_too_much_is_found_where_only_one_is_written() {
    let said = "repeat() would make a value of up to 1000000000 bytes";
    assert_eq!(placed(said, "SELECT a,\n repeat(a, n) FROM e"), format!("q.sql:2:2: {said}"));
    assert_eq!(placed(said, "SELECT repeat(a, n), repeat(b, n) FROM e"), said, "either of the two");
    let list = "array_resize() would make a value of up to 1000000000 bytes";
    assert_eq!(placed(list, "SELECT list_resize(a, n) FROM e"), format!("q.sql:1:8: {list}"));
    let joined = "\"||\" would make up to 1000000000 bytes of 8192 rows";
    assert_eq!(placed(joined, "SELECT 1 + 2, a || b FROM e"), format!("q.sql:1:15: {joined}"));
}

#[test]
fn other_errors_stay_as_they_are() {
    assert_eq!(placed("no such file", "SELECT a / b FROM e"), "no such file");
    let long = format!("Cannot cast string '{}' to value of Int64 type", "⚽".repeat(1_000));
    assert!(placed(&long, "SELECT 1").len() < 500);
}
