//! Mutants: bytes that are almost what they should be. JSON, CSV, SQL and TOML have the same bones, words between marks, so that one way of
//! cutting them up does for all.

use std::ops::Range;

use super::Input;

/// What a mutant may grow to. Files may be larger; what takes time or memory out of proportion shows here already.
const BYTES_MAX: usize = 64 << 10;

/// Random numbers of a seed.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Draw(seed)
    }

    /// Below `limit`, 0 where that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z % (limit as u64).max(1)) as usize
    }

    pub(super) fn of<'a, T>(&mut self, values: &'a [T]) -> Option<&'a T> {
        let at = self.below(values.len());
        values.get(at)
    }

    /// A range of at most `most` of `len` things.
    fn range(&mut self, len: usize, most: usize) -> Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(most + 1)).min(len)
    }
}

/// Values at which something ends.
const EXTREMES: &[&str] = &[
    "0",
    "-0.0",
    "-1",
    "00",
    "1e999",
    "-1e-999",
    "0.1e2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "99999999999999999999999999999999999999.9",
    "NaN",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "''",
    "\"",
    "'",
    "\\",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\0",
    "\u{feff}",
    "é",
    "\u{1f3df}\u{fe0f}",
    "--",
    "/*",
    "#",
    "\r\n",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:60.999999999+23:59\"",
    "\"-292277-01-01\"",
    "\"2024-02-30T24:00:00\"",
];

/// What stands before and behind something that is put into something else.
const WRAPPINGS: &[(&str, &str)] = &[
    ("(", ")"),
    ("[", "]"),
    ("{\"a\":", "}"),
    ("{", "}"),
    ("<", ">"),
    ("-", ""),
    ("NOT ", ""),
    ("a.", ""),
    ("\"", "\""),
];

/// How deep: a few levels, some, and more than any parser should follow.
const DEPTHS: &[usize] = &[1, 2, 30, 200, 3_000];

/// One of the corpus with one to four changes.
pub(super) fn mutant(corpus: &[Input], words: &[&str], draw: &mut Draw) -> Input {
    let Some(Input { name, mut bytes }) = draw.of(corpus).cloned() else { return Input::default() };
    for _ in 0..=draw.below(4) {
        match draw.below(3) {
            0 => change_bytes(&mut bytes, draw),
            _ => change_tokens(&mut bytes, corpus, words, draw),
        }
        bytes.truncate(BYTES_MAX);
    }
    Input { name, bytes }
}

fn change_bytes(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    let byte = draw.below(256) as u8;
    match draw.below(6) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        2 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
        3 if at < bytes.len() => bytes[at] = byte,
        4 => drop(bytes.drain(draw.range(bytes.len(), 16))),
        _ => {
            let piece = bytes[draw.range(bytes.len(), 64)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

fn change_tokens(bytes: &mut Vec<u8>, corpus: &[Input], words: &[&str], draw: &mut Draw) {
    let tokens = tokens(bytes);
    let one = draw.of(&tokens).cloned().unwrap_or(0..0);
    let some = draw.range(tokens.len(), 8);
    let some = match (tokens.get(some.start), tokens.get(some.end.saturating_sub(1))) {
        (Some(first), Some(last)) if first.start <= last.end => first.start..last.end,
        _ => one.clone(),
    };
    match draw.below(8) {
        0 | 1 => replace(bytes, one, draw.of(EXTREMES).copied().unwrap_or_default().as_bytes()),
        2 => replace(bytes, one, draw.of(words).copied().unwrap_or_default().as_bytes()),
        3 => {
            let word = format!(" {} ", draw.of(words).copied().unwrap_or_default());
            replace(bytes, one.start..one.start, word.as_bytes());
        }
        4 => drop(bytes.drain(some)),
        5 => {
            let times = draw.of(&[1, 2, 20, 1_000]).copied().unwrap_or(1);
            let piece = bytes[some.clone()].repeat(times.min(BYTES_MAX / some.len().max(1)));
            replace(bytes, some.start..some.start, &piece);
        }
        6 => {
            let (before, behind) = draw.of(WRAPPINGS).copied().unwrap_or_default();
            let depth = draw.of(DEPTHS).copied().unwrap_or(1);
            let mut wrapped = before.repeat(depth).into_bytes();
            wrapped.extend_from_slice(&bytes[some.clone()]);
            wrapped.extend_from_slice(behind.repeat(depth).as_bytes());
            replace(bytes, some, &wrapped);
        }
        // A piece of another one.
        _ => {
            let Some(other) = draw.of(corpus) else { return };
            let theirs = self::tokens(&other.bytes);
            let taken = draw.range(theirs.len(), 40);
            if let (Some(first), Some(last)) = (theirs.get(taken.start), theirs.get(taken.end.saturating_sub(1)))
                && first.start <= last.end
            {
                replace(bytes, one, &other.bytes[first.start..last.end]);
            }
        }
    }
}

fn replace(bytes: &mut Vec<u8>, at: Range<usize>, with: &[u8]) {
    bytes.splice(at, with.iter().copied());
}

/// Words, texts in quotes, blanks, and marks of one byte; all bytes, in their order.
fn tokens(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let rest = &bytes[at + 1..];
        let more = match first {
            b'"' | b'\'' => {
                rest.iter().position(|byte| byte == first || *byte == b'\n').map_or(rest.len(), |end| end + 1)
            }
            _ if is_word(*first) => rest.iter().take_while(|byte| is_word(**byte)).count(),
            _ if first.is_ascii_whitespace() => rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count(),
            _ => 0,
        };
        tokens.push(at..at + 1 + more);
        at += 1 + more;
    }
    tokens
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || byte >= 0x80
}
