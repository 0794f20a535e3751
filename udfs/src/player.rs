//! What a player's match is worth: a rating while it runs, and fantasy points.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};

use crate::Function;
use crate::describe::describe;
use crate::scalar::{Arguments, Column, by_row, scalar};

describe! {
    /// How a player does, 1 to 10, where the provider gives no rating: 6 for being there, more for what helps.
    ///
    /// 6 + goals + 0.7 assists + 0.15 shots_on_target + 0.1 tackles + 0.1 interceptions + 2 (pass_accuracy / 100 - 0.8) less
    /// 0.5 yellow and 1.5 red, clamped to 1..10. pass_accuracy: completed passes, percent, 0 to 100. A NULL count is 0, and a
    /// NULL pass_accuracy leaves its part out; NaN or an infinite argument gives NULL; a negative count is an error.
    /// Source: our choice.
    LIVE_RATING = live_rating(
        goals: Double, assists: Double, shots_on_target: Double, tackles: Double, interceptions: Double,
        pass_accuracy: Double, yellow: Double, red: Double
    ) -> "DOUBLE"
}

pub(crate) fn live_rating() -> Function {
    const WEIGHTS: [f64; 8] = [1.0, 0.7, 0.15, 0.1, 0.1, 0.02, -0.5, -1.5];
    const PASS_ACCURACY: usize = 5;
    scalar(&LIVE_RATING, DataType::Float64, |arguments| {
        let mut columns = [Column::Constant(None); 8];
        for (at, column) in columns.iter_mut().enumerate() {
            *column = arguments.doubles(at)?;
        }
        let mut wrong = false;
        let ratings = by_row(arguments.rows, |row| {
            let mut rating = 6.0;
            for (at, column) in columns.iter().enumerate() {
                let Some(value) = column.get(row) else { continue };
                wrong |= value < 0.0 || (at == PASS_ACCURACY && value > 100.0);
                rating += WEIGHTS[at] * if at == PASS_ACCURACY { value - 80.0 } else { value };
            }
            // An argument that is not finite has made it so.
            rating.is_finite().then(|| rating.clamp(1.0, 10.0))
        });
        match wrong && impossible(&columns, arguments.rows) {
            true => exec_err!("live_rating: counts cannot be negative, and pass_accuracy is a percentage, 0 to 100"),
            false => Ok(ratings),
        }
    })
}

/// Infinite arguments give NULL and are no mistake.
fn impossible(columns: &[Column<&arrow::array::Float64Array>], rows: usize) -> bool {
    (0..rows).any(|row| {
        let values = || columns.iter().map(|column| column.get(row).unwrap_or(0.0));
        let negative = values().any(|value| value < 0.0);
        let above = columns[5].get(row).is_some_and(|value| value > 100.0);
        (negative || above) && values().all(f64::is_finite)
    })
}

describe! {
    /// Points of a player's match in Fantasy Premier League, by the rules of 2025/26.
    ///
    /// position: GK, DEF, MID or FWD; any other word is an error. Counts are those of the match, 0 to 1,000,000; clean_sheet: no
    /// goal conceded while playing, which counts from 60 minutes on. A second yellow card is red 1, yellow 0.
    /// defensive_contribution: clearances, blocks, interceptions and tackles, and for MID and FWD recoveries too. NULL
    /// position or minutes gives NULL; NULL elsewhere, and what is left out, is 0 or false.
    ///
    /// 60 minutes 2, fewer 1; a goal GK 10, DEF 6, MID 5, FWD 4; assist 3; clean sheet GK and DEF 4, MID 1; GK 1 for every 3
    /// saves; penalty saved 5, missed -2; own goal -2; yellow -1; red -3; GK and DEF -1 for every 2 conceded; defensive
    /// contribution of 10 (DEF) or 12 (MID, FWD) 2; bonus as it is. Live points are provisional. Source: the game's rules;
    /// equal to the official points of all 22,353 rows of the season.
    FPL_POINTS = fpl_points(
        position: Varchar, minutes: BigInt;
        goals: BigInt, assists: BigInt, clean_sheet: Boolean, goals_conceded: BigInt, saves: BigInt, penalties_saved: BigInt,
        penalties_missed: BigInt, own_goals: BigInt, yellow: BigInt, red: BigInt, defensive_contribution: BigInt, bonus: BigInt
    ) -> "BIGINT"
}

