//! What the queries over engagements must answer: counts, moods and distinct viewers of every window of one match.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::audience::{KINDS, REACTION, REACTIONS, SUBTYPES};
use super::super::record::time_text;
use super::super::viewer::DEVICES;
use super::Class;

/// One act as its record tells it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct CrowdAct {
    pub(in super::super) viewer: u32,
    pub(in super::super) session: u8,
    pub(in super::super) subtype: u8,
    pub(in super::super) device: u8,
    pub(in super::super) about: bool,
    pub(in super::super) event_ms: i64,
}

/// The mood of each reaction: the first of the subtypes, in their order.
const MOODS: [f64; REACTIONS] = [0.738, -0.188, 0.616, 0.139, 0.520, -0.093, -0.173, 0.746, 0.221, 0.190];

const TEN_SECONDS: i64 = 10_000;
const HALF_MINUTE: i64 = 30_000;
const MINUTE: i64 = 60_000;

#[derive(Debug)]
pub(super) struct Crowd {
    match_id: String,
    /// Words of a bitmap of the viewers.
    words: usize,
    tens: Open<Ten>,
    halves: Open<[u64; REACTIONS]>,
    minutes: Open<Minute>,
    /// A bit a viewer who has done anything.
    seen: Vec<u64>,
    pub(super) punctual: Counts,
    pub(super) late: Counts,
}

/// Records, and the reactions among them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) all: u64,
    pub(super) reactions: u64,
}

#[derive(Debug, Default)]
struct Ten {
    events: u64,
    reactions: u64,
    about: u64,
}

#[derive(Debug)]
struct Minute {
    events: [u64; KINDS.len()],
    users: [u64; KINDS.len()],
    device_events: [u64; DEVICES.len()],
    device_users: [u64; DEVICES.len()],
    /// By type, and of any type: a bit a viewer.
    seen: Vec<Vec<u64>>,
}

/// The windows that records may still come for, few at any time.
#[derive(Debug)]
struct Open<T> {
    length: i64,
    windows: Vec<(i64, T)>,
}

impl<T> Open<T> {
    fn new(length: i64) -> Self {
        Open { length, windows: Vec::new() }
    }

    fn of(&mut self, event_ms: i64, new: impl FnOnce() -> T) -> &mut T {
        let start = event_ms - event_ms.rem_euclid(self.length);
        let at = self.windows.iter().rposition(|(known, _)| *known == start).unwrap_or_else(|| {
            self.windows.push((start, new()));
            self.windows.len() - 1
        });
        &mut self.windows[at].1
    }

    fn close(&mut self, until: i64, mut each: impl FnMut(i64, T)) {
        let length = self.length;
        for (start, window) in self.windows.extract_if(.., |(start, _)| *start + length <= until) {
            each(start, window);
        }
    }
}

impl Crowd {
    pub(super) fn new(match_id: &str, viewers: usize) -> Self {
        let words = viewers.div_ceil(64);
        Crowd {
            match_id: match_id.to_owned(),
            words,
            tens: Open::new(TEN_SECONDS),
            halves: Open::new(HALF_MINUTE),
            minutes: Open::new(MINUTE),
            seen: vec![0; words],
            punctual: Counts::default(),
            late: Counts::default(),
        }
    }

