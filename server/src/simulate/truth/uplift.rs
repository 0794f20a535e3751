//! How much more the crowd does after an event.

use super::super::record::{time_text, uuid_text};
use super::CrowdAct;
use super::crowd::mark;

/// What may stir a crowd for a minute.
pub(in super::super) const IMPACTS: [&str; 5] = ["goal", "own_goal", "red_card", "penalty", "var_review"];

const AFTER: i64 = 60_000;
const BEFORE: i64 = 300_000;

/// An event that the crowd answers, known before it happens: acts of five minutes before it count.
#[derive(Debug)]
pub(in super::super) struct Impact {
    pub(in super::super) event_ms: i64,
    pub(in super::super) event_id: u128,
    pub(in super::super) kind: &'static str,
    pub(in super::super) team_id: Option<String>,
}

#[derive(Debug)]
pub(super) struct Uplift {
    match_id: String,
    /// By time and id.
    impacts: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    impact: Impact,
    /// Whether its first report was punctual: only then a row is due.
    reported: bool,
    before: u64,
    after: u64,
    users_after: u64,
    /// A bit a viewer who did anything after it.
    seen: Vec<u64>,
}

impl Uplift {
    /// `words`: of a bitmap of the viewers.
    pub(super) fn new(match_id: &str, mut impacts: Vec<Impact>, words: usize) -> Self {
        impacts.sort_unstable_by_key(|impact| (impact.event_ms, impact.event_id));
        let counted =
            |impact| Counted { impact, reported: false, before: 0, after: 0, users_after: 0, seen: vec![0; words] };
        Uplift { match_id: match_id.to_owned(), impacts: impacts.into_iter().map(counted).collect() }
    }

    /// A punctual act.
    pub(super) fn act(&mut self, act: &CrowdAct) {
        for counted in &mut self.impacts {
            let since = act.event_ms - counted.impact.event_ms;
            if (0..AFTER).contains(&since) {
                counted.after += 1;
                counted.users_after += u64::from(mark(&mut counted.seen, act.viewer));
            } else if (-BEFORE..0).contains(&since) {
                counted.before += 1;
            }
        }
    }

    /// The first report of an action is punctual.
    pub(super) fn report(&mut self, event_id: u128) {
        self.impacts
            .iter_mut()
            .filter(|known| known.impact.event_id == event_id)
            .for_each(|known| known.reported = true);
    }

    /// A row for each event.
    pub(super) fn rows(&self) -> impl Iterator<Item = String> + '_ {
        self.impacts.iter().filter(|counted| counted.reported).map(|counted| {
            let Counted { impact, before, after, users_after, .. } = counted;
            let (id, kind, time) = (uuid_text(impact.event_id), impact.kind, time_text(impact.event_ms));
            let team = impact.team_id.as_ref().map_or("null".to_owned(), |team| format!("\"{team}\""));
            let uplift = ((*after as f64 + 0.5) / 60.0) / ((*before as f64 + 0.5) / 300.0);
            format!(
                "{{\"match_id\":\"{}\",\"event_id\":\"{id}\",\"event_type\":\"{kind}\",\"team_id\":{team},\
                 \"event_time\":\"{time}\",\"after_n\":{after},\"before_n\":{before},\"users_after\":{users_after},\
                 \"uplift\":{uplift:?}}}",
                self.match_id
            )
        })
    }
}
