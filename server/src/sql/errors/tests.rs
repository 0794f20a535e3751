use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::Statement;
use crate::sql::{explained, parse_file, session_config};

const BEFORE: &str = "-- A comment; with a semicolon, and an ümlaut.\n/* another\n one */ SELECT 1;\n\n  ";

async fn error_of(query: &str) -> String {
    let text = format!("{BEFORE}{query};\nSELECT 2");
    let statements = parse_file("dir/q.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    let Some(Statement::Select(view)) = statements.into_iter().nth(1) else { panic!("not a query: {query}") };
    let session = SessionContext::new_with_config(session_config());
    session
        .sql("CREATE TABLE t AS SELECT 1 AS goals, 'x' AS team")
        .await
        .expect("a table")
        .collect()
        .await
        .expect("rows");
    let statement = datafusion::sql::sqlparser::ast::Statement::Query(view.query);
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    let state = session.state();
    let error = match state.statement_to_plan(statement.clone()).await {
        Ok(plan) => state.optimize(&plan).expect_err(query),
        Err(error) => error,
    };
    explained(error, &statement, &state, &view.location).await.report()
}

#[tokio::test]
async fn planning_errors_stand_at_their_line_and_column_in_the_file() {
    let mut wrong = String::new();
    for (query, want) in [
        ("SELECT\n  goal FROM t", "dir/q.sql:6:3: column \"goal\" does not exist\n  hint: did you mean \"goals\"?"),
        (
            "SELECT team FROM t WHERE t.tean = 'x'",
            "dir/q.sql:5:28: column \"t.tean\" does not exist\n  hint: did you mean \"team\"?",
        ),
        ("SELECT 1\n  FROM nowhere", "dir/q.sql:6:8: table 'nowhere' not found"),
        (
            "SELECT goals,\n  nosuch(goals) FROM t",
            "dir/q.sql:6:3: invalid function 'nosuch'\n  hint: did you mean 'cosh'?",
        ),
        (
            "SELECT sum(goals) AS a, sum(CAST(goals AS DOUBLE)) AS b FROM t",
            "dir/q.sql:5:3: two expressions here have the name \"sum(t.goals)\"\n  hint: a CAST has the name of what it casts",
        ),
        (
            "SELECT team, sum(goals) FROM t",
            "dir/q.sql:5:10: 't.team' must appear in GROUP BY clause because it's not an aggregate expression\n  hint: either add 't.team' to GROUP BY clause",
        ),
    ] {
        let found = error_of(query).await;
        if !found.starts_with(want) {
            wrong.push_str(&format!("{query}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// With the function's manual; the types are those of the call, which is found among others of the same name.
#[tokio::test]
async fn a_call_with_wrong_arguments_stands_at_the_call_with_its_signature() {
    let mut wrong = String::new();
    for (query, want) in [
        ("SELECT\n sqrt(team, 1) FROM t", "dir/q.sql:6:2: sqrt cannot be called with (VARCHAR, BIGINT)\n"),
        (
            "SELECT upper(team), upper(team, goals), upper('x') FROM t",
            "dir/q.sql:5:23: upper cannot be called with (VARCHAR, BIGINT)\n  detail: it takes upper(VARCHAR)\n  hint: write upper(str)",
        ),
        ("SELECT abs(goals), abs(team) FROM t", "dir/q.sql:5:22: abs cannot be called with (VARCHAR)"),
        ("SELECT abs(goals), team FROM t WHERE abs(team) > 0", "dir/q.sql:5:40: abs cannot be called with (VARCHAR)"),
        (
            "SELECT coalesce(team,\n  lpad(goals)) FROM t",
            "dir/q.sql:6:3: lpad cannot be called with (BIGINT)\n  detail: it takes lpad(VARCHAR, BIGINT), lpad(VARCHAR, BIGINT, VARCHAR)\n  hint: write lpad(str, n[, padding_str])",
        ),
        ("SELECT sum(goals), sum(team) FROM t", "dir/q.sql:5:22: sum cannot be called with (VARCHAR)"),
    ] {
        let found = error_of(query).await;
        if !found.starts_with(want) {
            wrong.push_str(&format!("{query}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn an_error_without_a_place_stands_at_its_statement_in_words_of_sql() {
    for (query, want) in [
        ("SELECT team FROM t WHERE team", "dir/q.sql:5:3: cannot create filter with non-boolean predicate"),
        ("SELECT substr(team) FROM t", "dir/q.sql:5:3: substr needs a start\n  hint: write substr("),
    ] {
        let found = error_of(query).await;
        assert!(found.starts_with(want), "{found}");
        assert!(!found.contains("Utf8"), "{found}");
    }
}

#[test]
fn our_own_errors_keep_their_words_and_the_more_exact_place() {
    let start = Location { file: "a.sql".into(), line: 3, column: 1 };
    let exact = Location { file: "a.sql".into(), line: 4, column: 9 };
    let ours = Error::invalid("no such thing").hint("write another").at(exact);
    let error = DataFusionError::from(ours).context("while planning");
    assert_eq!(planning_error(error, "a.sql", &start).report(), "a.sql:4:9: no such thing\n  hint: write another");
    let error = DataFusionError::from(Error::invalid("no such thing"));
    assert_eq!(planning_error(error, "a.sql", &start).report(), "a.sql:3:1: no such thing");
}

#[test]
fn reports_come_by_file_and_line() {
    let at = |file: &str, line| Error::invalid("wrong").at(Location { file: file.into(), line, column: 1 });
    assert_eq!(report(&[at("b", 1), at("a", 10), at("a", 9)]), "a:9:1: wrong\n\na:10:1: wrong\n\nb:1:1: wrong");
}
