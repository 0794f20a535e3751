//! Paths into a JSON text, as SQL/JSON writes them: `$.player.positions[2]['x y']`.

use std::iter::Peekable;
use std::str::Chars;

use super::text::DEPTH_MAX;

/// How a path is written, for those who wrote another.
const FORM: &str = "a path is $, then .name, ['name'] and [0], as in $.player.positions[2]['x y']";

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The field of this name of an object.
    Field(&'a str),
    /// The item at this place of an array, from 0; negative ones count from its end.
    Element(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Field(String),
    Element(i64),
}

/// A path that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Owned>);

impl Path {
    /// # Errors
    /// Why the text is no path, as one sentence that says how one is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("'{text}' is no path: {what}; {FORM}"));
        let mut rest = text.trim().chars().peekable();
        if rest.next() != Some('$') {
            return wrong("it does not begin with $");
        }
        let mut steps = Vec::new();
        while let Some(next) = rest.next() {
            let step = match next {
                '.' => field(&mut rest).map(Owned::Field),
                '[' => bracket(&mut rest),
                _ => None,
            };
            let Some(step) = step else { return wrong("a step of it cannot be read") };
            steps.push(step);
            if steps.len() > DEPTH_MAX {
                return wrong("it has too many steps");
            }
        }
        Ok(Path(steps))
    }

    pub fn steps(&self) -> Vec<Step<'_>> {
        let step = |step| match step {
            &Owned::Element(index) => Step::Element(index),
            Owned::Field(name) => Step::Field(name),
        };
        self.0.iter().map(step).collect()
    }
}

/// What follows a dot: a word, or a text in double quotes.
fn field(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    if rest.next_if_eq(&'"').is_some() {
        return quoted(rest, '"');
    }
    let mut name = String::new();
    while let Some(character) = rest.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '$' | '-')) {
        name.push(character);
    }
    (!name.is_empty()).then_some(name)
}

/// What follows an opening bracket, with the closing one.
fn bracket(rest: &mut Peekable<Chars<'_>>) -> Option<Owned> {
    let step = match rest.next_if(|next| matches!(next, '\'' | '"')) {
        Some(quote) => Owned::Field(quoted(rest, quote)?),
        None => {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            Owned::Element(digits.parse().ok()?)
        }
    };
    (rest.next()? == ']').then_some(step)
}

/// A text up to its closing quote, in which a backslash stands before a quote or another.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut name = String::new();
    loop {
        match rest.next()? {
            '\\' => name.push(rest.next()?),
            next if next == quote => return Some(name),
            next => name.push(next),
        }
    }
}
