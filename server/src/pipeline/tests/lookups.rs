//! Streams beside static tables: joins of every kind, subqueries, and what stands for one value. Each answer is the one that the same
//! text has over everything at once, however the stream comes; where that could be wrong as well, the answer stands there.

use super::windows::values;
use super::*;

const TABLES: &str = "
CREATE TABLE e (id BIGINT, k BIGINT, i INT, s VARCHAR, f DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE TABLE a (k BIGINT, v BIGINT, s VARCHAR, f DOUBLE)
WITH ('connector' = 'filesystem', 'path' = 'a.csv', 'format' = 'csv');
CREATE TABLE b (k BIGINT, v BIGINT, s VARCHAR, f DOUBLE)
WITH ('connector' = 'filesystem', 'path' = 'b.csv', 'format' = 'csv');
CREATE TABLE nobody (k BIGINT, v BIGINT, s VARCHAR, f DOUBLE)
WITH ('connector' = 'filesystem', 'path' = 'nobody.csv', 'format' = 'csv');
";

/// A row of any of the tables, as JSON. The streams and the static tables have some columns in common.
fn row(id: i64, k: Option<i64>, v: i64, s: Option<&str>) -> String {
    let k = k.map_or("null".to_owned(), |k| k.to_string());
    let s = s.map_or("null".to_owned(), |s| format!("\"{s}\""));
    format!(r#"{{"id":{id},"k":{k},"i":{k},"v":{v},"s":{s},"f":{v}.5,"ts":{}}}"#, id * 1000)
}

/// The rows of each table, in the order in which they come.
#[derive(Debug, Clone)]
struct World {
    rows: BTreeMap<&'static str, Vec<String>>,
}

impl World {
    /// `a` has a NULL among its keys, `b` has none.
    fn small() -> Self {
        let stream = [
            (1, Some(1), Some("x")),
            (2, Some(2), Some("y")),
            (3, Some(3), None),
            (4, None, Some("x")),
            (5, Some(2), Some("x")),
            (6, Some(9), Some("y")),
        ];
        let a = [(Some(1), 10, Some("x")), (Some(1), 11, Some("y")), (Some(2), 20, Some("x")), (None, 30, Some("y"))];
        let b = [(Some(2), 21, Some("x")), (Some(3), 31, None)];
        let rows = |of: &[(Option<i64>, i64, Option<&str>)]| of.iter().map(|(k, v, s)| row(0, *k, *v, *s)).collect();
        World {
            rows: BTreeMap::from([
                ("e", stream.iter().map(|(id, k, s)| row(*id, *k, 0, *s)).collect()),
                ("a", rows(&a)),
                ("b", rows(&b)),
            ]),
        }
    }

    fn known(&self) -> Known<'_> {
        let statements = parse_file("test.sql", TABLES).expect("tables");
        let tables = statements.into_iter().filter_map(|statement| match statement {
            Statement::CreateTable(table) => Some((table.name.clone(), Arc::new(table))),
            _ => None,
        });
        Known { defined: Defined { tables: tables.collect(), ..Defined::default() }, world: self }
    }

    /// The rows of an answer, sorted, of a stream that comes in parts of `at_once` rows.
    async fn streamed(&self, query: &str, partitions: usize, at_once: usize) -> Result<Vec<String>> {
        let settings = PlanSettings { partitions, wide_rows: 3 };
        let Planned::Stream(pipeline) = plan(&view(query), &self.known(), settings).await? else {
            panic!("{query} reads no stream")
        };
        let slot = &pipeline.slots[0];
        let (schema, columns) = (slot.table.schema(), slot.columns().to_vec());
        let mut batches = Vec::new();
        let mut step = async |part: &[String], mark| {
            let rows = json(Arc::clone(&schema), &part.join("\n"));
            let rows = rows.iter().map(|batch| batch.project(&columns).unwrap()).collect();
            let input = StepInput { batches: vec![rows], sources: vec![mark], ..StepInput::default() };
            batches.extend(Emitted::of(pipeline.step(input).await?).batches);
            pipeline.commit()
        };
        for part in self.rows["e"].chunks(at_once) {
            step(part, Mark::NONE).await?;
        }
        step(&[], Mark::END).await?;
        Ok(values(&batches))
    }

    /// The same of all rows at once.
    async fn at_once(&self, query: &str) -> Result<Vec<String>> {
        let settings = PlanSettings { partitions: 3, wide_rows: 3 };
        let Planned::Batch(context, plan) = plan_bounded(&view(query), &self.known(), settings).await? else {
            panic!("{query} is no batch")
        };
        Ok(values(&context.execute_logical_plan(*plan).await?.collect().await?))
    }

    /// The answer, which has to be the same each way.
    async fn answer(&self, query: &str) -> Vec<String> {
        let fail = |error: Error| panic!("{query}\n{}", error.report());
        let expected = self.at_once(query).await.unwrap_or_else(fail);
        for (partitions, at_once) in [(1, 100), (1, 1), (3, 100), (3, 2)] {
            let found = self.streamed(query, partitions, at_once).await.unwrap_or_else(fail);
            assert_eq!(found, expected, "{query}\n{partitions} partitions, {at_once} rows an epoch");
        }
        expected
    }
}

struct Known<'a> {
    defined: Defined,
    world: &'a World,
}

