//! A seeded simulator of football matches and their audience: the input of the demo and of tests with known answers.
//!
//! The same settings give the same bytes: no wall clock, no global randomness, one thread. Records come in the order in
//! which they arrive, so event times are out of order as on a real network: some records are late, a few come twice, a few
//! cannot be read. [`Truth`] counts what was made, and says what the shipped queries must answer.

mod audience;
mod draw;
mod fault;
mod fixture;
mod network;
pub mod output;
mod play;
mod record;
pub mod roster;
#[cfg(test)]
mod tests;
mod truth;
mod viewer;

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use crate::clock::Micros;
use crate::error::{Error, Result};
use fixture::Fixture;
use network::Network;
pub use network::{Batch, Class, Key, SimRecord};
pub use truth::{GoalTruth, TopicTruth, Truth};

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Five minutes, 1,000 viewers: some 5,000 records
    Smoke,
    /// A whole match, 100,000 viewers who do little: some 1.6 million records
    Standard,
    /// As standard, but with viewers ten times as busy
    Stress,
}

/// How records are spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Spellings {
    /// Fields as event_id, types as goal, teams by team_id and team_side
    Snake,
    /// Fields as eventId, types as goal, teams by teamId and teamSide
    Camel,
    /// Fields as event_id, types as GOAL, teams by name and side
    Upper,
    /// Each record in one of the three
    Mixed,
}

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationSettings {
    pub seed: u64,
    pub profile: Profile,
    /// 1 to 50, kicking off 7 seconds apart.
    pub matches: usize,
    /// Of all matches together.
    pub viewers: usize,
    /// The first kick-off.
    pub start: Micros,
    /// Spoilt copies per good record.
    pub dirt: f64,
    pub spelling: Spellings,
    /// Whether open apps say so every half minute, which is most of what there is to read then.
    pub heartbeats: bool,
    /// Whether people are seen to come in the quarter of an hour before the kick-off.
    pub warm_up: bool,
    /// Only what arrives from here to there, milliseconds after the first kick-off.
    pub span_ms: Range<i64>,
    /// Whether to find out what the queries must answer: a few kilobytes for each minute of a match.
    pub answers: bool,
}

/// Saturday, 10 January 2026, 15:00 UTC.
pub const START_DEFAULT: Micros = 1_768_057_200_000_000;
pub const MATCHES_MAX: usize = roster::TEAMS / 2;
/// A viewer's number is written with six digits.
pub const VIEWERS_MAX: usize = 1_000_000;
const WARM_UP_MS: i64 = 15 * 60_000;

/// Goals fall 2:12 and 23:17 after its first kick-off, and 63:52, soon after the demo has caught up with the clock.
const DEMO_SEED: u64 = 880;
/// How much of the match has passed when the demo begins, half-time included, and is shown fast until it has caught up:
/// the second half has just begun then.
const DEMO_PLAYED: Micros = 62 * 60 * 1_000_000;

