//! One match with all that is told of it: actions, scoreboard, counts of players and teams, and its audience.

use super::audience::{Act, Audience, Stir};
use super::network::{Network, Told};
use super::play::{Action, News, minute, play};
use super::record::{Object, Spelling, time_text, uuid_text};
use super::roster::{SQUAD, player_id, player_name, team_id, team_name};
use super::truth::{CardTruth, CorrectionTruth, GoalTruth, IMPACTS, Impact, MatchTruth, ScoreTruth};
use super::viewer::Hours;
use super::{SimulationSettings, Topic};

const KICK_OFFS_APART_MS: i64 = 7_000;
const SCOREBOARD_EVERY_MS: i64 = 10_000;
const COUNTS_EVERY_MS: i64 = 30_000;
/// The crowd is followed for so long after the final whistle.
const AFTERMATH_MS: i64 = 60_000;

pub(super) struct Fixture {
    number: usize,
    match_id: String,
    kick_off_ms: i64,
    /// When it is first heard of, after the kick-off or before it.
    from_ms: i64,
    length_ms: i64,
    actions: Vec<Action>,
    next_action: usize,
    audience: Audience,
    board: Board,
    counts: [TeamCounts; 2],
    acts: Vec<Act>,
}

/// The state of the scoreboard.
struct Board {
    score: [i64; 2],
    status: &'static str,
    period: u8,
    /// When the half began, after the kick-off.
    half_ms: i64,
}

#[derive(Default)]
struct TeamCounts {
    players: [PlayerCounts; SQUAD],
    corners: i64,
    fouls: i64,
    offsides: i64,
    yellow_cards: i64,
    red_cards: i64,
    saves: i64,
    xg: f64,
}

#[derive(Default, Clone, Copy)]
struct PlayerCounts {
    seen: bool,
    shots: i64,
    shots_on_target: i64,
    goals: i64,
    assists: i64,
    passes: i64,
    passes_completed: i64,
    tackles: i64,
    interceptions: i64,
}

