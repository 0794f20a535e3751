//! The people in front of their screens: who they are, when they come and go, and how far their clocks and pictures are off.

use super::draw::{Draws, Table};

/// Share of viewers, acts a minute, and how much more one of them answers to an event.
pub(super) const PERSONAS: [Persona; 5] = [
    Persona { name: "casual", share: 0.55, rate: 0.3, stir: 2.0, span_minutes: 60.0 },
    Persona { name: "fan", share: 0.25, rate: 2.0, stir: 5.0, span_minutes: 95.0 },
    Persona { name: "social", share: 0.10, rate: 1.5, stir: 4.0, span_minutes: 75.0 },
    Persona { name: "analyst", share: 0.07, rate: 1.2, stir: 2.0, span_minutes: 90.0 },
    Persona { name: "ultra", share: 0.03, rate: 1.8, stir: 6.0, span_minutes: 95.0 },
];

pub(super) struct Persona {
    pub(super) name: &'static str,
    pub(super) share: f64,
    pub(super) rate: f64,
    pub(super) stir: f64,
    /// How long the interest lasts.
    span_minutes: f64,
}

/// (device, platform); the first two are phones, which send once a second.
pub(super) const DEVICES: [(&str, &str); 6] = [
    ("mobile", "ios"),
    ("mobile", "android"),
    ("desktop", "web"),
    ("tablet", "ios"),
    ("tablet", "android"),
    ("tv", "web"),
];
/// Shares of the devices, and how many milliseconds their picture lags behind the pitch.
static DEVICE: Table<(u8, f64), 6> = Table::new([
    ((0, 22_000.0), 0.55 * 0.45),
    ((1, 22_000.0), 0.55 * 0.55),
    ((2, 18_000.0), 0.25),
    ((3, 20_000.0), 0.10 * 0.55),
    ((4, 20_000.0), 0.10 * 0.45),
    ((5, 6_000.0), 0.10),
]);

pub(super) const COUNTRIES: [&str; 8] = ["GB", "DE", "ES", "FR", "IT", "BR", "NG", "IN"];
static COUNTRY: Table<u8, 8> =
    Table::new([(0, 0.3), (1, 0.15), (2, 0.15), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.05), (7, 0.05)]);
/// 2 supports nobody.
static SIDE: Table<u8, 3> = Table::new([(0, 0.5), (1, 0.4), (2, 0.1)]);

/// A clock that is off by no more than this is as good as right, milliseconds before and after.
const SKEW_MS: (f64, f64) = (-1_700.0, 1_000.0);
/// Someone who is away for longer begins a new session.
const SAME_SESSION_MS: i32 = 5 * MINUTE;
const MINUTE: i32 = 60_000;

/// When the match begins and ends, for those who watch it; milliseconds after the kick-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hours {
    /// Nobody can be seen to come before this.
    pub(super) from: i32,
    pub(super) half_time: i32,
    pub(super) second_half: i32,
    pub(super) until: i32,
}

/// What is fixed about a viewer. Times count in milliseconds from the kick-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Viewer {
    pub(super) persona: u8,
    /// Of [`DEVICES`].
    pub(super) device: u8,
    /// Of [`COUNTRIES`].
    pub(super) country: u8,
    /// 0 home, 1 away, 2 neither.
    pub(super) side: u8,
    /// How far the picture lags behind the pitch.
    pub(super) delay_ms: u16,
    /// How far the device's clock is off.
    pub(super) skew_ms: i32,
    joins: i32,
    leaves: i32,
    /// Half-time: from when until when nobody is there; equal for those who stay.
    away: (i32, i32),
    /// Connections lost, `NEVER` for none; whether the session is a new one afterwards.
    reconnects: [i32; 2],
    fresh: [bool; 2],
    /// Goes without a word.
    vanishes: bool,
}

const NEVER: i32 = i32::MAX;

