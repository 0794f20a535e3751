//! Whether the server as a whole may be sent requests, and why not.

use std::sync::Arc;

use tokio::sync::watch;

use super::QueryState;
use crate::error::{Error, ErrorKind};

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Storage is being opened, or definition files are being read.
    Starting,
    Running,
    /// Another server has taken over.
    Fenced,
    /// It has been told to stop.
    Stopping,
    /// What clients connect to has ended by itself, and the process ends.
    Failed,
}

impl Stage {
    /// As the states of queries.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Starting => QueryState::Starting.name(),
            Stage::Running => QueryState::Running.name(),
            Stage::Fenced => QueryState::Fenced.name(),
            Stage::Stopping => QueryState::Stopping.name(),
            Stage::Failed => QueryState::Failed.name(),
        }
    }
}

/// What a server says of itself as it starts, runs and stops.
#[derive(Debug, Clone)]
pub struct Process {
    /// Every door is open.
    pub serving: watch::Receiver<bool>,
    pub stopping: watch::Receiver<bool>,
    /// Why it has to stop.
    pub fatal: watch::Receiver<Option<Arc<Error>>>,
}

impl Process {
    pub fn stage(&self) -> Stage {
        let fatal = self.fatal.borrow().as_ref().map(|error| error.kind());
        match (fatal, *self.stopping.borrow(), *self.serving.borrow()) {
            (Some(ErrorKind::Fenced), ..) => Stage::Fenced,
            (_, true, _) => Stage::Stopping,
            (Some(_), ..) => Stage::Failed,
            (None, false, false) => Stage::Starting,
            (None, false, true) => Stage::Running,
        }
    }
}

/// Why no request should come; `None` where they may. `was_ready`: it has been ready before, so a query that starts now is a new one and
/// keeps nobody from the others. `queries`: each with whether its view can be read.
pub fn unready(stage: Stage, was_ready: bool, queries: &[(QueryState, bool)]) -> Option<&'static str> {
    match stage {
        Stage::Starting => return Some("the server is starting"),
        Stage::Fenced => return Some("another server has taken over"),
        Stage::Stopping => return Some("the server is stopping"),
        Stage::Failed => return Some("a listener has ended, and the server ends"),
        Stage::Running => {}
    }
    if !was_ready && queries.iter().any(|(state, _)| *state == QueryState::Starting) {
        return Some("queries are being restored");
    }
    if !queries.is_empty() && !queries.iter().any(|(_, answers)| *answers) {
        return Some("no query can answer");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ready_while_a_door_is_open_and_some_query_can_answer() {
        use QueryState::{Failed, Rejected, Running, Starting};
        let of = |was_ready, queries: &[(QueryState, bool)]| unready(Stage::Running, was_ready, queries);
        assert_eq!(of(false, &[]), None);
        assert_eq!(of(false, &[(Running, true), (Failed, false)]), None);
        assert_eq!(of(false, &[(Running, true), (Starting, false)]), Some("queries are being restored"));
        assert_eq!(of(true, &[(Running, true), (Starting, false)]), None, "a new query keeps nobody from the others");
        assert_eq!(of(true, &[(Failed, false), (Rejected, false)]), Some("no query can answer"));
        assert_eq!(of(true, &[(Failed, true)]), None, "its last checkpoint can be read");
        for stage in [Stage::Starting, Stage::Fenced, Stage::Stopping, Stage::Failed] {
            assert!(unready(stage, true, &[(Running, true)]).is_some(), "{stage:?}");
        }
    }

    #[test]
    fn being_fenced_is_said_also_while_the_server_stops() {
        let (serving, stopping) = (watch::Sender::new(false), watch::Sender::new(false));
        let fatal = watch::Sender::new(None);
        let process =
            Process { serving: serving.subscribe(), stopping: stopping.subscribe(), fatal: fatal.subscribe() };
        assert_eq!(process.stage(), Stage::Starting);
        serving.send_replace(true);
        assert_eq!(process.stage(), Stage::Running);
        stopping.send_replace(true);
        assert_eq!(process.stage(), Stage::Stopping);
        fatal.send_replace(Some(Arc::new(Error::fenced("another server"))));
        assert_eq!(process.stage(), Stage::Fenced);
    }
}
