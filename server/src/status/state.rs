//! The words for how a query is doing, and which of them fits what has been observed of it.
//!
//! The same words stand in system tables, in `/readyz`, in metrics and in the log. Pure: the facts come with lengths of time, so that each
//! word has a row in a table of tests.

use std::time::Duration;

use super::pace::Look;
use super::steps::Step;
use super::{IDLE_AFTER, LAGGING_AFTER, LIVE_WITHIN, UNHEARD_AFTER};

/// Where a query stands, in words an operator can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryState {
    /// Restoring from its checkpoint.
    Starting,
    /// It runs, and reads what has come while it did not. Arguments: how much of it is done, its rate, the time left.
    CatchingUp,
    Running,
    /// It has read everything, and nothing has come for a while.
    Idle,
    /// It had been at the end of its sources, and has fallen behind. Arguments: records and time.
    Lagging,
    /// Something that it needs does not answer; retried until it does. Arguments: what.
    Degraded,
    /// It stands still until somebody acts, or until a sink takes what waits for it.
    Blocked,
    /// What it has to read next is gone. It stands still. Arguments: the range.
    DataLoss,
    /// Something is to be done, and nothing gets on. Arguments: where it stands, and since when.
    Stalled,
    /// Told to stop, and making its last checkpoint.
    Stopping,
    /// Another server has taken over.
    Fenced,
    /// Stopped by an error; the last checkpoint stands. Arguments: the place.
    Failed,
    /// Its input was bounded and has been read to the end.
    Finished,
    /// Its file is wrong and no earlier good version runs.
    Rejected,
}

impl QueryState {
    pub const ALL: [QueryState; 14] = [
        QueryState::Starting,
        QueryState::CatchingUp,
        QueryState::Running,
        QueryState::Idle,
        QueryState::Lagging,
        QueryState::Degraded,
        QueryState::Blocked,
        QueryState::DataLoss,
        QueryState::Stalled,
        QueryState::Stopping,
        QueryState::Fenced,
        QueryState::Failed,
        QueryState::Finished,
        QueryState::Rejected,
    ];

    pub fn name(self) -> &'static str {
        match self {
            QueryState::Starting => "STARTING",
            QueryState::CatchingUp => "CATCHING_UP",
            QueryState::Running => "RUNNING",
            QueryState::Idle => "IDLE",
            QueryState::Lagging => "LAGGING",
            QueryState::Degraded => "DEGRADED",
            QueryState::Blocked => "BLOCKED",
            QueryState::DataLoss => "DATA_LOSS",
            QueryState::Stalled => "STALLED",
            QueryState::Stopping => "STOPPING",
            QueryState::Fenced => "FENCED",
            QueryState::Failed => "FAILED",
            QueryState::Finished => "FINISHED",
            QueryState::Rejected => "REJECTED",
        }
    }

    /// Nobody has to look at it.
    pub fn is_well(self) -> bool {
        use QueryState::{CatchingUp, Finished, Idle, Running};
        matches!(self, Running | Idle | CatchingUp | Finished)
    }

    /// It has ended by an error, and starts again where its file is touched.
    pub fn has_ended_by_error(self) -> bool {
        matches!(self, QueryState::Failed | QueryState::Blocked | QueryState::DataLoss)
    }
}

/// What a running query depends on, and may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Source,
    /// Checkpoints.
    Store,
    /// Files cannot be written now: rows wait in the checkpoints.
    PublicFiles,
    /// So much waits for public files that the query takes nothing in.
    Tail,
    HotTable,
    /// Its public folder belongs to another state: no files are written, and rows stay in the tail.
    Folder,
    /// So much waits for the hot table that the query takes nothing in.
    Backlog,
}

impl Part {
    /// It takes the rows that have been committed.
    pub(super) fn is_sink(self) -> bool {
        matches!(self, Part::PublicFiles | Part::HotTable | Part::Folder)
    }

    pub fn name(self) -> &'static str {
        match self {
            Part::Source => "source",
            Part::Store => "store",
            Part::PublicFiles | Part::Tail | Part::Folder => "public files",
            Part::HotTable | Part::Backlog => "postgres",
        }
    }
}

/// A state with its arguments, and why where there is something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: QueryState,
    /// What belongs to the word: which part, how much, since when.
    pub arguments: Option<String>,
    /// Sentences: what happened, where, what to do.
    pub reason: Option<String>,
}

impl Default for Standing {
    fn default() -> Self {
        Standing { state: QueryState::Starting, arguments: None, reason: None }
    }
}

