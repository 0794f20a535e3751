//! Which version of a view runs where its definition has come to mean something else than its checkpoints.
//!
//! With `'on-change' = 'ask'` it is the one before: planned from the files that it was defined in, which lie beside its checkpoints. What the
//! new one would come to is asked, and the answer read, in the store that has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::{Catalog, catalog_of, planned, resolve_path};
use crate::catalog::{OnChange, PlainView, Statement, ViewDef};
use crate::checkpoint::{
    Answer, DefinitionFile, Manifest, Question, VersionStanding, ask, definition_files_of, forget_question,
    version_standing,
};
use crate::epoch::{QueryPlan, verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{PlanSettings, relations};
use crate::sql::parse_file;
use crate::status::Held;
use crate::store::Store;
use crate::tables::source::SnapshotReader;

/// How long the store may take to forget a question.
const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(1);

/// What becomes of a view.
#[derive(Debug)]
pub(super) enum Judged {
    /// This plan runs, made in this catalog. `held`: it is the version before.
    Runs { plan: Box<QueryPlan>, catalog: Arc<Catalog>, held: Option<Question> },
    /// The version before cannot be planned, and nobody has said that the new one shall begin.
    Waits { question: Question, reason: String },
    /// The store has not said what has run before.
    Unknown(Error),
}

/// The files that define a view with all that it reads; none where one of them is not known.
pub(super) fn files_of(view: &ViewDef, plain_views: &[Arc<PlainView>], catalog: &Catalog) -> Vec<DefinitionFile> {
    let mut names: Vec<&str> = vec![&view.location.file];
    names.extend(plain_views.iter().map(|view| view.location.file.as_str()));
    for query in std::iter::once(&view.query).chain(plain_views.iter().map(|view| &view.query)) {
        let tables = relations(query).into_iter().filter_map(|name| catalog.defined.tables.get(&name));
        names.extend(tables.map(|table| table.location.file.as_str()));
        names.extend(catalog.functions.files_of(query));
    }
    names.sort_unstable();
    names.dedup();
    let file = |name: &str| {
        let text = catalog.texts.get(name)?;
        Some(DefinitionFile { name: name.to_owned(), text: text.to_string() })
    };
    names.into_iter().map(file).collect::<Option<_>>().unwrap_or_default()
}

/// How a plan stands to what has run under its view's name.
#[derive(Debug)]
pub(super) enum Compared {
    First,
    Same(Box<Manifest>),
    /// Its own text is the same as before, and views that it reads are others.
    Follows,
    /// What is to be asked, where it is, and the version before with its catalog, or why that cannot be planned any more.
    Changed {
        question: Question,
        /// The new version has run before.
        resumes: bool,
        before: Result<(Box<QueryPlan>, Arc<Catalog>)>,
    },
}

/// Writes nothing.
///
/// # Errors
/// `Unavailable`; `Corrupt` where the checkpoints of this version are damaged.
pub(super) async fn compare(
    plan: &QueryPlan,
    catalog: &Catalog,
    private: &Store,
    snapshots: &Arc<dyn SnapshotReader>,
    settings: PlanSettings,
) -> Result<Compared> {
    let name = &plan.view.name;
    let (before, own) = match version_standing(private, name, &plan.version).await? {
        VersionStanding::First => return Ok(Compared::First),
        VersionStanding::Same(head) => return Ok(Compared::Same(head)),
        VersionStanding::Other { before, own } => (before, own),
    };
    let old = match planned_before(name, &before, catalog, private, snapshots, settings).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
        Ok((old, _)) if old.version.name == plan.version.name => return Ok(Compared::Follows),
        Ok((old, _)) if !before.is_of(&old.version).unwrap_or(false) => {
            Err(Error::invalid("views that it reads are others now, or this engine takes its text otherwise"))
        }
        old => old.map(|(old, catalog)| (Box::new(old), catalog)),
    };
    let question = Question {
        before: before.query.clone(),
        before_version: before.fingerprint.clone(),
        version: plan.version.name.clone(),
        own: own.as_ref().map(|own| own.id),
        verdict: verdict(private, plan, &before, own.as_deref()).await?,
        answer: None,
    };
    Ok(Compared::Changed { question, resumes: own.is_some(), before: old })
}

