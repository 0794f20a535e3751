//! What tools send at their start and in between.

use super::*;

#[tokio::test]
async fn short_forms_and_session_functions_are_answered() {
    let server = Server::open().await;
    for (sql, column, expected) in [
        ("SHOW SCHEMAS", "schema_name", vec!["public", "touchline"]),
        ("SHOW SCHEMAS LIKE 'pub%'", "schema_name", vec!["public"]),
        ("SHOW DATABASES", "database_name", vec!["touchline"]),
        ("SHOW VIEWS LIKE 'sc%'", "table_name", vec!["scores"]),
        ("SELECT current_schema() AS s, current_user AS u", "s", vec!["public"]),
        ("SELECT current_schema, session_user FROM scores LIMIT 1", "current_schema()", vec!["public"]),
        ("SELECT current_database() AS d", "d", vec!["touchline"]),
        ("SELECT current_user", "current_user", vec!["anonymous"]),
        ("BEGIN", "status", vec!["BEGIN"]),
        ("COMMIT;", "status", vec!["COMMIT"]),
        ("ROLLBACK", "status", vec!["ROLLBACK"]),
        ("SET TIME ZONE 'UTC'", "status", vec!["SET"]),
        ("USE public", "status", vec!["USE"]),
        ("SHOW TRANSACTION ISOLATION LEVEL", "transaction_isolation", vec!["read committed"]),
        ("SHOW search_path", "search_path", vec!["public"]),
        ("SET search_path = public", "status", vec!["USE"]),
    ] {
        assert_eq!(texts(&server.ok(sql).await, column), expected, "{sql}");
    }
    assert_eq!(server.ok("TABLE scores").await.num_rows(), 3);
    let version = texts(&server.ok("SELECT version() AS v").await, "v");
    assert!(version[0].starts_with("Touchline "), "{version:?}");
    assert_eq!(server.code("SET TIME ZONE 'Europe/Berlin'").await, Code::InvalidArgument);
    let begin = server.query("BEGIN READ WRITE").await.expect_err("nothing is written here");
    assert!(begin.message().contains("read-only"), "{begin}");
}

#[tokio::test]
async fn use_moves_a_session_and_nothing_else() {
    let server = Server::start(AdHocSettings::default(), &[("ana", "right")]).await;
    let mut client = server.client();
    client.handshake("ana", "right").await.expect("logs in");
    let mut ask = async |sql: &str| {
        let info = client.execute(sql.to_owned(), None).await.map_err(tonic::Status::from)?;
        fetch(&mut client, info).await
    };
    ask("USE SCHEMA touchline").await.expect("it is there");
    assert_eq!(ask("TABLE queries").await.expect("the session's schema").num_rows(), 1);
    let who = ask("SELECT current_schema() AS s, current_user AS u").await.expect("rows");
    assert_eq!((texts(&who, "s"), texts(&who, "u")), (vec!["touchline".to_owned()], vec!["ana".to_owned()]));
    ask("USE touchline").await.expect("the database");
    assert_eq!(ask("TABLE scores").await.expect("public again").num_rows(), 3);

    // Without a session there is nothing to move.
    let open = Server::open().await;
    assert_eq!(open.code("USE SCHEMA touchline").await, Code::FailedPrecondition);
}
