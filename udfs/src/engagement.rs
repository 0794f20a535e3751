//! What the audience does: the mood of its reactions, how busy a viewer is, and how much more goes on than usual.

use crate::Function;
use crate::describe::describe;
use crate::scalar::numeric;
use crate::word::{look_up, of_word};

/// Scores of the emoji: (positive - negative) / (n + 3). The named reactions are ours, set to the nearest emoji.
const SCORES: [(&str, f64); 23] = [
    ("emoji_goal", 0.616),
    ("emoji_clap", 0.520),
    ("emoji_heart", 0.746),
    ("emoji_laugh", 0.221),
    ("emoji_fire", 0.139),
    ("emoji_wow", 0.190),
    ("emoji_cry", -0.093),
    ("emoji_angry", -0.173),
    ("cheer", 0.738),
    ("boo", -0.188),
    ("😂", 0.220923),
    ("❤", 0.745809),
    ("⚽", 0.615894),
    ("👏", 0.519880),
    ("👍", 0.521271),
    ("🎉", 0.737589),
    ("🙌", 0.559311),
    ("🔥", 0.139144),
    ("😱", 0.189762),
    ("😭", -0.093326),
    ("😡", -0.172596),
    ("💔", -0.120846),
    ("👎", -0.187739),
];

describe! {
    /// The mood of a reaction, -1 to 1, from its name (`emoji_goal`, `emoji_clap`, `emoji_heart`, `emoji_laugh`, `emoji_fire`,
    /// `emoji_wow`, `emoji_cry`, `emoji_angry`, `cheer`, `boo`) or its emoji (😂 ❤ ⚽ 👏 👍 🎉 🙌 🔥 😱 😭 😡 💔 👎).
    ///
    /// Any other word, and NULL, is NULL. Source: Kralj Novak et al., "Sentiment of Emojis", PLoS ONE 10(12), 2015; the named
    /// reactions are ours, set to the nearest emoji. What a fan means depends on the side: split by it where it is known.
    EMOJI_SENTIMENT = emoji_sentiment(reaction: Varchar) -> "DOUBLE"
}

pub(crate) fn emoji_sentiment() -> Function {
    // Many keyboards append the sign that asks for the coloured form.
    of_word(&EMOJI_SENTIMENT, |word| look_up(&SCORES, word.trim_end_matches('\u{fe0f}')))
}

describe! {
    /// Events per user and minute.
    ///
    /// NULL where users or minutes are 0; a negative argument is an error. Source: our definition.
    ENGAGEMENT_RATE = engagement_rate(events: Double, users: Double, minutes: Double) -> "DOUBLE"
}

pub(crate) fn engagement_rate() -> Function {
    numeric(
        &ENGAGEMENT_RATE,
        "events, users and minutes cannot be negative",
        |[events, users, minutes]| (events >= 0.0) & (users >= 0.0) & (minutes >= 0.0),
        |[events, users, minutes]| events / users / minutes,
    )
}

describe! {
    /// How unusual a count is: (count - expected) / √expected, in standard deviations of a Poisson count.
    ///
    /// expected: the mean of earlier windows of the same length, the counted one left out. NULL where expected is 0 or less; a
    /// negative count is an error. Crowds come in bursts, so ask for a multiple of expected as well before raising an alarm.
    /// Source: the normal approximation of the Poisson distribution.
    POISSON_Z = poisson_z(count: Double, expected: Double) -> "DOUBLE"
}

pub(crate) fn poisson_z() -> Function {
    numeric(
        &POISSON_Z,
        "count cannot be negative",
        |[count, _]| count >= 0.0,
        // The root of a negative number is not a number, and that of 0 leads to a division by it.
        |[count, expected]| (count - expected) / expected.sqrt(),
    )
}

describe! {
    /// How many times busier it is after something than before: the rate after divided by the rate before, 0.5 added to both
    /// counts so that a silent time before still gives a number.
    ///
    /// after_seconds, before_seconds: the lengths over which was counted. NULL where one is 0 or less; a negative count is an
    /// error. Source: our definition; the half is the usual continuity correction.
    UPLIFT_SMOOTHED = uplift_smoothed(
        after_count: Double, after_seconds: Double, before_count: Double, before_seconds: Double
    ) -> "DOUBLE"
}

pub(crate) fn uplift_smoothed() -> Function {
    numeric(
        &UPLIFT_SMOOTHED,
        "after_count and before_count cannot be negative",
        |[after, _, before, _]| (after >= 0.0) & (before >= 0.0),
        |[after, after_seconds, before, before_seconds]| {
            let spans = (after_seconds > 0.0) & (before_seconds > 0.0);
            let uplift = ((after + 0.5) / after_seconds) / ((before + 0.5) / before_seconds);
            if spans { uplift } else { f64::NAN }
        },
    )
}