impl Viewer {
    /// `place`: 0 to 1, the viewer's place among all; each persona has a range of them.
    pub(super) fn new(draws: &mut Draws, place: f64, hours: Hours) -> Self {
        let mut end = 0.0;
        let persona = PERSONAS.iter().position(|persona| {
            end += persona.share;
            place < end
        });
        let persona = persona.unwrap_or(PERSONAS.len() - 1);
        let (device, delay) = draws.pick(&DEVICE);
        let minutes = |minutes: f64| (minutes * f64::from(MINUTE)) as i32;
        let joins = match draws.unit() {
            // More and more of them as the kick-off comes near.
            u if u < 0.6 => minutes(-15.0 * (1.0 - draws.unit().max(draws.unit()))),
            u if u < 0.9 => 1 + minutes(draws.between(0.0, 20.0)),
            _ => minutes(draws.between(20.0, 95.0)),
        };
        let mut leaves = joins.saturating_add(minutes(stay(draws.gap(1.0), PERSONAS[persona].span_minutes)));
        let mut away = (NEVER, NEVER);
        let at_half_time = joins < hours.half_time && leaves > hours.half_time;
        if draws.chance(0.35) && at_half_time {
            let out = hours.half_time + minutes(draws.between(0.0, 3.0));
            if draws.chance(0.8) {
                away = (out, hours.second_half + minutes(draws.between(-2.0, 4.0)));
                leaves = leaves.max(away.1 + MINUTE);
            } else {
                leaves = leaves.min(out);
            }
        }
        let halves = [(0, hours.half_time), (hours.second_half, hours.until)];
        let mut reconnects = [NEVER; 2];
        for (reconnect, (from, to)) in reconnects.iter_mut().zip(halves) {
            let at = draws.between(from.into(), to.max(from).into()) as i32;
            if draws.chance(0.02) {
                *reconnect = at;
            }
        }
        let skew_ms = match draws.unit() {
            u if u < 0.0001 => 3_600_000,
            u if u < 0.0011 => 30_000,
            u if u < 0.0021 => -30_000,
            _ => (draws.normal() * 500.0).clamp(SKEW_MS.0, SKEW_MS.1) as i32,
        };
        Viewer {
            persona: persona as u8,
            device,
            country: draws.pick(&COUNTRY),
            side: draws.pick(&SIDE),
            delay_ms: (delay * draws.between(0.6, 1.4)) as u16,
            skew_ms,
            joins,
            leaves,
            away,
            reconnects,
            fresh: [draws.chance(0.5), draws.chance(0.5)],
            vanishes: draws.chance(0.3),
        }
    }

    /// Whether the viewer watches at this time.
    pub(super) fn is_there(&self, at: i32) -> bool {
        (self.joins..self.leaves).contains(&at) && !(self.away.0..self.away.1).contains(&at)
    }

    pub(super) fn joins(&self) -> i32 {
        self.joins
    }

    /// Whether the viewer's app, which is open, says so at this time; joining says it already.
    pub(super) fn is_heard_of(&self, at: i32) -> bool {
        at > self.joins && self.is_there(at)
    }

    /// The number of the viewer's session at this time, from 1.
    pub(super) fn session(&self, at: i32) -> u8 {
        let returned = at >= self.away.1 && self.away.1 - self.away.0 > SAME_SESSION_MS;
        let again = |half: usize| self.fresh[half] && at >= self.reconnects[half];
        1 + u8::from(returned) + u8::from(again(0)) + u8::from(again(1))
    }

    /// What is told of coming and going within the hours, as (time, subtype).
    pub(super) fn sessions(&self, hours: Hours) -> impl Iterator<Item = (i32, &'static str)> {
        let reconnect = |at: i32| (at != NEVER && self.is_there(at)).then_some((at, "reconnect"));
        let told = [
            Some((self.joins, "join")),
            (!self.vanishes).then_some((self.leaves, "leave")),
            (!self.vanishes && self.away.0 < self.leaves).then_some((self.away.0, "leave")),
            (self.away.1 < self.leaves).then_some((self.away.1, "join")),
            reconnect(self.reconnects[0]),
            reconnect(self.reconnects[1]),
        ];
        told.into_iter().flatten().filter(move |(at, _)| (hours.from..hours.until).contains(at))
    }
}

/// Minutes until someone leaves: the hazard is 0.001 a minute for half of the span, 0.01 for the other half, then 0.05.
///
/// `patience`: a draw of the exponential distribution with mean 1.
fn stay(patience: f64, span: f64) -> f64 {
    let (half, early, later) = (span / 2.0, 0.001 * span / 2.0, 0.01 * span / 2.0);
    if patience < early {
        patience / 0.001
    } else if patience < early + later {
        half + (patience - early) / 0.01
    } else {
        span + (patience - early - later) / 0.05
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Hours =
        Hours { from: -15 * MINUTE, half_time: 46 * MINUTE, second_half: 61 * MINUTE, until: 110 * MINUTE };

    fn crowd() -> Vec<Viewer> {
        (0..20_000).map(|n| Viewer::new(&mut Draws::new(9, &[n]), (n as f64 + 0.5) / 20_000.0, HOURS)).collect()
    }

    // Most people are there at the kick-off, fewer in the break, fewer still at the end; nobody acts before joining.
    #[test]
    fn people_come_and_go() {
        let crowd = crowd();
        let there = |minute: i32| crowd.iter().filter(|viewer| viewer.is_there(minute * MINUTE)).count() as f64 / 2e4;
        for (minute, range) in
            [(-15, 0.0..0.01), (0, 0.55..0.62), (40, 0.7..0.95), (54, 0.4..0.65), (70, 0.5..0.9), (105, 0.2..0.7)]
        {
            assert!(range.contains(&there(minute)), "{} are there in minute {minute}", there(minute));
        }
    }

    // What is told agrees with who is there, and a break of more than five minutes begins a new session.
    #[test]
    fn comings_and_goings_are_told() {
        let mut returned = 0;
        for viewer in crowd() {
            for (at, what) in viewer.sessions(HOURS) {
                assert_eq!(viewer.is_there(at), what != "leave", "{viewer:?} {what} at {at}");
                returned += usize::from(what == "join" && viewer.session(at) > 1);
            }
            assert!(viewer.session(HOURS.until) <= 4);
        }
        assert!(returned > 1_000, "{returned}");
    }
}
