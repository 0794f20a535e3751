//! What the queries over match events must answer: threat, momentum, possession, heat maps, alerts, shots and the archive.
//!
//! Windows count the first reports of actions: neither corrections nor retractions.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use touchline_udfs::xg::{ShotModel, expected_goals};

use super::super::play::{Action, News};
use super::super::record::{time_text, uuid_text};
use super::super::roster::{player_id, player_name, position, team_id, team_name};
use super::{Class, IMPACTS};

const MINUTE: i64 = 60_000;
const THREAT_EVERY: i64 = 5 * MINUTE;
const HEAT_EVERY: i64 = 15 * MINUTE;
const MOMENTUM_LENGTH: i64 = 10 * MINUTE;
const PRESSURE_LENGTH: i64 = 5 * MINUTE;
/// Of the decayed momentum, milliseconds.
const HALF_LIFE: f64 = 150_000.0;
/// Columns and rows of a heat map.
const CELLS: (usize, usize) = (12, 8);
/// From this minute on a goal is late.
const LATE_GOAL: i64 = 85;

/// (window start, fixture)
type Window = (i64, u16);

#[derive(Debug)]
pub(super) struct Pitch {
    match_ids: Vec<String>,
    threat: BTreeMap<(Window, usize), Threat>,
    momentum: BTreeMap<Window, Momentum>,
    pressure: BTreeMap<Window, Pressure>,
    heat: BTreeMap<(Window, usize, usize), Heat>,
    /// By the beginning of the row.
    alerts: BTreeMap<String, Copies>,
    shots: BTreeMap<String, Copies>,
    archive: BTreeMap<String, Copies>,
    pub(super) queries: BTreeMap<&'static str, Copies>,
}

/// Records by class.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Copies {
    pub(super) punctual: u64,
    pub(super) late: u64,
}

impl Copies {
    fn add(&mut self, class: Class) {
        match class {
            Class::Punctual => self.punctual += 1,
            Class::Late => self.late += 1,
            // Cameras have good clocks.
            Class::Ahead => {}
        }
    }
}

#[derive(Debug, Default)]
struct Threat {
    shots: u64,
    xg: Option<f64>,
    no_goal: Option<f64>,
    xt: Option<f64>,
    corners: u64,
}

#[derive(Debug, Default)]
struct Momentum {
    weight: [f64; 2],
    decayed: [f64; 2],
}

/// Counts by side.
#[derive(Debug, Default)]
struct Pressure {
    final_third: [u64; 2],
    passes: [u64; 2],
    from_behind: [u64; 2],
    defended: [u64; 2],
    completed: [u64; 2],
}

#[derive(Debug)]
struct Heat {
    cells: [u64; CELLS.0 * CELLS.1],
    touches: u64,
}

impl Pitch {
    pub(super) fn new(match_ids: &[String]) -> Self {
        Pitch {
            match_ids: match_ids.to_vec(),
            threat: BTreeMap::new(),
            momentum: BTreeMap::new(),
            pressure: BTreeMap::new(),
            heat: BTreeMap::new(),
            alerts: BTreeMap::new(),
            shots: BTreeMap::new(),
            archive: BTreeMap::new(),
            queries: BTreeMap::new(),
        }
    }

    pub(super) fn action(&mut self, fixture: u16, action: &Action, event_ms: i64, class: Class) {
        let first = action.news == News::First;
        self.by_row(fixture, action, event_ms, class);
        let read = [
            ("momentum_5m", first && action.side.is_some()),
            ("momentum_index", first),
            ("possession_pressure", first),
            ("heatmap_15m", first && action.player.is_some()),
            ("goal_uplift", first && IMPACTS.contains(&action.kind)),
        ];
        for (query, _) in read.into_iter().filter(|(_, reads)| *reads) {
            self.queries.entry(query).or_default().add(class);
        }
        if !first || class != Class::Punctual {
            return;
        }
        let floor = |length: i64| event_ms - event_ms.rem_euclid(length);
        if let Some(side) = action.side {
            self.threat.entry(((floor(THREAT_EVERY), fixture), side)).or_default().add(action);
            if let Some(player) = action.player {
                let heat = self.heat.entry(((floor(HEAT_EVERY), fixture), side, player));
                heat.or_insert(Heat { cells: [0; CELLS.0 * CELLS.1], touches: 0 }).add(action.place);
            }
        }
        let latest = floor(MINUTE);
        for back in 0..MOMENTUM_LENGTH / MINUTE {
            let start = latest - back * MINUTE;
            let momentum = self.momentum.entry((start, fixture)).or_default();
            if let Some(side) = action.side {
                let age = (start + MOMENTUM_LENGTH - event_ms) as f64;
                momentum.weight[side] += weight(action.kind);
                momentum.decayed[side] += weight(action.kind) * (-age / HALF_LIFE).exp2();
            }
        }
        for back in 0..PRESSURE_LENGTH / MINUTE {
            self.pressure.entry((latest - back * MINUTE, fixture)).or_default().add(action);
        }
    }