impl SimulationSettings {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let (viewers, dirt) = if profile == Profile::Smoke { (1_000, 0.02) } else { (100_000, 0.0005) };
        SimulationSettings {
            seed,
            profile,
            matches: 1,
            viewers,
            start: START_DEFAULT,
            dirt,
            spelling: Spellings::Snake,
            heartbeats: false,
            warm_up: profile != Profile::Smoke,
            span_ms: i64::MIN..i64::MAX,
            answers: true,
        }
    }

    /// Two matches with a small crowd that kicked off 62 minutes before `now`, for [`output::pump`] to catch up with.
    ///
    /// `after`: the latest event time of an earlier demo on the same log; nothing is simulated before it, so that the
    /// new matches are not late. Once they are over, call again with their last event time.
    pub fn demo(now: Micros, after: Option<Micros>) -> Self {
        let (start, seed) = match after {
            None => (now - DEMO_PLAYED, DEMO_SEED),
            // The ids of matches come from the seed.
            Some(after) => {
                let start = (now - DEMO_PLAYED).max(after + 1_000_000);
                (start, DEMO_SEED + (start / 1_000_000).unsigned_abs())
            }
        };
        let usual = SimulationSettings::new(Profile::Standard, seed);
        // Nobody waits a quarter of an hour for a demo to begin.
        SimulationSettings { matches: 2, viewers: 20_000, start, warm_up: false, answers: false, ..usual }
    }

    /// Acts of viewers in proportion to what personas suggest, about one a viewer and minute.
    fn engagement_scale(&self) -> f64 {
        match self.profile {
            Profile::Standard => 0.1,
            Profile::Smoke | Profile::Stress => 1.0,
        }
    }

    /// Where the profile ends before the match does, ms after the kick-off.
    fn length_max_ms(&self) -> i64 {
        match self.profile {
            Profile::Smoke => 5 * 60_000,
            Profile::Standard | Profile::Stress => i64::MAX,
        }
    }

    /// How long before the kick-off a match is first heard of.
    pub fn warm_up_ms(&self) -> i64 {
        if self.warm_up { WARM_UP_MS } else { 0 }
    }

    fn viewers_of(&self, number: usize) -> usize {
        self.viewers / self.matches + usize::from(number < self.viewers % self.matches)
    }

    fn match_id(&self, number: usize) -> String {
        format!("m{}-{}", self.seed, number + 1)
    }

    /// What the truth depends on.
    fn described(&self) -> Value {
        let profile = match self.profile {
            Profile::Smoke => "smoke",
            Profile::Standard => "standard",
            Profile::Stress => "stress",
        };
        json!({
            "seed": self.seed, "profile": profile, "matches": self.matches, "viewers": self.viewers,
            "start": record::time_text(self.start / 1000), "dirt": self.dirt, "heartbeats": self.heartbeats,
            "from_ms": Some(self.span_ms.start).filter(|ms| *ms > i64::MIN),
            "until_ms": Some(self.span_ms.end).filter(|ms| *ms < i64::MAX),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn check(&self) -> Result<()> {
        if !(1..=MATCHES_MAX).contains(&self.matches) {
            return Err(Error::invalid(format!("{} matches cannot be simulated at once", self.matches))
                .hint(format!("ask for 1 to {MATCHES_MAX}")));
        }
        if !(self.matches..=VIEWERS_MAX).contains(&self.viewers) {
            return Err(Error::invalid(format!("{} viewers cannot be simulated", self.viewers))
                .hint(format!("ask for at least one a match and at most {VIEWERS_MAX}")));
        }
        // Years with four digits, and no overflow on the way.
        if !(86_400_000_000..250_000_000_000_000_000).contains(&self.start) {
            return Err(Error::invalid("the simulation cannot start at that time").hint("start between 1971 and 9000"));
        }
        if self.span_ms.is_empty() {
            return Err(Error::invalid("nothing lies between the beginning and the end")
                .hint("ask for a longer time, as in --for 4m"));
        }
        if !(0.0..=DIRT_MAX).contains(&self.dirt) {
            return Err(Error::invalid(format!("a share of {} dirty records is not possible", self.dirt))
                .hint(format!("ask for 0 to {DIRT_MAX}")));
        }
        Ok(())
    }
}

const DIRT_MAX: f64 = 0.5;

/// What a simulation writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    MatchEvents,
    Engagements,
    LiveMatches,
    PlayerLiveStats,
    TeamLiveStats,
}

impl Topic {
    pub const ALL: [Topic; 5] =
        [Topic::MatchEvents, Topic::Engagements, Topic::LiveMatches, Topic::PlayerLiveStats, Topic::TeamLiveStats];

    pub fn name(self) -> &'static str {
        match self {
            Topic::MatchEvents => "match-events",
            Topic::Engagements => "engagements",
            Topic::LiveMatches => "live-matches",
            Topic::PlayerLiveStats => "player-live-stats",
            Topic::TeamLiveStats => "team-live-stats",
        }
    }
}

