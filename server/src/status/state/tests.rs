//! A row for each word.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A query that runs, is at the ends of its sources and has just read something.
fn running() -> Facts {
    Facts {
        said: Standing { state: QueryState::Running, ..Standing::default() },
        stall_after: seconds(30),
        look: Some(Look { caught_up: true, percent: 100, ..Look::default() }),
        ..Facts::default()
    }
}

fn said(state: QueryState) -> Facts {
    Facts { said: Standing { state, ..Standing::default() }, ..running() }
}

fn looking(look: Look) -> Facts {
    Facts { look: Some(look), ..running() }
}

#[test]
fn each_word_has_its_facts() {
    let behind = Look { lag: 900, behind: seconds(12), rate: 50, percent: 40, ..Look::default() };
    let store = || vec![(Part::Store, "cannot write".to_owned())];
    let away = || Some((vec!["clicks: partition 3".to_owned()], seconds(12)));
    let rows: Vec<(&str, Facts, QueryState, Option<&str>)> = vec![
        ("restored soon", said(QueryState::Starting), QueryState::Starting, None),
        (
            "the store hangs while it starts",
            Facts { steps: vec![(Step::Restoring, seconds(31))], ..said(QueryState::Starting) },
            QueryState::Stalled,
            Some("restoring, 31 s"),
        ),
        ("all is well", running(), QueryState::Running, None),
        (
            "a step takes its time",
            Facts { steps: vec![(Step::Committing, seconds(29))], ..running() },
            QueryState::Running,
            None,
        ),
        (
            "a write into the store hangs",
            Facts { steps: vec![(Step::Committing, seconds(30))], ..running() },
            QueryState::Stalled,
            Some("committing, 30 s"),
        ),
        (
            "the longest of two that hang",
            Facts {
                steps: vec![(Step::Committing, seconds(31)), (Step::ApplyingToPostgres, seconds(44))],
                ..running()
            },
            QueryState::Stalled,
            Some("applying to postgres, 44 s"),
        ),
        (
            "it hangs and has said why",
            Facts { steps: vec![(Step::Committing, seconds(70))], troubles: store(), ..running() },
            QueryState::Stalled,
            Some("committing, 70 s"),
        ),
        (
            "records wait and none is taken",
            looking(Look { lag: 5, untaken: seconds(30), caught_up: true, ..Look::default() }),
            QueryState::Stalled,
            Some("reading, 30 s"),
        ),
        (
            "records wait, because the broker is away",
            Facts {
                troubles: vec![(Part::Source, "no answer".to_owned())],
                ..looking(Look { lag: 5, untaken: seconds(30), caught_up: true, ..Look::default() })
            },
            QueryState::Degraded,
            Some("source"),
        ),
        (
            "the store answers with errors",
            Facts { troubles: store(), ..running() },
            QueryState::Degraded,
            Some("store"),
        ),
        (
            "the hot table is not written",
            Facts { troubles: vec![(Part::HotTable, "refused".to_owned())], ..running() },
            QueryState::Degraded,
            Some("postgres"),
        ),
        (
            "so much waits for it that nothing is taken in",
            Facts {
                troubles: vec![(Part::HotTable, "refused".to_owned()), (Part::Backlog, "full".to_owned())],
                ..running()
            },
            QueryState::Blocked,
            Some("postgres"),
        ),
        (
            "a static table cannot be read again",
            Facts { lookups: vec![("players".to_owned(), "gone".to_owned())], ..running() },
            QueryState::Degraded,
            Some("table players"),
        ),
        (
            "a partition does not answer",
            Facts { unheard: away(), look: None, ..running() },
            QueryState::Degraded,
            Some("source"),
        ),
        (
            "it has not answered yet",
            Facts { unheard: away().map(|(of, _)| (of, seconds(2))), look: None, ..running() },
            QueryState::Running,
            None,
        ),
        ("it has just started", looking(Look { behind: seconds(4), ..behind }), QueryState::Running, None),
        (
            "it reads what has come meanwhile",
            looking(Look { left: Some(seconds(18)), ..behind }),
            QueryState::CatchingUp,
            Some("40 %, 50 records/s, 18 s left"),
        ),
        ("and never gets there", looking(behind), QueryState::CatchingUp, Some("40 %, 50 records/s, no end in sight")),
        ("a moment behind", looking(Look { caught_up: true, behind: seconds(9), ..behind }), QueryState::Running, None),
        ("fallen behind", looking(Look { caught_up: true, ..behind }), QueryState::Lagging, Some("900 records, 12 s")),
        (
            "nothing comes",
            looking(Look { caught_up: true, unmoved: seconds(75), ..Look::default() }),
            QueryState::Idle,
            Some("for 75 s"),
        ),
        (
            "lost a service and is started again",
            Facts { look: None, ..said(QueryState::Degraded) },
            QueryState::Degraded,
            None,
        ),
        ("told to stop", Facts { stopping: true, ..running() }, QueryState::Stopping, None),
        (
            "told to stop while a write hangs",
            Facts { stopping: true, steps: vec![(Step::Committing, seconds(40))], ..running() },
            QueryState::Stopping,
            Some("committing, 40 s"),
        ),
    ];
    for (what, facts, state, arguments) in rows {
        let found = judge(facts);
        assert_eq!((found.state, found.arguments.as_deref()), (state, arguments), "{what}");
    }
}

#[test]
fn what_has_ended_stays_what_it_is_whatever_hangs_or_stops() {
    use QueryState::{Blocked, DataLoss, Failed, Fenced, Finished, Rejected};
    for state in [Blocked, DataLoss, Failed, Fenced, Finished, Rejected] {
        let facts = Facts { stopping: true, steps: vec![(Step::Committing, seconds(99))], ..said(state) };
        assert_eq!(judge(facts), Standing { state, ..Standing::default() });
    }
}

#[test]
fn what_has_ended_is_not_well_while_its_rows_do_not_come_to_where_they_are_read() {
    let troubles = |parts: &[(Part, &str)]| Facts {
        troubles: parts.iter().map(|(part, why)| (*part, (*why).to_owned())).collect(),
        ..said(QueryState::Finished)
    };
    // There is nothing more to take in.
    for part in [Part::Source, Part::Tail, Part::Backlog] {
        assert_eq!(judge(troubles(&[(part, "away")])).state, QueryState::Finished, "{part:?}");
    }
    let found = judge(troubles(&[(Part::PublicFiles, "full"), (Part::HotTable, "no answer")]));
    let (arguments, reason) = (Some("public files, postgres".to_owned()), Some("full\nno answer".to_owned()));
    assert_eq!(found, Standing { state: QueryState::Degraded, arguments, reason });
}

#[test]
fn a_reason_names_each_part_and_where_to_look() {
    let facts = Facts {
        steps: vec![(Step::Committing, seconds(70))],
        troubles: vec![(Part::Source, "no answer from the brokers".to_owned())],
        unheard: Some((vec!["clicks: partition 0, 1".to_owned()], seconds(1))),
        ..running()
    };
    assert_eq!(
        judge(facts).reason.as_deref(),
        Some(
            "committing for 70 s, without an end\n  hint: look at the store of checkpoints (storage.state_url); nothing is lost, and it \
             goes on by itself when that does\nno answer from the brokers\nlag is not known: no answer from clicks: partition 0, 1"
        )
    );
}

#[test]
fn the_words_are_tokens_and_no_two_are_equal() {
    let mut names: Vec<&str> = QueryState::ALL.iter().map(|state| state.name()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')), "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), QueryState::ALL.len());
}
