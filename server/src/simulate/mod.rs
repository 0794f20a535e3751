//! A seeded simulator of football matches and their audience: the input of the demo and of tests with known answers.
//!
//! The same settings give the same bytes: no wall clock, no global randomness, one thread. Records come in the order in
//! which producers send them, so event times are out of order as on a real network: some records are late, a few come
//! twice, a few cannot be read. [`Truth`] counts what was made.

mod audience;
mod draw;
mod fixture;
mod output;
mod play;
mod record;
pub mod roster;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde::Serialize;

use crate::clock::Micros;
use crate::error::{Error, Result};
use draw::Draws;
use fixture::Fixture;
pub use output::{RunSummary, SimulateArgs, pump, run};
use record::Fault;

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Five minutes, 1,000 viewers: some 5,000 records.
    Smoke,
    /// A whole match, 100,000 viewers who do little: some 1.5 million records.
    Standard,
    /// As standard, but with viewers ten times as busy.
    Stress,
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
}

/// Saturday, 10 January 2026, 15:00 UTC.
pub const START_DEFAULT: Micros = 1_768_057_200_000_000;
const MATCHES_MAX: usize = roster::TEAMS / 2;
/// A viewer's number is written with six digits.
const VIEWERS_MAX: usize = 1_000_000;

/// The first goal of its matches falls in the first minutes.
const DEMO_SEED: u64 = 301;
/// How much of the match has been played when the demo begins, and is shown fast until it has caught up.
const DEMO_PLAYED: Micros = 45 * 60 * 1_000_000;

impl SimulationSettings {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let viewers = if profile == Profile::Smoke { 1_000 } else { 100_000 };
        SimulationSettings { seed, profile, matches: 1, viewers, start: START_DEFAULT }
    }

    /// Two matches with a small crowd that kicked off 45 minutes before `now`, for [`pump`] to catch up with.
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
        SimulationSettings { seed, profile: Profile::Standard, matches: 2, viewers: 20_000, start }
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
        if !(0..250_000_000_000_000_000).contains(&self.start) {
            return Err(Error::invalid("the simulation cannot start at that time").hint("start between 1970 and 9000"));
        }
        Ok(())
    }
}

/// One record as its producer sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimRecord {
    pub topic: &'static str,
    pub key: String,
    /// Milliseconds since the Unix epoch, as in the record itself.
    pub event_time_ms: i64,
    /// Milliseconds since the Unix epoch: when it arrives. Never falls from one record to the next.
    pub send_time_ms: i64,
    pub value: Vec<u8>,
}

pub const MATCH_EVENTS: &str = "match-events";
pub const ENGAGEMENTS: &str = "engagements";
pub const LIVE_MATCHES: &str = "live-matches";
pub const PLAYER_LIVE_STATS: &str = "player-live-stats";
pub const TEAM_LIVE_STATS: &str = "team-live-stats";
/// All topics that a simulation writes to.
pub const TOPICS: [&str; 5] = [MATCH_EVENTS, ENGAGEMENTS, LIVE_MATCHES, PLAYER_LIVE_STATS, TEAM_LIVE_STATS];

/// What has been made so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Truth {
    pub topics: BTreeMap<&'static str, TopicTruth>,
    /// Match events by type, each once however often it was sent; retractions under `retract`.
    pub match_events: BTreeMap<&'static str, u64>,
    /// Engagements by type, each once.
    pub engagements: BTreeMap<&'static str, u64>,
    pub goals: Vec<GoalTruth>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TopicTruth {
    /// All records, the next three among them.
    pub records: u64,
    pub duplicates: u64,
    /// Sent more than 5 seconds after their event time's true moment.
    pub delayed: u64,
    /// Unreadable records by reason; each is a spoilt copy of a good one.
    pub bad: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GoalTruth {
    pub match_id: String,
    pub event_id: String,
    /// The team whose score it raised.
    pub team_id: String,
    pub minute: i64,
    pub event_time_ms: i64,
    /// A review took it back.
    pub cancelled: bool,
}

/// How a topic's records travel.
struct Network {
    /// Milliseconds under way.
    latency: &'static [(f64, f64)],
    /// Shares that are late, and by how many milliseconds.
    delays: &'static [(f64, f64, f64)],
}

const DUPLICATES: f64 = 0.005;
const BAD: f64 = 0.0005;
/// Log-normal, median 120 ms.
const PUBLIC: Network = Network {
    latency: &[(0.0, 20.0), (0.05, 32.0), (0.25, 70.0), (0.5, 120.0), (0.75, 206.0), (0.95, 447.0), (1.0, 1800.0)],
    delays: &[(0.01, 10_000.0, 120_000.0), (0.001, 120_000.0, 900_000.0)],
};
const STADIUM: Network =
    Network { latency: &[(0.0, 40.0), (0.9, 400.0), (1.0, 1500.0)], delays: &[(0.002, 6_000.0, 20_000.0)] };

/// A record that is under way, ordered by its arrival and then by its making.
struct UnderWay(i64, u64, SimRecord);

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// An iterator over the records in the order of their arrival.
pub struct Simulation {
    start_ms: i64,
    fixtures: Vec<Fixture>,
    /// The next second to simulate.
    second_ms: i64,
    end_ms: i64,
    air: Air,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("second_ms", &self.second_ms)
            .field("end_ms", &self.end_ms)
            .finish_non_exhaustive()
    }
}

