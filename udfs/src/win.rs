//! How a match will end, from how it stands.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StructArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};

use crate::Function;
use crate::describe::describe;
use crate::scalar::{Arguments, scalar};

/// Goals of each side that are still counted, 0 to 20.
const GOALS: usize = 21;
/// Minutes of a match with its added time.
const MATCH_MINUTES: f64 = 95.0;
/// By how much the rate of goals rises with every minute.
const RISE: f64 = 0.006;
/// Share of the goals that is left however late it is.
const LEAST_REMAINING: f64 = 0.005;
/// A player fewer: the side's own rate of goals and the other side's change by these factors.
const SHORT_SIDE: f64 = 2.0 / 3.0;
const FULL_SIDE: f64 = 1.57;
const LAMBDA_MAX: f64 = 20.0;
const PLAYERS: i64 = 11;

describe! {
    /// The probabilities of a home win, a draw and an away win, from the score and the time.
    ///
    /// minute: of play, counted on through the second half's added time (90 + added) and standing at 45 in the first half's;
    /// below 0 counts as 0. home_lambda, away_lambda: goals expected of each side in a whole match, above 0 and at most 20; 1.53 and
    /// 1.18 by default. home_reds, away_reds: red cards, 0 to 11; 0 by default. finished: whether the match has ended; false by
    /// default. NULL score or minute gives NULL, NULL elsewhere the default; a negative score is an error.
    ///
    /// Goals still to come are independent and Poisson, with mean lambda × r × max(1 - (m + 0.003 m²) / (95 + 0.003 × 95²), 0.005)
    /// at minute m: the rate of goals rises by 0.006 a minute. r is 2/3 for each own red card and 1.57 for each of the opponent.
    /// 0 to 20 goals of each side are summed and scaled to 1. Source: a Skellam model after Dixon and Robinson, The Statistician
    /// 47(3), 1998; rates and factors measured on the public Wyscout events (Pappalardo et al., 2019, CC BY 4.0).
    WIN_PROBABILITY = win_probability(
        home_score: BigInt, away_score: BigInt, minute: Double;
        home_lambda: Double, away_lambda: Double, home_reds: BigInt, away_reds: BigInt, finished: Boolean
    ) -> "STRUCT<home DOUBLE, draw DOUBLE, away DOUBLE>"
}

pub(crate) fn win_probability() -> Function {
    scalar(&WIN_PROBABILITY, DataType::Struct(fields()), run)
}

fn fields() -> Fields {
    ["home", "draw", "away"].map(|name| Field::new(name, DataType::Float64, true)).into_iter().collect()
}

fn run(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (home_score, away_score) = (arguments.integers(0)?, arguments.integers(1)?);
    let minute = arguments.doubles(2)?;
    let (home_lambda, away_lambda) = (arguments.doubles(3)?, arguments.doubles(4)?);
    let (home_reds, away_reds) = (arguments.integers(5)?, arguments.integers(6)?);
    let finished = arguments.flags(7)?;

    let rows = arguments.rows;
    let mut wrong = None;
    let [mut home, mut draw, mut away] = [vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]];
    let valid = BooleanBuffer::collect_bool(rows, |row| {
        let (Some(home_score), Some(away_score), Some(minute)) =
            (home_score.get(row), away_score.get(row), minute.get(row))
        else {
            return false;
        };
        let standing = Standing {
            home_score,
            away_score,
            minute,
            home_lambda: home_lambda.get(row).unwrap_or(1.53),
            away_lambda: away_lambda.get(row).unwrap_or(1.18),
            home_reds: home_reds.get(row).unwrap_or(0),
            away_reds: away_reds.get(row).unwrap_or(0),
            finished: finished.get(row).unwrap_or(false),
        };
        if ![minute, standing.home_lambda, standing.away_lambda].iter().all(|value| value.is_finite()) {
            return false;
        }
        if let Some(why) = standing.impossible() {
            wrong.get_or_insert(why);
            return false;
        }
        [home[row], draw[row], away[row]] = standing.outcome();
        true
    });
    if let Some(why) = wrong {
        return exec_err!("win_probability: {why}");
    }
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    let columns = [home, draw, away].map(|values| Arc::new(Float64Array::from(values)) as ArrayRef);
    Ok(Arc::new(StructArray::try_new(fields(), columns.to_vec(), nulls)?))
}