    /// How many viewers have done anything.
    pub(super) fn viewers(&self) -> u64 {
        self.seen.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn act(&mut self, act: &CrowdAct, class: Class) {
        mark(&mut self.seen, act.viewer);
        let kind = SUBTYPES[usize::from(act.subtype)].0;
        let reaction = u64::from(kind == REACTION);
        let counts = match class {
            Class::Punctual => &mut self.punctual,
            Class::Late => &mut self.late,
            Class::Ahead => return,
        };
        counts.all += 1;
        counts.reactions += reaction;
        if class != Class::Punctual {
            return;
        }
        let ten = self.tens.of(act.event_ms, Ten::default);
        ten.events += 1;
        ten.reactions += reaction;
        ten.about += u64::from(act.about);
        if kind == REACTION {
            self.halves.of(act.event_ms, Default::default)[usize::from(act.subtype)] += 1;
        }
        let words = self.words;
        let minute = self.minutes.of(act.event_ms, || Minute {
            events: [0; KINDS.len()],
            users: [0; KINDS.len()],
            device_events: [0; DEVICES.len()],
            device_users: [0; DEVICES.len()],
            seen: vec![vec![0; words]; KINDS.len() + 1],
        });
        let (kind, device) = (usize::from(kind), usize::from(act.device));
        minute.events[kind] += 1;
        minute.device_events[device] += 1;
        minute.users[kind] += u64::from(mark(&mut minute.seen[kind], act.viewer));
        // A viewer has one device.
        minute.device_users[device] += u64::from(mark(&mut minute.seen[KINDS.len()], act.viewer));
    }

    /// Closes the windows that end at or before `event_ms`.
    pub(super) fn passed(&mut self, event_ms: i64, rows: &mut BTreeMap<&'static str, Vec<String>>) {
        let id = &self.match_id;
        let begin = |start: i64, length: i64| {
            let (start, end) = (time_text(start), time_text(start + length));
            format!("{{\"window_start\":\"{start}\",\"window_end\":\"{end}\",\"match_id\":\"{id}\"")
        };
        self.tens.close(event_ms, |start, ten| {
            let mut row = begin(start, TEN_SECONDS);
            let Ten { events, reactions, about } = ten;
            let _ = write!(row, ",\"events\":{events},\"reactions\":{reactions},\"about_an_event\":{about}}}");
            rows.entry("crowd_10s").or_default().push(row);
        });
        self.halves.close(event_ms, |start, counts| {
            let mut row = begin(start, HALF_MINUTE);
            let reactions: u64 = counts.iter().sum();
            let mood: f64 = counts.iter().zip(MOODS).map(|(n, mood)| *n as f64 * mood).sum();
            let negative: u64 = counts.iter().zip(MOODS).filter(|(_, mood)| *mood < 0.0).map(|(n, _)| n).sum();
            let (mood, negative) = (mood / reactions as f64, negative as f64 / reactions as f64);
            let _ = write!(row, ",\"reactions\":{reactions},\"sentiment\":{mood:?},\"negative_share\":{negative:?}}}");
            rows.entry("sentiment_30s").or_default().push(row);
        });
        self.minutes.close(event_ms, |start, minute| {
            for (kind, (events, users)) in minute.events.iter().zip(minute.users).enumerate().filter(|(_, n)| *n.0 > 0)
            {
                let mut row = begin(start, MINUTE);
                let (kind, each) = (KINDS[kind], *events as f64 / users as f64);
                let _ = write!(
                    row,
                    ",\"engagement_type\":\"{kind}\",\"events\":{events},\"users\":{users},\"per_user\":{each:?}}}"
                );
                rows.entry("engagement_per_minute").or_default().push(row);
            }
            let devices = minute.device_events.iter().zip(minute.device_users).enumerate();
            for (device, (events, users)) in devices.filter(|(_, n)| *n.0 > 0) {
                let mut row = begin(start, MINUTE);
                let (device, platform) = DEVICES[device];
                let _ = write!(
                    row,
                    ",\"device_type\":\"{device}\",\"platform\":\"{platform}\",\"events\":{events},\"users\":{users}}}"
                );
                rows.entry("device_minutes").or_default().push(row);
            }
        });
    }
}

/// Sets the viewer's bit; whether it was not set before.
pub(super) fn mark(bits: &mut [u64], viewer: u32) -> bool {
    let (word, bit) = (&mut bits[viewer as usize / 64], 1u64 << (viewer % 64));
    let new = *word & bit == 0;
    *word |= bit;
    new
}
