//! One match, played out: every action with its place and millisecond, goals in the number that football has.
//!
//! Shares and distances are measured on 1,941 public matches (Pappalardo et al., Scientific Data 6:236, 2019, CC BY 4.0).

use touchline_udfs::xg::{ShotModel, expected_goals};

use super::draw::{Draws, Table};
use super::roster::SQUAD;

/// Milliseconds.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HALF: i64 = 45 * MINUTE;
pub(super) const BREAK: i64 = 15 * MINUTE;

/// Goals a match, home and away; shots, and their mean expected goals as they are drawn here: how well a side converts.
const GOALS: [f64; 2] = [1.53, 1.18];
const SHOTS: f64 = 23.6;
const XG_PER_SHOT: f64 = 0.139;
const PENALTY_SCORED: f64 = 0.76;

/// Seconds between actions, stretched because touches and duels are not told.
const STEP_SECONDS: [(f64, f64); 9] = [
    (0.0, 0.2),
    (0.24, 1.4),
    (0.49, 2.7),
    (0.70, 4.0),
    (0.83, 5.5),
    (0.92, 8.2),
    (0.95, 15.0),
    (0.99, 42.0),
    (1.0, 70.0),
];
/// Share of passes that arrive, by twelfths of the pitch.
const COMPLETION: [f64; 12] = [0.76, 0.80, 0.82, 0.86, 0.87, 0.87, 0.87, 0.86, 0.83, 0.75, 0.62, 0.44];
/// Metres from a shot to the goal line, and across from the middle of the goal.
const SHOT_ALONG_M: [(f64, f64); 7] =
    [(0.0, 1.0), (0.05, 4.2), (0.25, 9.5), (0.5, 13.7), (0.75, 23.1), (0.95, 30.5), (1.0, 38.0)];
const SHOT_ACROSS_M: [(f64, f64); 7] =
    [(0.0, 0.0), (0.05, 0.7), (0.25, 3.4), (0.5, 7.5), (0.75, 11.6), (0.95, 17.0), (1.0, 26.0)];
/// Minute of a substitution.
const SUBSTITUTION_MINUTE: [(f64, f64); 5] = [(0.0, 30.0), (0.1, 46.0), (0.5, 72.0), (0.9, 86.0), (1.0, 90.0)];

/// One action. Times count from the kick-off.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) id: u128,
    pub(super) at_ms: i64,
    pub(super) kind: &'static str,
    pub(super) period: u8,
    /// Milliseconds of the half's clock.
    pub(super) clock_ms: i64,
    /// 0 home, 1 away.
    pub(super) side: Option<usize>,
    /// Places in the squads of `side`.
    pub(super) player: Option<usize>,
    pub(super) assist: Option<usize>,
    pub(super) place: Option<(f64, f64)>,
    pub(super) end: Option<(f64, f64)>,
    pub(super) completed: Option<bool>,
    pub(super) shot: Option<Shot>,
    pub(super) news: News,
}

/// What a report of an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    First,
    /// The action of this id was another player's, who is named, or of another minute.
    Correction {
        instead_of: Option<usize>,
    },
    /// The action of this id does not stand.
    Retraction,
}

/// A tenth of the goals that stand are corrected, after so many milliseconds.
const CORRECTED: f64 = 0.1;
const CORRECTED_AFTER: (f64, f64) = (30_000.0, 58_000.0);

#[derive(Debug, Clone, Copy)]
pub(super) struct Shot {
    pub(super) body_part: &'static str,
    pub(super) shot_type: &'static str,
    pub(super) xg: f64,
}

impl Action {
    /// (minute, stoppage minute) as a scoreboard shows them.
    pub(super) fn minute(&self) -> (i64, Option<i64>) {
        minute(self.period, self.clock_ms)
    }

    pub(super) fn is_goal(&self) -> bool {
        matches!(self.kind, "goal" | "own_goal")
    }

    pub(super) fn op(&self) -> &'static str {
        if self.news == News::Retraction { "retract" } else { "upsert" }
    }

    /// The number of the correction, from 0.
    pub(super) fn revision(&self) -> i64 {
        i64::from(self.news != News::First)
    }
}

/// See [`Action::minute`].
pub(super) fn minute(period: u8, clock_ms: i64) -> (i64, Option<i64>) {
    let before = if period == 1 { 0 } else { 45 };
    match clock_ms < HALF {
        true => (before + clock_ms / MINUTE, None),
        false => (before + 45, Some((clock_ms - HALF) / MINUTE + 1)),
    }
}

