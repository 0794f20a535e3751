//! The log of states: a line whenever a query comes into another one, whoever has found it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{QueryState, QueryStatus, Standing};

/// Between two looks. What has hung for the limit is in the log a second later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the queries and tells what has changed, until `stop`.
pub async fn follow(queries: impl Fn() -> Vec<Arc<QueryStatus>>, mut stop: watch::Receiver<bool>) {
    let mut told = Told::default();
    loop {
        for (query, standing) in told.news(queries().iter().map(|query| (query.name.clone(), query.standing()))) {
            let Standing { state, arguments, reason } = standing;
            let arguments = arguments.unwrap_or_default();
            match state {
                // Nobody else has met these.
                QueryState::Stalled | QueryState::Lagging => {
                    warn!(query, state = state.name(), arguments, reason = reason.unwrap_or_default(), "query state");
                }
                // What is wrong has been reported, with all there is to say, by whoever has met it.
                _ => info!(query, state = state.name(), arguments, "query state"),
            }
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// What has been told.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, QueryState>);

impl Told {
    /// The queries that are in another state than when they were looked at last. Those that are gone are forgotten.
    fn news(&mut self, now: impl Iterator<Item = (String, Standing)>) -> Vec<(String, Standing)> {
        let (mut states, mut news) = (BTreeMap::new(), Vec::new());
        for (query, standing) in now {
            states.insert(query.clone(), standing.state);
            if self.0.get(&query) != Some(&standing.state) {
                news.push((query, standing));
            }
        }
        self.0 = states;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_when_it_begins_and_not_again_while_it_lasts() {
        let standing = |state| ("v".to_owned(), Standing { state, ..Standing::default() });
        let mut told = Told::default();
        let mut look = |state| told.news([standing(state)].into_iter()).len();
        assert_eq!([look(QueryState::Running), look(QueryState::Running)], [1, 0]);
        assert_eq!([look(QueryState::Stalled), look(QueryState::Stalled), look(QueryState::Running)], [1, 0, 1]);
        assert_eq!(told.news(std::iter::empty()).len(), 0);
        assert_eq!(told.news([standing(QueryState::Running)].into_iter()).len(), 1, "another query of that name");
    }
}
