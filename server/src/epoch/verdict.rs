//! What is said when a changed query begins anew: what has changed, and what becomes of the state of each operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::checkpoint::{Manifest, OperatorState};
use crate::error::Result;
use crate::operator::contract::Operator;
use crate::pipeline::Pipeline;

/// The lines of two meanings that differ: those that are gone with `-` before them, those that are new with `+`.
pub(super) fn differences(before: &str, now: &str) -> Vec<String> {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), now.lines().collect());
    let gone = before.lines().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = now.lines().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

/// What becomes of each operator's state, a sentence each.
///
/// # Errors
/// `Bug` where an operator cannot say what its state looks like.
pub(super) fn of_operators(before: &Manifest, pipeline: &Pipeline) -> Result<Vec<String>> {
    let sources: Vec<&str> = pipeline.slots.iter().map(|slot| slot.table.name.as_str()).collect();
    let from = format!("computed anew from the beginning of {}", sources.join(", "));
    let mut verdicts = Vec::new();
    for operator in pipeline.operators() {
        let found = before.operators.iter().find(|state| state.id == operator.id());
        verdicts.push(format!("{}: {}, {from}", operator.id(), compared(found, operator)?));
    }
    let gone = before.operators.iter().filter(|state| pipeline.operators().iter().all(|own| own.id() != state.id));
    verdicts.extend(gone.map(|state| format!("{}: no longer there, stays with the version before", state.id)));
    Ok(verdicts)
}

fn compared(before: Option<&OperatorState>, operator: &Arc<dyn Operator>) -> Result<&'static str> {
    let Some(before) = before else { return Ok("new") };
    let kind = operator.kind();
    Ok(if (before.kind.as_str(), before.state_version) != (kind.name, kind.version) {
        "of another kind"
    } else if before.schema_sha256 != operator.state_schema_sha256()? {
        "of other columns"
    } else {
        "of the same form, filled by another query"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::planned;

    const BEFORE: &str = "statement \"SELECT a\"\ncolumn \"a\" text field []\nlateness 0\n";

    #[test]
    fn what_has_changed_is_said_line_by_line() {
        assert!(differences(BEFORE, BEFORE).is_empty());
        let now = BEFORE.replace("field []", "field [\"b\"]");
        let said = ["- column \"a\" text field []", "+ column \"a\" text field [\"b\"]"];
        assert_eq!(differences(BEFORE, &now), said);
    }

    #[tokio::test]
    async fn each_operator_has_a_verdict() -> Result<()> {
        let query = |sum| {
            format!(
                "SELECT window_end, id, {sum} FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, id"
            )
        };
        let pipeline = planned(&query("sum(n)"), 1).await;
        let operator = &pipeline.operators()[0];
        let state = OperatorState {
            id: operator.id().to_owned(),
            kind: operator.kind().name.to_owned(),
            state_version: operator.kind().version,
            schema_sha256: operator.state_schema_sha256()?,
            watermark: None,
            marks: vec![],
            position: 0,
            segments: vec![],
        };
        assert_eq!(compared(Some(&state), operator)?, "of the same form, filled by another query");
        assert_eq!(compared(None, operator)?, "new");
        let other = OperatorState { kind: "other".to_owned(), ..state.clone() };
        assert_eq!(compared(Some(&other), operator)?, "of another kind");
        let other = OperatorState { schema_sha256: String::new(), ..state };
        assert_eq!(compared(Some(&other), operator)?, "of other columns");
        Ok(())
    }
}
