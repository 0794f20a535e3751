//! Dirt: the ways in which a producer spoils a record, and what a reader that honours the schema must say of each.

use super::Topic;

/// What can be wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Truncated,
    Malformed,
    NotAnObject,
    MissingField,
    NullField,
    WrongName,
    WrongType,
    BadTime,
    QuotedNumber,
    OutOfRange,
    BadUuid,
    UnknownEnum,
}

/// What a dirty record is, and why it is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    pub(super) kind: &'static str,
    /// The column that must be read for it to be noticed; `None`: it is whichever columns are read.
    pub(super) field: Option<&'static str>,
    /// What notices it: the columns' types (`type`), or a rule of the schema such as a `CHECK` (`rule`).
    pub(super) needs: &'static str,
    /// How the reason begins.
    pub(super) reason: String,
}

impl Fault {
    /// The kinds that a topic can have; they take turns.
    pub(super) fn of(topic: Topic, turn: u64) -> Self {
        use Fault::*;
        let all = [
            Truncated,
            MissingField,
            BadTime,
            QuotedNumber,
            OutOfRange,
            NotAnObject,
            NullField,
            WrongName,
            WrongType,
            Malformed,
            UnknownEnum,
            BadUuid,
        ];
        let kinds = match topic {
            Topic::MatchEvents | Topic::Engagements => 12,
            Topic::LiveMatches => 11,
            Topic::PlayerLiveStats | Topic::TeamLiveStats => 10,
        };
        all[(turn % kinds) as usize]
    }

    fn name(self) -> &'static str {
        match self {
            Fault::Truncated => "truncated",
            Fault::Malformed => "malformed",
            Fault::NotAnObject => "not_an_object",
            Fault::MissingField => "missing_field",
            Fault::NullField => "null_field",
            Fault::WrongName => "wrong_name",
            Fault::WrongType => "wrong_type",
            Fault::BadTime => "bad_time",
            Fault::QuotedNumber => "quoted_number",
            Fault::OutOfRange => "out_of_range",
            Fault::BadUuid => "bad_uuid",
            Fault::UnknownEnum => "unknown_enum",
        }
    }

    /// Appends the record with this fault in it. Where a match id can still be read it is `dirt`, so that whatever becomes
    /// of the record stands apart from what the good ones give.
    pub(super) fn spoil(self, topic: Topic, value: &[u8], out: &mut Vec<u8>) -> Verdict {
        let verdict = |field, needs, reason: String| Verdict { kind: self.name(), field, needs, reason };
        let dirt = replaced(value, "match_id", |_| b"\"dirt\"".to_vec());
        match self {
            Fault::Truncated => {
                out.extend_from_slice(&value[..value.len() / 2]);
                verdict(None, "type", "the record is not valid JSON at byte ".to_owned())
            }
            Fault::Malformed => {
                let colon = value.iter().position(|byte| *byte == b':').unwrap_or(0);
                out.extend_from_slice(&value[..colon]);
                out.extend_from_slice(&value[colon + 1..]);
                verdict(None, "type", "the record is not valid JSON at byte ".to_owned())
            }
            Fault::NotAnObject => {
                out.push(b'[');
                out.extend_from_slice(value);
                out.push(b']');
                verdict(None, "type", "the record is [".to_owned())
            }
            Fault::MissingField => {
                out.extend_from_slice(&without(value, "match_id"));
                verdict(Some("match_id"), "type", "field \"match_id\" is missing".to_owned())
            }
            Fault::NullField => {
                out.extend_from_slice(&replaced(value, "match_id", |_| b"null".to_vec()));
                verdict(Some("match_id"), "type", "field \"match_id\" is null".to_owned())
            }
            Fault::WrongName => {
                out.extend_from_slice(&renamed(value, "match_id", "MATCH-ID"));
                verdict(Some("match_id"), "type", "field \"match_id\" is missing".to_owned())
            }
            Fault::WrongType => {
                out.extend_from_slice(&replaced(value, "match_id", |_| b"7".to_vec()));
                verdict(Some("match_id"), "type", "field \"match_id\" is 7".to_owned())
            }
            Fault::BadTime => {
                out.extend_from_slice(&replaced(&dirt, "timestamp", |time| [b"\"in ", &time[1..]].concat()));
                verdict(None, "type", "field \"event_time\" is \"in 20".to_owned())
            }
            Fault::QuotedNumber => {
                let field = number_of(topic);
                let mut quoted = Vec::new();
                out.extend_from_slice(&replaced(&dirt, field, |number| {
                    quoted = [b"\"", number, b"\""].concat();
                    quoted.clone()
                }));
                let quoted = String::from_utf8_lossy(&quoted);
                verdict(Some(field), "type", format!("field \"{field}\" is {quoted}"))
            }
            Fault::OutOfRange => {
                let (field, needs, number) = match topic {
                    Topic::Engagements => ("game_minute", "rule", "200"),
                    Topic::MatchEvents | Topic::LiveMatches => ("minute", "rule", "200"),
                    Topic::PlayerLiveStats | Topic::TeamLiveStats => ("shots", "type", "3000000000"),
                };
                out.extend_from_slice(&replaced(&dirt, field, |_| number.into()));
                verdict(Some(field), needs, format!("field \"{field}\" is {number}"))
            }
            Fault::BadUuid => {
                out.extend_from_slice(&replaced(&dirt, "event_id", |_| b"\"not-a-uuid\"".to_vec()));
                verdict(Some("event_id"), "rule", "field \"event_id\" is \"not-a-uuid\"".to_owned())
            }
            Fault::UnknownEnum => {
                let (field, word) = match topic {
                    Topic::Engagements => ("engagement_type", "telepathy"),
                    Topic::LiveMatches => ("status", "UNKNOWN"),
                    _ => ("event_type", "teleport"),
                };
                out.extend_from_slice(&replaced(&dirt, field, |_| format!("\"{word}\"").into_bytes()));
                verdict(Some(field), "rule", format!("field \"{field}\" is \"{word}\""))
            }
        }
    }
}

