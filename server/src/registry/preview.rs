//! What a server would do with definitions as they stand, without doing it: `touchline plan`.

use std::sync::Arc;

use super::held::{Compared, compare};
use super::upstreams::in_order;
use super::{Catalog, planned};
use crate::catalog::OnChange;
use crate::checkpoint::{Answer, find_chains, question_of};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::PlanSettings;
use crate::store::Store;
use crate::tables::source::SnapshotReader;

/// What would become of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub query: String,
    pub outcome: Outcome,
    /// What there is to say of it, a sentence each.
    pub verdict: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not run before.
    New,
    Unchanged,
    /// An earlier version goes on.
    Resumed,
    /// Another version begins anew.
    Changed,
    /// It has come to mean something else, and the operator is asked.
    Asked,
    /// It has, and the version before runs on as was answered.
    Kept,
    /// Its definition is wrong: what runs goes on.
    Refused,
    /// It has no definition any more. Its state stays.
    Removed,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::New => "new",
            Outcome::Unchanged => "unchanged",
            Outcome::Resumed => "resumed",
            Outcome::Changed => "changed",
            Outcome::Asked => "changed (ask)",
            Outcome::Kept => "kept",
            Outcome::Refused => "refused",
            Outcome::Removed => "removed",
        }
    }
}

/// Of all queries, those that are defined in the order in which they read one another, then those that are removed. `private`: `None` where
/// nothing has ever run. Writes nothing.
///
/// # Errors
/// `Unavailable`.
pub async fn previews(
    catalog: &Arc<Catalog>,
    private: Option<&Store>,
    on_change: OnChange,
    snapshots: &Arc<dyn SnapshotReader>,
    settings: PlanSettings,
) -> Result<Vec<Preview>> {
    let mut previews = Vec::new();
    for view in in_order(catalog) {
        let query = view.name.clone();
        let on_change = view.options.on_change.unwrap_or(on_change);
        let plan = match planned(view, Arc::clone(catalog), settings).await {
            Ok(plan) => plan,
            Err(error) => {
                let verdict = vec![located(&error)];
                previews.push(Preview { query, outcome: Outcome::Refused, verdict });
                continue;
            }
        };
        let compared = match private {
            Some(private) => compare(&plan, catalog, private, snapshots, settings).await,
            None => Ok(Compared::First),
        };
        let (outcome, verdict) = match compared {
            Err(error) if error.kind() == ErrorKind::Corrupt => (Outcome::Refused, vec![error.primary().to_owned()]),
            Err(error) => return Err(error),
            Ok(Compared::First) => (Outcome::New, vec![]),
            Ok(Compared::Same(head)) => (Outcome::Unchanged, vec![format!("goes on from checkpoint {}", head.id)]),
            Ok(Compared::Follows) => {
                (Outcome::Changed, vec!["its own text is the same, views that it reads are others".to_owned()])
            }
            Ok(Compared::Changed { question, resumes, before }) => {
                let answered = match private {
                    Some(private) => question_of(private, &query).await?,
                    None => None,
                };
                let answered = answered.filter(|answered| answered.is_about_the_same(&question));
                let begins = if resumes { Outcome::Resumed } else { Outcome::Changed };
                let outcome = match (on_change, answered.and_then(|answered| answered.answer)) {
                    (OnChange::NewVersion, _) | (OnChange::Ask, Some(Answer::NewVersion)) => begins,
                    (OnChange::Ask, Some(Answer::Keep)) => Outcome::Kept,
                    (OnChange::Ask, None) => Outcome::Asked,
                };
                // Those above it see what runs.
                if let (Outcome::Asked | Outcome::Kept, Ok((before, _))) = (outcome, before) {
                    catalog.streams.note(&before);
                    previews.push(Preview { query, outcome, verdict: question.verdict });
                    continue;
                }
                (outcome, question.verdict)
            }
        };
        catalog.streams.note(&plan);
        previews.push(Preview { query, outcome, verdict });
    }
    if let Some(private) = private {
        previews.extend(removed(catalog, private).await?);
    }
    Ok(previews)
}

/// Queries with checkpoints and without a definition.
async fn removed(catalog: &Catalog, private: &Store) -> Result<Vec<Preview>> {
    let is_defined = |chain: &str| {
        let view = chain.rsplit_once('-').filter(|(_, digits)| digits.len() == 8).map(|(view, _)| view);
        catalog.views.contains_key(chain) || view.is_some_and(|view| catalog.views.contains_key(view))
    };
    let chains = find_chains(private).await?.into_iter();
    let gone = chains.filter(|chain| chain.newest.is_some() && !is_defined(&chain.name)).map(|chain| Preview {
        verdict: vec![format!(
            "{} objects, {} bytes of state stay, as its public files do",
            chain.objects, chain.bytes
        )],
        query: chain.name,
        outcome: Outcome::Removed,
    });
    Ok(gone.collect())
}

fn located(error: &Error) -> String {
    let place = error.location().map(|place| format!("{place}: ")).unwrap_or_default();
    format!("{place}{}", error.primary())
}
