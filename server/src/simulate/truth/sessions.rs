//! Who sat before the screen from when until when: by the session that records name, and by the gaps between acts.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use super::super::audience::{LEAVE, REACTION, SUBTYPES};
use super::super::record::{time_text, who_text};
use super::super::viewer::DEVICES;
use super::{Class, CrowdAct};

/// Acts of a viewer that are no further apart belong to one session, milliseconds.
const GAP: i64 = 5 * 60_000;
/// The number of a viewer's first session.
const FIRST: u8 = 1;

#[derive(Debug)]
pub(super) struct Sessions {
    match_id: String,
    fixture: u16,
    /// What punctual and late records say in the end: by viewer the session that records call the first, and the others, which
    /// few have, by viewer and number. Without events: there was none.
    first: Vec<Sitting>,
    further: BTreeMap<(u32, u8), Sitting>,
    /// Punctual acts that an earlier one may still come before.
    waiting: Vec<CrowdAct>,
    /// By viewer: the session by gaps that an act may still extend. Without events: there is none.
    open: Vec<Sitting>,
    closed: Vec<(u32, Sitting)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sitting {
    from: i64,
    to: i64,
    events: u32,
    reactions: u32,
    device: u8,
    left: bool,
}

impl Sitting {
    fn add(&mut self, act: &CrowdAct) {
        if self.events == 0 {
            (self.from, self.to, self.device) = (act.event_ms, act.event_ms, act.device);
        }
        (self.from, self.to) = (self.from.min(act.event_ms), self.to.max(act.event_ms));
        self.events += 1;
        self.reactions += u32::from(SUBTYPES[usize::from(act.subtype)].0 == REACTION);
        self.left |= act.subtype == LEAVE;
    }
}

impl Sessions {
    pub(super) fn new(match_id: &str, fixture: u16, viewers: usize) -> Self {
        Sessions {
            match_id: match_id.to_owned(),
            fixture,
            first: vec![Sitting::default(); viewers],
            further: BTreeMap::new(),
            waiting: Vec::new(),
            open: vec![Sitting::default(); viewers],
            closed: Vec::new(),
        }
    }

    pub(super) fn act(&mut self, act: &CrowdAct, class: Class) {
        if class == Class::Ahead {
            return;
        }
        match act.session {
            FIRST => self.first[act.viewer as usize].add(act),
            further => self.further.entry((act.viewer, further)).or_default().add(act),
        }
        if class == Class::Punctual {
            self.waiting.push(*act);
        }
    }

    /// No punctual act that is still to come has an event time before `event_ms`.
    pub(super) fn passed(&mut self, event_ms: i64) {
        self.waiting.sort_by_key(|act| act.event_ms);
        let known = self.waiting.partition_point(|act| act.event_ms < event_ms);
        for act in self.waiting.drain(..known) {
            let sitting = &mut self.open[act.viewer as usize];
            if sitting.events > 0 && act.event_ms - sitting.to > GAP {
                self.closed.push((act.viewer, std::mem::take(sitting)));
            }
            sitting.add(&act);
        }
    }

    /// A row for each session that records name.
    pub(super) fn write_named(&self, out: &mut dyn Write) -> io::Result<()> {
        let first = seen(&self.first).map(|(viewer, sitting)| ((viewer, FIRST), sitting));
        let mut sessions: Vec<_> = first.chain(self.further.iter().map(|(key, sitting)| (*key, *sitting))).collect();
        sessions.sort_unstable();
        for ((viewer, session), sitting) in sessions {
            let who = self.who(viewer);
            let (began, ended) = (time_text(sitting.from), time_text(sitting.to));
            let Self { match_id, .. } = self;
            writeln!(
                out,
                "{{\"match_id\":\"{match_id}\",\"user_id\":\"u{who}\",\"session_id\":\"s{who}-{session}\",\
                 \"began\":\"{began}\",\"ended\":\"{ended}\",{sitting}}}"
            )?;
        }
        Ok(())
    }

    /// A row for each session by gaps, once all acts have passed; it lasts for a gap behind its last act.
    pub(super) fn write_by_gap(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut sessions: Vec<_> = self.closed.iter().copied().chain(seen(&self.open)).collect();
        sessions.sort_unstable();
        for (viewer, sitting) in sessions {
            let who = self.who(viewer);
            let (start, end) = (time_text(sitting.from), time_text(sitting.to + GAP));
            let Self { match_id, .. } = self;
            writeln!(
                out,
                "{{\"match_id\":\"{match_id}\",\"user_id\":\"u{who}\",\"window_start\":\"{start}\",\
                 \"window_end\":\"{end}\",{sitting}}}"
            )?;
        }
        Ok(())
    }

    fn who(&self, viewer: u32) -> String {
        who_text(self.fixture, viewer).map(char::from).iter().collect()
    }
}

/// Those of whom there was anything.
fn seen(of_viewers: &[Sitting]) -> impl Iterator<Item = (u32, Sitting)> + '_ {
    (0..).zip(of_viewers).filter(|(_, sitting)| sitting.events > 0).map(|(viewer, sitting)| (viewer, *sitting))
}

impl fmt::Display for Sitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sitting { events, reactions, left, device, .. } = self;
        let device = DEVICES[usize::from(*device)].0;
        write!(
            f,
            "\"events\":{events},\"reactions\":{reactions},\"device_type\":\"{device}\",\"left_explicitly\":{left}"
        )
    }
}