/// All actions of one match in the order of their time; the first is the kick-off, the last the final whistle.
pub(super) fn play(seed: u64, number: u64) -> Vec<Action> {
    let mut game = Game {
        draws: Draws::new(seed, &[0x706c_6179, number]),
        actions: Vec::with_capacity(1400),
        period: 1,
        offset: 0,
        on_pitch: [(0..11).collect(), (0..11).collect()],
        bench: [11, 11],
        booked: [[false; SQUAD]; 2],
        reds: [0, 0],
    };
    let first = HALF + ((game.draws.normal() + 1.5).clamp(0.0, 8.0) * MINUTE as f64) as i64;
    game.half("kickoff", "half_time", first);
    game.period = 2;
    game.offset = first + BREAK;
    let second = HALF + ((game.draws.normal() * 1.3 + 3.7).clamp(0.0, 10.0) * MINUTE as f64) as i64;
    game.half("second_half", "full_time", second);
    // Corrections and penalties are told a while after what they follow.
    game.actions.sort_by_key(|action| action.at_ms);
    let rounded = |place: Option<(f64, f64)>| place.map(|(x, y)| (tenth(x), tenth(y)));
    for action in &mut game.actions {
        (action.place, action.end) = (rounded(action.place), rounded(action.end));
    }
    game.actions
}

struct Game {
    draws: Draws,
    actions: Vec<Action>,
    period: u8,
    /// When the half began.
    offset: i64,
    on_pitch: [Vec<usize>; 2],
    /// The next substitute.
    bench: [usize; 2],
    booked: [[bool; SQUAD]; 2],
    reds: [i32; 2],
}

impl Game {
    fn half(&mut self, opening: &'static str, closing: &'static str, length: i64) {
        let substitutions = self.substitutions();
        let mut substitutions = substitutions.iter().peekable();
        self.tell(0, opening, None);
        let (mut side, mut x, mut y) = (usize::from(self.period - 1), 60.0, 40.0);
        let mut clock = SECOND;
        let mut last_passer = None;
        loop {
            clock += (self.draws.quantile(&STEP_SECONDS) * SECOND as f64) as i64;
            // A minute is left for what a last action may bring with it.
            if clock >= length - MINUTE {
                break;
            }
            while let Some((_, side)) = substitutions.next_if(|(at, _)| *at <= clock) {
                self.substitute(clock, *side);
            }
            let other = 1 - side;
            let (mirror_x, mirror_y) = (120.0 - x, 80.0 - y);
            let turned = |game: &mut Game, kind| {
                let action = game.tell(clock, kind, Some(other));
                action.place = Some((mirror_x, mirror_y));
            };
            let u = self.draws.unit();
            if u < 0.026 {
                turned(self, "foul");
                self.card(clock + SECOND, other);
                if self.draws.chance(0.5) {
                    self.tell(clock + 20 * SECOND, "free_kick", Some(side)).place = Some((x, y));
                }
                clock += 20 * SECOND;
            } else if u < 0.0263 {
                self.penalty(clock, side);
                (side, x, y) = (other, 60.0, 40.0);
                clock += 90 * SECOND;
            } else if u < 0.054 {
                turned(self, "tackle");
                (side, x, y) = (other, mirror_x, mirror_y);
            } else if (0.054..0.066).contains(&u) && x > 70.0 {
                self.tell(clock, "offside", Some(side)).place = Some((x, y));
                (side, x, y) = (other, mirror_x, mirror_y);
                clock += 10 * SECOND;
            } else if (0.066..0.0664).contains(&u) {
                self.tell(clock, "injury", Some(side));
                clock += 40 * SECOND;
            } else if x > 84.0 && self.draws.chance(0.108 + 0.01 * f64::from(self.reds[other])) {
                let kept = self.shoot(clock, side, last_passer);
                (side, x, y) = if kept { (side, 118.0, 40.0) } else { (other, 25.0, 40.0) };
                clock += 20 * SECOND;
            } else if x > 100.0 && self.draws.chance(0.11) {
                let corner_y = if self.draws.chance(0.5) { 0.0 } else { 80.0 };
                self.tell(clock, "corner", Some(side)).place = Some((120.0, corner_y));
                (x, y) = (110.0, 40.0);
                clock += 15 * SECOND;
            } else {
                let end = (
                    (x + self.draws.between(-11.0, 21.0)).clamp(1.0, 119.0),
                    (y + self.draws.between(-18.0, 18.0)).clamp(0.0, 80.0),
                );
                let completed = self.draws.chance(COMPLETION[(x / 10.0) as usize]);
                let pass = self.tell(clock, "pass", Some(side));
                (pass.place, pass.end, pass.completed) = (Some((x, y)), Some(end), Some(completed));
                last_passer = pass.player;
                (x, y) = end;
                if !completed {
                    if self.draws.chance(0.6) {
                        let interception = self.tell(clock + SECOND, "interception", Some(other));
                        interception.place = Some((120.0 - x, 80.0 - y));
                    }
                    (side, x, y) = (other, 120.0 - x, 80.0 - y);
                    last_passer = None;
                }
            }
        }
        self.tell(length, closing, None);
    }

