//! Between the one who sends and the log: delay, disorder, copies and dirt, and the order of arrival.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::audience::Act;
use super::draw::{Draws, mix, uuid_of};
use super::fault::Fault;
use super::play::Action;
use super::record::{Engagement, EngagementForm, Spelling, who_text};
use super::truth::Truth;
use super::viewer::Viewer;
use super::{SimulationSettings, Spellings, Topic};

/// How a record's arrival relates to its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Class {
    /// Never late where five seconds of disorder are allowed
    Punctual,
    /// Arrives more than 3.5 s after its event time
    Late,
    /// Has an event time more than 1 s in the future
    Ahead,
}

/// Of two punctual records the one that comes second is at most the sum of both older: 4.5 s.
const LAG_MS_MAX: i64 = 3_500;
const LEAD_MS_MAX: i64 = 1_000;

impl Class {
    fn of(send_ms: i64, event_ms: i64) -> Self {
        match send_ms - event_ms {
            lag if lag > LAG_MS_MAX => Class::Late,
            lag if lag < -LEAD_MS_MAX => Class::Ahead,
            _ => Class::Punctual,
        }
    }
}

const DUPLICATES: f64 = 0.005;
/// Half of the copies come at once, as from a producer that retries a batch, the others so many milliseconds later.
const AGAIN_MS: (f64, f64) = (200.0, 30_000.0);
/// Milliseconds under way: log-normal, median 120 ms.
const PUBLIC_MS: [(f64, f64); 7] =
    [(0.0, 20.0), (0.05, 32.0), (0.25, 70.0), (0.5, 120.0), (0.75, 206.0), (0.95, 447.0), (1.0, 1800.0)];
const STADIUM_MS: [(f64, f64); 3] = [(0.0, 40.0), (0.9, 400.0), (1.0, 1500.0)];
/// Share of the stadium's records that are late, and by how many milliseconds.
const STADIUM_LATE: (f64, f64, f64) = (0.002, 6_000.0, 20_000.0);
/// A phone sends what it has once in so many milliseconds.
const PHONE_EVERY_MS: i64 = 1_000;
/// Devices without a connection: for how long, which share, and how long after that they send all at once; milliseconds.
/// Seen from the acts, 0.1 % are late by 2 to 15 minutes and 1 % by 10 to 120 seconds.
const OFFLINE: [Offline; 2] = [
    Offline { length_ms: 720_000, share: 0.001, after: (120_000.0, 180_000.0) },
    Offline { length_ms: 60_000, share: 0.01, after: (10_000.0, 60_000.0) },
];

struct Offline {
    length_ms: i64,
    share: f64,
    after: (f64, f64),
}

/// A record of the stadium, ready to be sent.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) topic: Topic,
    pub(super) fixture: u16,
    pub(super) event_ms: i64,
    pub(super) value: Vec<u8>,
    /// Where it tells of an action.
    pub(super) action: Option<Action>,
}

/// An act on its way; it becomes bytes when it arrives.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    fixture: u16,
    viewer: u32,
    session: u8,
    subtype: u8,
    about: u16,
    minute: u8,
    persona: u8,
    device: u8,
    country: u8,
    content: u8,
    spelling: Spelling,
}

#[derive(Debug, Clone)]
enum What {
    Act(Sent),
    Told(Arc<Told>),
}

/// A record under way.
#[derive(Debug, Clone)]
struct Item {
    send_ms: i64,
    /// Ties go to what was made first.
    made: u64,
    event_ms: i64,
    copy: bool,
    fault: Option<Fault>,
    what: What,
}

/// One arrived record: where its bytes are in a [`Batch`], and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimRecord {
    pub topic: Topic,
    pub class: Class,
    /// Milliseconds since the Unix epoch, as in the record itself.
    pub event_time_ms: i64,
    /// Milliseconds since the Unix epoch: when it arrives. Never falls from one record to the next.
    pub send_time_ms: i64,
    fixture: u16,
    /// `None`: the match is the key.
    viewer: Option<u32>,
    bytes: (u32, u32),
}

/// The records that arrive within one second, in order.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<SimRecord>,
    bytes: Vec<u8>,
    match_ids: Arc<[String]>,
}

impl Batch {
    pub fn records(&self) -> &[SimRecord] {
        &self.records
    }

    /// The record as it is sent: a JSON object, or what dirt has made of it. It never holds a line break.
    pub fn value(&self, record: &SimRecord) -> &[u8] {
        &self.bytes[record.bytes.0 as usize..record.bytes.1 as usize]
    }

    /// The viewer of an engagement, the match of all else; also of a record in which they cannot be read.
    pub fn key(&self, record: &SimRecord) -> Key {
        let mut key = Key { bytes: [0; KEY_BYTES_MAX], length: 0 };
        match record.viewer {
            Some(viewer) => {
                key.push(b"u");
                key.push(&who_text(record.fixture, viewer));
            }
            None => key.push(self.match_ids[usize::from(record.fixture)].as_bytes()),
        }
        key
    }
}

