//! The crowd of one match: how much it does second by second, and how an event on the pitch stirs it.

use super::SimulationSettings;
use super::draw::{Draws, Table};
use super::viewer::{Hours, PERSONAS, Viewer};

/// The types of engagement; [`SUBTYPES`] names them by number.
pub(super) const KINDS: [&str; 7] = ["reaction", "comment", "video_action", "share", "prediction", "click", "session"];
pub(super) const REACTION: u8 = 0;
const COMMENT: u8 = 1;

/// (type, subtype); the first ten are the reactions.
pub(super) const SUBTYPES: [(u8, &str); 39] = [
    (0, "cheer"),
    (0, "boo"),
    (0, "emoji_goal"),
    (0, "emoji_fire"),
    (0, "emoji_clap"),
    (0, "emoji_cry"),
    (0, "emoji_angry"),
    (0, "emoji_heart"),
    (0, "emoji_laugh"),
    (0, "emoji_wow"),
    (1, "match_commentary"),
    (1, "player_discussion"),
    (1, "team_support"),
    (1, "trash_talk"),
    (1, "question"),
    (2, "pause"),
    (2, "play"),
    (2, "rewind"),
    (2, "replay"),
    (2, "camera_switch"),
    (2, "quality_change"),
    (2, "fullscreen"),
    (3, "twitter"),
    (3, "whatsapp"),
    (3, "instagram"),
    (3, "in_app"),
    (3, "copy_link"),
    (4, "score_prediction"),
    (4, "next_goal"),
    (4, "player_rating"),
    (4, "man_of_match"),
    (5, "stats_view"),
    (5, "player_profile"),
    (5, "lineup"),
    (5, "ad_click"),
    (6, "join"),
    (6, "leave"),
    (6, "reconnect"),
    (6, "heartbeat"),
];
pub(super) const REACTIONS: usize = 10;
pub(super) const LEAVE: u8 = subtype("leave");

/// The number of a subtype. Names are checked when this is compiled.
const fn subtype(name: &str) -> u8 {
    let mut at = 0;
    while at < SUBTYPES.len() {
        let (known, name) = (SUBTYPES[at].1.as_bytes(), name.as_bytes());
        let mut same = 0;
        while same < name.len() && same < known.len() && name[same] == known[same] {
            same += 1;
        }
        if same == name.len() && same == known.len() {
            return at as u8;
        }
        at += 1;
    }
    panic!("a subtype that is not in the list")
}

static AFTER_GOAL: Table<u8, 5> = Table::new([(0, 0.70), (1, 0.15), (3, 0.08), (2, 0.05), (4, 0.02)]);
static AFTER_RED_CARD: Table<u8, 5> = Table::new([(0, 0.60), (1, 0.25), (3, 0.05), (2, 0.08), (4, 0.02)]);
static AFTER_SHOT: Table<u8, 3> = Table::new([(0, 0.80), (2, 0.15), (1, 0.05)]);
static USUALLY: Table<u8, 6> = Table::new([(0, 0.60), (1, 0.15), (2, 0.10), (5, 0.08), (3, 0.04), (4, 0.03)]);

static OWN_GOALS: Table<u8, 3> =
    Table::new([(subtype("cheer"), 0.4), (subtype("emoji_goal"), 0.4), (subtype("emoji_fire"), 0.2)]);
static THEIR_GOALS: Table<u8, 3> =
    Table::new([(subtype("boo"), 0.3), (subtype("emoji_cry"), 0.4), (subtype("emoji_angry"), 0.3)]);
