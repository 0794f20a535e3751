//! What the audience does: mood of its reactions, and how busy a viewer is.

use datafusion::logical_expr::ScalarUDF;

use crate::numeric::OfNumbers;
use crate::word::{OfWord, look_up};

/// Scores of the emoji: Kralj Novak et al., "Sentiment of Emojis", PLoS ONE 10(12), 2015: (positive - negative) / (n + 3).
/// The named reactions are ours, set to the nearest emoji.
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

/// `emoji_sentiment(reaction) → DOUBLE`: mood of a reaction's name or emoji, -1 to 1; NULL for any other word.
pub(crate) fn emoji_sentiment() -> ScalarUDF {
    // Many keyboards append the sign that asks for the coloured form.
    OfWord::udf("emoji_sentiment", "reaction", |word| look_up(&SCORES, word.trim_end_matches('\u{fe0f}')))
}

/// `engagement_rate(events, users, minutes) → DOUBLE`: events per user and minute; NULL where users or minutes are 0.
pub(crate) fn engagement_rate() -> ScalarUDF {
    OfNumbers::udf("engagement_rate", ["events", "users", "minutes"], |[events, users, minutes]| {
        if events < 0.0 || users < 0.0 || minutes < 0.0 {
            return Err("events, users and minutes cannot be negative");
        }
        Ok((users > 0.0 && minutes > 0.0).then(|| events / users / minutes))
    })
}