    /// Adds an action of a random player of the side.
    fn tell(&mut self, clock_ms: i64, kind: &'static str, side: Option<usize>) -> &mut Action {
        let player = side.map(|side| self.on_pitch[side][self.draws.below(self.on_pitch[side].len())]);
        let id = self.draws.uuid();
        self.actions.push(Action {
            id,
            at_ms: self.offset + clock_ms,
            kind,
            period: self.period,
            clock_ms,
            side,
            player,
            assist: None,
            place: None,
            end: None,
            completed: None,
            shot: None,
            news: News::First,
        });
        self.actions.last_mut().expect("one has just been added")
    }

    /// Whether the attackers keep the ball.
    fn shoot(&mut self, clock: i64, side: usize, passer: Option<usize>) -> bool {
        let along = self.draws.quantile(&SHOT_ALONG_M);
        // Close to the line nobody shoots from far outside.
        let across = self.draws.quantile(&SHOT_ACROSS_M) * (0.35 + along / 25.0).min(1.0);
        let x = tenth(120.0 - along * 120.0 / 105.0);
        let y = tenth(40.0 + across * 80.0 / 68.0 * if self.draws.chance(0.5) { 1.0 } else { -1.0 }).clamp(0.0, 80.0);
        let (body_part, shot_type, model) = if self.draws.chance(0.05) {
            ("foot", "free_kick", ShotModel::FreeKick)
        } else if along < 18.0 && self.draws.chance(0.25) {
            ("head", "open", ShotModel::OpenHead)
        } else {
            ("foot", "open", ShotModel::OpenFoot)
        };
        let xg = expected_goals(x, y, model);
        let minute = (self.offset - if self.period == 2 { BREAK } else { 0 } + clock) as f64 / MINUTE as f64;
        let tiring = (1.0 + 0.006 * minute) / (1.0 + 0.006 * 47.5);
        let reds = (2f64 / 3.0).powi(self.reds[side]) * 1.57f64.powi(self.reds[1 - side]);
        let skill = GOALS[side] / (SHOTS / 2.0 * XG_PER_SHOT) * tiring * reds;
        let u = self.draws.unit();
        let goal = u < (xg * skill).min(0.95);
        static MISSES: Table<&str, 2> = Table::new([("shot_on_target", 0.28), ("shot", 0.72)]);
        let miss = self.draws.pick(&MISSES);
        let own_goal = !goal && self.draws.chance(0.004);
        let shooter = self.outfield(side);
        let kind = if goal { "goal" } else { miss };
        let assist = passer.filter(|passer| goal && *passer != shooter);
        let action = self.tell(clock, kind, Some(side));
        action.player = Some(shooter);
        action.assist = assist;
        action.place = Some((x, y));
        action.shot = Some(Shot { body_part, shot_type, xg });
        let shot = action.clone();
        if goal {
            self.review(shot);
            return false;
        }
        if own_goal {
            self.tell(clock + SECOND, "own_goal", Some(1 - side)).place = Some((4.0, 40.0));
            return false;
        }
        if miss == "shot_on_target" {
            let keeper = self.on_pitch[1 - side][0];
            let save = self.tell(clock + SECOND, "save", Some(1 - side));
            (save.player, save.place) = (Some(keeper), Some((3.0, 40.0)));
        }
        self.draws.chance(0.2)
    }

    /// A fifth of the goals are looked at again, and some of these do not stand; of some others the report is corrected.
    fn review(&mut self, goal: Action) {
        if !self.draws.chance(0.20) {
            if self.draws.chance(CORRECTED) {
                self.correct(goal);
            }
            return;
        }
        let decided = goal.clock_ms + 25 * SECOND + self.draws.below(30_000) as i64;
        let side = goal.side;
        self.tell(decided, "var_review", side);
        if self.draws.chance(0.12) {
            let at_ms = self.offset + decided + 2 * SECOND;
            self.actions.push(Action { at_ms, clock_ms: decided + 2 * SECOND, news: News::Retraction, ..goal });
        }
    }

    /// Another scorer, or a minute more or less.
    fn correct(&mut self, goal: Action) {
        let after = self.draws.between(CORRECTED_AFTER.0, CORRECTED_AFTER.1) as i64;
        let at_ms = goal.at_ms + after;
        let scorer = goal.side.map(|side| self.outfield(side)).filter(|scorer| goal.assist != Some(*scorer));
        self.actions.push(if self.draws.chance(0.5) && scorer.is_some() && scorer != goal.player {
            Action { at_ms, player: scorer, news: News::Correction { instead_of: goal.player }, ..goal }
        } else {
            let by = if goal.clock_ms < MINUTE || self.draws.chance(0.5) { MINUTE } else { -MINUTE };
            Action { at_ms, clock_ms: goal.clock_ms + by, news: News::Correction { instead_of: None }, ..goal }
        });
    }