fn percent(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

impl Fixture {
    /// The match, and the events that its audience's acts may name.
    pub(super) fn new(settings: &SimulationSettings, number: usize) -> (Self, Vec<u128>) {
        let mut actions = play(settings.seed, number as u64);
        let at = |kind: &str| actions.iter().find(|action| action.kind == kind).map_or(0, |action| action.at_ms as i32);
        let (half_time, second_half) = (at("half_time"), at("second_half"));
        actions.retain(|action| action.at_ms < settings.length_max_ms());
        let whole = actions.last().map_or(0, |action| action.at_ms) + AFTERMATH_MS;
        let length_ms = whole.min(settings.length_max_ms());
        let stirs = actions.iter().filter(|action| action.news == News::First);
        let stirs: Vec<Stir> =
            stirs.map(|a| Stir { at_ms: a.at_ms as i32, event_id: a.id, kind: a.kind, side: a.side }).collect();
        let hours = Hours { from: -settings.warm_up_ms() as i32, half_time, second_half, until: length_ms as i32 };
        let audience = Audience::new(settings, number, hours, &stirs);
        let fixture = Fixture {
            number,
            match_id: settings.match_id(number),
            kick_off_ms: settings.start / 1000 + number as i64 * KICK_OFFS_APART_MS,
            from_ms: -settings.warm_up_ms(),
            length_ms,
            actions,
            next_action: 0,
            audience,
            board: Board { score: [0, 0], status: "SCHEDULED", period: 1, half_ms: 0 },
            counts: Default::default(),
            acts: Vec::new(),
        };
        (fixture, stirs.iter().map(|stir| stir.event_id).collect())
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.kick_off_ms + self.length_ms
    }

    fn team(&self, side: usize) -> usize {
        2 * self.number + side
    }

    /// What is known of the match before it begins.
    pub(super) fn announced(&self) -> MatchTruth {
        MatchTruth {
            match_id: self.match_id.clone(),
            home_team_id: team_id(self.team(0)),
            away_team_id: team_id(self.team(1)),
            kick_off: time_text(self.kick_off_ms),
            ..MatchTruth::default()
        }
    }

    /// The events whose uplift is asked for.
    pub(super) fn impacts(&self) -> Vec<Impact> {
        let first = self.actions.iter().filter(|a| a.news == News::First && IMPACTS.contains(&a.kind));
        let impact = |action: &Action| Impact {
            event_ms: self.kick_off_ms + action.at_ms,
            event_id: action.id,
            kind: action.kind,
            team_id: action.side.map(|side| team_id(self.team(side))),
        };
        first.map(impact).collect()
    }

    /// Sends what the second that begins at `second_ms` (since the Unix epoch) brings.
    pub(super) fn second(&mut self, second_ms: i64, network: &mut Network) {
        let from = second_ms - self.kick_off_ms;
        if from < self.from_ms || from >= self.length_ms {
            return;
        }
        let mut changed = None;
        while let Some(action) = self.actions.get(self.next_action).filter(|action| action.at_ms < from + 1000).cloned()
        {
            self.next_action += 1;
            let before = (self.board.score, self.board.status);
            self.count(&action);
            self.note(&action, network);
            self.tell(&action, network);
            if before != (self.board.score, self.board.status) {
                changed = Some(action.at_ms);
            }
        }
        let finished = self.board.status == "FINISHED";
        if changed.is_some() || (from % SCOREBOARD_EVERY_MS == 0 && !finished) {
            self.show_board(changed.unwrap_or(from), network);
        }
        if from % COUNTS_EVERY_MS == 0 && self.board.status == "LIVE" {
            self.show_counts(from, network);
        }
        let mut acts = std::mem::take(&mut self.acts);
        self.audience.acts(from as i32, &mut acts);
        for act in acts.drain(..) {
            let viewer = self.audience.viewer(act.viewer);
            let minute = self.minute_at(act.at_ms.into()).0 as u8;
            network.act(&act, viewer, self.number as u16, self.kick_off_ms, minute);
        }
        self.acts = acts;
    }

    fn count(&mut self, action: &Action) {
        match action.kind {
            "kickoff" | "second_half" => {
                self.board.status = "LIVE";
                (self.board.period, self.board.half_ms) = (action.period, action.at_ms);
            }
            "half_time" => self.board.status = "HALF_TIME",
            "full_time" => self.board.status = "FINISHED",
            _ => {}
        }
        let Some(side) = action.side else { return };
        let scorer = scoring_side(action.kind, side);
        match action.news {
            News::First => {}
            News::Correction { instead_of } => {
                if let Some(other) = instead_of {
                    self.counts[side].players[other].goals -= 1;
                    self.player(action, side, |player| player.goals += 1);
                }
                return;
            }
            News::Retraction => {
                self.board.score[scorer] -= 1;
                self.player(action, side, |player| player.goals -= 1);
                if let Some(assist) = action.assist {
                    self.counts[side].players[assist].assists -= 1;
                }
                return;
            }
        }
        if let Some(shot) = action.shot {
            self.counts[side].xg += shot.xg;
            let on_target = i64::from(action.kind != "shot");
            self.player(action, side, |player| {
                player.shots += 1;
                player.shots_on_target += on_target;
            });
        }
        if action.is_goal() {
            self.board.score[scorer] += 1;
        }
        let completed = i64::from(action.completed == Some(true));
        let team = &mut self.counts[side];
        match action.kind {
            "corner" => team.corners += 1,
            "foul" => team.fouls += 1,
            "offside" => team.offsides += 1,
            "yellow_card" => team.yellow_cards += 1,
            "red_card" => team.red_cards += 1,
            "save" | "penalty_saved" => team.saves += 1,
            "goal" => {
                if let Some(assist) = action.assist {
                    team.players[assist].assists += 1;
                }
                self.player(action, side, |player| player.goals += 1);
            }
            "tackle" => self.player(action, side, |player| player.tackles += 1),
            "interception" => self.player(action, side, |player| player.interceptions += 1),
            "pass" => self.player(action, side, |player| {
                player.passes += 1;
                player.passes_completed += completed;
            }),
            _ => {}
        }
    }

    /// Writes down what a match is remembered for.
    fn note(&self, action: &Action, network: &mut Network) {
        let Some(side) = action.side else { return };
        let event_time_ms = self.kick_off_ms + action.at_ms;
        let (time, event_id, minute) = (time_text(event_time_ms), uuid_text(action.id), action.minute().0);
        let truth = &mut network.truth;
        let goal = action.is_goal();
        if goal && action.news == News::First {
            truth.goal(GoalTruth {
                match_id: self.match_id.clone(),
                event_id: event_id.clone(),
                team_id: team_id(self.team(scoring_side(action.kind, side))),
                minute,
                event_time_ms,
                event_time: time.clone(),
                cancelled: false,
            });
        }
        if action.news == News::Retraction {
            truth.cancel(&event_id);
        }
        let told = &mut truth.matches[self.number];
        [told.home_score, told.away_score] = self.board.score;
        [told.home_xg, told.away_xg] = [0, 1].map(|side| self.counts[side].xg);
        let [home, away] = self.board.score;
        if goal && !matches!(action.news, News::Correction { .. }) {
            told.score.push(ScoreTruth { time: time.clone(), minute, home, away });
        }
        if action.news != News::First {
            told.corrections.push(CorrectionTruth { time, event_id, op: action.op() });
        } else if matches!(action.kind, "yellow_card" | "red_card") {
            told.cards.push(CardTruth { time, minute, team_id: team_id(self.team(side)), kind: action.kind });
        }
    }

    fn player(&mut self, action: &Action, side: usize, change: impl FnOnce(&mut PlayerCounts)) {
        if let Some(player) = action.player {
            let counts = &mut self.counts[side].players[player];
            counts.seen = true;
            change(counts);
        }
    }

    fn tell(&self, action: &Action, network: &mut Network) {
        let at_ms = self.kick_off_ms + action.at_ms;
        let team = action.side.map(|side| self.team(side));
        let player = team.zip(action.player);
        let assist = team.zip(action.assist);
        let (minute, added_time) = action.minute();
        let side = action.side.map(|side| ["home", "away"][side]);
        let spelling = network.spelling();
        let value = Object::new(spelling)
            .uuid("event_id", action.id)
            .text("match_id", &self.match_id)
            .word("event_type", action.kind);
        let value = match spelling {
            Spelling::Upper => value.text_or_null("team", team.map(team_name).as_deref()).text_or_null("side", side),
            Spelling::Snake | Spelling::Camel => {
                value.text_or_null("team_id", team.map(team_id).as_deref()).text_or_null("team_side", side)
            }
        };
        let value = value
            .text_or_null("player_id", player.map(|(team, place)| player_id(team, place)).as_deref())
            .text_or_null("player_name", player.map(|(team, place)| player_name(team, place)).as_deref())
            .text_or_null("assist_player_id", assist.map(|(team, place)| player_id(team, place)).as_deref())
            .int("minute", minute)
            .int_or_null("added_time", added_time)
            .int("period", action.period.into())
            .float_or_null("x", action.place.map(|place| place.0), 1)
            .float_or_null("y", action.place.map(|place| place.1), 1)
            .float_or_null("end_x", action.end.map(|end| end.0), 1)
            .float_or_null("end_y", action.end.map(|end| end.1), 1)
            .bool_or_null("completed", action.completed)
            .text_or_null("body_part", action.shot.map(|shot| shot.body_part))
            .text_or_null("shot_type", action.shot.map(|shot| shot.shot_type))
            .float_or_null("xg", action.shot.map(|shot| shot.xg), 6)
            .text("description", "")
            .text("op", action.op())
            .int("revision", action.revision())
            .time("timestamp", at_ms);
        self.send(Topic::MatchEvents, at_ms, value, Some(action.clone()), network);
    }

    fn minute_at(&self, from_ms: i64) -> (i64, Option<i64>) {
        match self.board.status {
            "LIVE" => minute(self.board.period, from_ms - self.board.half_ms),
            "HALF_TIME" => (45, None),
            "FINISHED" => (90, None),
            _ => (0, None),
        }
    }

    fn show_board(&self, from_ms: i64, network: &mut Network) {
        let at_ms = self.kick_off_ms + from_ms;
        let (minute, added_time) = self.minute_at(from_ms);
        let value = Object::new(network.spelling())
            .text("match_id", &self.match_id)
            .text("competition", "Touchline League")
            .text("home_team", &team_name(self.team(0)))
            .text("away_team", &team_name(self.team(1)))
            .int("home_score", self.board.score[0])
            .int("away_score", self.board.score[1])
            .text("status", self.board.status)
            .int("minute", minute)
            .int_or_null("added_time", added_time)
            .time("timestamp", at_ms);
        self.send(Topic::LiveMatches, at_ms, value, None, network);
    }

    fn show_counts(&self, from_ms: i64, network: &mut Network) {
        let at_ms = self.kick_off_ms + from_ms;
        let passes = [0, 1].map(|side| self.counts[side].players.iter().map(|player| player.passes).sum::<i64>());
        for side in 0..2 {
            let (team, counts) = (self.team(side), &self.counts[side]);
            for (place, player) in counts.players.iter().enumerate().filter(|(_, player)| player.seen) {
                let value = Object::new(network.spelling())
                    .text("match_id", &self.match_id)
                    .text("player_id", &player_id(team, place))
                    .int("shots", player.shots)
                    .int("shots_on_target", player.shots_on_target)
                    .int("goals", player.goals)
                    .int("assists", player.assists)
                    .int("passes_completed", player.passes_completed)
                    .float_or_null("pass_accuracy", percent(player.passes_completed, player.passes), 1)
                    .int("tackles", player.tackles)
                    .int("interceptions", player.interceptions)
                    .time("timestamp", at_ms);
                self.send(Topic::PlayerLiveStats, at_ms, value, None, network);
            }
            let sum = |of: fn(&PlayerCounts) -> i64| counts.players.iter().map(of).sum::<i64>();
            let completed = sum(|player| player.passes_completed);
            let value = Object::new(network.spelling())
                .text("match_id", &self.match_id)
                .text("team_id", &team_id(team))
                .text("team", &team_name(team))
                .text("side", ["home", "away"][side])
                .float_or_null("possession_pct", percent(passes[side], passes[0] + passes[1]), 1)
                .int("shots", sum(|player| player.shots))
                .int("shots_on_target", sum(|player| player.shots_on_target))
                .int("corners", counts.corners)
                .int("fouls", counts.fouls)
                .int("offsides", counts.offsides)
                .int("yellow_cards", counts.yellow_cards)
                .int("red_cards", counts.red_cards)
                .int("saves", counts.saves)
                .int("passes", passes[side])
                .int("passes_completed", completed)
                .float_or_null("pass_accuracy", percent(completed, passes[side]), 1)
                .float_or_null("xg", Some(counts.xg), 6)
                .time("timestamp", at_ms);
            self.send(Topic::TeamLiveStats, at_ms, value, None, network);
        }
    }

    fn send(&self, topic: Topic, event_ms: i64, value: Object, action: Option<Action>, network: &mut Network) {
        network.tell(Told { topic, fixture: self.number as u16, event_ms, value: value.finish(), action });
    }
}

/// When the goals of a match fall, milliseconds after the first kick-off.
pub(super) fn goals_ms(settings: &SimulationSettings, number: usize) -> Vec<i64> {
    let goals = play(settings.seed, number as u64).into_iter();
    let goals = goals.filter(|action| action.news == News::First && action.is_goal());
    let times = goals.map(|goal| goal.at_ms).filter(|at_ms| *at_ms < settings.length_max_ms());
    times.map(|at_ms| number as i64 * KICK_OFFS_APART_MS + at_ms).collect()
}

/// The side whose score a goal raises.
fn scoring_side(kind: &str, side: usize) -> usize {
    if kind == "own_goal" { 1 - side } else { side }
}
