//! One match with all that is told of it: actions, scoreboard, counts of players and teams, and its audience.

use super::audience::{Act, Audience, Stir};
use super::play::{Action, minute, play};
use super::record::{Object, uuid_text};
use super::roster::{SQUAD, player_id, player_name, team_id, team_name};
use super::{
    Air, ENGAGEMENTS, GoalTruth, LIVE_MATCHES, MATCH_EVENTS, PLAYER_LIVE_STATS, SimulationSettings, TEAM_LIVE_STATS,
};

const KICK_OFFS_APART_MS: i64 = 7_000;
const SCOREBOARD_EVERY_MS: i64 = 10_000;
const COUNTS_EVERY_MS: i64 = 30_000;
/// The crowd is followed for so long after the final whistle.
const AFTERMATH_MS: i64 = 60_000;

pub(super) struct Fixture {
    number: usize,
    match_id: String,
    kick_off_ms: i64,
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
    pub(super) fn new(settings: &SimulationSettings, number: usize) -> Self {
        let mut actions = play(settings.seed, number as u64);
        actions.retain(|action| action.at_ms < settings.length_max_ms());
        let whole = actions.last().map_or(0, |action| action.at_ms) + AFTERMATH_MS;
        let length_ms = whole.min(settings.length_max_ms());
        let stirs = actions.iter().filter(|action| !action.retract);
        let stirs = stirs.map(|a| Stir { at_ms: a.at_ms, event_id: a.id, kind: a.kind, side: a.side }).collect();
        let viewers = settings.viewers / settings.matches + usize::from(number < settings.viewers % settings.matches);
        let scale = settings.engagement_scale();
        Fixture {
            number,
            match_id: format!("m{}-{}", settings.seed, number + 1),
            kick_off_ms: settings.start / 1000 + number as i64 * KICK_OFFS_APART_MS,
            length_ms,
            actions,
            next_action: 0,
            audience: Audience::new(settings.seed, number as u64, viewers, scale, length_ms, stirs),
            board: Board { score: [0, 0], status: "SCHEDULED", period: 1, half_ms: 0 },
            counts: Default::default(),
            acts: Vec::new(),
        }
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.kick_off_ms + self.length_ms
    }

    fn team(&self, side: usize) -> usize {
        2 * self.number + side
    }

    /// Sends what the second that begins at `second_ms` (since the Unix epoch) brings.
    pub(super) fn second(&mut self, second_ms: i64, air: &mut Air) {
        let from = second_ms - self.kick_off_ms;
        if from < 0 || from >= self.length_ms {
            return;
        }
        let mut changed = None;
        while let Some(action) = self.actions.get(self.next_action).filter(|action| action.at_ms < from + 1000).cloned()
        {
            self.next_action += 1;
            let before = (self.board.score, self.board.status);
            self.count(&action, air);
            self.tell(&action, air);
            if before != (self.board.score, self.board.status) {
                changed = Some(action.at_ms);
            }
        }
        let finished = self.board.status == "FINISHED";
        if changed.is_some() || (from % SCOREBOARD_EVERY_MS == 0 && !finished) {
            self.show_board(changed.unwrap_or(from), air);
        }
        if from % COUNTS_EVERY_MS == 0 && self.board.status == "LIVE" {
            self.show_counts(from, air);
        }
        let mut acts = std::mem::take(&mut self.acts);
        self.audience.acts(from, &mut acts);
        for act in acts.drain(..) {
            self.engage(&act, air);
        }
        self.acts = acts;
    }