    /// The queries without windows: they take corrections and late records as they come.
    fn by_row(&mut self, fixture: u16, action: &Action, event_ms: i64, class: Class) {
        let match_id = &self.match_ids[usize::from(fixture)];
        let (id, time) = (uuid_text(action.id), time_text(event_ms));
        let team = action.side.map(|side| 2 * usize::from(fixture) + side);
        let minute = action.minute().0;
        let first = action.news == News::First;
        let goal = action.is_goal();
        let alert = match action.kind {
            _ if goal && action.news == News::Retraction => Some(("goal_cancelled", 3)),
            _ if goal && first && minute >= LATE_GOAL => Some(("late_goal", 2)),
            "red_card" if first => Some(("red_card", 3)),
            "penalty" if first => Some(("penalty", 2)),
            _ => None,
        };
        if let Some((kind, severity)) = alert {
            let team = quoted(team.map(team_id));
            let row = format!(
                "{{\"alert_id\":\"{id}\",\"match_id\":\"{match_id}\",\"kind\":\"{kind}\",\"severity\":{severity},\
                 \"minute\":{minute},\"team_id\":{team},\"event_time\":\"{time}\""
            );
            self.alerts.entry(row).or_default().add(class);
            self.queries.entry("event_alerts").or_default().add(class);
        }
        if let Some(shot) = action.shot.filter(|_| first) {
            let who = team.zip(action.player);
            let (x, y) = action.place.unzip();
            let xg = action.place.map(|(x, y)| expected_goals(x, y, model(shot.body_part, shot.shot_type)));
            let row = format!(
                "{{\"event_id\":\"{id}\",\"event_time\":\"{time}\",\"match_id\":\"{match_id}\",\"minute\":{minute},\
                 \"event_type\":\"{}\",\"player_name\":{},\"position\":{},\"team_name\":{},\"x\":{},\"y\":{},\"xg\":{}",
                action.kind,
                quoted(who.map(|(team, place)| player_name(team, place))),
                quoted(who.map(|(_, place)| position(place))),
                quoted(team.map(team_name)),
                number(x),
                number(y),
                number(xg),
            );
            self.shots.entry(row).or_default().add(class);
            self.queries.entry("shots_with_players").or_default().add(class);
        }
        if action.kind != "pass" {
            let (op, revision) = (action.op(), action.revision());
            let row = format!(
                "{{\"match_id\":\"{match_id}\",\"event_type\":\"{}\",\"op\":\"{op}\",\"revision\":{revision}",
                action.kind
            );
            self.archive.entry(row).or_default().add(class);
            self.queries.entry("match_archive").or_default().add(class);
        }
    }

