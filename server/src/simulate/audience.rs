//! The crowd of one match: who watches on what, how much they do, and how an event on the pitch stirs them.
//!
//! Nobody is kept in memory: a viewer's traits are drawn from the viewer's number whenever one acts.

use super::draw::Draws;

/// Share of viewers, acts a minute, and how much more one of them answers to an event.
const PERSONAS: [Persona; 5] = [
    Persona { name: "casual", share: 0.55, rate: 0.3, stir: 2.0, span_minutes: 60.0 },
    Persona { name: "fan", share: 0.25, rate: 2.0, stir: 5.0, span_minutes: 95.0 },
    Persona { name: "social", share: 0.10, rate: 1.5, stir: 4.0, span_minutes: 75.0 },
    Persona { name: "analyst", share: 0.07, rate: 1.2, stir: 2.0, span_minutes: 90.0 },
    Persona { name: "ultra", share: 0.03, rate: 1.8, stir: 6.0, span_minutes: 95.0 },
];

struct Persona {
    name: &'static str,
    share: f64,
    rate: f64,
    stir: f64,
    span_minutes: f64,
}

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

/// Seconds from seeing to reacting, and more for typing a comment: log-normal, medians 2.5 and 9 s.
const REACTION_SECONDS: [(f64, f64); 6] =
    [(0.0, 0.6), (0.05, 0.93), (0.25, 1.67), (0.5, 2.5), (0.95, 6.7), (1.0, 12.0)];
const TYPING_SECONDS: [(f64, f64); 6] = [(0.0, 2.5), (0.05, 4.0), (0.25, 6.4), (0.5, 9.0), (0.95, 20.5), (1.0, 35.0)];

/// An event on the pitch as the crowd takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stir {
    pub(super) at_ms: i64,
    pub(super) event_id: u128,
    pub(super) kind: &'static str,
    pub(super) side: Option<usize>,
}

/// One act of a viewer. Times count from the kick-off.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) at_ms: i64,
    pub(super) viewer: usize,
    pub(super) traits: Viewer,
    pub(super) kind: &'static str,
    pub(super) subtype: &'static str,
    pub(super) about: Option<u128>,
    pub(super) content: &'static str,
}

/// What is fixed about a viewer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Viewer {
    pub(super) persona: &'static str,
    pub(super) device: &'static str,
    pub(super) platform: &'static str,
    pub(super) country: &'static str,
    /// The side whose supporter this is.
    side: Option<usize>,
    /// How far the picture lags behind the pitch.
    delay_ms: i64,
    /// How far the device's clock is off.
    pub(super) skew_ms: i64,
    joins_ms: i64,
    leaves_ms: i64,
}

#[derive(Debug)]
pub(super) struct Audience {
    seed: u64,
    number: u64,
    viewers: usize,
    /// Acts a second of the whole crowd when nothing happens and all are there.
    rate: f64,
    draws: Draws,
    stirs: Vec<(Stir, f64, f64)>,
    /// Those who come after the kick-off and those who go, by second, the next one last.
    comings: Vec<(i64, usize)>,
    goings: Vec<(i64, usize)>,
}

impl Audience {
    /// `scale`: 1 gives about 0.95 acts a viewer and minute.
    pub(super) fn new(seed: u64, number: u64, viewers: usize, scale: f64, length_ms: i64, stirs: Vec<Stir>) -> Self {
        let per_minute: f64 = PERSONAS.iter().map(|persona| persona.share * persona.rate).sum();
        let mut audience = Audience {
            seed,
            number,
            viewers,
            rate: per_minute * viewers as f64 * scale / 60.0,
            draws: Draws::new(seed, &[0x6163_7473, number]),
            stirs: stirs.into_iter().filter_map(|s| excitement(s.kind).map(|(lift, life)| (s, lift, life))).collect(),
            comings: Vec::new(),
            goings: Vec::new(),
        };
        for viewer in 0..viewers {
            let traits = audience.viewer(viewer);
            if (1..length_ms).contains(&traits.joins_ms) {
                audience.comings.push((traits.joins_ms, viewer));
            }
            // A third just vanish.
            if (traits.joins_ms.max(0)..length_ms).contains(&traits.leaves_ms) && viewer % 10 > 2 {
                audience.goings.push((traits.leaves_ms, viewer));
            }
        }
        audience.comings.sort_unstable_by(|a, b| b.cmp(a));
        audience.goings.sort_unstable_by(|a, b| b.cmp(a));
        audience
    }