/// A field that every record of the topic has as a whole number.
fn number_of(topic: Topic) -> &'static str {
    match topic {
        Topic::Engagements => "game_minute",
        Topic::MatchEvents => "minute",
        Topic::LiveMatches => "home_score",
        Topic::PlayerLiveStats | Topic::TeamLiveStats => "shots",
    }
}

/// Where `name`, given in snake_case, stands in a record of plain fields: the name with its quotes, and the value.
fn field(record: &[u8], name: &str) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let camel: String =
        name.split('_').enumerate().map(|(at, word)| if at == 0 { word.to_owned() } else { raised(word) }).collect();
    [name, &camel].into_iter().find_map(|name| {
        let quoted = format!("\"{name}\":");
        let from = record.windows(quoted.len()).position(|window| window == quoted.as_bytes())?;
        let value = from + quoted.len();
        // No text of the simulator has a comma or a bracket in it.
        let end = record[value..].iter().position(|byte| matches!(byte, b',' | b'}'))?;
        Some((from..value - 1, value..value + end))
    })
}

fn raised(word: &str) -> String {
    word[..1].to_ascii_uppercase() + &word[1..]
}

fn replaced(record: &[u8], name: &str, by: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    match field(record, name) {
        Some((_, value)) => [&record[..value.start], &by(&record[value.clone()]), &record[value.end..]].concat(),
        None => record.to_vec(),
    }
}

fn renamed(record: &[u8], name: &str, to: &str) -> Vec<u8> {
    match field(record, name) {
        Some((key, _)) => [&record[..key.start], format!("\"{to}\"").as_bytes(), &record[key.end..]].concat(),
        None => record.to_vec(),
    }
}

/// Without a field and the comma beside it.
fn without(record: &[u8], name: &str) -> Vec<u8> {
    match field(record, name) {
        Some((key, value)) if record[value.end] == b',' => [&record[..key.start], &record[value.end + 1..]].concat(),
        Some((key, value)) => [&record[..key.start - 1], &record[value.end..]].concat(),
        None => record.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::simulate::record::{Object, Spelling};

    fn record(spelling: Spelling) -> Vec<u8> {
        Object::new(spelling)
            .text("event_id", "e")
            .text("match_id", "m")
            .word("engagement_type", "click")
            .int("game_minute", 45)
            .time("timestamp", 1_768_057_200_000)
            .finish()
    }

    fn spoilt(fault: Fault, spelling: Spelling) -> (Vec<u8>, Verdict) {
        let mut out = Vec::new();
        let verdict = fault.spoil(Topic::Engagements, &record(spelling), &mut out);
        (out, verdict)
    }

    // Each kind spoils one thing, in whichever spelling, and says where and why.
    #[test]
    fn each_fault_spoils_one_thing() {
        for (spelling, id, minute) in
            [(Spelling::Snake, "match_id", "game_minute"), (Spelling::Camel, "matchId", "gameMinute")]
        {
            let read = |fault: Fault| serde_json::from_slice::<Value>(&spoilt(fault, spelling).0);
            assert!(read(Fault::Truncated).is_err() && read(Fault::Malformed).is_err());
            assert!(read(Fault::NotAnObject).unwrap().is_array());
            assert!(read(Fault::MissingField).unwrap().get(id).is_none());
            assert!(read(Fault::NullField).unwrap()[id].is_null());
            assert_eq!(read(Fault::WrongName).unwrap()["MATCH-ID"], "m");
            assert_eq!(read(Fault::WrongType).unwrap()[id], 7);
            assert_eq!(read(Fault::BadTime).unwrap()["timestamp"], "in 2026-01-10T15:00:00.000Z");
            assert_eq!(read(Fault::QuotedNumber).unwrap()[minute], "45");
            assert_eq!(read(Fault::OutOfRange).unwrap()[minute], 200);
            for fault in [Fault::BadTime, Fault::QuotedNumber, Fault::OutOfRange, Fault::BadUuid, Fault::UnknownEnum] {
                assert_eq!(read(fault).unwrap()[id], "dirt", "{fault:?}");
            }
        }
        let (_, verdict) = spoilt(Fault::QuotedNumber, Spelling::Snake);
        assert_eq!(verdict.reason, "field \"game_minute\" is \"45\"");
        assert_eq!((verdict.kind, verdict.field, verdict.needs), ("quoted_number", Some("game_minute"), "type"));
    }

    // All kinds take turns.
    #[test]
    fn kinds_take_turns() {
        let kinds = |topic| (0..24).map(|turn| Fault::of(topic, turn)).collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(Topic::ALL.map(kinds), [12, 12, 11, 10, 10]);
    }
}
