use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::Statement;
use crate::sql::{parse_file, session_config};

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
    let error = match state.statement_to_plan(statement).await {
        Ok(plan) => state.optimize(&plan).expect_err(query),
        Err(error) => error,
    };
    planning_error(error, "dir/q.sql", &view.location).report()
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

#[tokio::test]
async fn an_error_without_a_place_stands_at_its_statement() {
    let found = error_of("SELECT\n sqrt(team, 1) FROM t").await;
    assert!(found.starts_with("dir/q.sql:5:3: "), "{found}");
    assert!(!found.contains("Candidate functions"), "{found}");
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
