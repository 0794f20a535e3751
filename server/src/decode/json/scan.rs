//! Reading JSON text: where a token ends, and whether it is sound.
//!
//! Everything is checked to the grammar of RFC 8259, skipped values included: strings are UTF-8, escapes are whole,
//! surrogates come in pairs, numbers have no leading zeros. So whether a record is JSON never depends on which of its
//! fields somebody wants.

use super::fault::Fault;

/// Objects and lists inside one another, the record itself included.
pub(super) const DEPTH_MAX: usize = 64;

/// Cells that the lists of one record may add: `[{},{},…]` is three bytes an item and a whole row of columns each.
pub(super) const LIST_CELLS_MAX: usize = 4 * 1024 * 1024;
/// So many bytes of a column's default count as one cell more, in each row that it may be copied into: those of one record take no
/// more than 64 MiB.
pub(super) const BYTES_OF_A_VALUE: usize = 16;

const EACH: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// A place in a record.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    depth: usize,
    cells: usize,
}

/// What lies between two quotes.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) escaped: bool,
}

/// A number as written: `±mantissa × 10^exponent`, exact while `digits` ≤ 19.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) negative: bool,
    pub(super) mantissa: u64,
    pub(super) digits: usize,
    pub(super) exponent: i64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, pos: 0, depth: 0, cells: 0 }
    }

    /// Goes elsewhere in the record, as if nothing were open there.
    pub(super) fn go_to(&mut self, pos: usize) {
        (self.pos, self.depth) = (pos, 0);
    }

    /// The byte here; 0, which no token begins with, at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn skip_space(&mut self) {
        if self.peek() <= b' ' {
            // Most writers put one space behind a comma and a colon, or none.
            self.pos += usize::from(self.peek() == b' ');
            if self.peek() <= b' ' {
                self.skip_space_run();
            }
        }
    }

    fn skip_space_run(&mut self) {
        while matches!(self.bytes.get(self.pos), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.pos += 1;
        }
    }

    #[cold]
    pub(super) fn syntax(&self, what: &'static str) -> Box<Fault> {
        let what = if self.pos >= self.bytes.len() { "the record ends too early" } else { what };
        Fault::syntax(self.pos, what)
    }

    pub(super) fn enter(&mut self) -> Result<(), Box<Fault>> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::syntax(self.pos, "objects and lists are nested more than 64 deep"));
        }
        self.pos += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts `cells` more against what the lists of one record may add.
    pub(super) fn charge(&mut self, cells: usize) -> Result<(), Box<Fault>> {
        self.cells += cells;
        if self.cells > LIST_CELLS_MAX {
            return Err(Fault::mismatch(Some("lists with more than 4194304 values in one record")));
        }
        Ok(())
    }

    /// Steps over a comma, or over `close`; true after a comma, with the next token at hand.
    #[inline(always)]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Box<Fault>> {
        self.skip_space();
        let byte = self.peek();
        if byte == b',' {
            self.pos += 1;
            self.skip_space();
            return Ok(true);
        }
        if byte == close {
            self.pos += 1;
            return Ok(false);
        }
        Err(self.syntax(if close == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" }))
    }

    #[inline]
    pub(super) fn literal(&mut self, word: &'static [u8]) -> Result<(), Box<Fault>> {
        if !self.bytes[self.pos..].starts_with(word) {
            return Err(self.syntax("expected a value"));
        }
        self.pos += word.len();
        Ok(())
    }

    /// Reads a string from its opening quote to past its closing one.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Text, Box<Fault>> {
        let start = self.pos + 1;
        let mut at = start;
        let mut high = 0;
        while let Some(word) = word_at(self.bytes, at) {
            high |= word;
            let stops = stops_in(word);
            if stops == 0 {
                at += 8;
                continue;
            }
            at += (stops.trailing_zeros() / 8) as usize;
            if high & HIGH == 0 && self.bytes[at] == b'"' {
                self.pos = at + 1;
                return Ok(Text { start, end: at, escaped: false });
            }
            break;
        }
        self.string_with_all(start)
    }

    /// The same for any string: with escapes, beyond ASCII, at the very end of a record, or broken.
    #[inline(never)]
    fn string_with_all(&mut self, start: usize) -> Result<Text, Box<Fault>> {
        let mut at = start;
        let mut high = 0;
        let mut escaped = false;
        loop {
            let Some(word) = word_at(self.bytes, at) else {
                return self.string_tail(start, at, escaped);
            };
            high |= word;
            let stops = stops_in(word);
            if stops == 0 {
                at += 8;
                continue;
            }
            at += (stops.trailing_zeros() / 8) as usize;
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                _ => {
                    self.pos = at;
                    return Err(self.syntax("control character in a string"));
                }
            }
        }
        // The last word can show bytes behind the closing quote: then this checks a plain string for nothing.
        if high & HIGH != 0 {
            self.check_utf8(start, at)?;
        }
        self.pos = at + 1;
        Ok(Text { start, end: at, escaped })
    }

    /// The last bytes of a record, where no whole word is left to look at.
    #[cold]
    fn string_tail(&mut self, start: usize, mut at: usize, mut escaped: bool) -> Result<Text, Box<Fault>> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(0x20..) => at += 1,
                _ => {
                    self.pos = at;
                    return Err(self.syntax("control character in a string"));
                }
            }
        }
        self.check_utf8(start, at)?;
        self.pos = at + 1;
        Ok(Text { start, end: at, escaped })
    }

    fn check_utf8(&self, start: usize, end: usize) -> Result<(), Box<Fault>> {
        match std::str::from_utf8(&self.bytes[start..end]) {
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::syntax(start + error.valid_up_to(), "a string is not UTF-8")),
        }
    }

    /// Checks the escape that begins at `at`; the place behind it.
    #[cold]
    fn escape(&mut self, at: usize) -> Result<usize, Box<Fault>> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match unicode_escape(self.bytes, at) {
                Some((_, length)) => Ok(at + length),
                None => Err(Fault::syntax(at, "a \\u escape is broken or half of a surrogate pair")),
            },
            Some(_) => Err(Fault::syntax(at, "unknown escape in a string")),
            None => Err(Fault::syntax(at, "the record ends too early")),
        }
    }

    /// Reads a number; the caller has seen `-` or a digit.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number, Box<Fault>> {
        let start = self.pos;
        let negative = self.peek() == b'-';
        self.pos += usize::from(negative);
        let mut number = Number { start, end: start, negative, mantissa: 0, digits: 0, exponent: 0 };
        let first = self.peek();
        self.digits(&mut number)?;
        if first == b'0' && number.digits > 1 {
            self.pos -= number.digits - 1;
            return Err(self.syntax("a number has a leading zero"));
        }
        if self.peek() == b'.' {
            self.pos += 1;
            let before = number.digits;
            self.digits(&mut number)?;
            number.exponent = -((number.digits - before) as i64);
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.pos += 1;
            let minus = self.peek() == b'-';
            self.pos += usize::from(matches!(self.peek(), b'-' | b'+'));
            let mut power = Number { digits: 0, mantissa: 0, ..number };
            self.digits(&mut power)?;
            let power = if power.digits > 9 { exponent_of(&self.bytes[..self.pos]) } else { power.mantissa as i64 };
            number.exponent += if minus { -power } else { power };
        }
        number.end = self.pos;
        Ok(number)
    }

    /// One digit or more.
    #[inline(always)]
    fn digits(&mut self, number: &mut Number) -> Result<(), Box<Fault>> {
        let from = self.pos;
        while let Some(byte @ b'0'..=b'9') = self.bytes.get(self.pos) {
            number.mantissa = number.mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.pos += 1;
        }
        if self.pos == from {
            return Err(self.syntax("a number lacks a digit"));
        }
        number.digits += self.pos - from;
        Ok(())
    }

    /// Reads a plain integer of up to 19 digits as sign and magnitude. `None`, and no step taken, for anything else.
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<(bool, u64)> {
        let negative = self.peek() == b'-';
        let first = self.pos + usize::from(negative);
        let mut at = first;
        let mut magnitude = 0u64;
        for _ in 0..2 {
            let Some(word) = word_at(self.bytes, at) else { break };
            let Some(eight) = eight_digits(word) else { break };
            magnitude = magnitude * 100_000_000 + eight;
            at += 8;
        }
        let next = loop {
            match self.bytes.get(at) {
                Some(byte @ b'0'..=b'9') => {
                    magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                    at += 1;
                }
                Some(byte) => break *byte,
                None => break 0,
            }
        };
        let digits = at - first;
        let leading_zero = digits > 1 && self.bytes[first] == b'0';
        if digits == 0 || digits > 19 || leading_zero || matches!(next, b'.' | b'e' | b'E') {
            return None;
        }
        self.pos = at;
        Some((negative, magnitude))
    }

    /// Steps over any value.
    pub(super) fn skip_value(&mut self) -> Result<(), Box<Fault>> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => match self.integer() {
                Some(_) => Ok(()),
                None => self.number().map(|_| ()),
            },
            b'{' => self.skip_object(),
            b'[' => self.skip_list(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(self.syntax("expected a value")),
        }
    }

    fn skip_object(&mut self) -> Result<(), Box<Fault>> {
        self.enter()?;
        self.skip_space();
        if self.peek() == b'}' {
            self.pos += 1;
        } else {
            loop {
                self.key()?;
                self.skip_value()?;
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(())
    }

    fn skip_list(&mut self) -> Result<(), Box<Fault>> {
        self.enter()?;
        self.skip_space();
        if self.peek() == b']' {
            self.pos += 1;
        } else {
            loop {
                self.skip_value()?;
                if !self.more(b']')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads a field's name and its colon, up to the value.
    pub(super) fn key(&mut self) -> Result<Text, Box<Fault>> {
        if self.peek() != b'"' {
            return Err(self.syntax("expected a field name"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != b':' {
            return Err(self.syntax("expected ':' after a field name"));
        }
        self.pos += 1;
        self.skip_space();
        Ok(key)
    }
}

#[inline(always)]
pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Marks, by its high bit, the first byte that is a quote, a backslash or a control character.
/// Marks above the first one can be wrong (borrows), so only the lowest may be used.
#[inline(always)]
fn stops_in(word: u64) -> u64 {
    let quote = word ^ (EACH * b'"' as u64);
    let backslash = word ^ (EACH * b'\\' as u64);
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    ((quote.wrapping_sub(EACH) & !quote) | (backslash.wrapping_sub(EACH) & !backslash) | control) & HIGH
}

/// The value of eight ASCII digits, the first one in the lowest byte.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    let digits = word ^ (EACH * 0x30);
    // A byte above 9 either has a high nibble or gets one by adding 6.
    if (digits | digits.wrapping_add(EACH * 6)) & (EACH * 0xf0) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// An exponent of many digits, which can still be small: `1e-0000000001`. Stops counting far beyond any type's range.
#[cold]
fn exponent_of(text: &[u8]) -> i64 {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    text[text.len() - digits..]
        .iter()
        .fold(0i64, |power, byte| power.saturating_mul(10).saturating_add(i64::from(byte - b'0')).min(1 << 40))
}

/// Reads `\uXXXX`, or the two of a surrogate pair, at `at`: the character and how many bytes it took.
pub(super) fn unicode_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let text = bytes.get(at..at + 6)?;
        if !text.starts_with(b"\\u") {
            return None;
        }
        text[2..].iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
    };
    let first = unit(at)?;
    if !(0xd800..0xe000).contains(&first) {
        return char::from_u32(first).map(|character| (character, 6));
    }
    let second = unit(at + 6)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|character| (character, 12))
}

/// Appends a string's text with its escapes resolved. `raw` has passed [`Cursor::string`].
pub(super) fn unescape_into(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            let plain = raw[at..].iter().position(|byte| *byte == b'\\').unwrap_or(raw.len() - at);
            out.extend_from_slice(&raw[at..at + plain]);
            at += plain;
            continue;
        }
        let simple = match raw.get(at + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, length) = unicode_escape(raw, at).unwrap_or((char::REPLACEMENT_CHARACTER, 6));
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += length;
                continue;
            }
            Some(other) => *other,
            None => break,
        };
        out.push(simple);
        at += 2;
    }
}