/// A record's key, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    bytes: [u8; KEY_BYTES_MAX],
    length: usize,
}

/// `m`, 20 digits of the seed, a hyphen and two digits of the match.
const KEY_BYTES_MAX: usize = 24;

impl Key {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What is under way.
pub(super) struct Network {
    draws: Draws,
    /// Of ids and of who is without a connection.
    key: u64,
    dirt: f64,
    spellings: Spellings,
    match_ids: Arc<[String]>,
    /// Of each fixture: the ids of the events that acts may name.
    about: Vec<Vec<u128>>,
    /// What arrives in each second from `second_ms` on.
    slots: VecDeque<Vec<Item>>,
    second_ms: i64,
    made: u64,
    /// Dirty records by topic so far.
    spoilt: [u64; Topic::ALL.len()],
    forms: [EngagementForm; 3],
    clean: Vec<u8>,
    pub(super) truth: Truth,
}

impl Network {
    /// `second_ms`: when the first record can be sent.
    pub(super) fn new(settings: &SimulationSettings, second_ms: i64, about: Vec<Vec<u128>>, truth: Truth) -> Self {
        let mut draws = Draws::new(settings.seed, &[0x6e65_7477]);
        let key = draws.next();
        Network {
            draws,
            key,
            dirt: settings.dirt,
            spellings: settings.spelling,
            match_ids: (0..settings.matches).map(|number| settings.match_id(number)).collect(),
            about,
            slots: VecDeque::new(),
            second_ms,
            made: 0,
            spoilt: [0; Topic::ALL.len()],
            forms: Spelling::ALL.map(EngagementForm::new),
            clean: Vec::new(),
            truth,
        }
    }

    /// The spelling of the next record. It is drawn apart from all else, so that nothing else depends on it.
    pub(super) fn spelling(&self) -> Spelling {
        match self.spellings {
            Spellings::Snake => Spelling::Snake,
            Spellings::Camel => Spelling::Camel,
            Spellings::Upper => Spelling::Upper,
            Spellings::Mixed => Spelling::ALL[(mix(self.key ^ !self.made) % 3) as usize],
        }
    }

    /// Sends a record that the stadium makes at its event time.
    pub(super) fn tell(&mut self, told: Told) {
        let mut send_ms = told.event_ms + self.draws.quantile(&STADIUM_MS) as i64;
        let (share, from, to) = STADIUM_LATE;
        if self.draws.chance(share) {
            send_ms += self.draws.between(from, to) as i64;
        }
        let (topic, event_ms) = (told.topic, told.event_ms);
        self.send(topic, send_ms, event_ms, What::Told(Arc::new(told)));
    }

    /// Sends an act of a viewer. `kick_off_ms`: since the Unix epoch; `minute`: of the match clock.
    pub(super) fn act(&mut self, act: &Act, viewer: &Viewer, fixture: u16, kick_off_ms: i64, minute: u8) {
        let true_ms = kick_off_ms + i64::from(act.at_ms);
        let event_ms = (true_ms + i64::from(viewer.skew_ms)).max(0);
        let who = u64::from(fixture) << 32 | u64::from(act.viewer);
        let mut send_ms = true_ms + self.draws.quantile(&PUBLIC_MS) as i64;
        if viewer.device < 2 {
            let phase = (mix(who) % PHONE_EVERY_MS as u64) as i64;
            send_ms += (phase - send_ms).rem_euclid(PHONE_EVERY_MS);
        }
        if let Some(until_ms) = self.offline_until(who, true_ms) {
            send_ms = until_ms;
        } else if send_ms - event_ms > LAG_MS_MAX && true_ms - event_ms < LAG_MS_MAX {
            send_ms = event_ms + LAG_MS_MAX;
        }
        let sent = Sent {
            number: self.made,
            fixture,
            viewer: act.viewer,
            session: viewer.session(act.at_ms),
            subtype: act.subtype,
            about: act.about,
            minute,
            persona: viewer.persona,
            device: viewer.device,
            country: viewer.country,
            content: act.content,
            spelling: self.spelling(),
        };
        self.send(Topic::Engagements, send_ms, event_ms, What::Act(sent));
    }

    /// When a device that has no connection at `ms` has one again and sends what it has kept.
    fn offline_until(&self, who: u64, ms: i64) -> Option<i64> {
        OFFLINE.iter().enumerate().find_map(|(salt, offline)| {
            let key = mix(who << 1 | salt as u64) ^ self.key;
            // Not everybody's connection is lost at the same instant.
            let shift = (key % offline.length_ms as u64) as i64;
            let span = (ms + shift).div_euclid(offline.length_ms);
            let mut draws = Draws::new(key, &[span as u64]);
            draws.chance(offline.share).then(|| {
                (span + 1) * offline.length_ms - shift + draws.between(offline.after.0, offline.after.1) as i64
            })
        })
    }