/// The records of a simulation, one second of arrivals after another.
pub struct Simulation {
    settings: SimulationSettings,
    start_ms: i64,
    fixtures: Vec<Fixture>,
    /// The next second to simulate.
    second_ms: i64,
    end_ms: i64,
    network: Network,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("second_ms", &self.second_ms)
            .field("end_ms", &self.end_ms)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// # Errors
    /// `Invalid` where the number of matches or viewers, the time or the dirt is out of range.
    pub fn new(settings: &SimulationSettings) -> Result<Self> {
        settings.check()?;
        let start_ms = settings.start / 1000 - settings.warm_up_ms();
        let (fixtures, about): (Vec<Fixture>, Vec<_>) =
            (0..settings.matches).map(|number| Fixture::new(settings, number)).unzip();
        let end_ms = fixtures.iter().map(Fixture::end_ms).max().unwrap_or(start_ms);
        let ids: Vec<String> = (0..settings.matches).map(|number| settings.match_id(number)).collect();
        let viewers: Vec<usize> = (0..settings.matches).map(|number| settings.viewers_of(number)).collect();
        let impacts = fixtures.iter().map(Fixture::impacts).collect();
        let mut truth = Truth::new(&ids, &viewers, impacts, settings.answers);
        truth.matches = fixtures.iter().map(Fixture::announced).collect();
        let network = Network::new(settings, start_ms, about, truth);
        Ok(Simulation { settings: settings.clone(), start_ms, fixtures, second_ms: start_ms, end_ms, network })
    }

    /// When the first record can arrive, milliseconds since the Unix epoch.
    pub fn start_ms(&self) -> i64 {
        self.start_ms.max(self.span_ms().start)
    }

    /// What arrives, milliseconds since the Unix epoch.
    fn span_ms(&self) -> Range<i64> {
        let kick_off = self.settings.start / 1000;
        let Range { start, end } = self.settings.span_ms;
        start.saturating_add(kick_off)..end.saturating_add(kick_off)
    }

    /// Milliseconds after the first kick-off at which goals will fall, in order; some of them will be cancelled.
    ///
    /// # Errors
    /// As [`Simulation::new`].
    pub fn goals_ms(settings: &SimulationSettings) -> Result<Vec<i64>> {
        settings.check()?;
        let mut goals: Vec<i64> =
            (0..settings.matches).flat_map(|number| fixture::goals_ms(settings, number)).collect();
        goals.sort_unstable();
        Ok(goals)
    }

    /// When the last match has ended; late records still come then.
    pub fn end_ms(&self) -> i64 {
        self.end_ms.min(self.span_ms().end)
    }

    /// Replaces `batch` by the records that arrive in the next second, perhaps none. `false`: there are no more.
    pub fn next(&mut self, batch: &mut Batch) -> bool {
        let span_ms = self.span_ms();
        while self.second_ms < span_ms.end {
            if self.second_ms < self.end_ms {
                for fixture in &mut self.fixtures {
                    fixture.second(self.second_ms, &mut self.network);
                }
            } else if self.network.is_empty() {
                return false;
            }
            // Nothing that a later second makes can arrive before that second.
            self.network.arrive(batch, &span_ms);
            self.second_ms += 1000;
            if self.second_ms > span_ms.start {
                return true;
            }
        }
        false
    }

    /// Counts of all that has arrived; of the whole simulation once [`Simulation::next`] has said `false`.
    pub fn truth(&self) -> &Truth {
        &self.network.truth
    }

    /// Writes the truth files, once there are no more records: `summary.json`, `timeline.json`, `dead_letters.ndjson`, and
    /// for each shipped query what it must answer.
    ///
    /// # Errors
    /// `Unavailable` where the folder cannot be written.
    pub fn write_truth(&mut self, folder: &Path) -> Result<()> {
        truth::write(&mut self.network.truth, &self.settings, folder)
    }
}
