//! Records as bytes: JSON objects in the spellings of the topics.

use super::audience::{CONTENTS, KINDS, SUBTYPES};
use super::viewer::{COUNTRIES, DEVICES, PERSONAS};

/// How the fields and values of a record are spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `event_id`, `goal`, a team by `team_id` and `team_side`.
    Snake,
    /// `eventId`, `goal`, a team by `teamId` and `teamSide`.
    Camel,
    /// `event_id`, `GOAL`, a team by name in `team` and by `side`.
    Upper,
}

impl Spelling {
    pub(super) const ALL: [Spelling; 3] = [Spelling::Snake, Spelling::Camel, Spelling::Upper];

    /// Appends a field's name, given in snake_case.
    fn name(self, out: &mut Vec<u8>, name: &str) {
        if self != Spelling::Camel {
            return out.extend_from_slice(name.as_bytes());
        }
        let mut raise = false;
        for byte in name.bytes() {
            if byte == b'_' {
                raise = true;
            } else {
                out.push(if raise { byte.to_ascii_uppercase() } else { byte });
                raise = false;
            }
        }
    }

    /// A word out of a closed list, such as a type.
    fn word(self, out: &mut Vec<u8>, word: &str) {
        match self {
            Spelling::Upper => out.extend(word.bytes().map(|byte| byte.to_ascii_uppercase())),
            Spelling::Snake | Spelling::Camel => out.extend_from_slice(word.as_bytes()),
        }
    }
}

/// Builds one JSON object, field by field. Names are given in snake_case.
pub(super) struct Object {
    bytes: Vec<u8>,
    pub(super) spelling: Spelling,
}

impl Object {
    pub(super) fn new(spelling: Spelling) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(b'{');
        Object { bytes, spelling }
    }

    fn key(&mut self, key: &str) {
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        self.bytes.push(b'"');
        self.spelling.name(&mut self.bytes, key);
        self.bytes.extend_from_slice(b"\":");
    }

    /// `value` must need no escapes: all texts of the simulator are plain.
    pub(super) fn text(mut self, key: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        self.key(key);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'"');
        self
    }

    pub(super) fn text_or_null(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// A word out of a closed list, in upper case where the spelling is.
    pub(super) fn word(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.bytes.push(b'"');
        self.spelling.word(&mut self.bytes, value);
        self.bytes.push(b'"');
        self
    }

    /// `value` as it stands.
    pub(super) fn raw(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    pub(super) fn int(self, key: &str, value: i64) -> Self {
        self.raw(key, &value.to_string())
    }

    pub(super) fn int_or_null(self, key: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub(super) fn float_or_null(self, key: &str, value: Option<f64>, decimals: usize) -> Self {
        match value {
            Some(value) => self.raw(key, &format!("{value:.decimals$}")),
            None => self.raw(key, "null"),
        }
    }

    pub(super) fn bool_or_null(self, key: &str, value: Option<bool>) -> Self {
        self.raw(key, value.map_or("null", |value| if value { "true" } else { "false" }))
    }

    /// RFC 3339 in UTC with milliseconds; `ms` since the Unix epoch, not before it.
    pub(super) fn time(self, key: &str, ms: i64) -> Self {
        let text = time_text(ms);
        self.text(key, &text)
    }

    pub(super) fn uuid(self, key: &str, id: u128) -> Self {
        let text = uuid_text(id);
        self.text(key, &text)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'}');
        self.bytes
    }
}

/// What stands in the record of an engagement. Traits are numbers into their lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Engagement<'a> {
    pub(super) event_id: u128,
    pub(super) match_id: &'a str,
    pub(super) fixture: u16,
    pub(super) viewer: u32,
    pub(super) session: u8,
    pub(super) subtype: u8,
    pub(super) about: Option<u128>,
    pub(super) minute: u8,
    pub(super) persona: u8,
    pub(super) device: u8,
    pub(super) country: u8,
    pub(super) content: u8,
    pub(super) event_ms: i64,
}

