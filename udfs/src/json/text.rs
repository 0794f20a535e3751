//! A place in a JSON text, found in one pass that also checks all of the text: RFC 8259, and no more levels than [`DEPTH_MAX`].
//!
//! Nothing is built and nothing is copied: what is found is a slice of the text, as it stands. Calls nest as the text does, so the
//! limit on levels is one on the stack.

use std::borrow::Cow;
use std::ops::Range;

use super::path::Step;

/// Objects and lists inside one another; a text with more is taken for none.
pub(super) const DEPTH_MAX: usize = 128;

/// What a text is not: every reader of it then says NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

type Read<T> = Result<T, NotJson>;

/// The kind of a value, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// A value within a text that is JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// As it stands in the text.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    pub(super) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// A string without its quotes and escapes, any other value as it stands; `None` for null.
    pub(super) fn unquoted(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::Null => None,
            Kind::String => Some(unescaped(&self.0[1..self.0.len() - 1])),
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    /// How many items an array has; `None` of anything else.
    pub(super) fn items(self) -> Option<usize> {
        let mut scanner = Scanner::new(self.0);
        if self.kind() != Kind::Array {
            return None;
        }
        scanner.count().ok()
    }
}

/// The value at `steps`; `None` where the text has none there.
pub(super) fn find<'a>(text: &'a str, steps: &[Step<'_>]) -> Read<Option<Value<'a>>> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let found = scanner.locate(steps)?;
    scanner.space();
    if scanner.at < text.len() {
        return Err(NotJson);
    }
    Ok(found.map(|range| Value(&text[range])))
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Scanner { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The byte here; 0, which no token begins with, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over the value here and says where in it `steps` lead. Of a name that stands twice the last one counts.
    fn locate(&mut self, steps: &[Step<'_>]) -> Read<Option<Range<usize>>> {
        let Some((step, rest)) = steps.split_first() else {
            let start = self.at;
            self.value()?;
            return Ok(Some(start..self.at));
        };
        match (step, self.peek()) {
            (Step::Field(name), b'{') => {
                let mut found = None;
                self.members(|scanner, key| {
                    if is_name(key, name) {
                        found = scanner.locate(rest)?;
                        Ok(())
                    } else {
                        scanner.value()
                    }
                })?;
                Ok(found)
            }
            (Step::Element(index), b'[') => {
                let wanted = self.place(*index)?;
                let (mut found, mut place) = (None, 0);
                self.elements(|scanner| {
                    let here = wanted == Some(place);
                    place += 1;
                    if here {
                        found = scanner.locate(rest)?;
                        Ok(())
                    } else {
                        scanner.value()
                    }
                })?;
                Ok(found)
            }
            _ => self.value().map(|()| None),
        }
    }

    /// The place from the front that an index means in the array here: negative ones count from its end.
    fn place(&mut self, index: i64) -> Read<Option<usize>> {
        if index >= 0 {
            return Ok(usize::try_from(index).ok());
        }
        let (start, depth) = (self.at, self.depth);
        let count = self.count()?;
        (self.at, self.depth) = (start, depth);
        Ok(usize::try_from(index.unsigned_abs()).ok().and_then(|back| count.checked_sub(back)))
    }

    /// Steps over the array here and counts its items.
    fn count(&mut self) -> Read<usize> {
        let mut count = 0;
        self.elements(|scanner| {
            count += 1;
            scanner.value()
        })?;
        Ok(count)
    }

    fn value(&mut self) -> Read<()> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'{' => self.members(|scanner, _| scanner.value()),
            b'[' => self.elements(Scanner::value),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(NotJson),
        }
    }

    /// Steps over an object: `each` is to step over the value behind its name, which it is given as it stands.
    fn members(&mut self, mut each: impl FnMut(&mut Self, &'a str) -> Read<()>) -> Read<()> {
        self.enter()?;
        if self.peek() == b'}' {
            return self.leave();
        }
        loop {
            if self.peek() != b'"' {
                return Err(NotJson);
            }
            let name = self.string()?;
            self.space();
            if self.peek() != b':' {
                return Err(NotJson);
            }
            self.at += 1;
            self.space();
            let text = self.text;
            each(self, &text[name])?;
            if !self.more(b'}')? {
                return self.leave();
            }
        }
    }

    fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.enter()?;
        if self.peek() == b']' {
            return self.leave();
        }
        loop {
            each(self)?;
            if !self.more(b']')? {
                return self.leave();
            }
        }
    }

    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(NotJson);
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Over the closing bracket.
    fn leave(&mut self) -> Read<()> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    /// True behind a comma, with the next token at hand; false at `close`.
    fn more(&mut self, close: u8) -> Read<bool> {
        self.space();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            byte if byte == close => Ok(false),
            _ => Err(NotJson),
        }
    }

    fn literal(&mut self, word: &str) -> Read<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over a string; where its text lies, without the quotes.
    fn string(&mut self) -> Read<Range<usize>> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += escape_length(&self.bytes[at..]).ok_or(NotJson)?,
                Some(0x20..) => at += 1,
                _ => return Err(NotJson),
            }
        }
        self.at = at + 1;
        Ok(start..at)
    }

    fn number(&mut self) -> Read<()> {
        self.at += usize::from(self.peek() == b'-');
        let first = self.peek();
        let whole = self.digits()?;
        if first == b'0' && whole > 1 {
            return Err(NotJson);
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Read<usize> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(NotJson) } else { Ok(count) }
    }
}

/// Whether a name as it stands in a text, escapes and all, is this one.
fn is_name(raw: &str, name: &str) -> bool {
    raw == name || (raw.contains('\\') && unescaped(raw) == name)
}

/// The length of the escape that a text begins with; `None` where it is none.
fn escape_length(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => unicode(text).map(|(_, length)| length),
        _ => None,
    }
}

/// The character of `\uXXXX`, or of the two that are a surrogate pair, and their length.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let escape = text.get(at..at + 6)?;
        if !escape.starts_with(b"\\u") {
            return None;
        }
        escape[2..].iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
    };
    let first = unit(0)?;
    if !(0xd800..0xe000).contains(&first) {
        return char::from_u32(first).map(|character| (character, 6));
    }
    let second = unit(6)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|character| (character, 12))
}

/// The text between the quotes of a string that was stepped over, without escapes.
fn unescaped(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return Cow::Borrowed(raw) };
    let mut plain = String::with_capacity(raw.len());
    plain.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(escaped) = rest.as_bytes().get(1) {
        let (character, length) = match escaped {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => unicode(rest.as_bytes()).unwrap_or((char::REPLACEMENT_CHARACTER, 6)),
            other => (char::from(*other), 2),
        };
        plain.push(character);
        rest = rest.get(length..).unwrap_or_default();
        let next = rest.find('\\').unwrap_or(rest.len());
        plain.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    Cow::Owned(plain)
}
