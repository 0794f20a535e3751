//! What is told of tables beside their rows.

use super::*;

#[tokio::test]
async fn the_statements_behind_tables_and_views_can_be_read() {
    let server = Server::open().await;
    for (sql, expected) in [
        ("SHOW CREATE TABLE scores", "CREATE MATERIALIZED VIEW scores AS SELECT 1"),
        ("SHOW CREATE TABLE events", "CREATE TABLE events (n BIGINT)"),
        (
            "SELECT definition FROM information_schema.views WHERE table_name = 'scores'",
            "CREATE MATERIALIZED VIEW scores AS SELECT 1",
        ),
    ] {
        assert_eq!(texts(&server.ok(sql).await, "definition"), [expected], "{sql}");
    }
}

#[tokio::test]
async fn the_kinds_of_tables_are_told_apart_and_found_by_the_common_names() {
    let server = Server::open().await;
    let mut client = server.client();
    for (asked, kinds) in [
        (vec![], vec!["TOPIC", "MATERIALIZED VIEW", "SYSTEM TABLE"]),
        (vec!["TABLE", "VIEW"], vec!["TOPIC", "MATERIALIZED VIEW", "SYSTEM TABLE"]),
        (vec!["MATERIALIZED VIEW"], vec!["MATERIALIZED VIEW"]),
        (vec!["TOPIC"], vec!["TOPIC"]),
    ] {
        let request = CommandGetTables {
            table_types: asked.iter().map(|kind| (*kind).to_owned()).collect(),
            ..CommandGetTables::default()
        };
        let info = client.get_tables(request).await.expect("tables");
        let rows = fetch(&mut client, info).await.expect("rows");
        let mut found = texts(&rows, "table_type");
        found.dedup();
        assert_eq!(found, kinds, "{asked:?}");
    }
}

#[tokio::test]
async fn primary_keys_are_those_declared() {
    let server = Server::open().await;
    let mut client = server.client();
    for (table, schema, keys) in [
        ("scores", None, vec!["match_id", "at"]),
        ("scores", Some("public"), vec!["match_id", "at"]),
        ("scores", Some("touchline"), vec![]),
        ("events", None, vec![]),
    ] {
        let request =
            CommandGetPrimaryKeys { catalog: None, db_schema: schema.map(str::to_owned), table: table.to_owned() };
        let info = client.get_primary_keys(request).await.expect("keys");
        let rows = fetch(&mut client, info).await.expect("rows");
        assert_eq!(texts(&rows, "column_name"), keys, "{table} {schema:?}");
        let places = rows.column(5).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
        assert_eq!(places, (1..=keys.len() as i32).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn where_the_rows_of_a_query_go_is_told() {
    let server = Server::open().await;
    let rows = server.ok("SELECT public_folder, hot_table FROM touchline.queries").await;
    assert_eq!(
        (texts(&rows, "public_folder"), texts(&rows, "hot_table")),
        (vec!["scores".into()], vec!["scores".into()])
    );
}