/// Everything between the values of an engagement, prepared: nine tenths of all records are engagements.
#[derive(Debug)]
pub(super) struct EngagementForm {
    event_id: Vec<u8>,
    match_id: Vec<u8>,
    user: Vec<u8>,
    session: Vec<u8>,
    /// By subtype: from the end of the session to the beginning of what it is about.
    subtype: Vec<Vec<u8>>,
    minute: Vec<u8>,
    /// By device and country: from the end of the minute to the beginning of the content.
    device: Vec<Vec<u8>>,
    /// By persona: from the end of the content to the beginning of the time.
    persona: Vec<Vec<u8>>,
    second: i64,
    /// The text of `second`.
    second_text: [u8; 20],
}

impl EngagementForm {
    pub(super) fn new(spelling: Spelling) -> Self {
        // `text`: names in braces are spelt, all else stands.
        let spelt = |text: &str| {
            let mut out = Vec::new();
            for (at, part) in text.split(['<', '>']).enumerate() {
                match at % 2 {
                    0 => out.extend_from_slice(part.as_bytes()),
                    _ => spelling.name(&mut out, part),
                }
            }
            out
        };
        let subtype = |(kind, name): &(u8, &str)| {
            let mut out = spelt(r#"","<engagement_type>":""#);
            spelling.word(&mut out, KINDS[usize::from(*kind)]);
            out.extend(spelt(&format!(r#"","<engagement_subtype>":"{name}","<related_game_event_id>":"#)));
            out
        };
        let device = |at: usize| {
            let ((device, platform), country) = (DEVICES[at / COUNTRIES.len()], COUNTRIES[at % COUNTRIES.len()]);
            spelt(&format!(
                r#","<device_type>":"{device}","<platform>":"{platform}","<country_code>":"{country}","<content>":""#
            ))
        };
        EngagementForm {
            event_id: spelt(r#"{"<event_id>":""#),
            match_id: spelt(r#"","<match_id>":""#),
            user: spelt(r#"","<user_id>":"u"#),
            session: spelt(r#"","<session_id>":"s"#),
            subtype: SUBTYPES.iter().map(subtype).collect(),
            minute: spelt(r#","<game_minute>":"#),
            device: (0..DEVICES.len() * COUNTRIES.len()).map(device).collect(),
            persona: PERSONAS
                .iter()
                .map(|persona| spelt(&format!(r#"","<metadata>":{{"persona":"{}"}},"<timestamp>":""#, persona.name)))
                .collect(),
            second: i64::MIN,
            second_text: [0; 20],
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, act: &Engagement<'_>) {
        out.reserve(640);
        let who = who_text(act.fixture, act.viewer);
        out.extend_from_slice(&self.event_id);
        out.extend_from_slice(&uuid_bytes(act.event_id));
        out.extend_from_slice(&self.match_id);
        out.extend_from_slice(act.match_id.as_bytes());
        out.extend_from_slice(&self.user);
        out.extend_from_slice(&who);
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&who);
        out.extend_from_slice(&[b'-', b'0' + act.session]);
        out.extend_from_slice(&self.subtype[usize::from(act.subtype)]);
        match act.about {
            Some(id) => {
                out.push(b'"');
                out.extend_from_slice(&uuid_bytes(id));
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(&self.minute);
        let [tens, ones] = two_digits(act.minute);
        if tens != b'0' {
            out.push(tens);
        }
        out.push(ones);
        out.extend_from_slice(&self.device[usize::from(act.device) * COUNTRIES.len() + usize::from(act.country)]);
        out.extend_from_slice(CONTENTS[usize::from(act.content)].as_bytes());
        out.extend_from_slice(&self.persona[usize::from(act.persona)]);
        let (second, ms) = (act.event_ms.div_euclid(1000), act.event_ms.rem_euclid(1000));
        if second != self.second {
            self.second = second;
            self.second_text.copy_from_slice(&time_text(second * 1000).as_bytes()[..20]);
        }
        out.extend_from_slice(&self.second_text);
        let [tens, ones] = two_digits((ms % 100) as u8);
        out.extend_from_slice(&[b'0' + (ms / 100) as u8, tens, ones]);
        out.extend_from_slice(b"Z\"}");
    }
}

/// Two digits of the match, from 1, and six of the viewer.
pub(super) fn who_text(fixture: u16, viewer: u32) -> [u8; 8] {
    let mut text = [0; 8];
    text[..2].copy_from_slice(&two_digits(fixture as u8 + 1));
    for (at, hundreds) in [viewer / 10_000 % 100, viewer / 100 % 100, viewer % 100].into_iter().enumerate() {
        text[2 + 2 * at..4 + 2 * at].copy_from_slice(&two_digits(hundreds as u8));
    }
    text
}

/// `value`: below 100.
fn two_digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10, b'0' + value % 10]
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn uuid_bytes(id: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in id.to_be_bytes() {
        // Hyphens stay where the groups of 8, 4, 4, 4 and 12 digits meet.
        at += usize::from(matches!(at, 8 | 13 | 18 | 23));
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

pub(super) fn uuid_text(id: u128) -> String {
    uuid_bytes(id).iter().map(|byte| char::from(*byte)).collect()
}

/// RFC 3339 in UTC with milliseconds; `ms` since the Unix epoch, not before it.
pub(super) fn time_text(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (end, mut value) in [(4, year), (7, month), (10, day), (13, hour), (16, minute), (19, second), (23, millis)] {
        let mut at = end;
        while value > 0 {
            at -= 1;
            text[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Year, month, day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Count from 1 March of year 0, so that the leap day ends a year; 146,097 days are 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Records are JSON, and times and ids have the standard spelling, leap days among them.
    #[test]
    fn records_are_json() {
        let record = |spelling| {
            let bytes = Object::new(spelling)
                .text("a", "x y")
                .word("event_type", "own_goal")
                .int_or_null("b", None)
                .float_or_null("end_x", Some(0.12345), 3)
                .time("t", 1_709_208_000_007)
                .uuid("id", 0x0123_4567_89ab_8def_8123_4567_89ab_cdef)
                .finish();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let snake = record(Spelling::Snake);
        assert_eq!(snake["t"], "2024-02-29T12:00:00.007Z");
        assert_eq!(snake["id"], "01234567-89ab-8def-8123-456789abcdef");
        assert_eq!((&snake["end_x"], &snake["event_type"]), (&0.123.into(), &"own_goal".into()));
        assert!(snake["b"].is_null());
        assert_eq!(record(Spelling::Camel)["endX"], 0.123);
        assert_eq!(record(Spelling::Camel)["eventType"], "own_goal");
        assert_eq!(record(Spelling::Upper)["event_type"], "OWN_GOAL");
        for days in [0, 365, 11_016, 19_782, 20_463, 47_540] {
            let expected = chrono::DateTime::from_timestamp(days * 86_400, 0).unwrap().format("%Y-%-m-%-d").to_string();
            let (year, month, day) = civil(days);
            assert_eq!(format!("{year}-{month}-{day}"), expected);
        }
    }

    // The prepared form of an engagement says what is in it, in each spelling, one second after another.
    #[test]
    fn engagements_are_json() {
        let mut act = Engagement {
            event_id: 7,
            match_id: "m42-3",
            fixture: 2,
            viewer: 123,
            session: 2,
            subtype: 2,
            about: Some(9),
            minute: 7,
            persona: 4,
            device: 3,
            country: 6,
            content: 1,
            event_ms: 1_768_057_200_045,
        };
        let mut form = EngagementForm::new(Spelling::Snake);
        let mut out = Vec::new();
        form.write(&mut out, &act);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&out).unwrap(),
            serde_json::json!({
                "event_id": "00000000-0000-0000-0000-000000000007", "match_id": "m42-3", "user_id": "u03000123",
                "session_id": "s03000123-2", "engagement_type": "reaction", "engagement_subtype": "emoji_goal",
                "related_game_event_id": "00000000-0000-0000-0000-000000000009", "game_minute": 7,
                "device_type": "tablet", "platform": "ios", "country_code": "NG", "content": "what a match",
                "metadata": {"persona": "ultra"}, "timestamp": "2026-01-10T15:00:00.045Z"
            })
        );
        (act.about, act.minute, act.event_ms) = (None, 45, act.event_ms + 1_955);
        for (spelling, [kind, minute, time], word) in [
            (Spelling::Snake, ["engagement_type", "game_minute", "timestamp"], "reaction"),
            (Spelling::Camel, ["engagementType", "gameMinute", "timestamp"], "reaction"),
            (Spelling::Upper, ["engagement_type", "game_minute", "timestamp"], "REACTION"),
        ] {
            out.clear();
            EngagementForm::new(spelling).write(&mut out, &act);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!((&read[kind], &read[minute]), (&word.into(), &45.into()));
            assert_eq!(read[time], "2026-01-10T15:00:02.000Z");
        }
    }
}