    fn count(&mut self, action: &Action, air: &mut Air) {
        match action.kind {
            "kickoff" | "second_half" => {
                self.board.status = "LIVE";
                (self.board.period, self.board.half_ms) = (action.period, action.at_ms);
            }
            "half_time" => self.board.status = "HALF_TIME",
            "full_time" => self.board.status = "FINISHED",
            _ => {}
        }
        let kind = if action.retract { "retract" } else { action.kind };
        *air.truth.match_events.entry(kind).or_default() += 1;
        let Some(side) = action.side else { return };
        let scorer = if action.kind == "own_goal" { 1 - side } else { side };
        if action.retract {
            self.board.score[scorer] -= 1;
            self.player(action, side, |player| player.goals -= 1);
            if let Some(assist) = action.assist {
                self.counts[side].players[assist].assists -= 1;
            }
            let id = uuid_text(action.id);
            air.truth.goals.iter_mut().filter(|goal| goal.event_id == id).for_each(|goal| goal.cancelled = true);
            return;
        }
        if let Some(shot) = action.shot {
            self.counts[side].xg += shot.xg;
            let on_target = i64::from(action.kind != "shot");
            self.player(action, side, |player| {
                player.shots += 1;
                player.shots_on_target += on_target;
            });
        }
        if matches!(action.kind, "goal" | "own_goal") {
            self.board.score[scorer] += 1;
            air.truth.goals.push(GoalTruth {
                match_id: self.match_id.clone(),
                event_id: uuid_text(action.id),
                team_id: team_id(self.team(scorer)),
                minute: action.minute().0,
                event_time_ms: self.kick_off_ms + action.at_ms,
                cancelled: false,
            });
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

    fn player(&mut self, action: &Action, side: usize, change: impl FnOnce(&mut PlayerCounts)) {
        if let Some(player) = action.player {
            let counts = &mut self.counts[side].players[player];
            counts.seen = true;
            change(counts);
        }
    }

    fn tell(&self, action: &Action, air: &mut Air) {
        let at_ms = self.kick_off_ms + action.at_ms;
        let team = action.side.map(|side| self.team(side));
        let player = team.zip(action.player);
        let assist = team.zip(action.assist);
        let (minute, added_time) = action.minute();
        let value = Object::new()
            .uuid("event_id", action.id)
            .text("match_id", &self.match_id)
            .text("event_type", action.kind)
            .text_or_null("team_id", team.map(team_id).as_deref())
            .text_or_null("team_side", action.side.map(|side| ["home", "away"][side]))
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
            .text("op", if action.retract { "retract" } else { "upsert" })
            .int("revision", action.retract.into())
            .time("timestamp", at_ms);
        air.send(MATCH_EVENTS, &self.match_id, at_ms, at_ms, value.finish());
    }

    fn minute_at(&self, from_ms: i64) -> (i64, Option<i64>) {
        match self.board.status {
            "LIVE" => minute(self.board.period, from_ms - self.board.half_ms),
            "HALF_TIME" => (45, None),
            "FINISHED" => (90, None),
            _ => (0, None),
        }
    }

    fn show_board(&self, from_ms: i64, air: &mut Air) {
        let at_ms = self.kick_off_ms + from_ms;
        let (minute, added_time) = self.minute_at(from_ms);
        let value = Object::new()
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
        air.send(LIVE_MATCHES, &self.match_id, at_ms, at_ms, value.finish());
    }

    fn show_counts(&self, from_ms: i64, air: &mut Air) {
        let at_ms = self.kick_off_ms + from_ms;
        let passes = [0, 1].map(|side| self.counts[side].players.iter().map(|player| player.passes).sum::<i64>());
        for side in 0..2 {
            let (team, counts) = (self.team(side), &self.counts[side]);
            for (place, player) in counts.players.iter().enumerate().filter(|(_, player)| player.seen) {
                let value = Object::new()
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
                air.send(PLAYER_LIVE_STATS, &self.match_id, at_ms, at_ms, value.finish());
            }
            let sum = |of: fn(&PlayerCounts) -> i64| counts.players.iter().map(of).sum::<i64>();
            let completed = sum(|player| player.passes_completed);
            let value = Object::new()
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
            air.send(TEAM_LIVE_STATS, &self.match_id, at_ms, at_ms, value.finish());
        }
    }

    fn engage(&mut self, act: &Act, air: &mut Air) {
        *air.truth.engagements.entry(act.kind).or_default() += 1;
        let true_ms = self.kick_off_ms + act.at_ms;
        let claimed_ms = (true_ms + act.traits.skew_ms).max(0);
        let who = format!("{:02}{:06}", self.number + 1, act.viewer);
        let user_id = format!("u{who}");
        let value = Object::new()
            .uuid("event_id", air.draws.uuid())
            .text("match_id", &self.match_id)
            .text("user_id", &user_id)
            .text("session_id", &format!("s{who}"))
            .text("engagement_type", act.kind)
            .text("engagement_subtype", act.subtype)
            .text_or_null("related_game_event_id", act.about.map(uuid_text).as_deref())
            .int("game_minute", self.minute_at(act.at_ms).0)
            .text("device_type", act.traits.device)
            .text("platform", act.traits.platform)
            .text("country_code", act.traits.country)
            .text("content", act.content)
            .raw("metadata", &format!("{{\"persona\":\"{}\"}}", act.traits.persona))
            .time("timestamp", claimed_ms);
        air.send(ENGAGEMENTS, &user_id, true_ms, claimed_ms, value.finish());
    }
}