struct Standing {
    home_score: i64,
    away_score: i64,
    minute: f64,
    home_lambda: f64,
    away_lambda: f64,
    home_reds: i64,
    away_reds: i64,
    finished: bool,
}

impl Standing {
    fn impossible(&self) -> Option<&'static str> {
        if self.home_score < 0 || self.away_score < 0 {
            return Some("home_score and away_score cannot be negative");
        }
        let possible = |lambda| lambda > 0.0 && lambda <= LAMBDA_MAX;
        if !possible(self.home_lambda) || !possible(self.away_lambda) {
            return Some("home_lambda and away_lambda are goals of a match, above 0 and at most 20");
        }
        let possible = |reds| (0..=PLAYERS).contains(&reds);
        if !possible(self.home_reds) || !possible(self.away_reds) {
            return Some("home_reds and away_reds are red cards of a side, 0 to 11");
        }
        None
    }

    /// Home win, draw, away win.
    fn outcome(&self) -> [f64; 3] {
        let lead = self.home_score.saturating_sub(self.away_score);
        if self.finished {
            return [lead > 0, lead == 0, lead < 0].map(f64::from);
        }
        let remaining = remaining(self.minute);
        let [home_reds, away_reds] = [self.home_reds, self.away_reds].map(|reds| reds as i32);
        let rate = |lambda: f64, own: i32, other: i32| {
            // Hardly any match has a red card.
            let cards = if own + other == 0 { 1.0 } else { SHORT_SIDE.powi(own) * FULL_SIDE.powi(other) };
            lambda * remaining * cards
        };
        let home = weights(rate(self.home_lambda, home_reds, away_reds));
        let away = weights(rate(self.away_lambda, away_reds, home_reds));
        // The same sum from the side that leads, so that all indices are positive.
        let by = usize::try_from(lead.unsigned_abs()).unwrap_or(GOALS).min(GOALS);
        match lead >= 0 {
            true => ahead(&home, &away, by),
            false => {
                let [win, draw, loss] = ahead(&away, &home, by);
                [loss, draw, win]
            }
        }
    }
}

/// Win, draw and loss of the side that leads `by` so many goals.
fn ahead(leader: &[f64; GOALS], other: &[f64; GOALS], by: usize) -> [f64; 3] {
    // The weight of fewer than n further goals of the other side.
    let mut fewer = [0.0; GOALS + 1];
    for (goals, weight) in other.iter().enumerate() {
        fewer[goals + 1] = fewer[goals] + weight;
    }
    let total = fewer[GOALS];
    let level = GOALS - by;
    let mut wins = leader[level..].iter().sum::<f64>() * total;
    let mut draws = 0.0;
    for (weight, (equal, fewer)) in leader[..level].iter().zip(other[by..].iter().zip(&fewer[by..])) {
        draws += weight * equal;
        wins += weight * fewer;
    }
    let scale = 1.0 / (leader.iter().sum::<f64>() * total);
    let (win, draw) = (wins * scale, draws * scale);
    [win, draw, (1.0 - win - draw).max(0.0)]
}

/// The share of a match's goals that is still to come.
fn remaining(minute: f64) -> f64 {
    const WHOLE: f64 = MATCH_MINUTES + RISE * MATCH_MINUTES * MATCH_MINUTES / 2.0;
    let minute = minute.clamp(0.0, MATCH_MINUTES);
    (1.0 - (minute + RISE * minute * minute / 2.0) / WHOLE).max(LEAST_REMAINING)
}

/// Weights of 0 to 20 goals, Poisson but for the factor that scales them to 1.
fn weights(mean: f64) -> [f64; GOALS] {
    const INVERSE_FACTORIALS: [f64; GOALS] = {
        let mut inverse = [1.0; GOALS];
        let mut goals = 1;
        while goals < GOALS {
            inverse[goals] = inverse[goals - 1] / goals as f64;
            goals += 1;
        }
        inverse
    };
    // Four chains of products instead of one: each multiplication would wait for the one before.
    let square = mean * mean;
    let mut weights = [1.0; GOALS];
    [weights[1], weights[2], weights[3]] = [mean, square, square * mean];
    for goals in 4..GOALS {
        weights[goals] = weights[goals - 4] * (square * square);
    }
    for (weight, inverse) in weights.iter_mut().zip(INVERSE_FACTORIALS) {
        *weight *= inverse;
    }
    weights
}