static REACTION_TO_PLAY: Table<u8, 7> = Table::new([
    (subtype("emoji_clap"), 0.25),
    (subtype("emoji_wow"), 0.2),
    (subtype("emoji_laugh"), 0.15),
    (subtype("emoji_heart"), 0.15),
    (subtype("emoji_fire"), 0.1),
    (subtype("cheer"), 0.1),
    (subtype("boo"), 0.05),
]);
static COMMENTS: Table<u8, 5> = Table::new([
    (subtype("match_commentary"), 0.35),
    (subtype("player_discussion"), 0.3),
    (subtype("team_support"), 0.2),
    (subtype("question"), 0.1),
    (subtype("trash_talk"), 0.05),
]);
static VIDEO_ACTIONS: Table<u8, 7> = Table::new([
    (subtype("replay"), 0.4),
    (subtype("pause"), 0.15),
    (subtype("play"), 0.15),
    (subtype("rewind"), 0.1),
    (subtype("camera_switch"), 0.1),
    (subtype("quality_change"), 0.05),
    (subtype("fullscreen"), 0.05),
]);
static SHARES: Table<u8, 5> = Table::new([
    (subtype("whatsapp"), 0.4),
    (subtype("in_app"), 0.3),
    (subtype("copy_link"), 0.1),
    (subtype("instagram"), 0.1),
    (subtype("twitter"), 0.1),
]);
static PREDICTIONS: Table<u8, 4> = Table::new([
    (subtype("next_goal"), 0.4),
    (subtype("score_prediction"), 0.3),
    (subtype("man_of_match"), 0.2),
    (subtype("player_rating"), 0.1),
]);
static CLICKS: Table<u8, 4> = Table::new([
    (subtype("stats_view"), 0.5),
    (subtype("lineup"), 0.2),
    (subtype("player_profile"), 0.2),
    (subtype("ad_click"), 0.1),
]);

/// An app that is open says so once in so many seconds, counted from when the viewer has joined.
const HEARTBEAT_SECONDS: i32 = 30;
const HEARTBEAT: u8 = subtype("heartbeat");

/// Texts of comments; 0 is none.
pub(super) const CONTENTS: [&str; 7] = [
    "",
    "what a match",
    "never in doubt",
    "how did he miss that",
    "we need fresh legs",
    "referee!",
    "who is that at the back?",
];
static CONTENT: Table<u8, 6> = Table::new([(1, 0.3), (2, 0.2), (3, 0.2), (4, 0.1), (5, 0.1), (6, 0.1)]);

/// The crowd's rate as a multiple of its usual one at the height of an event, and the half-life of the rest, seconds.
fn excitement(kind: &str) -> Option<(f64, f64)> {
    Some(match kind {
        "goal" => (15.0, 40.0),
        "own_goal" | "penalty_saved" => (12.0, 40.0),
        "red_card" => (10.0, 15.0),
        "penalty" | "full_time" => (8.0, 15.0),
        "var_review" => (6.0, 15.0),
        "shot_on_target" | "kickoff" => (4.0, 15.0),
        "half_time" => (3.0, 15.0),
        "yellow_card" => (2.5, 15.0),
        "shot" => (2.0, 15.0),
        "substitution" => (1.8, 15.0),
        _ => return None,
    })
}

const RISE_SECONDS: f64 = 3.0;
/// After so many half-lives an event is forgotten.
const HALF_LIVES_MAX: f64 = 8.0;
/// All events together lift the rate no higher than this multiple.
const LIFT_MAX: f64 = 30.0;
/// Before a penalty is taken people hold their breath.
const HUSH: f64 = 0.3;
/// A penalty is taken so long after it is given, and the hush is in the last ten seconds of it.
const HUSH_AFTER_MS: std::ops::Range<i32> = 35_000..45_000;
/// Share of excited acts that name the event they are about.
const ABOUT: f64 = 0.6;

/// Seconds from seeing to reacting, and more for typing a comment: log-normal, medians 2.5 and 9 s.
const REACTION_SECONDS: [(f64, f64); 6] =
    [(0.0, 0.6), (0.05, 0.93), (0.25, 1.67), (0.5, 2.5), (0.95, 6.7), (1.0, 12.0)];
const TYPING_SECONDS: [(f64, f64); 6] = [(0.0, 2.5), (0.05, 4.0), (0.25, 6.4), (0.5, 9.0), (0.95, 20.5), (1.0, 35.0)];

/// An event on the pitch as the crowd takes it. Times count from the kick-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stir {
    pub(super) at_ms: i32,
    pub(super) event_id: u128,
    pub(super) kind: &'static str,
    pub(super) side: Option<usize>,
}

/// One act of a viewer. Times count from the kick-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) at_ms: i32,
    pub(super) viewer: u32,
    /// Of [`SUBTYPES`].
    pub(super) subtype: u8,
    /// Of [`CONTENTS`].
    pub(super) content: u8,
    /// The stir it answers, from 1; 0 for none.
    pub(super) about: u16,
}

/// A stir, its multiple and its half-life in seconds.
#[derive(Debug)]
struct Lift {
    stir: Stir,
    number: u16,
    multiple: f64,
    half_life: f64,
}