/// Asks where that has to be.
///
/// # Errors
/// `Unavailable`.
pub(super) async fn judge(
    plan: QueryPlan,
    catalog: &Arc<Catalog>,
    on_change: OnChange,
    private: &Store,
    snapshots: &Arc<dyn SnapshotReader>,
    settings: PlanSettings,
) -> Result<Judged> {
    let name = plan.view.name.clone();
    let compared = match on_change {
        OnChange::NewVersion => Compared::First,
        OnChange::Ask => match compare(&plan, catalog, private, snapshots, settings).await {
            // Damage is found again where it is looked into, and said there.
            Err(error) if error.kind() == ErrorKind::Corrupt => Compared::First,
            compared => compared?,
        },
    };
    let takes = |plan| Judged::Runs { plan: Box::new(plan), catalog: Arc::clone(catalog), held: None };
    let Compared::Changed { question, before, resumes: _ } = compared else {
        take_back(private, &name).await;
        return Ok(takes(plan));
    };
    let question = ask(private, &name, question).await?;
    if question.answer == Some(Answer::NewVersion) {
        return Ok(takes(plan));
    }
    Ok(match before {
        Ok((plan, catalog)) => Judged::Runs { plan, catalog, held: Some(question) },
        Err(error) => {
            Judged::Waits { question, reason: format!("the version before cannot run on: {}", error.primary()) }
        }
    })
}

/// There is nothing to ask. That keeps nothing from running, so it does not wait for long: one that stays is about something that is over.
async fn take_back(private: &Store, view: &str) {
    let stays = match timeout(TAKEN_BACK_WITHIN, forget_question(private, view)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.report(),
        Err(_) => format!("no answer within {} s", TAKEN_BACK_WITHIN.as_secs()),
    };
    warn!(query = view, error = stays, "a question that is none any more stays in the store");
}

/// The version that a checkpoint is of, planned from the files that it was defined in, over the views of today.
async fn planned_before(
    name: &str,
    before: &Manifest,
    catalog: &Catalog,
    private: &Store,
    snapshots: &Arc<dyn SnapshotReader>,
    settings: PlanSettings,
) -> Result<(QueryPlan, Arc<Catalog>)> {
    let Some(files) = definition_files_of(private, before).await? else {
        return Err(Error::invalid("an older server ran it, which has not kept the files that it was defined in"));
    };
    let catalog = Arc::new(catalog_before(name, &files, catalog, snapshots)?);
    let Some(view) = catalog.views.get(name) else {
        return Err(Error::bug(format!("view {name:?} is not in the files that it was defined in")));
    };
    let plan = planned(Arc::clone(view), Arc::clone(&catalog), settings).await?;
    Ok((plan, catalog))
}

/// The catalog of today with a view and what it is made of as they were. The other views stay what they are.
fn catalog_before(
    name: &str,
    files: &[DefinitionFile],
    today: &Catalog,
    snapshots: &Arc<dyn SnapshotReader>,
) -> Result<Catalog> {
    let mut statements = Vec::new();
    for DefinitionFile { name, text } in files {
        let parsed = parse_file(name, text).map_err(|errors| {
            let first = errors.into_iter().next();
            first.unwrap_or_else(|| Error::bug("a file is wrong and nobody says why"))
        })?;
        statements.extend(parsed.into_iter().map(|mut statement| {
            if let Statement::CreateTable(table) = &mut statement {
                resolve_path(table, name.as_ref());
            }
            statement
        }));
    }
    // What is wrong with them as a whole and matters here shows when the view is planned.
    let (before, _) = catalog_of(&statements, snapshots);
    let mut catalog = today.clone();
    catalog.views.remove(name);
    catalog.views.extend(before.views.into_iter().filter(|(view, _)| view == name));
    catalog.defined.tables.extend(before.defined.tables);
    catalog.defined.plain_views.extend(before.defined.plain_views);
    catalog.functions = before.functions;
    let texts = files.iter().map(|file| (file.name.clone(), file.text.as_str().into()));
    catalog.texts = Arc::new(texts.collect::<BTreeMap<_, _>>());
    Ok(catalog)
}

/// What the status says of a view that is held.
pub(super) fn told(question: &Question) -> Held {
    let verdict = question.verdict.join("\n  ");
    match question.answer {
        Some(_) => Held::Kept(format!(
            "the definition means something else, and the version before runs on, as it was answered; \
             `touchline state answer` takes another answer\n  {verdict}"
        )),
        None => Held::Asked(format!(
            "the definition means something else, and the version before runs on until it is answered what shall be: \
             `touchline state answer VIEW new-version` or `keep`, or 'on-change' = 'new-version' among the view's options\n  {verdict}"
        )),
    }
}

pub(super) fn log(view: &str, question: &Question) {
    let (before, changes) = (&question.before, question.verdict.join("; "));
    match question.answer {
        Some(_) => info!(query = view, before, changes, "changed query runs on as it was, as it was answered"),
        None => warn!(query = view, before, changes, "changed query runs on as it was and waits for an answer"),
    }
}
