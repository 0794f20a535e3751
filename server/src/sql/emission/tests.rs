use super::*;
use crate::catalog::{Statement, ViewDef};
use crate::sql::{parse_file, report};

fn view(text: &str) -> ViewDef {
    match parse_file("test.sql", text).unwrap_or_else(|errors| panic!("{}", report(&errors))).pop() {
        Some(Statement::Select(view)) => view,
        other => panic!("not a query: {other:?}"),
    }
}

#[test]
fn early_results_are_asked_for_in_one_of_three_ways_and_the_place_is_known() {
    let early = |when, timeout, column| Emit {
        timeout: Some(Duration::from_secs(3)).filter(|_| timeout),
        early: Some(Early { when, line: 1, column }),
    };
    let every = EarlyWhen::Every(Duration::from_millis(1_500));
    for (text, want) in [
        ("SELECT a FROM t EMIT CHANGES", early(EarlyWhen::Changes, false, 17)),
        ("SELECT a FROM t emit every INTERVAL '1.5 seconds'", early(every, false, 17)),
        (
            "SELECT a FROM t AS x EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS",
            early(EarlyWhen::LateCorrections, false, 22),
        ),
        ("SELECT a FROM t EMIT CHANGES TIMEOUT INTERVAL '3 seconds'", early(EarlyWhen::Changes, true, 17)),
        ("SELECT a FROM t EMIT TIMEOUT INTERVAL '3 seconds' EMIT EVERY INTERVAL '1.5' SECOND", early(every, true, 51)),
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS TIMEOUT INTERVAL '3 seconds'",
            early(EarlyWhen::LateCorrections, true, 17),
        ),
    ] {
        let view = view(text);
        assert_eq!(view.emit, want, "{text}");
        assert_eq!(view.emission_location().column, want.early.unwrap().column);
    }
}

#[test]
fn what_a_clause_has_wrong_is_said_at_its_place() {
    for (text, want) in [
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE WITH CORRECTIONS",
            "test.sql:1:17: cannot read this EMIT\n  hint: EMIT ON WINDOW CLOSE, with LATE CORRECTIONS or without, EMIT CHANGES, EMIT EVERY INTERVAL '1 second' and EMIT TIMEOUT INTERVAL '3 seconds' are available",
        ),
        ("SELECT a FROM t EMIT EVERY INTERVAL '0' SECOND", "test.sql:1:28: the interval must be longer than zero"),
        (
            "SELECT a FROM t EMIT EVERY INTERVAL '1 month'",
            "test.sql:1:28: the interval must not have months or years, whose length varies; use days or shorter units",
        ),
        (
            "SELECT a FROM t EMIT CHANGES ON WINDOW CLOSE",
            "test.sql:1:17: EMIT CHANGES and EMIT ON WINDOW CLOSE both say when results leave\n  hint: leave ON WINDOW CLOSE out: the closing result leaves in any case, with is_final",
        ),
        (
            "SELECT a FROM t EMIT CHANGES EMIT EVERY INTERVAL '1 second'",
            "test.sql:1:30: EMIT CHANGES and EMIT EVERY both say when results leave\n  hint: leave one out: EMIT CHANGES emits after each epoch, EMIT EVERY at most so often",
        ),
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS EMIT CHANGES",
            "test.sql:1:60: EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS and EMIT CHANGES both say when results leave\n  hint: leave the corrections out: with 'allowed-lateness' early results stay correctable that long in any case",
        ),
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS",
            "test.sql:1:38: this EMIT is given twice\n  hint: leave one out",
        ),
        (
            "SELECT a FROM t EMIT EVERY INTERVAL '1 second' EVERY INTERVAL '2 seconds'",
            "test.sql:1:17: this EMIT is given twice\n  hint: leave one out",
        ),
    ] {
        let errors = parse_file("test.sql", text).expect_err(text);
        assert_eq!(report(&errors), want, "{text}");
    }
}