    /// Sometimes sends a copy as well, sometimes a spoilt one.
    fn send(&mut self, topic: Topic, send_ms: i64, event_ms: i64, what: What) {
        let item = Item { send_ms, made: 0, event_ms, copy: false, fault: None, what };
        if self.draws.chance(DUPLICATES) {
            let later = if self.draws.chance(0.5) { 0 } else { self.draws.between(AGAIN_MS.0, AGAIN_MS.1) as i64 };
            self.queue(Item { send_ms: send_ms + later, copy: true, ..item.clone() });
        }
        if self.draws.chance(self.dirt) && Class::of(send_ms, event_ms) == Class::Punctual {
            let turn = &mut self.spoilt[topic as usize];
            let fault = Fault::of(topic, *turn);
            *turn += 1;
            self.queue(Item { fault: Some(fault), ..item.clone() });
        }
        self.queue(item);
    }

    fn queue(&mut self, item: Item) {
        self.made += 1;
        let slot = usize::try_from((item.send_ms - self.second_ms).div_euclid(1000)).unwrap_or(0);
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Vec::new);
        }
        self.slots[slot].push(Item { made: self.made, ..item });
    }

    /// Whether nothing is under way any more.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Writes what arrives in the next second, of which all must have been sent, as far as it lies in `span_ms`. Replaces
    /// what is in `batch`.
    pub(super) fn arrive(&mut self, batch: &mut Batch, span_ms: &Range<i64>) {
        batch.records.clear();
        batch.bytes.clear();
        batch.match_ids = Arc::clone(&self.match_ids);
        self.second_ms += 1000;
        let Some(mut items) = self.slots.pop_front() else { return };
        items.retain(|item| span_ms.contains(&item.send_ms));
        items.sort_unstable_by_key(|item| (item.send_ms, item.made));
        for item in &items {
            let from = batch.bytes.len();
            let (topic, fixture, viewer) = match &item.what {
                What::Act(sent) => (Topic::Engagements, sent.fixture, Some(sent.viewer)),
                What::Told(told) => (told.topic, told.fixture, None),
            };
            let class = Class::of(item.send_ms, item.event_ms);
            if let Some(fault) = item.fault {
                let mut clean = std::mem::take(&mut self.clean);
                clean.clear();
                self.write(item, &mut clean);
                let verdict = fault.spoil(topic, &clean, &mut batch.bytes);
                self.clean = clean;
                self.truth.dirty(topic, verdict);
            } else {
                self.write(item, &mut batch.bytes);
                self.note(item, topic, class);
            }
            let bytes = (from as u32, batch.bytes.len() as u32);
            let (event_time_ms, send_time_ms) = (item.event_ms, item.send_ms);
            batch.records.push(SimRecord { topic, class, event_time_ms, send_time_ms, fixture, viewer, bytes });
        }
        self.truth.passed(self.second_ms - LAG_MS_MAX);
    }

    fn write(&mut self, item: &Item, out: &mut Vec<u8>) {
        match &item.what {
            What::Told(told) => out.extend_from_slice(&told.value),
            What::Act(sent) => {
                let about = sent.about.checked_sub(1).map(|at| self.about[usize::from(sent.fixture)][usize::from(at)]);
                let engagement = Engagement {
                    event_id: uuid_of(mix(self.key ^ sent.number), mix(self.key.rotate_left(32) ^ sent.number)),
                    match_id: &self.match_ids[usize::from(sent.fixture)],
                    fixture: sent.fixture,
                    viewer: sent.viewer,
                    session: sent.session,
                    subtype: sent.subtype,
                    about,
                    minute: sent.minute,
                    persona: sent.persona,
                    device: sent.device,
                    country: sent.country,
                    content: sent.content,
                    event_ms: item.event_ms,
                };
                self.forms[sent.spelling as usize].write(out, &engagement);
            }
        }
    }

    fn note(&mut self, item: &Item, topic: Topic, class: Class) {
        self.truth.record(topic, class, item.copy, item.send_ms - item.event_ms);
        match &item.what {
            What::Told(told) => {
                if let Some(action) = &told.action {
                    self.truth.action(told.fixture, action, item.event_ms, class, item.copy);
                }
            }
            What::Act(sent) => {
                let fixture = usize::from(sent.fixture);
                let act = super::truth::CrowdAct {
                    viewer: sent.viewer,
                    session: sent.session,
                    subtype: sent.subtype,
                    device: sent.device,
                    about: sent.about > 0,
                    event_ms: item.event_ms,
                };
                self.truth.act(fixture, &act, class, item.copy);
            }
        }
    }
}
