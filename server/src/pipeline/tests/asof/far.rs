//! Rows whose times are not to be believed: they wait, and not any number of them.

use super::*;

// Each of them would wait until its time has come.
#[tokio::test]
async fn rows_too_far_ahead_that_wait_are_a_thousand_at_most() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let pipeline = planned(query, 1).await;
    let step = async |clicks: &[Row]| {
        let input = StepInput {
            epoch: 1,
            batches: read(&pipeline, clicks, &[]),
            origins: vec![vec![Origins::records(0, clicks[0].0, clicks.len())], vec![]],
            sources: vec![Mark::NONE; 2],
            ..StepInput::default()
        };
        let output = Emitted::of(pipeline.step(input).await.unwrap());
        pipeline.commit().unwrap();
        output
    };
    let far = |from: i64, rows: i64| (from..from + rows).map(|id| (id, "a", 0, 1_000_000 + id)).collect::<Vec<Row>>();
    assert_eq!(step(&far(0, 700)).await.bad.len(), 0);
    let output = step(&far(700, 400)).await;
    assert_eq!(output.bad.iter().map(|letter| letter.offset.unwrap()).min(), Some(1_000));
    assert_eq!(output.bad.len(), 100);
    assert!(output.bad[0].reason.contains("too far ahead"), "{}", output.bad[0].reason);
    // There is no room for another one, and what is not far waits as before.
    assert_eq!(step(&[(5_000, "b", 0, 2_000_000), (5_001, "b", 0, 7)]).await.bad.len(), 1);
}

// They wait for as long as rows of the other side may be late, and are as much of today as any.
#[tokio::test]
async fn rows_of_now_are_not_too_far_ahead_however_late_others_may_be() {
    let query = "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '10 minutes') AS SELECT c.id, t.id AS tap
        FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let pipeline = planned(query, 1).await;
    let clicks: Vec<Row> = (0..1_100).map(|id| (id, "a", 0, id % 200)).collect();
    let input = StepInput {
        epoch: 1,
        now: 200 * SECOND,
        batches: read(&pipeline, &clicks, &[]),
        origins: vec![vec![Origins::records(0, 0, clicks.len())], vec![]],
        sources: vec![Mark::NONE; 2],
    };
    assert_eq!(Emitted::of(pipeline.step(input).await.unwrap()).bad.len(), 0);
    pipeline.commit().unwrap();
    assert!(pipeline.open_panes() > 0, "they wait");
}
