use super::*;

#[test]
fn a_table_that_cannot_be_read_again_degrades_a_query_that_goes_on() {
    let status = QueryStatus::new("v", "v.sql");
    status.set(QueryState::Running, None);
    status.note_lookup("players", |lookup| lookup.trouble = Some("no such file".to_owned()));
    assert_eq!(status.get(), (QueryState::Degraded, Some("no such file".to_owned())));
    assert!(status.goes_on());
    status.note_lookup("players", |lookup| lookup.trouble = None);
    assert_eq!(status.get(), (QueryState::Running, None));
}

#[test]
fn a_query_stands_still_where_it_has_ended_by_an_error_or_nothing_comes_to_it() {
    let status = QueryStatus::new("v", "v.sql");
    assert_eq!((status.stands_still(), status.goes_on()), (None, false));
    status.set(QueryState::Running, None);
    assert!(status.goes_on());
    status.trouble(Part::HotTable, Some("Postgres is away".to_owned()));
    assert!(status.goes_on(), "{:?}", status.stands_still());
    status.trouble(Part::Source, Some("no answer\n  detail: for a while".to_owned()));
    assert_eq!(status.stands_still().as_deref(), Some("is degraded: no answer"));
    assert!(!status.goes_on());
    status.set(QueryState::Failed, Some("division by zero".to_owned()));
    assert_eq!(status.stands_still().as_deref(), Some("has failed: division by zero"));
    status.set(QueryState::Finished, None);
    assert_eq!((status.stands_still(), status.goes_on()), (None, false));
}

#[test]
fn what_keeps_rows_from_their_files_is_said_also_when_all_input_has_ended_and_not_when_it_begins_anew() {
    let status = QueryStatus::new("v", "v.sql");
    status.set(QueryState::Running, None);
    status.trouble(Part::Folder, Some("it is another's".to_owned()));
    status.trouble(Part::Source, Some("no answer".to_owned()));
    status.set(QueryState::Finished, None);
    assert_eq!(status.get(), (QueryState::Degraded, Some("it is another's".to_owned())));
    assert_eq!(status.stands_still(), None);
    status.trouble(Part::Folder, None);
    assert_eq!(status.get(), (QueryState::Finished, None));
    status.trouble(Part::Folder, Some("it is another's".to_owned()));
    status.set(QueryState::Running, None);
    assert_eq!(status.get(), (QueryState::Running, None));
}

#[test]
fn the_lag_of_a_query_that_does_not_run_is_not_known() {
    let status = QueryStatus::new("v", "v.sql");
    status.set(QueryState::Running, None);
    let at = PartitionStatus { position: 7, end: Some(7), ..Default::default() };
    let lag = |status: &QueryStatus| status.sources.read()["clicks"].partitions[&0].lag();
    status.sources.write().insert("clicks".to_owned(), SourceStatus { watermark: None, partitions: [(0, at)].into() });
    assert_eq!(lag(&status), Some(0));
    status.set(QueryState::Failed, Some("division by zero".to_owned()));
    assert_eq!(lag(&status), None, "records come, and it does not see them");
}

#[test]
fn a_partition_that_does_not_answer_degrades_a_query_and_the_reason_names_it() {
    let status = QueryStatus::new("v", "v.sql");
    status.set(QueryState::Running, None);
    let silent = PartitionStatus { position: 7, end: None, ..Default::default() };
    let partitions = [(0, PartitionStatus { end: Some(9), ..silent }), (3, silent)].into();
    status.sources.write().insert("clicks".to_owned(), SourceStatus { watermark: None, partitions });
    let now = Instant::now();
    status.note_pace_at(now);
    assert_eq!(status.standing_at(now).state, QueryState::Running, "it has just been asked");
    let Standing { state, arguments, reason } = status.standing_at(now + UNHEARD_AFTER);
    assert_eq!((state, arguments.as_deref()), (QueryState::Degraded, Some("source")));
    assert_eq!(reason.as_deref(), Some("lag is not known: no answer from clicks: partition 3"));
}

#[test]
fn a_step_that_does_not_end_is_found_by_whoever_asks() {
    let status = QueryStatus::new("v", "v.sql").stalling_after(Duration::from_secs(5));
    status.set(QueryState::Running, None);
    let now = Instant::now();
    status.steps.enter_at(Step::Committing, now);
    assert_eq!(status.standing_at(now + Duration::from_secs(4)).state, QueryState::Running);
    let Standing { state, arguments, .. } = status.standing_at(now + Duration::from_secs(5));
    assert_eq!((state, arguments.as_deref()), (QueryState::Stalled, Some("committing, 5 s")));
    status.steps.enter_at(Step::Reading, now + Duration::from_secs(6));
    assert_eq!(status.standing_at(now + Duration::from_secs(7)).state, QueryState::Running);
    // What works beside the loop is watched as well, to its end.
    status.beside.enter_at(Step::ApplyingToPostgres, now);
    assert_eq!(status.standing_at(now + Duration::from_secs(9)).state, QueryState::Stalled);
    drop(status.beside.during(Step::ApplyingToPostgres));
    assert_eq!(status.standing_at(now + Duration::from_secs(9)).state, QueryState::Running);
}

#[test]
fn a_query_that_runs_on_as_it_was_is_blocked_until_that_is_answered_unless_something_worse_is_so() {
    let status = QueryStatus::new("v", "v.sql");
    status.set(QueryState::Running, None);
    status.hold(Some(Held::Asked("asked\n  w: new".to_owned())));
    let Standing { state, arguments, reason } = status.standing();
    assert_eq!((state, arguments.as_deref()), (QueryState::Blocked, Some(Held::ARGUMENTS)));
    assert_eq!(reason.as_deref(), Some("asked\n  w: new"));
    assert!(status.goes_on() && !status.has_ended_by_error(), "its rows come all the same");
    status.trouble(Part::Store, Some("no answer".to_owned()));
    let Standing { state, reason, .. } = status.standing();
    assert_eq!((state, reason.as_deref()), (QueryState::Degraded, Some("asked\n  w: new\nno answer")));
    status.trouble(Part::Store, None);
    status.hold(Some(Held::Kept("kept".to_owned())));
    let Standing { state, reason, .. } = status.standing();
    assert_eq!((state, reason.as_deref()), (QueryState::Running, Some("kept")));
    status.hold(None);
    assert_eq!(status.get(), (QueryState::Running, None));
}
