//! The records that end a partition: an hour after everything else, so that the watermark passes all windows.

use crate::simulate::Topic;
use crate::simulate::record::{Object, Spelling};

const LATER_MS: i64 = 3_600_000;
/// No match of a simulation has this id.
const MATCH_ID: &str = "end";

/// The event time, key and value of the record that follows events up to `latest_ms`.
pub(super) fn record(topic: Topic, latest_ms: i64) -> (i64, &'static [u8], Vec<u8>) {
    let event_ms = latest_ms.max(0) + LATER_MS;
    let value = Object::new(Spelling::Snake);
    let value = match topic {
        Topic::MatchEvents => value.uuid("event_id", 0).text("match_id", MATCH_ID).text("event_type", "full_time"),
        Topic::Engagements => value
            .uuid("event_id", 0)
            .text("match_id", MATCH_ID)
            .text("user_id", "u-end")
            .text("session_id", "s-end")
            .text("engagement_type", "session"),
        Topic::LiveMatches => {
            value.text("match_id", MATCH_ID).text("home_team", "").text("away_team", "").text("status", "FINISHED")
        }
        Topic::PlayerLiveStats => value.text("match_id", MATCH_ID).text("player_id", "p-end"),
        Topic::TeamLiveStats => value.text("match_id", MATCH_ID).text("team_id", "t-end"),
    };
    let key: &[u8] = if topic == Topic::Engagements { b"u-end" } else { MATCH_ID.as_bytes() };
    (event_ms, key, value.time("timestamp", event_ms).finish())
}