    /// What the crowd does because of the second that begins at `second_ms`; effects may come up to a minute later.
    pub(super) fn acts(&mut self, second_ms: i64, out: &mut Vec<Act>) {
        self.come_and_go(second_ms, out);
        let weights: Vec<(usize, f64)> = self
            .stirs
            .iter()
            .enumerate()
            .filter_map(|(at, (stir, lift, half_life))| {
                let age = (second_ms - stir.at_ms) as f64 / 1000.0;
                let height = if age < 0.0 || age > half_life * HALF_LIVES_MAX {
                    0.0
                } else if age < RISE_SECONDS {
                    (age + 1.0) / (RISE_SECONDS + 1.0)
                } else {
                    halves((age - RISE_SECONDS) / half_life)
                };
                (height > 0.0).then_some((at, (lift - 1.0) * height))
            })
            .collect();
        let lift = weights.iter().map(|(_, weight)| weight).sum::<f64>().min(LIFT_MAX - 1.0);
        // Before a penalty is taken people hold their breath.
        let hush = self
            .stirs
            .iter()
            .any(|(stir, ..)| stir.kind == "penalty" && (35_000..45_000).contains(&(second_ms - stir.at_ms)));
        let quiet = if hush { 0.3 } else { 1.0 };
        self.arrivals(self.rate * quiet, second_ms, None, out);
        if lift > 0.0 {
            self.arrivals(self.rate * lift * quiet, second_ms, Some(&weights), out);
        }
    }

    /// Poisson arrivals within one second.
    fn arrivals(&mut self, rate: f64, second_ms: i64, stirs: Option<&[(usize, f64)]>, out: &mut Vec<Act>) {
        let mut at = self.draws.gap(1000.0 / rate);
        while at < 1000.0 {
            let stir = stirs.map(|weights| self.stirs[self.draws.pick(weights)].0);
            let act = self.act(second_ms + at as i64, stir);
            // Thinning: the rate is that of a full house, and who is not there does nothing.
            out.extend(act);
            at += self.draws.gap(1000.0 / rate);
        }
    }

    fn act(&mut self, at_ms: i64, stir: Option<Stir>) -> Option<Act> {
        let weights = PERSONAS
            .each_ref()
            .map(|persona| persona.share * persona.rate * if stir.is_some() { persona.stir } else { 1.0 });
        let persona = self.draws.pick(&[0, 1, 2, 3, 4].map(|persona| (persona, weights[persona])));
        let viewer = self.viewer_of(persona);
        let traits = self.viewer(viewer);
        if !(traits.joins_ms..traits.leaves_ms).contains(&at_ms) {
            return None;
        }
        let kind = self.draws.pick(match stir.map(|stir| stir.kind) {
            Some("goal" | "own_goal") => {
                &[("reaction", 0.70), ("comment", 0.15), ("share", 0.08), ("video_action", 0.05), ("prediction", 0.02)]
            }
            Some("red_card") => {
                &[("reaction", 0.60), ("comment", 0.25), ("share", 0.05), ("video_action", 0.08), ("prediction", 0.02)]
            }
            Some("shot" | "shot_on_target") => &[("reaction", 0.80), ("video_action", 0.15), ("comment", 0.05)],
            _ => &[
                ("reaction", 0.60),
                ("comment", 0.15),
                ("video_action", 0.10),
                ("click", 0.08),
                ("share", 0.04),
                ("prediction", 0.03),
            ],
        });
        let subtype = self.subtype(kind, stir, traits.side);
        let mut delay = 0.0;
        if stir.is_some() {
            delay = traits.delay_ms as f64 / 1000.0 + self.draws.quantile(&REACTION_SECONDS);
            if kind == "comment" {
                delay += self.draws.quantile(&TYPING_SECONDS);
            }
        }
        let about = stir.filter(|_| self.draws.chance(0.6)).map(|stir| stir.event_id);
        let content = match kind {
            "comment" => self.draws.pick(&COMMENTS),
            _ => "",
        };
        let at_ms = at_ms + (delay * 1000.0) as i64;
        Some(Act { at_ms, viewer, traits, kind, subtype, about, content })
    }