    /// All rows by query.
    pub(super) fn rows(&self) -> BTreeMap<&'static str, Vec<String>> {
        let begin = |(start, fixture): &Window, length: i64| {
            let (from, to) = (time_text(*start), time_text(start + length));
            let id = &self.match_ids[usize::from(*fixture)];
            format!("{{\"window_start\":\"{from}\",\"window_end\":\"{to}\",\"match_id\":\"{id}\"")
        };
        let team = |fixture: u16, side: usize| 2 * usize::from(fixture) + side;
        let mut rows: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        rows.insert(
            "momentum_5m",
            collect(&self.threat, |row, (window, side), threat| {
                let (team, name) = (team_id(team(window.1, *side)), ["home", "away"][*side]);
                let (shots, corners) = (threat.shots, threat.corners);
                let (xg, xt, chance) = (number(threat.xg), number(threat.xt), 1.0 - threat.no_goal.unwrap_or(1.0));
                *row = begin(window, THREAT_EVERY);
                write!(
                    row,
                    ",\"team_id\":\"{team}\",\"team_side\":\"{name}\",\"shots\":{shots},\"xg\":{xg},\
                 \"goal_probability\":{chance:?},\"xt\":{xt},\"corners\":{corners}}}"
                )
            }),
        );
        rows.insert("momentum_index", collect(&self.momentum, |row, window, momentum| {
            let ([home, away], [near, far]) = (momentum.weight, momentum.decayed);
            let (index, decayed) = (number(momentum_of(home, away)), number(momentum_of(near, far)));
            *row = begin(window, MOMENTUM_LENGTH);
            write!(
                row,
                ",\"home_weight\":{home:?},\"away_weight\":{away:?},\"home_decayed\":{near:?},\"away_decayed\":{far:?},\
                 \"momentum\":{index},\"momentum_decayed\":{decayed}}}"
            )
        }));
        rows.insert(
            "possession_pressure",
            collect(&self.pressure, |row, window, counts| {
                let share = |of: [u64; 2]| number(ratio(of[0], of[0] + of[1]));
                let (tilt, possession) = (share(counts.final_third), share(counts.passes));
                let home_ppda = number(ratio(counts.from_behind[1], counts.defended[0]));
                let away_ppda = number(ratio(counts.from_behind[0], counts.defended[1]));
                let completion = number(ratio(counts.completed[0], counts.passes[0]));
                *row = begin(window, PRESSURE_LENGTH);
                write!(
                    row,
                    ",\"home_tilt\":{tilt},\"home_possession\":{possession},\"home_ppda\":{home_ppda},\
                 \"away_ppda\":{away_ppda},\"home_pass_completion\":{completion}}}"
                )
            }),
        );
        rows.insert(
            "heatmap_15m",
            collect(&self.heat, |row, (window, side, place), heat| {
                let player = player_id(team(window.1, *side), *place);
                *row = begin(window, HEAT_EVERY);
                let (cells, touches) = (&heat.cells, heat.touches);
                write!(row, ",\"player_id\":\"{player}\",\"cells\":{cells:?},\"touches\":{touches}}}")
            }),
        );
        for (name, of) in
            [("event_alerts", &self.alerts), ("shots_with_players", &self.shots), ("match_archive", &self.archive)]
        {
            rows.insert(
                name,
                collect(of, |row, begin, copies| {
                    write!(row, "{begin},\"punctual\":{},\"late\":{}}}", copies.punctual, copies.late)
                }),
            );
        }
        rows
    }
}

fn collect<K, V>(map: &BTreeMap<K, V>, write: impl Fn(&mut String, &K, &V) -> std::fmt::Result) -> Vec<String> {
    let line = |(key, value)| {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write(&mut line, key, value);
        line
    };
    map.iter().map(line).collect()
}

impl Threat {
    fn add(&mut self, action: &Action) {
        if let Some((shot, (x, y))) = action.shot.zip(action.place) {
            let xg = expected_goals(x, y, model(shot.body_part, shot.shot_type));
            *self.xg.get_or_insert(0.0) += xg;
            *self.no_goal.get_or_insert(1.0) *= 1.0 - xg;
        }
        self.shots += u64::from(matches!(action.kind, "shot" | "shot_on_target" | "goal"));
        self.corners += u64::from(action.kind == "corner");
        if let (true, Some(from), Some(to)) = (action.completed == Some(true), action.place, action.end) {
            *self.xt.get_or_insert(0.0) += threat_of(to) - threat_of(from);
        }
    }
}

impl Pressure {
    fn add(&mut self, action: &Action) {
        let (Some(side), Some((x, _))) = (action.side, action.place) else { return };
        match action.kind {
            "pass" => {
                self.passes[side] += 1;
                self.final_third[side] += u64::from(x >= 80.0);
                self.from_behind[side] += u64::from(x < 72.0);
                self.completed[side] += u64::from(action.completed == Some(true));
            }
            "tackle" | "interception" | "foul" => self.defended[side] += u64::from(x >= 48.0),
            _ => {}
        }
    }
}

