//! What is said when a changed query begins anew, or when it is asked whether it shall: what has changed, and what becomes of the state of
//! each operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::QueryPlan;
use crate::catalog::{Connector, StartAt};
use crate::checkpoint::{Manifest, OperatorState, definition_of, public_folder};
use crate::error::{ErrorKind, Result};
use crate::operator::contract::Operator;
use crate::pipeline::Pipeline;
use crate::store::Store;

/// What a plan would come to in the place of the version that `before` is the newest checkpoint of, a sentence each. `own`: where it has got
/// when it last ran.
///
/// # Errors
/// `Unavailable`; `Bug` where an operator cannot say what its state looks like.
pub async fn verdict(
    private: &Store,
    plan: &QueryPlan,
    before: &Manifest,
    own: Option<&Manifest>,
) -> Result<Vec<String>> {
    let mut said = changes(private, before, &plan.meaning).await?;
    match own {
        Some(own) => said
            .push(format!("all state: kept, goes on from checkpoint {} of {:?}, which ran before", own.id, own.query)),
        None => {
            let verdicts = of_operators(before, &plan.pipeline)?;
            match verdicts.is_empty() {
                true => said.push(format!("no state; rows {}", from(&plan.pipeline))),
                false => said.extend(verdicts),
            }
        }
    }
    said.extend(public_files(before));
    Ok(said)
}

/// What outside readers find where it was: files of another version go into another folder.
fn public_files(before: &Manifest) -> Option<String> {
    let sealed = &before.outputs.get(&before.query)?.sealed;
    let files = sealed.recent.len() as u64 + sealed.indexes.iter().map(|list| list.files).sum::<u64>();
    let rows = sealed.recent.iter().map(|file| file.rows).chain(sealed.indexes.iter().map(|list| list.rows));
    let (rows, folder): (u64, _) = (rows.sum(), public_folder(&before.query));
    (files > 0).then(|| {
        format!(
            "public files: {rows} rows in {files} files stay in {folder}/, other versions have folders of their own"
        )
    })
}

/// What has changed since the version of `before`, as far as that is known.
///
/// # Errors
/// `Unavailable`.
pub(super) async fn changes(private: &Store, before: &Manifest, meaning: &str) -> Result<Vec<String>> {
    match definition_of(private, before).await {
        Ok(Some(before)) => Ok(differences(&before, meaning)),
        Ok(None) => Ok(vec!["changes are not known, an older server ran the version before".to_owned()]),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(vec![error.primary().to_owned()]),
        Err(error) => Err(error),
    }
}

/// Where a version begins that has not run before.
fn from(pipeline: &Pipeline) -> String {
    let sources = pipeline.slots.iter().map(|slot| {
        let name = &slot.table.name;
        match &slot.table.connector {
            Connector::Kafka(topic) if topic.start == StartAt::Latest => {
                format!(
                    "what comes to {name}, whose records until now cannot be had with 'scan.startup.mode' = 'latest'"
                )
            }
            Connector::Kafka(_) => format!("the oldest record that {name} still has"),
            Connector::View(_) => format!("the first checkpoint of {name}"),
            Connector::Filesystem(_) | Connector::Postgres(_) => format!("the beginning of {name}"),
        }
    });
    format!("computed anew from {}", sources.collect::<Vec<_>>().join(" and "))
}

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
    let from = from(pipeline);
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
