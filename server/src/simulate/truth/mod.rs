//! What was made, counted as it arrives, and what every shipped query must answer; nothing of the engine is used for it.
//!
//! Window results are those of the good punctual records, copies included: see [`super::Class`]. A dirty record counts as
//! dirty alone.

mod crowd;
mod files;
mod pitch;
mod sessions;
mod uplift;

use std::collections::BTreeMap;

use serde::Serialize;

use super::audience::{KINDS, SUBTYPES};
use super::fault::Verdict;
use super::play::{Action, News};
use super::{Class, Topic};
use crowd::Crowd;
pub(super) use crowd::CrowdAct;
pub(super) use files::write;
use pitch::Pitch;
use sessions::Sessions;
use uplift::Uplift;
pub(super) use uplift::{IMPACTS, Impact};

/// Counts of all that has been made so far; see the module's first lines.
#[derive(Debug)]
pub struct Truth {
    topics: [TopicTruth; Topic::ALL.len()],
    /// Match events by type, each once however often it was sent; `retract` and `correction` beside them.
    match_events: BTreeMap<&'static str, u64>,
    engagements: [u64; KINDS.len()],
    dead: BTreeMap<(Topic, Verdict), u64>,
    pub(super) matches: Vec<MatchTruth>,
    goals: Vec<GoalTruth>,
    /// What the queries answer; not counted where nobody will ask.
    answers: Option<Answers>,
}