impl Heat {
    fn add(&mut self, place: Option<(f64, f64)>) {
        let Some((x, y)) = place else { return };
        let cell = |at: f64, length: f64, cells: usize| ((at / length * cells as f64) as usize).min(cells - 1);
        self.cells[cell(x, 120.0, CELLS.0) + CELLS.0 * cell(y, 80.0, CELLS.1)] += 1;
        self.touches += 1;
    }
}

/// How much an action says about who has the upper hand.
fn weight(kind: &str) -> f64 {
    match kind {
        "goal" => 5.0,
        "penalty" => 4.0,
        "shot_on_target" => 3.0,
        "shot" => 2.0,
        "corner" => 1.0,
        "free_kick" => 0.5,
        "red_card" => -3.0,
        _ => 0.0,
    }
}

fn momentum_of(home: f64, away: f64) -> Option<f64> {
    let all = home + away + 1.0;
    (all > 0.0).then(|| (home - away) / all)
}

fn model(body_part: &str, shot_type: &str) -> ShotModel {
    match (shot_type, body_part) {
        ("penalty", _) => ShotModel::Penalty,
        ("free_kick", _) => ShotModel::FreeKick,
        (_, "head") => ShotModel::OpenHead,
        _ => ShotModel::OpenFoot,
    }
}

/// The chance of a goal from having the ball here: Karun Singh's grid (2018), whose rows are the same from both sides.
fn threat_of((x, y): (f64, f64)) -> f64 {
    const GRID: [[f64; 12]; 4] = [
        [
            0.00638303, 0.00779616, 0.00844854, 0.00977659, 0.01126267, 0.01248344, 0.01473596, 0.0174506, 0.02122129,
            0.02756312, 0.03485072, 0.0379259,
        ],
        [
            0.00750072, 0.00878589, 0.00942382, 0.0105949, 0.01214719, 0.0138454, 0.01611813, 0.01870347, 0.02401521,
            0.02953272, 0.04066992, 0.04647721,
        ],
        [
            0.0088799, 0.00977745, 0.01001304, 0.01110462, 0.01269174, 0.01429128, 0.01685596, 0.01935132, 0.0241224,
            0.02855202, 0.05491138, 0.06442595,
        ],
        [
            0.00941056, 0.01082722, 0.01016549, 0.01132376, 0.01262646, 0.01484598, 0.01689528, 0.0199707, 0.02385149,
            0.03511326, 0.10805102, 0.25745362,
        ],
    ];
    let (column, row) = (((x / 10.0) as usize).min(11), ((y / 10.0) as usize).min(7));
    GRID[row.min(7 - row)][column]
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn number(value: Option<f64>) -> String {
    value.map_or("null".to_owned(), |value| format!("{value:?}"))
}

fn quoted(text: Option<impl Display>) -> String {
    text.map_or("null".to_owned(), |text| format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The published vectors of the grid, and the rule for the index where red cards outweigh all else.
    #[test]
    fn formulas() {
        let added = |from, to| threat_of(to) - threat_of(from);
        assert!((added((60.0, 40.0), (100.0, 40.0)) - 0.09115574).abs() < 1e-9);
        assert!((added((0.0, 0.0), (120.0, 80.0)) - 0.03154287).abs() < 1e-9);
        assert!((added((61.0, 41.0), (36.0, 26.0)) + 0.00579066).abs() < 1e-9);
        assert!((momentum_of(2.273575, 0.5).unwrap() - 0.469999).abs() < 1e-6);
        assert_eq!(momentum_of(-3.0, 1.0), None);
        let mut heat = Heat { cells: [0; 96], touches: 0 };
        for place in [(0.0, 0.0), (10.0, 10.0), (60.0, 40.0), (120.0, 80.0)] {
            heat.add(Some(place));
        }
        assert_eq!([0, 13, 54, 95].map(|cell| heat.cells[cell]), [1; 4]);
    }
}