    fn subtype(&mut self, kind: &str, stir: Option<Stir>, supports: Option<usize>) -> &'static str {
        let goal_for = stir.and_then(|stir| match stir.kind {
            "goal" => stir.side,
            "own_goal" => stir.side.map(|side| 1 - side),
            _ => None,
        });
        self.draws.pick(match (kind, goal_for.zip(supports)) {
            ("reaction", Some((side, mine))) if side == mine => {
                &[("cheer", 0.4), ("emoji_goal", 0.4), ("emoji_fire", 0.2)]
            }
            ("reaction", Some(_)) => &[("boo", 0.3), ("emoji_cry", 0.4), ("emoji_angry", 0.3)],
            ("reaction", None) => &[
                ("emoji_clap", 0.25),
                ("emoji_wow", 0.2),
                ("emoji_laugh", 0.15),
                ("emoji_heart", 0.15),
                ("emoji_fire", 0.1),
                ("cheer", 0.1),
                ("boo", 0.05),
            ],
            ("comment", _) => {
                &[("match_commentary", 0.4), ("player_discussion", 0.3), ("team_support", 0.2), ("question", 0.1)]
            }
            ("video_action", _) => &[("replay", 0.5), ("pause", 0.2), ("play", 0.2), ("camera_switch", 0.1)],
            ("share", _) => &[("whatsapp", 0.4), ("in_app", 0.3), ("copy_link", 0.2), ("instagram", 0.1)],
            ("prediction", _) => &[("next_goal", 0.4), ("score_prediction", 0.4), ("man_of_match", 0.2)],
            _ => &[("stats_view", 0.5), ("lineup", 0.2), ("player_profile", 0.2), ("ad_click", 0.1)],
        })
    }

    fn come_and_go(&mut self, second_ms: i64, out: &mut Vec<Act>) {
        let end = second_ms + 1000;
        while let Some((at_ms, viewer)) = self.comings.pop_if(|(at, _)| *at < end) {
            out.push(self.session(at_ms, viewer, "join"));
        }
        while let Some((at_ms, viewer)) = self.goings.pop_if(|(at, _)| *at < end) {
            out.push(self.session(at_ms, viewer, "leave"));
        }
    }

    fn session(&self, at_ms: i64, viewer: usize, subtype: &'static str) -> Act {
        Act { at_ms, viewer, traits: self.viewer(viewer), kind: "session", subtype, about: None, content: "" }
    }

    /// A random viewer of a persona: each has a range of the numbers.
    fn viewer_of(&mut self, persona: usize) -> usize {
        let before: f64 = PERSONAS[..persona].iter().map(|persona| persona.share).sum();
        let share = before + self.draws.unit() * PERSONAS[persona].share;
        ((share * self.viewers as f64) as usize).min(self.viewers - 1)
    }

    fn viewer(&self, viewer: usize) -> Viewer {
        let place = (viewer as f64 + 0.5) / self.viewers as f64;
        let mut end = 0.0;
        let persona = PERSONAS.iter().find(|persona| {
            end += persona.share;
            place < end
        });
        let persona = persona.unwrap_or(&PERSONAS[4]);
        let mut draws = Draws::new(self.seed, &[0x7669_6577, self.number, viewer as u64]);
        let (device, delay) = draws.pick(&[
            (("mobile", 22.0), 0.55),
            (("desktop", 18.0), 0.25),
            (("tablet", 20.0), 0.10),
            (("tv", 6.0), 0.10),
        ]);
        let platform = match device {
            "mobile" => draws.pick(&[("ios", 0.45), ("android", 0.55)]),
            "tablet" => draws.pick(&[("ios", 0.55), ("android", 0.45)]),
            _ => "web",
        };
        let minutes = |minutes: f64| (minutes * 60_000.0) as i64;
        let joins_ms = match draws.unit() {
            u if u < 0.6 => 0,
            u if u < 0.9 => 1 + minutes(draws.between(0.0, 20.0)),
            _ => minutes(draws.between(20.0, 95.0)),
        };
        let span = persona.span_minutes;
        let stays = match draws.unit() {
            u if u < 0.2 => draws.between(0.5 * span, span),
            u if u < 0.7 => draws.between(span, 1.3 * span),
            _ => 240.0,
        };
        let skew_ms = match draws.unit() {
            u if u < 0.0001 => 3_600_000,
            u if u < 0.0021 => {
                if draws.chance(0.5) {
                    30_000
                } else {
                    -30_000
                }
            }
            _ => (draws.normal() * 500.0) as i64,
        };
        Viewer {
            persona: persona.name,
            device,
            platform,
            country: draws.pick(&COUNTRIES),
            side: draws.pick(&[(Some(0), 0.5), (Some(1), 0.4), (None, 0.1)]),
            delay_ms: (delay * draws.between(600.0, 1400.0)) as i64,
            skew_ms,
            joins_ms,
            leaves_ms: joins_ms + minutes(stays),
        }
    }
}

const COUNTRIES: [(&str, f64); 8] =
    [("GB", 0.3), ("DE", 0.15), ("ES", 0.15), ("FR", 0.1), ("IT", 0.1), ("BR", 0.1), ("NG", 0.05), ("IN", 0.05)];
const COMMENTS: [(&str, f64); 6] = [
    ("what a match", 0.3),
    ("never in doubt", 0.2),
    ("how did he miss that", 0.2),
    ("we need fresh legs", 0.1),
    ("referee!", 0.1),
    ("who is that at the back?", 0.1),
];

/// 2 to the power of `-x`, straight lines between whole numbers.
fn halves(x: f64) -> f64 {
    let whole = x.floor();
    (1.0 - (x - whole) / 2.0) / f64::from(1u32 << (whole as u32).min(31))
}