#[derive(Debug)]
pub(super) struct Audience {
    viewers: Vec<Viewer>,
    /// Acts a second of the whole crowd when nothing happens and all are there.
    rate: f64,
    draws: Draws,
    lifts: Vec<Lift>,
    /// (time, viewer, subtype) of those who come and go, the next one last.
    comings: Vec<(i32, u32, u8)>,
    /// By the second of the half minute in which their heartbeats fall: (milliseconds into it, viewer). Empty without them.
    beats: Vec<Vec<(i32, u32)>>,
    usual: Table<u8, 5>,
    excited: Table<u8, 5>,
    /// Of this second: where the range of each lift ends, and its number in `lifts`.
    now: Vec<(f64, usize)>,
}

impl Audience {
    pub(super) fn new(settings: &SimulationSettings, number: usize, hours: Hours, stirs: &[Stir]) -> Self {
        let (seed, viewers, scale) = (settings.seed, settings.viewers_of(number), settings.engagement_scale());
        let number = number as u64;
        let viewers: Vec<Viewer> = (0..viewers)
            .map(|at| {
                let place = (at as f64 + 0.5) / viewers as f64;
                Viewer::new(&mut Draws::new(seed, &[0x7669_6577, number, at as u64]), place, hours)
            })
            .collect();
        let mut comings = Vec::new();
        for (number, viewer) in viewers.iter().enumerate() {
            comings.extend(viewer.sessions(hours).map(|(at, what)| (at, number as u32, subtype(what))));
        }
        comings.sort_unstable_by(|a, b| b.cmp(a));
        comings.shrink_to_fit();
        let beats = if settings.heartbeats { beats(&viewers) } else { Vec::new() };
        let lifts = stirs.iter().enumerate().filter_map(|(at, stir)| {
            let (multiple, half_life) = excitement(stir.kind)?;
            Some(Lift { stir: *stir, number: at as u16 + 1, multiple, half_life })
        });
        let per_minute: f64 = PERSONAS.iter().map(|persona| persona.share * persona.rate).sum();
        let weights = |stirred: bool| {
            [0, 1, 2, 3, 4].map(|at: u8| {
                let persona = &PERSONAS[usize::from(at)];
                (at, persona.share * persona.rate * if stirred { persona.stir } else { 1.0 })
            })
        };
        Audience {
            rate: per_minute * viewers.len() as f64 * scale / 60.0,
            viewers,
            draws: Draws::new(seed, &[0x6163_7473, number]),
            lifts: lifts.collect(),
            comings,
            beats,
            usual: Table::new(weights(false)),
            excited: Table::new(weights(true)),
            now: Vec::new(),
        }
    }

    pub(super) fn viewer(&self, number: u32) -> &Viewer {
        &self.viewers[number as usize]
    }

    /// What the crowd does because of the second that begins at `second_ms`; effects may come up to a minute later.
    pub(super) fn acts(&mut self, second_ms: i32, out: &mut Vec<Act>) {
        while let Some((at_ms, viewer, subtype)) = self.comings.pop_if(|(at, ..)| *at < second_ms + 1000) {
            out.push(Act { at_ms, viewer, subtype, content: 0, about: 0 });
        }
        let second = second_ms.div_euclid(1000);
        if let Some(due) = self.beats.get(second.rem_euclid(HEARTBEAT_SECONDS) as usize) {
            let due = due.iter().map(|(ms, viewer)| (second_ms + ms, *viewer));
            let there = due.filter(|(at_ms, viewer)| self.viewers[*viewer as usize].is_heard_of(*at_ms));
            out.extend(there.map(|(at_ms, viewer)| Act { at_ms, viewer, subtype: HEARTBEAT, content: 0, about: 0 }));
        }
        self.now.clear();
        let mut lift = 0.0;
        for (at, known) in self.lifts.iter().enumerate() {
            let age = f64::from(second_ms - known.stir.at_ms) / 1000.0;
            if age < 0.0 || age > known.half_life * HALF_LIVES_MAX {
                continue;
            }
            let height = if age < RISE_SECONDS {
                (age + 1.0) / (RISE_SECONDS + 1.0)
            } else {
                halves((age - RISE_SECONDS) / known.half_life)
            };
            lift += (known.multiple - 1.0) * height;
            self.now.push((lift, at));
        }
        let hush = self
            .lifts
            .iter()
            .any(|known| known.stir.kind == "penalty" && HUSH_AFTER_MS.contains(&(second_ms - known.stir.at_ms)));
        let rate = self.rate * if hush { HUSH } else { 1.0 };
        self.arrivals(rate, second_ms, false, out);
        if lift > 0.0 {
            self.arrivals(rate * lift.min(LIFT_MAX - 1.0), second_ms, true, out);
        }
    }