#[derive(Debug)]
struct Answers {
    /// By match.
    crowds: Vec<Crowd>,
    sessions: Vec<Sessions>,
    uplifts: Vec<Uplift>,
    pitch: Pitch,
    rows: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TopicTruth {
    /// All records: punctual, late, ahead and dirty ones.
    pub records: u64,
    pub punctual: u64,
    pub late: u64,
    pub ahead: u64,
    /// Spoilt copies of good records.
    pub dirty: u64,
    /// Second copies of good records, which are punctual, late or ahead by themselves.
    pub duplicates: u64,
    pub late_by_bucket: LateBuckets,
}

/// Late records by their lag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LateBuckets {
    #[serde(rename = "3.5s-10s")]
    seconds: u64,
    #[serde(rename = "10s-2min")]
    minutes: u64,
    #[serde(rename = "2min-15min")]
    longer: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GoalTruth {
    pub match_id: String,
    pub event_id: String,
    /// The team whose score it raised.
    pub team_id: String,
    pub minute: i64,
    #[serde(skip)]
    pub event_time_ms: i64,
    pub event_time: String,
    /// A review took it back.
    pub cancelled: bool,
}

/// The course of one match.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(in super::super) struct MatchTruth {
    pub(in super::super) match_id: String,
    pub(in super::super) home_team_id: String,
    pub(in super::super) away_team_id: String,
    pub(in super::super) kick_off: String,
    pub(in super::super) home_score: i64,
    pub(in super::super) away_score: i64,
    pub(in super::super) home_xg: f64,
    pub(in super::super) away_xg: f64,
    pub(in super::super) score: Vec<ScoreTruth>,
    pub(in super::super) cards: Vec<CardTruth>,
    pub(in super::super) corrections: Vec<CorrectionTruth>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct ScoreTruth {
    pub(in super::super) time: String,
    pub(in super::super) minute: i64,
    pub(in super::super) home: i64,
    pub(in super::super) away: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct CardTruth {
    pub(in super::super) time: String,
    pub(in super::super) minute: i64,
    pub(in super::super) team_id: String,
    pub(in super::super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct CorrectionTruth {
    pub(in super::super) time: String,
    pub(in super::super) event_id: String,
    /// `retract` or `upsert`.
    pub(in super::super) op: &'static str,
}

impl Truth {
    /// `viewers`, `impacts`: of each match. `answers`: also what the queries answer, which costs memory for each window.
    pub(super) fn new(match_ids: &[String], viewers: &[usize], impacts: Vec<Vec<Impact>>, answers: bool) -> Self {
        let answers = answers.then(|| Answers {
            crowds: match_ids.iter().zip(viewers).map(|(id, viewers)| Crowd::new(id, *viewers)).collect(),
            sessions: match_ids
                .iter()
                .zip(viewers)
                .zip(0..)
                .map(|((id, viewers), fixture)| Sessions::new(id, fixture, *viewers))
                .collect(),
            uplifts: match_ids
                .iter()
                .zip(viewers)
                .zip(impacts)
                .map(|((id, viewers), impacts)| Uplift::new(id, impacts, viewers.div_ceil(64)))
                .collect(),
            pitch: Pitch::new(match_ids),
            rows: BTreeMap::new(),
        });
        Truth {
            topics: Default::default(),
            match_events: BTreeMap::new(),
            engagements: [0; KINDS.len()],
            dead: BTreeMap::new(),
            matches: Vec::new(),
            goals: Vec::new(),
            answers,
        }
    }

    pub fn topic(&self, topic: Topic) -> &TopicTruth {
        &self.topics[topic as usize]
    }

    pub fn goals(&self) -> &[GoalTruth] {
        &self.goals
    }

    /// How many acts of a type there were, copies not counted.
    pub fn engagements(&self) -> BTreeMap<&'static str, u64> {
        KINDS.into_iter().zip(self.engagements).collect()
    }

    pub fn match_events(&self) -> &BTreeMap<&'static str, u64> {
        &self.match_events
    }

    pub(super) fn goal(&mut self, goal: GoalTruth) {
        self.goals.push(goal);
    }

    pub(super) fn cancel(&mut self, event_id: &str) {
        self.goals.iter_mut().filter(|goal| goal.event_id == event_id).for_each(|goal| goal.cancelled = true);
    }

    /// A good record arrives.
    pub(super) fn record(&mut self, topic: Topic, class: Class, copy: bool, lag_ms: i64) {
        let counts = &mut self.topics[topic as usize];
        counts.records += 1;
        counts.duplicates += u64::from(copy);
        match class {
            Class::Punctual => counts.punctual += 1,
            Class::Ahead => counts.ahead += 1,
            Class::Late => {
                counts.late += 1;
                let buckets = &mut counts.late_by_bucket;
                *match lag_ms {
                    ..10_000 => &mut buckets.seconds,
                    10_000..120_000 => &mut buckets.minutes,
                    _ => &mut buckets.longer,
                } += 1;
            }
        }
    }

    /// A dirty record arrives.
    pub(super) fn dirty(&mut self, topic: Topic, verdict: Verdict) {
        let counts = &mut self.topics[topic as usize];
        counts.records += 1;
        counts.dirty += 1;
        *self.dead.entry((topic, verdict)).or_default() += 1;
    }

    /// What a good record of topic `match-events` says.
    pub(super) fn action(&mut self, fixture: u16, action: &Action, event_ms: i64, class: Class, copy: bool) {
        if !copy {
            let kind = match action.news {
                News::First => action.kind,
                News::Correction { .. } => "correction",
                News::Retraction => "retract",
            };
            *self.match_events.entry(kind).or_default() += 1;
        }
        if let Some(answers) = &mut self.answers {
            answers.pitch.action(fixture, action, event_ms, class);
            if action.news == News::First && class == Class::Punctual {
                answers.uplifts[usize::from(fixture)].report(action.id);
            }
        }
    }

    /// What a good record of topic `engagements` says.
    pub(super) fn act(&mut self, fixture: usize, act: &CrowdAct, class: Class, copy: bool) {
        self.engagements[usize::from(SUBTYPES[usize::from(act.subtype)].0)] += u64::from(!copy);
        if let Some(answers) = &mut self.answers {
            answers.crowds[fixture].act(act, class);
            answers.sessions[fixture].act(act, class);
            if class == Class::Punctual {
                answers.uplifts[fixture].act(act);
            }
        }
    }

    /// No punctual record that is still to come has an event time before `event_ms`.
    pub(super) fn passed(&mut self, event_ms: i64) {
        if let Some(answers) = &mut self.answers {
            for crowd in &mut answers.crowds {
                crowd.passed(event_ms, &mut answers.rows);
            }
            answers.sessions.iter_mut().for_each(|sessions| sessions.passed(event_ms));
        }
    }
}