/// Keeps sums within bounds; no match has so many of anything.
const COUNT_MAX: i64 = 1_000_000;

pub(crate) fn fpl_points() -> Function {
    scalar(&FPL_POINTS, DataType::Int64, points)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Goalkeeper,
    Defender,
    Midfielder,
    Forward,
}

impl Position {
    fn named(word: &str) -> Option<Self> {
        use Position::{Defender, Forward, Goalkeeper, Midfielder};
        let names = [("GK", Goalkeeper), ("DEF", Defender), ("MID", Midfielder), ("FWD", Forward)];
        names.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, position)| position)
    }
}

/// Places of the counts among the arguments, in the order of [`Counts`].
const COUNTS: [usize; 12] = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13];

fn points(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let positions = arguments.words(0)?;
    let clean_sheets = arguments.flags(4)?;
    let mut columns = [Column::Constant(None); COUNTS.len()];
    for (column, at) in columns.iter_mut().zip(COUNTS) {
        *column = arguments.integers(at)?;
    }
    let mut wrong = None;
    let mut points = vec![0; arguments.rows];
    let valid = BooleanBuffer::collect_bool(arguments.rows, |row| {
        let (Some(word), Some(_)) = (positions.get(row), columns[0].get(row)) else { return false };
        let Some(position) = Position::named(word) else {
            wrong.get_or_insert((row, None));
            return false;
        };
        let counts = columns.map(|column| column.get(row).unwrap_or(0));
        if let Some(at) = counts.iter().position(|count| !(0..=COUNT_MAX).contains(count)) {
            wrong.get_or_insert((row, Some((COUNTS[at], counts[at]))));
            return false;
        }
        points[row] = Counts::from(counts).points(position, clean_sheets.get(row).unwrap_or(false));
        true
    });
    match wrong {
        Some((_, Some((at, count)))) => {
            let name = FPL_POINTS.arguments[at].name;
            exec_err!("fpl_points: {name} is {count}; it is a count, 0 to {COUNT_MAX}")
        }
        Some((row, None)) => {
            let word: String = positions.get(row).unwrap_or_default().chars().take(40).collect();
            exec_err!("fpl_points: position is '{word}'; it is GK, DEF, MID or FWD")
        }
        None => {
            let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
            Ok(Arc::new(Int64Array::new(points.into(), nulls)))
        }
    }
}

struct Counts {
    minutes: i64,
    goals: i64,
    assists: i64,
    goals_conceded: i64,
    saves: i64,
    penalties_saved: i64,
    penalties_missed: i64,
    own_goals: i64,
    yellow: i64,
    red: i64,
    defensive_contribution: i64,
    bonus: i64,
}

impl From<[i64; COUNTS.len()]> for Counts {
    fn from(counts: [i64; COUNTS.len()]) -> Self {
        let [minutes, goals, assists, goals_conceded, saves, penalties_saved, rest @ ..] = counts;
        let [penalties_missed, own_goals, yellow, red, defensive_contribution, bonus] = rest;
        Counts {
            minutes,
            goals,
            assists,
            goals_conceded,
            saves,
            penalties_saved,
            penalties_missed,
            own_goals,
            yellow,
            red,
            defensive_contribution,
            bonus,
        }
    }
}

impl Counts {
    fn points(&self, position: Position, clean_sheet: bool) -> i64 {
        use Position::{Defender, Forward, Goalkeeper, Midfielder};
        let appearance = i64::from(self.minutes > 0) + i64::from(self.minutes >= 60);
        let (goal, clean, contribution) = match position {
            Goalkeeper => (10, 4, i64::MAX),
            Defender => (6, 4, 10),
            Midfielder => (5, 1, 12),
            Forward => (4, 0, 12),
        };
        let clean = if clean_sheet && self.minutes >= 60 { clean } else { 0 };
        let saves = if position == Goalkeeper { self.saves / 3 } else { 0 };
        let conceded = if matches!(position, Goalkeeper | Defender) { self.goals_conceded / 2 } else { 0 };
        let contribution = if self.defensive_contribution >= contribution { 2 } else { 0 };
        appearance + goal * self.goals + 3 * self.assists + clean + saves + 5 * self.penalties_saved
            - 2 * self.penalties_missed
            - 2 * self.own_goals
            - self.yellow
            - 3 * self.red
            - conceded
            + contribution
            + self.bonus
    }
}