/// What is under way, and the count of it.
struct Air {
    draws: Draws,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    made: u64,
    truth: Truth,
}

impl Simulation {
    /// # Errors
    /// Where the number of matches or viewers is out of range.
    pub fn new(settings: &SimulationSettings) -> Result<Self> {
        settings.check()?;
        let start_ms = settings.start / 1000;
        let fixtures: Vec<Fixture> = (0..settings.matches).map(|number| Fixture::new(settings, number)).collect();
        let end_ms = fixtures.iter().map(Fixture::end_ms).max().unwrap_or(start_ms);
        let air = Air {
            draws: Draws::new(settings.seed, &[0x6e65_7477]),
            under_way: BinaryHeap::new(),
            made: 0,
            truth: Truth::default(),
        };
        Ok(Simulation { start_ms, fixtures, second_ms: start_ms, end_ms, air })
    }

    /// The first kick-off, milliseconds since the Unix epoch.
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Counts of all that has been made; of the whole simulation once the iterator has ended.
    pub fn truth(&self) -> &Truth {
        &self.air.truth
    }
}

impl Iterator for Simulation {
    type Item = SimRecord;

    fn next(&mut self) -> Option<SimRecord> {
        // Nothing that a later second makes can arrive before that second.
        while self.second_ms < self.end_ms
            && self.air.under_way.peek().is_none_or(|Reverse(first)| first.0 >= self.second_ms)
        {
            for fixture in &mut self.fixtures {
                fixture.second(self.second_ms, &mut self.air);
            }
            self.second_ms += 1000;
        }
        self.air.under_way.pop().map(|Reverse(first)| first.2)
    }
}

impl Air {
    /// Sends a record made at `true_ms` whose own time is `event_time_ms`; sometimes twice, sometimes with a spoilt copy.
    fn send(&mut self, topic: &'static str, key: &str, true_ms: i64, event_time_ms: i64, value: Vec<u8>) {
        let network = if topic == ENGAGEMENTS { &PUBLIC } else { &STADIUM };
        let mut send_time_ms = true_ms + self.draws.quantile(network.latency) as i64;
        for (share, from, to) in network.delays {
            if self.draws.chance(*share) {
                send_time_ms += self.draws.between(*from, *to) as i64;
            }
        }
        let counts = self.truth.topics.entry(topic).or_default();
        counts.records += 1;
        counts.delayed += u64::from(send_time_ms - true_ms > 5_000);
        let record = SimRecord { topic, key: key.to_owned(), event_time_ms, send_time_ms, value };
        if self.draws.chance(DUPLICATES) {
            counts.records += 1;
            counts.duplicates += 1;
            // Half of them at once, as a producer that retries a batch does.
            let later = if self.draws.chance(0.5) { 0 } else { self.draws.between(200.0, 30_000.0) as i64 };
            self.queue(SimRecord { send_time_ms: send_time_ms + later, ..record.clone() });
        }
        if self.draws.chance(BAD) {
            let fault = Fault::ALL[self.draws.below(Fault::ALL.len())];
            let counts = self.truth.topics.entry(topic).or_default();
            counts.records += 1;
            *counts.bad.entry(fault.reason()).or_default() += 1;
            self.queue(SimRecord { value: fault.spoil(&record.value), ..record.clone() });
        }
        self.queue(record);
    }

    fn queue(&mut self, record: SimRecord) {
        self.made += 1;
        self.under_way.push(Reverse(UnderWay(record.send_time_ms, self.made, record)));
    }
}