/// What has been observed of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// What its loop, its supervisor or the registry has said last.
    pub(super) said: Standing,
    /// It has been told to stop.
    pub(super) stopping: bool,
    /// What its loop is doing, and what is done beside it: each since how long.
    pub(super) steps: Vec<(Step, Duration)>,
    /// After so long a step is taken to hang.
    pub(super) stall_after: Duration,
    pub(super) troubles: Vec<(Part, String)>,
    /// Static tables that cannot be read again, and why.
    pub(super) lookups: Vec<(String, String)>,
    /// Partitions whose end is not known, and since when.
    pub(super) unheard: Option<(Vec<String>, Duration)>,
    /// How far it is behind; `None` where that is not known.
    pub(super) look: Option<Look>,
}

/// The word that fits.
pub(super) fn judge(facts: Facts) -> Standing {
    let Facts { said, stopping, steps, stall_after, mut troubles, lookups, unheard, look } = facts;
    if said.state == QueryState::Finished {
        troubles.retain(|(part, _)| part.is_sink() || *part == Part::Store);
        return unfinished(troubles).unwrap_or(said);
    }
    if !matches!(said.state, QueryState::Starting | QueryState::Running | QueryState::Degraded) {
        return said;
    }
    let hangs = steps.into_iter().filter(|(_, lasted)| *lasted >= stall_after).max_by_key(|(_, lasted)| *lasted);
    if stopping {
        let arguments = hangs.map(|(step, lasted)| step.lasting(lasted));
        return Standing { state: QueryState::Stopping, arguments, reason: said.reason };
    }
    let mut reasons: Vec<String> = said.reason.clone().into_iter().collect();
    let runs = said.state == QueryState::Running;
    let mut parts: Vec<String> = Vec::new();
    let blocked = runs && troubles.iter().any(|(part, _)| matches!(part, Part::Tail | Part::Backlog));
    if runs {
        for (part, reason) in troubles {
            parts.push(part.name().to_owned());
            reasons.push(reason);
        }
        for (table, reason) in lookups {
            parts.push(format!("table {table}"));
            reasons.push(reason);
        }
        if let Some((partitions, lasted)) = unheard
            && (lasted >= UNHEARD_AFTER || !parts.is_empty())
        {
            parts.push(Part::Source.name().to_owned());
            reasons.push(format!("lag is not known: no answer from {}", partitions.join(", ")));
        }
    }
    parts.dedup();
    let parts = (!parts.is_empty()).then(|| parts.join(", "));
    let standing = |state, arguments, reasons: Vec<String>| Standing {
        state,
        arguments,
        reason: (!reasons.is_empty()).then(|| reasons.join("\n")),
    };
    if let Some((step, lasted)) = hangs {
        reasons.insert(0, step.hangs(lasted));
        return standing(QueryState::Stalled, Some(step.lasting(lasted)), reasons);
    }
    if !runs {
        return standing(said.state, said.arguments, reasons);
    }
    if blocked {
        return standing(QueryState::Blocked, parts, reasons);
    }
    // Only a running query with a reason of its own is degraded without a part that is.
    if parts.is_some() || !reasons.is_empty() {
        return standing(QueryState::Degraded, parts.or(said.arguments), reasons);
    }
    let Some(look) = look else { return standing(QueryState::Running, None, reasons) };
    if look.untaken >= stall_after {
        reasons.push(format!("{} records wait, and none of them has been taken", look.lag));
        return standing(QueryState::Stalled, Some(Step::Reading.lasting(look.untaken)), reasons);
    }
    if !look.caught_up && look.behind >= LIVE_WITHIN {
        return standing(QueryState::CatchingUp, Some(look.progress()), reasons);
    }
    if look.caught_up && look.behind >= LAGGING_AFTER {
        let arguments = format!("{} records, {} s", look.lag, look.behind.as_secs());
        return standing(QueryState::Lagging, Some(arguments), reasons);
    }
    if look.lag == 0 && look.unmoved >= IDLE_AFTER {
        return standing(QueryState::Idle, Some(format!("for {} s", look.unmoved.as_secs())), reasons);
    }
    standing(QueryState::Running, None, reasons)
}

/// All input has ended, and these keep its last rows from where they are to be read.
fn unfinished(troubles: Vec<(Part, String)>) -> Option<Standing> {
    let (mut parts, reasons): (Vec<&str>, Vec<String>) =
        troubles.into_iter().map(|(part, reason)| (part.name(), reason)).unzip();
    parts.dedup();
    let degraded = || Standing {
        state: QueryState::Degraded,
        arguments: Some(parts.join(", ")),
        reason: Some(reasons.join("\n")),
    };
    (!reasons.is_empty()).then(degraded)
}

#[cfg(test)]
mod tests;