impl Tables for Known<'_> {
    fn defined(&self) -> &Defined {
        &self.defined
    }

    /// Two partitions, the rows dealt in turn: their order is that of no file.
    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let rows = self.world.rows.get(table.name.as_str()).cloned().unwrap_or_default();
        let part = |number| rows.iter().skip(number).step_by(2).cloned().collect::<Vec<_>>().join("\n");
        let parts = [0, 1].map(|number| json(table.schema(), &part(number)));
        Ok(Arc::new(MemTable::try_new(table.schema(), parts.to_vec())?))
    }
}

fn view(query: &str) -> crate::catalog::ViewDef {
    match parse_file("test.sql", query).expect(query).swap_remove(0) {
        Statement::CreateView(view) | Statement::Select(view) => view,
        _ => panic!("{query} is no query"),
    }
}

/// Both tables in one.
const BOTH: &str = "(SELECT k, v, s FROM a UNION ALL SELECT k, v, s FROM b)";

async fn check(cases: &[(&str, &[&str])]) {
    let world = World::small();
    for (query, expected) in cases {
        let query = query.replace("{both}", BOTH);
        assert_eq!(world.answer(&query).await, *expected, "{query}");
    }
}

#[tokio::test]
async fn static_rows_may_be_any_plan() {
    check(&[
        (
            "SELECT e.id, u.n FROM e JOIN (SELECT k, count(*) AS n FROM {both} GROUP BY k) u ON u.k = e.k",
            &["1,2", "2,2", "3,1", "5,2"],
        ),
        (
            "SELECT e.id, u.k FROM e JOIN (SELECT k FROM a UNION SELECT k FROM b) u ON u.k = e.k",
            &["1,1", "2,2", "3,3", "5,2"],
        ),
        (
            "SELECT e.id, t.r FROM e JOIN (SELECT k, row_number() OVER (ORDER BY v DESC) AS r FROM {both}) t ON t.k = e.k",
            &["1,5", "1,6", "2,3", "2,4", "3,1", "5,3", "5,4"],
        ),
        (
            "SELECT e.id, t.r, t.v FROM e JOIN (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM {both}) t ON t.k = e.k",
            &["1,1,11", "1,2,10", "2,1,21", "2,2,20", "3,1,31", "5,1,21", "5,2,20"],
        ),
        (
            "SELECT e.id, t.v FROM e JOIN (SELECT k, v FROM {both} ORDER BY v DESC LIMIT 1) t ON t.k = e.k",
            &["3,31"],
        ),
        (
            "SELECT e.id, t.v, t.w FROM e JOIN (SELECT a.k, a.v, b.v AS w FROM a JOIN b ON a.k = b.k) t ON t.k = e.k",
            &["2,20,21", "5,20,21"],
        ),
        (
            "SELECT e.id, t.m FROM e LEFT JOIN (SELECT k, max(v) AS m FROM {both} GROUP BY k HAVING max(v) > 20) t ON t.k = e.k",
            &["1,", "2,21", "3,31", "4,", "5,21", "6,"],
        ),
        ("SELECT id FROM e WHERE k = (SELECT max(k) FROM {both})", &["3"]),
        ("SELECT id, (SELECT max(v) FROM {both} t WHERE t.k = e.k) AS m FROM e", &["1,11", "2,21", "3,31", "4,", "5,21", "6,"]),
        (
            "WITH u AS (SELECT k, count(*) AS n FROM {both} GROUP BY k)
             SELECT e.id, x.n, y.n AS m FROM e JOIN u x ON x.k = e.k LEFT JOIN u y ON y.n = x.n AND y.k = 3",
            &["1,2,", "2,2,", "3,1,1", "5,2,"],
        ),
        (
            "SELECT window_end, sum(u.n) AS n FROM TUMBLE(e, ts, INTERVAL '3 seconds') e
             JOIN (SELECT k, count(*) AS n FROM {both} GROUP BY k) u ON u.k = e.k GROUP BY window_end",
            &["00:03,4", "00:06,3"],
        ),
        (
            "SELECT w.c, u.n FROM (SELECT k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, k) w
             JOIN (SELECT k, count(*) AS n FROM {both} GROUP BY k) u ON u.k IS NOT DISTINCT FROM w.k",
            &["1,1", "1,1", "1,2", "2,2"],
        ),
    ])
    .await;
}

