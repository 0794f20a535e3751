//! How much more the crowd does after an event: counted around the event itself, and around its ten seconds as the shipped query does.

use std::collections::BTreeMap;

use super::super::record::{time_text, uuid_text};
use super::CrowdAct;
use super::crowd::mark;

/// What may stir a crowd for a minute.
pub(in super::super) const IMPACTS: [&str; 5] = ["goal", "own_goal", "red_card", "penalty", "var_review"];

const TICK: i64 = 10_000;
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
    /// Acts by the ten seconds in which they were.
    ticks: BTreeMap<i64, u64>,
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
        Uplift {
            match_id: match_id.to_owned(),
            impacts: impacts.into_iter().map(counted).collect(),
            ticks: BTreeMap::new(),
        }
    }

    /// A punctual act.
    pub(super) fn act(&mut self, act: &CrowdAct) {
        *self.ticks.entry(act.event_ms.div_euclid(TICK) * TICK).or_default() += 1;
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

    /// (around each event, as `goal_uplift` answers), a row each.
    pub(super) fn rows(&self) -> (Vec<String>, Vec<String>) {
        let reported = || self.impacts.iter().filter(|counted| counted.reported);
        let row = |impact: &Impact, window: &str, after: u64, before: u64, users: &str| {
            let (id, kind, time) = (uuid_text(impact.event_id), impact.kind, time_text(impact.event_ms));
            let team = impact.team_id.as_ref().map_or("null".to_owned(), |team| format!("\"{team}\""));
            let uplift = ((after as f64 + 0.5) / 60.0) / ((before as f64 + 0.5) / 300.0);
            format!(
                "{{{window}\"match_id\":\"{}\",\"event_id\":\"{id}\",\"event_type\":\"{kind}\",\"team_id\":{team},\
                 \"event_time\":\"{time}\",\"after_n\":{after},\"before_n\":{before}{users},\"uplift\":{uplift:?}}}",
                self.match_id
            )
        };
        let exact = reported().map(|counted| {
            let users = format!(",\"users_after\":{}", counted.users_after);
            row(&counted.impact, "", counted.after, counted.before, &users)
        });
        // Of several in the same ten seconds the first is shown.
        let mut ticks: BTreeMap<i64, &Impact> = BTreeMap::new();
        for counted in reported() {
            ticks.entry(counted.impact.event_ms.div_euclid(TICK) * TICK).or_insert(&counted.impact);
        }
        let shown = ticks.iter().map(|(tick, impact)| {
            let sum = |from: i64, to: i64| self.ticks.range(from..to).map(|(_, acts)| acts).sum();
            let window = format!("\"window_end\":\"{}\",", time_text(tick + AFTER));
            row(impact, &window, sum(*tick, tick + AFTER), sum(tick - BEFORE, *tick), "")
        });
        (exact.collect(), shown.collect())
    }
}