    /// Poisson arrivals within one second.
    fn arrivals(&mut self, rate: f64, second_ms: i32, stirred: bool, out: &mut Vec<Act>) {
        let mean = 1000.0 / rate;
        let mut at = self.draws.gap(mean);
        while at < 1000.0 {
            // Thinning: the rate is that of a full house, and who is not there does nothing.
            out.extend(self.act(second_ms + at as i32, stirred));
            at += self.draws.gap(mean);
        }
    }

    fn act(&mut self, at_ms: i32, stirred: bool) -> Option<Act> {
        let persona = self.draws.pick(if stirred { &self.excited } else { &self.usual });
        let number = self.viewer_of(persona);
        let viewer = self.viewers[number];
        if !viewer.is_there(at_ms) {
            return None;
        }
        let known = stirred.then(|| {
            let u = self.draws.unit() * self.now.last().map_or(0.0, |(end, _)| *end);
            let at = self.now.iter().find(|(end, _)| u < *end).or(self.now.last()).map_or(0, |(_, at)| *at);
            (self.lifts[at].stir, self.lifts[at].number)
        });
        let stir = known.map(|(stir, _)| stir);
        let kind = match stir.map(|stir| stir.kind) {
            Some("goal" | "own_goal") => self.draws.pick(&AFTER_GOAL),
            Some("red_card") => self.draws.pick(&AFTER_RED_CARD),
            Some("shot" | "shot_on_target") => self.draws.pick(&AFTER_SHOT),
            _ => self.draws.pick(&USUALLY),
        };
        let subtype = self.subtype(kind, stir, viewer.side);
        let (mut delay, mut about) = (0.0, 0);
        if let Some((_, number)) = known {
            delay = f64::from(viewer.delay_ms) + self.draws.quantile(&REACTION_SECONDS) * 1000.0;
            if kind == COMMENT {
                delay += self.draws.quantile(&TYPING_SECONDS) * 1000.0;
            }
            if self.draws.chance(ABOUT) {
                about = number;
            }
        }
        let content = if kind == COMMENT { self.draws.pick(&CONTENT) } else { 0 };
        Some(Act { at_ms: at_ms + delay as i32, viewer: number as u32, subtype, content, about })
    }

    fn subtype(&mut self, kind: u8, stir: Option<Stir>, supports: u8) -> u8 {
        let scored = stir.and_then(|stir| match stir.kind {
            "goal" => stir.side,
            "own_goal" => stir.side.map(|side| 1 - side),
            _ => None,
        });
        match (kind, scored) {
            (REACTION, Some(side)) if supports == side as u8 => self.draws.pick(&OWN_GOALS),
            (REACTION, Some(_)) if supports < 2 => self.draws.pick(&THEIR_GOALS),
            (REACTION, _) => self.draws.pick(&REACTION_TO_PLAY),
            (COMMENT, _) => self.draws.pick(&COMMENTS),
            (2, _) => self.draws.pick(&VIDEO_ACTIONS),
            (3, _) => self.draws.pick(&SHARES),
            (4, _) => self.draws.pick(&PREDICTIONS),
            _ => self.draws.pick(&CLICKS),
        }
    }

    /// A random viewer of a persona: each has a range of the numbers.
    fn viewer_of(&mut self, persona: u8) -> usize {
        let persona = usize::from(persona);
        let before: f64 = PERSONAS[..persona].iter().map(|persona| persona.share).sum();
        let share = before + self.draws.unit() * PERSONAS[persona].share;
        ((share * self.viewers.len() as f64) as usize).min(self.viewers.len() - 1)
    }
}

/// See [`Audience::beats`].
fn beats(viewers: &[Viewer]) -> Vec<Vec<(i32, u32)>> {
    let mut beats = vec![Vec::new(); HEARTBEAT_SECONDS as usize];
    for (number, viewer) in (0u32..).zip(viewers) {
        let phase = viewer.joins().rem_euclid(HEARTBEAT_SECONDS * 1000);
        beats[(phase / 1000) as usize].push((phase % 1000, number));
    }
    beats
}

/// 2 to the power of `-x`, straight lines between whole numbers.
fn halves(x: f64) -> f64 {
    let whole = x.floor();
    (1.0 - (x - whole) / 2.0) / f64::from(1u32 << (whole as u32).min(31))
}