// Planned by the first plan that runs and read once, although two epochs run on two plans and both joins look there.
#[tokio::test]
async fn static_rows_are_read_once_for_all_plans_and_epochs() {
    let query = "WITH u AS (SELECT k, random() AS r FROM a) SELECT e.id, x.r, y.r AS q FROM e JOIN u x ON x.k = e.k JOIN u y ON y.k = e.k";
    let mut world = World::small();
    world.rows.insert("e", (1..=8).map(|id| row(id, Some(2), 0, None)).collect());
    // Six rows on the wide plan, and two on the narrow one.
    let rows = world.streamed(query, 3, 6).await.unwrap();
    assert_eq!(rows.len(), 8);
    let random: Vec<&str> = rows.iter().flat_map(|row| row.split(',').skip(1)).collect();
    assert!(random.iter().all(|value| *value == random[0]), "{random:?}");
}

#[tokio::test]
async fn not_in_knows_what_is_unknown() {
    check(&[
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM a)", &[]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM b)", &["1", "6"]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM a WHERE k IS NOT NULL)", &["3", "6"]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM nobody)", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT id FROM e WHERE NOT (k IN (SELECT k FROM b))", &["1", "6"]),
        // Of those with the same text: {1, 2} for x, {1, NULL} for y, none for NULL.
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM a WHERE a.s = e.s)", &["3"]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM a WHERE a.s > e.s)", &["2", "3", "6"]),
        ("SELECT id FROM e WHERE 1 NOT IN (SELECT k FROM b)", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT id FROM e WHERE 5 NOT IN (SELECT k FROM a)", &[]),
        ("SELECT id FROM e WHERE NULL NOT IN (SELECT k FROM b)", &[]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM a) OR id = 4", &["4"]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM b) OR id = 4", &["1", "4", "6"]),
        ("SELECT id FROM e WHERE k IN (SELECT k FROM a) OR id = 4", &["1", "2", "4", "5"]),
        ("SELECT id FROM e WHERE NOT (k IN (SELECT k FROM a) OR id = 4)", &[]),
        ("SELECT id FROM e WHERE NOT (k NOT IN (SELECT k FROM a) AND id < 9)", &["1", "2", "5"]),
        ("SELECT id FROM e WHERE (k IN (SELECT k FROM a)) IS NULL", &["3", "4", "6"]),
        ("SELECT id FROM e WHERE (k IN (SELECT k FROM b)) IS NULL", &["4"]),
        ("SELECT id FROM e WHERE (k IN (SELECT k FROM nobody)) IS NULL", &[]),
        ("SELECT id FROM e WHERE CASE WHEN k NOT IN (SELECT k FROM a) THEN id = 1 ELSE id < 4 END", &["1", "2", "3"]),
        ("SELECT id FROM e WHERE k <> ALL (SELECT k FROM b)", &["1", "6"]),
        ("SELECT id FROM e WHERE k <> ALL (SELECT k FROM a)", &[]),
        ("SELECT id FROM e WHERE k = ANY (SELECT k FROM a)", &["1", "2", "5"]),
        ("SELECT id FROM e WHERE k > ALL (SELECT k FROM b)", &["6"]),
        ("SELECT id FROM e WHERE i NOT IN (SELECT k FROM b)", &["1", "6"]),
        (
            "SELECT k, c FROM (SELECT k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, k) WHERE k NOT IN (SELECT k FROM b)",
            &["1,1", "9,1"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn null_is_a_key_where_it_is_said_to_be_one() {
    check(&[
        ("SELECT e.id, a.v FROM e JOIN a ON e.k IS NOT DISTINCT FROM a.k", &["1,10", "1,11", "2,20", "4,30", "5,20"]),
        (
            "SELECT e.id, a.v FROM e LEFT JOIN a ON (e.k IS NOT DISTINCT FROM a.k) AND (e.s IS NOT DISTINCT FROM a.s)",
            &["1,10", "2,", "3,", "4,", "5,20", "6,"],
        ),
        ("SELECT e.id, a.v FROM e JOIN a ON (e.k IS NOT DISTINCT FROM a.k) AND e.s = a.s", &["1,10", "5,20"]),
        ("SELECT e.id, a.v FROM e JOIN a ON e.k IS NOT DISTINCT FROM a.k AND e.s = a.s", &["1,10", "5,20"]),
        (
            "SELECT e.id, b.v FROM b RIGHT JOIN e ON (b.s IS NOT DISTINCT FROM e.s) AND b.v > 30",
            &["1,", "2,", "3,31", "4,", "5,", "6,"],
        ),
        ("SELECT id FROM e WHERE EXISTS (SELECT 1 FROM a WHERE a.k IS NOT DISTINCT FROM e.k)", &["1", "2", "4", "5"]),
        ("SELECT id FROM e WHERE NOT EXISTS (SELECT 1 FROM a WHERE a.k IS NOT DISTINCT FROM e.k)", &["3", "6"]),
        ("SELECT id FROM e WHERE NOT EXISTS (SELECT 1 FROM a WHERE a.k = e.k)", &["3", "4", "6"]),
        ("SELECT id FROM e WHERE EXISTS (SELECT 1 FROM a WHERE a.k = e.k) OR s IS NULL", &["1", "2", "3", "5"]),
        ("SELECT e.id, b.v FROM e JOIN b ON e.k = b.k", &["2,21", "3,31", "5,21"]),
        ("SELECT e.id, b.v FROM e JOIN b USING (k)", &["2,21", "3,31", "5,21"]),
    ])
    .await;
}

#[tokio::test]
async fn keys_compare_as_their_common_type_and_as_where_does() {
    check(&[
        ("SELECT e.id, b.v FROM e JOIN b ON e.i = b.k", &["2,21", "3,31", "5,21"]),
        ("SELECT e.id, b.v FROM e JOIN b ON e.i + 0.0 = b.k", &["2,21", "3,31", "5,21"]),
        ("SELECT e.id, b.v FROM e JOIN b ON CAST(e.k AS VARCHAR) = CAST(b.k AS VARCHAR)", &["2,21", "3,31", "5,21"]),
        // 0.0 is -0.0, and NaN is itself.
        ("SELECT e.id FROM e JOIN (SELECT CAST('-0' AS DOUBLE) AS z) t ON t.z = e.f - 0.5", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT e.id FROM e JOIN (SELECT CAST('NaN' AS DOUBLE) AS z) t ON t.z = CASE WHEN e.id < 3 THEN CAST('NaN' AS DOUBLE) ELSE e.f END", &["1", "2"]),
        ("SELECT e.id FROM e WHERE e.f - 0.5 IN (SELECT CAST('-0' AS DOUBLE))", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT e.id, t.n FROM e JOIN (SELECT [k, v] AS l, v AS n FROM a) t ON t.l = [e.k, 20]", &["2,20", "5,20"]),
        ("SELECT e.id, t.n FROM e JOIN (SELECT struct(k) AS l, v AS n FROM a) t ON t.l = struct(e.k)", &["1,10", "1,11", "2,20", "4,30", "5,20"]),
    ])
    .await;
}

#[tokio::test]
async fn a_join_may_have_any_condition() {
    check(&[
        (
            "SELECT e.id, a.v FROM e LEFT JOIN a ON e.k = a.k AND a.v > 10 AND e.id < 5",
            &["1,11", "2,20", "3,", "4,", "5,", "6,"],
        ),
        ("SELECT e.id, a.v FROM e LEFT JOIN a ON e.k = a.k AND e.s <> a.s", &["1,11", "2,20", "3,", "4,", "5,", "6,"]),
        ("SELECT e.id, b.v FROM e JOIN b ON e.id * 10 > b.v AND e.id < 5", &["3,21", "4,21", "4,31"]),
        (
            "SELECT e.id, b.v FROM e LEFT JOIN b ON b.v BETWEEN e.id * 10 AND e.id * 10 + 5",
            &["1,", "2,21", "3,31", "4,", "5,", "6,"],
        ),
        ("SELECT e.id, b.v FROM e CROSS JOIN b WHERE e.id = 1", &["1,21", "1,31"]),
        ("SELECT e.id, m.v FROM e, (SELECT max(v) AS v FROM b) m WHERE e.id < 3", &["1,31", "2,31"]),
        ("SELECT id FROM e WHERE EXISTS (SELECT 1 FROM b WHERE b.v < e.id * 6)", &["4", "5", "6"]),
        ("SELECT id FROM e WHERE EXISTS (SELECT 1 FROM b)", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT id FROM e WHERE NOT EXISTS (SELECT 1 FROM nobody)", &["1", "2", "3", "4", "5", "6"]),
        ("SELECT e.id FROM e LEFT SEMI JOIN b ON e.k = b.k", &["2", "3", "5"]),
        ("SELECT e.id FROM e LEFT ANTI JOIN b ON e.k = b.k", &["1", "4", "6"]),
        ("SELECT e.id, n.v FROM e JOIN nobody n ON n.k = e.k", &[]),
        ("SELECT e.id, n.v FROM e LEFT JOIN nobody n ON n.k = e.k WHERE e.id < 3", &["1,", "2,"]),
        ("SELECT id FROM e WHERE k IN (SELECT k FROM nobody)", &[]),
        ("SELECT e.id FROM e JOIN b ON e.k = b.k AND e.k IN (SELECT k FROM a)", &["2", "5"]),
        ("SELECT e.id FROM e JOIN b ON e.k = b.k AND e.k NOT IN (SELECT k FROM a)", &[]),
        // The rows that the table's side would add do not pass the WHERE.
        ("SELECT e.id, b.v FROM b LEFT JOIN e ON e.k = b.k WHERE e.id > 0", &["2,21", "3,31", "5,21"]),
        ("SELECT e.id, b.v FROM e FULL JOIN b ON e.k = b.k WHERE e.id < 3", &["1,", "2,21"]),
    ])
    .await;
}

// The stream is read to its end and every operator keeps its place, whatever the optimizer knows of the answer.
#[tokio::test]
async fn a_condition_that_is_known_to_be_false_gives_the_answer_that_follows() {
    check(&[
        ("SELECT id FROM e WHERE false", &[]),
        ("SELECT id FROM e WHERE NULL", &[]),
        ("SELECT id FROM e WHERE 1 = 1 AND id = 1", &["1"]),
        ("SELECT e.id, b.v FROM e JOIN b ON 1 = 0", &[]),
        ("SELECT e.id, b.v FROM e LEFT JOIN b ON 1 = 0 WHERE e.id < 3", &["1,", "2,"]),
        ("SELECT e.id, b.v FROM e LEFT JOIN b ON e.k = b.k AND false WHERE e.id < 3", &["1,", "2,"]),
        ("SELECT e.id, b.v FROM (SELECT * FROM e WHERE false) e JOIN b ON e.k = b.k", &[]),
        ("SELECT e.id, b.v FROM (SELECT * FROM e WHERE false) e LEFT JOIN b ON e.k = b.k", &[]),
        ("SELECT e.id, b.v FROM e JOIN (SELECT * FROM b WHERE false) b ON e.k = b.k", &[]),
        ("SELECT e.id, b.v FROM e LEFT JOIN (SELECT * FROM b WHERE false) b ON e.k = b.k WHERE e.id < 3", &["1,", "2,"]),
        ("SELECT id FROM e WHERE k NOT IN (SELECT k FROM b WHERE false) AND id < 3", &["1", "2"]),
        ("SELECT id FROM e WHERE EXISTS (SELECT 1 FROM b WHERE b.k = e.k AND 1 = 0)", &[]),
        ("SELECT id FROM e WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = e.k AND 1 = 0) AND id < 3", &["1", "2"]),
        ("SELECT k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, k HAVING false", &[]),
        ("SELECT k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute') WHERE false GROUP BY window_start, k", &[]),
        (
            "SELECT t.v, w.c FROM (SELECT k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, k HAVING false) w
             JOIN b t ON t.k = w.k",
            &[],
        ),
        ("SELECT id FROM e WHERE false UNION ALL SELECT 7", &["7"]),
        ("SELECT id FROM e WHERE id = 1 UNION ALL SELECT id FROM e WHERE false", &["1"]),
    ])
    .await;
}

#[tokio::test]
async fn a_subquery_stands_for_one_value() {
    check(&[
        ("SELECT id FROM e WHERE id * 10 > (SELECT max(v) FROM {both})", &["4", "5", "6"]),
        ("SELECT id, (SELECT count(*) FROM a) AS n FROM e WHERE id < 3", &["1,4", "2,4"]),
        ("SELECT id, (SELECT v FROM nobody) AS n FROM e WHERE id < 3", &["1,", "2,"]),
        ("SELECT id FROM e WHERE id > (SELECT v FROM nobody)", &[]),
        ("SELECT id FROM e WHERE (SELECT v FROM nobody) IS NULL AND id = 1", &["1"]),
        ("SELECT id FROM e WHERE id > (SELECT 3) AND id < (SELECT min(v) / 2 FROM a)", &["4"]),
        ("SELECT id FROM e WHERE k = (SELECT k FROM b ORDER BY v DESC LIMIT 1)", &["3"]),
        (
            "SELECT window_end, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '3 seconds') GROUP BY window_end HAVING count(*) >= (SELECT count(*) FROM b)",
            &["00:03,2", "00:06,3"],
        ),
        (
            "SELECT window_end, sum(id + (SELECT count(*) FROM b)) AS c FROM TUMBLE(e, ts, INTERVAL '1 minute')
             WHERE id < (SELECT max(k) FROM b) GROUP BY window_end",
            &["01:00,7"],
        ),
        (
            "SELECT e.id, a.v FROM e JOIN a ON e.k = a.k AND a.v < (SELECT min(v) FROM b) AND a.v > (SELECT 10)",
            &["1,11", "2,20", "5,20"],
        ),
        ("SELECT e.id, t.v FROM e JOIN (SELECT k, v FROM a WHERE v > (SELECT min(v) FROM a)) t ON t.k = e.k", &["1,11", "2,20", "5,20"]),
        ("SELECT e.id, a.v FROM e JOIN a ON a.v - (SELECT min(v) FROM a) = e.k", &["1,11"]),
        // It is asked by an operator, whichever plan an epoch runs on.
        (
            "SELECT x.id, y.id AS other FROM e x JOIN e y ON x.k = y.k AND y.ts BETWEEN x.ts AND x.ts + INTERVAL '9 seconds'
             AND x.id + y.id > (SELECT min(v) / 4 FROM a)",
            &["2,2", "2,5", "3,3", "5,5", "6,6"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_subquery_of_two_rows_stands_for_no_value() {
    let query = "SELECT id FROM e WHERE id > (SELECT v FROM a)";
    let error = World::small().streamed(query, 3, 2).await.expect_err(query);
    assert_eq!(error.primary(), "the subquery for \"v\" has more than one row where it stands for one value");
    assert!(error.hint_text().is_some());
}

#[tokio::test]
async fn set_operations_are_refused_over_a_stream_and_count_rows_where_it_ends() {
    let world = World::small();
    for (operation, primary) in [
        ("INTERSECT ALL", "INTERSECT ALL over a stream would have to count for ever how often each row has come"),
        ("EXCEPT ALL", "EXCEPT ALL over a stream would have to count for ever how often each row has come"),
        ("INTERSECT", "INTERSECT over a stream would keep every row for ever"),
        ("EXCEPT", "EXCEPT over a stream would keep every row for ever"),
    ] {
        for (left, right) in [("e", "a"), ("a", "e"), ("e", "e")] {
            let query = format!("SELECT k FROM {left} {operation} SELECT k FROM {right}");
            let error = world.streamed(&query, 1, 1).await.expect_err(&query);
            assert_eq!(error.primary(), primary, "{query}");
            assert!(error.hint_text().is_some_and(|hint| hint.contains("IS NOT DISTINCT FROM")), "{query}");
        }
    }
    // 2 stands there twice on the left, and once in `a`.
    assert_eq!(world.at_once("SELECT k FROM e INTERSECT ALL SELECT k FROM a").await.unwrap(), ["", "1", "2"]);
    assert_eq!(world.at_once("SELECT k FROM e EXCEPT ALL SELECT k FROM a").await.unwrap(), ["2", "3", "9"]);
    // Static rows, and subqueries of them, may be such.
    let below = "(SELECT k FROM e2 EXCEPT ALL SELECT k FROM b)".replace("e2", BOTH);
    let query = format!("SELECT e.id, t.k FROM e JOIN {below} t ON t.k = e.k");
    assert_eq!(world.answer(&query).await, ["1,1", "1,1", "2,2", "5,2"]);
    let query = format!("SELECT id FROM e WHERE k IN {below}");
    assert_eq!(world.answer(&query).await, ["1", "2", "5"]);
}

#[tokio::test]
async fn membership_that_is_a_value_is_refused() {
    for (query, what) in [
        ("SELECT id, k IN (SELECT k FROM a) AS known FROM e", "IN"),
        ("SELECT id, EXISTS (SELECT 1 FROM a WHERE a.k = e.k) AS known FROM e", "EXISTS"),
        ("SELECT id, k > ALL (SELECT k FROM a) AS known FROM e", "ANY and ALL"),
    ] {
        let error = World::small().streamed(query, 1, 1).await.expect_err(query);
        assert!(error.primary().starts_with(&format!("{what} of a subquery can choose rows")), "{}", error.report());
        assert!(error.hint_text().is_some(), "{query}");
    }
}

/// Static rows with columns k, v and s. What takes some rows of many orders them by all columns.
const SIDES: [&str; 9] = [
    "a",
    "nobody",
    "(SELECT k, v, s FROM a UNION ALL SELECT k, v, s FROM b)",
    "(SELECT k, v, s FROM a UNION SELECT k, v, s FROM b)",
    "(SELECT k, max(v) AS v, min(s) AS s FROM (SELECT k, v, s FROM a UNION ALL SELECT k, v, s FROM b) GROUP BY k)",
    "(SELECT k, v, s FROM (SELECT k, v, s FROM a UNION ALL SELECT k, v, s FROM b) ORDER BY v DESC, k, s LIMIT 3)",
    "(SELECT k, CAST(row_number() OVER (ORDER BY v, k, s) AS BIGINT) AS v, s FROM (SELECT k, v, s FROM a UNION ALL SELECT k, v, s FROM b))",
    "(SELECT a.k, b.v, a.s FROM a JOIN b ON a.k IS NOT DISTINCT FROM b.k)",
    "(SELECT k, v, s FROM a EXCEPT ALL SELECT k, v, s FROM b)",
];

const CONDITIONS: [&str; 12] = [
    "e.k = t.k",
    "e.i = t.v",
    "(e.k IS NOT DISTINCT FROM t.k)",
    "e.s = t.s",
    "(e.s IS NOT DISTINCT FROM t.s)",
    "e.k < t.v",
    "t.v > 2",
    "e.id % 2 = 0",
    "(e.k = t.k OR e.s = t.s)",
    "(e.k = t.k) IS NOT FALSE",
    "(e.s = t.s) IS NOT FALSE",
    "1 = 0",
];

/// `{t}` is some static rows, `{on}` a condition on e and t.
const QUERIES: [&str; 14] = [
    "SELECT e.id, t.k, t.v, t.s FROM e JOIN {t} t ON {on}",
    "SELECT e.id, t.k, t.v, t.s FROM e LEFT JOIN {t} t ON {on}",
    "SELECT t.v, e.id, e.s FROM {t} t RIGHT JOIN e ON {on}",
    "SELECT e.id FROM e WHERE EXISTS (SELECT 1 FROM {t} t WHERE {on})",
    "SELECT e.id FROM e WHERE NOT EXISTS (SELECT 1 FROM {t} t WHERE {on})",
    "SELECT e.id FROM e WHERE EXISTS (SELECT 1 FROM {t} t WHERE {on}) OR e.id = 3",
    "SELECT e.id FROM e WHERE e.k NOT IN (SELECT t.k FROM {t} t)",
    "SELECT e.id FROM e WHERE e.k NOT IN (SELECT t.k FROM {t} t WHERE {on})",
    "SELECT e.id FROM e WHERE e.k IN (SELECT t.k FROM {t} t WHERE {on})",
    "SELECT e.id FROM e WHERE NOT (e.s IN (SELECT t.s FROM {t} t WHERE {on}) AND e.id > 2)",
    "SELECT e.id FROM e WHERE (e.k IN (SELECT t.k FROM {t} t)) IS NULL OR e.id = 1",
    "SELECT e.id, (SELECT max(t.v) FROM {t} t WHERE t.k = e.k) AS m FROM e",
    "SELECT e.id FROM e WHERE e.id > (SELECT min(t.v) FROM {t} t)",
    "SELECT e.k, count(*) AS c FROM TUMBLE(e, ts, INTERVAL '4 seconds') e JOIN {t} t ON {on} GROUP BY window_start, e.k",
];

fn a_table(rows: usize) -> impl Strategy<Value = Vec<(Option<i64>, i64, Option<&'static str>)>> {
    let text = prop::sample::select(vec!["x", "y", "a text that does not fit into a view"]);
    let one = (prop::option::weighted(0.8, 0..5_i64), 0..6_i64, prop::option::weighted(0.7, text));
    prop::collection::vec(one, 0..rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_that_of_all_rows_at_once(
        (stream, a, b) in (a_table(16), a_table(8), a_table(8)),
        (query, side) in (prop::sample::select(QUERIES.to_vec()), prop::sample::select(SIDES.to_vec())),
        on in prop::sample::subsequence(CONDITIONS.to_vec(), 1..3),
        (partitions, cut) in (1..4_usize, 1..20_usize),
    ) {
        let rows = |of: &[(Option<i64>, i64, Option<&str>)]| of.iter().map(|(k, v, s)| row(0, *k, *v, *s)).collect();
        let stream = stream.iter().zip(1..).map(|((k, v, s), id)| row(id, *k, *v, *s)).collect();
        let world = World { rows: BTreeMap::from([("e", stream), ("a", rows(&a)), ("b", rows(&b))]) };
        let query = query.replace("{t}", side).replace("{on}", &on.join(" AND "));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (found, expected) = runtime.block_on(async {
            (world.streamed(&query, partitions, cut).await, world.at_once(&query).await)
        });
        let (found, expected) = (found.map_err(|error| error.report()), expected.map_err(|error| error.report()));
        prop_assert_eq!(found, expected, "{}", query);
    }
}
