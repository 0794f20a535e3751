//! Records as bytes: JSON objects in the spelling of the topics, and the ways in which a producer spoils them.

use std::fmt::Write;

/// Builds one JSON object, field by field.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(512);
        text.push('{');
        Object(text)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }

    /// `value` must need no escapes: all texts of the simulator are plain.
    pub(super) fn text(mut self, key: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        self.key(key);
        self.0.push('"');
        self.0.push_str(value);
        self.0.push('"');
        self
    }

    pub(super) fn text_or_null(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// `value` as it stands.
    pub(super) fn raw(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push_str(value);
        self
    }

    pub(super) fn int(mut self, key: &str, value: i64) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    pub(super) fn int_or_null(self, key: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub(super) fn float_or_null(mut self, key: &str, value: Option<f64>, decimals: usize) -> Self {
        match value {
            Some(value) => {
                self.key(key);
                let _ = write!(self.0, "{value:.decimals$}");
                self
            }
            None => self.raw(key, "null"),
        }
    }

    pub(super) fn bool_or_null(self, key: &str, value: Option<bool>) -> Self {
        self.raw(
            key,
            match value {
                Some(true) => "true",
                Some(false) => "false",
                None => "null",
            },
        )
    }

    /// RFC 3339 in UTC with milliseconds; `ms` since the Unix epoch, not before it.
    pub(super) fn time(mut self, key: &str, ms: i64) -> Self {
        self.key(key);
        let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let _ = write!(self.0, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z\"");
        self
    }

    pub(super) fn uuid(self, key: &str, id: u128) -> Self {
        let text = uuid_text(id);
        self.text(key, &text)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }
}

pub(super) fn uuid_text(id: u128) -> String {
    let part = |shift: u32, digits: u32| (id >> shift) & ((1 << (digits * 4)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12))
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

/// What can be wrong with a record; the names are the reasons in the truth file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Truncated,
    MissingField,
    BadTime,
    NotAnObject,
}

impl Fault {
    pub(super) const ALL: [Fault; 4] = [Fault::Truncated, Fault::MissingField, Fault::BadTime, Fault::NotAnObject];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Fault::Truncated => "truncated",
            Fault::MissingField => "missing_field",
            Fault::BadTime => "bad_time",
            Fault::NotAnObject => "not_an_object",
        }
    }

    /// The record with this fault in it: no reader that honours the schema can take it.
    pub(super) fn spoil(self, value: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(value);
        match self {
            Fault::Truncated => value[..value.len() / 2].to_vec(),
            Fault::MissingField => text.replace("\"match_id\":", "\"match\":").into_bytes(),
            Fault::BadTime => text.replace("\"timestamp\":\"20", "\"timestamp\":\"in 20").into_bytes(),
            Fault::NotAnObject => format!("[{text}]").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Records are JSON, and times and ids have the standard spelling, leap days among them.
    #[test]
    fn records_are_json() {
        let bytes = Object::new()
            .text("a", "x y")
            .int_or_null("b", None)
            .float_or_null("c", Some(0.12345), 3)
            .time("t", 1_709_208_000_007)
            .uuid("id", 0x0123_4567_89ab_8def_8123_4567_89ab_cdef)
            .finish();
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parsed["t"], "2024-02-29T12:00:00.007Z");
        assert_eq!(parsed["id"], "01234567-89ab-8def-8123-456789abcdef");
        assert_eq!(parsed["c"], 0.123);
        assert!(parsed["b"].is_null());
        for days in [0, 365, 11_016, 19_782, 20_463, 47_540] {
            let expected = chrono::DateTime::from_timestamp(days * 86_400, 0).unwrap().format("%Y-%-m-%-d").to_string();
            let (year, month, day) = civil(days);
            assert_eq!(format!("{year}-{month}-{day}"), expected);
        }
    }

    // Each fault makes the record unreadable in its own way.
    #[test]
    fn faults_spoil() {
        let value = Object::new().text("match_id", "m").time("timestamp", 1_768_057_200_000).finish();
        let read = |fault: Fault| serde_json::from_slice::<serde_json::Value>(&fault.spoil(&value));
        assert!(read(Fault::Truncated).is_err());
        assert!(read(Fault::MissingField).unwrap().get("match_id").is_none());
        assert_eq!(read(Fault::BadTime).unwrap()["timestamp"], "in 2026-01-10T15:00:00.000Z");
        assert!(read(Fault::NotAnObject).unwrap().is_array());
    }
}