    fn penalty(&mut self, clock: i64, side: usize) {
        self.tell(clock, "penalty", Some(side)).place = Some((108.0, 40.0));
        let scored = self.draws.chance(PENALTY_SCORED);
        let taker = self.outfield(side);
        let xg = expected_goals(108.0, 40.0, ShotModel::Penalty);
        let shot = Some(Shot { body_part: "foot", shot_type: "penalty", xg });
        let taken = clock + 45 * SECOND;
        let kick = self.tell(taken, if scored { "goal" } else { "shot_on_target" }, Some(side));
        (kick.player, kick.place, kick.shot) = (Some(taker), Some((108.0, 40.0)), shot);
        if !scored {
            let keeper = self.on_pitch[1 - side][0];
            self.tell(taken + SECOND, "penalty_saved", Some(1 - side)).player = Some(keeper);
        }
    }

    fn card(&mut self, clock: i64, side: usize) {
        let yellow = self.draws.chance(0.155);
        let red = !yellow && self.draws.chance(0.0035);
        if !yellow && !red {
            return;
        }
        let player = self.outfield(side);
        let second = yellow && std::mem::replace(&mut self.booked[side][player], true);
        if yellow && !second {
            self.tell(clock, "yellow_card", Some(side)).player = Some(player);
        } else if self.on_pitch[side].len() > 8 {
            self.tell(clock, "red_card", Some(side)).player = Some(player);
            self.on_pitch[side].retain(|other| *other != player);
            self.reds[side] += 1;
        }
    }

    /// (clock, side) of this half's substitutions, in order: two or three windows of one or two players a side.
    fn substitutions(&mut self) -> Vec<(i64, usize)> {
        let mut all = Vec::new();
        for side in 0..2 {
            for _ in 0..5 {
                let minute = self.draws.quantile(&SUBSTITUTION_MINUTE);
                let (first, clock) = (minute < 45.0, ((minute % 45.0) * MINUTE as f64) as i64);
                if first == (self.period == 1) && self.draws.chance(0.9) {
                    all.push((clock, side));
                }
            }
        }
        all.sort_unstable();
        all
    }

    fn substitute(&mut self, clock: i64, side: usize) {
        if self.bench[side] == SQUAD {
            return;
        }
        let off = self.outfield(side);
        let on = self.bench[side];
        self.bench[side] += 1;
        let action = self.tell(clock, "substitution", Some(side));
        (action.player, action.assist) = (Some(off), Some(on));
        if let Some(place) = self.on_pitch[side].iter_mut().find(|place| **place == off) {
            *place = on;
        }
    }

    /// Anyone but the goalkeeper, who is first in the list and never leaves it.
    fn outfield(&mut self, side: usize) -> usize {
        let players = &self.on_pitch[side];
        players[1 + self.draws.below(players.len() - 1)]
    }
}

/// As it is written to the record: what is computed from a place is computed from what the record says.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    // Over many matches the counts are those of real football.
    #[test]
    fn plays_like_football() {
        let matches = 300;
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..matches {
            let actions = play(42, number);
            assert_eq!((actions[0].kind, actions[actions.len() - 1].kind), ("kickoff", "full_time"));
            assert!(actions.is_sorted_by_key(|action| action.at_ms));
            for action in &actions {
                if action.news == News::First {
                    *counts.entry(action.kind).or_insert(0.0) += 1.0 / matches as f64;
                }
                let on_pitch = |(x, y): (f64, f64)| (0.0..=120.0).contains(&x) && (0.0..=80.0).contains(&y);
                assert!(action.place.is_none_or(on_pitch) && action.end.is_none_or(on_pitch), "{action:?}");
            }
        }
        let shots = counts["shot"] + counts["shot_on_target"] + counts["goal"];
        for (what, found, range) in [
            ("passes", counts["pass"], 750.0..950.0),
            ("shots", shots, 19.0..28.0),
            ("goals", counts["goal"], 2.2..3.2),
            ("fouls", counts["foul"], 22.0..32.0),
            ("yellow cards", counts["yellow_card"], 3.0..5.0),
            ("corners", counts["corner"], 7.0..13.0),
            ("substitutions", counts["substitution"], 7.0..10.0),
            ("penalties", counts["penalty"], 0.15..0.5),
        ] {
            assert!(range.contains(&found), "{what} a match: {found:.2}, expected {range:?}\n{counts:?}");
        }
    }
}
