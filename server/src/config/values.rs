//! How values are written in the configuration: durations as `"10s"`, sizes as `"64MiB"`, secrets that are never printed.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written as `"64MiB"`, `"10MB"` or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Binary units first, so that the longest suffix is tried before `B`.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    pub const fn mib(count: u64) -> Self {
        ByteSize(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        ByteSize(count << 30)
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a size; write a whole number and a unit, as in \"64MiB\" or \"10MB\"");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = text[digits..].trim();
        if unit.is_empty() {
            return Ok(ByteSize(number));
        }
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number
            .checked_mul(*factor)
            .map(ByteSize)
            .ok_or_else(|| format!("\"{text}\" is more bytes than 64 bits can count"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS[..4].iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match binary {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a size, as in \"64MiB\" or \"10MB\"")]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => ByteSize::parse(&text).map_err(serde::de::Error::custom),
        }
    }
}

/// `#[serde(with = "duration")]`: a `std::time::Duration` written as `"250ms"`, `"10s"`, `"5m"`, `"2h"` or `"7d"`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    const UNITS: [(&str, u64); 6] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a duration; write a whole number and a unit, as in \"250ms\", \"10s\", \"5m\" or \"2h\""
            )
        };
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit = trimmed[digits..].trim();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Duration::from_micros).ok_or_else(|| format!("\"{text}\" is too long"))
    }

    /// The shortest way to write it: the largest unit that divides it.
    pub fn format(duration: Duration) -> String {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 {
            return "0s".to_owned();
        }
        let (unit, factor) = UNITS.iter().find(|(_, factor)| micros % factor == 0).unwrap_or(&UNITS[5]);
        format!("{}{unit}", micros / factor)
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(serde::de::Error::custom)
    }
}

/// An address to listen on: `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`.
pub(crate) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.clone(),
    };
    numeric.parse().map_err(|_| {
        let wrong = format!("\"{text}\" is not an address to listen on; write it as \"127.0.0.1:8080\"");
        serde::de::Error::custom(wrong)
    })
}

/// Text that must not reach a log, an error or a debug print: passwords and addresses that contain them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself. Hand it to the one who needs it and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_are_a_whole_number_and_a_unit() {
        let cases =
            [("64MiB", 64 << 20), ("10MB", 10_000_000), ("1 kb", 1000), ("512", 512), ("0B", 0), ("3gib", 3 << 30)];
        for (text, bytes) in cases {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in ["", "MiB", "1.5GB", "-1", "12 parsecs", "99999999999TiB"] {
            assert!(ByteSize::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        let cases = [("250ms", 250_000), ("10s", 10_000_000), ("5m", 300_000_000), ("7d", 604_800_000_000), ("1us", 1)];
        for (text, micros) in cases {
            assert_eq!(duration::parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for wrong in ["", "10", "s", "1.5s", "-1s", "1y", "99999999999999d"] {
            assert!(duration::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_value() {
        for bytes in [0, 1, 1023, 1024, 64 << 20, (1 << 30) + 1, 10_000_000] {
            assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Ok(ByteSize(bytes)));
        }
        for micros in [0, 1, 1_500, 60_000_000, 90_000_000, 86_400_000_000] {
            let written = duration::format(Duration::from_micros(micros));
            assert_eq!(duration::parse(&written), Ok(Duration::from_micros(micros)), "{written}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&secret).expect("a string").contains("hunter2"));
    }
}
