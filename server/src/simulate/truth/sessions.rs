//! Who sat before the screen from when until when: by the session that records name, and by the gaps between acts.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

use super::super::audience::{LEAVE, REACTION, SUBTYPES};
use super::super::record::{time_text, who_text};
use super::super::viewer::DEVICES;
use super::{Class, CrowdAct};

/// Acts of a viewer that are no further apart belong to one session, milliseconds.
const GAP: i64 = 5 * 60_000;

#[derive(Debug)]
pub(super) struct Sessions {
    match_id: String,
    fixture: u16,
    /// By viewer and number of the session: what punctual and late records say in the end.
    named: HashMap<(u32, u8), Sitting>,
    /// Punctual acts that an earlier one may still come before.
    waiting: Vec<CrowdAct>,
    /// By viewer: the session by gaps that an act may still extend.
    open: HashMap<u32, Sitting>,
    closed: Vec<(u32, Sitting)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sitting {
    from: i64,
    to: i64,
    events: u32,
    reactions: u32,
    device: u8,
    left: bool,
}

impl Sitting {
    fn new(act: &CrowdAct) -> Self {
        Sitting { from: act.event_ms, to: act.event_ms, events: 0, reactions: 0, device: act.device, left: false }
    }

    fn add(&mut self, act: &CrowdAct) {
        (self.from, self.to) = (self.from.min(act.event_ms), self.to.max(act.event_ms));
        self.events += 1;
        self.reactions += u32::from(SUBTYPES[usize::from(act.subtype)].0 == REACTION);
        self.left |= act.subtype == LEAVE;
    }
}

impl Sessions {
    pub(super) fn new(match_id: &str, fixture: u16) -> Self {
        Sessions {
            match_id: match_id.to_owned(),
            fixture,
            named: HashMap::new(),
            waiting: Vec::new(),
            open: HashMap::new(),
            closed: Vec::new(),
        }
    }

    pub(super) fn act(&mut self, act: &CrowdAct, class: Class) {
        if class == Class::Ahead {
            return;
        }
        self.named.entry((act.viewer, act.session)).or_insert_with(|| Sitting::new(act)).add(act);
        if class == Class::Punctual {
            self.waiting.push(*act);
        }
    }

    /// No punctual act that is still to come has an event time before `event_ms`.
    pub(super) fn passed(&mut self, event_ms: i64) {
        self.waiting.sort_by_key(|act| act.event_ms);
        let known = self.waiting.partition_point(|act| act.event_ms < event_ms);
        for act in self.waiting.drain(..known) {
            let sitting = self.open.entry(act.viewer).or_insert_with(|| Sitting::new(&act));
            if act.event_ms - sitting.to > GAP {
                self.closed.push((act.viewer, std::mem::replace(sitting, Sitting::new(&act))));
            }
            sitting.add(&act);
        }
    }

    /// A row for each session that records name.
    pub(super) fn write_named(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut sessions: Vec<_> = self.named.iter().collect();
        sessions.sort_unstable();
        for ((viewer, session), sitting) in sessions {
            let who = self.who(*viewer);
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
        let open = self.open.iter().map(|(viewer, sitting)| (*viewer, *sitting));
        let mut sessions: Vec<_> = self.closed.iter().copied().chain(open).collect();
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
