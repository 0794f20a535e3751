//! Where the records of a body stand. Whether they are right is for the decoder of their table to say.

use std::ops::Range;

use axum::http::StatusCode;
use memchr::memchr2;

use super::answer::Refusal;
use crate::catalog::HttpBody;

/// What the body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Json,
    /// One record a line.
    Lines,
}

/// The places of the records, in their order. There is at least one.
///
/// # Errors
/// 400 where the body does not have that form or holds none, 413 for more than `max`, 415 for lines where one object is wanted.
pub(super) fn places(body: &[u8], written: Written, form: &HttpBody, max: usize) -> Result<Vec<Range<usize>>, Refusal> {
    let places = match (written, form) {
        (Written::Lines, HttpBody::Records) => lines(body, max)?,
        (Written::Lines, _) => {
            let message = "this path takes application/json alone";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        (Written::Json, HttpBody::Records) => records(body, max)?,
        (Written::Json, HttpBody::Record) => vec![whole(body)?],
        (Written::Json, HttpBody::Field(name)) => list_in(body, name, max)?,
    };
    if places.is_empty() { Err(Refusal::bad("the request holds no records")) } else { Ok(places) }
}

fn lines(body: &[u8], max: usize) -> Result<Vec<Range<usize>>, Refusal> {
    let mut places = Vec::new();
    let mut from = 0;
    for line in body.split(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii();
        if !trimmed.is_empty() {
            let start = from + (line.len() - line.trim_ascii_start().len());
            add(&mut places, start..start + trimmed.len(), max)?;
        }
        from += line.len() + 1;
    }
    Ok(places)
}

/// A list of records, or one.
fn records(body: &[u8], max: usize) -> Result<Vec<Range<usize>>, Refusal> {
    let mut at = Scan { body, at: 0 };
    if at.peek() == Some(b'[') {
        let places = at.list(max)?;
        at.end()?;
        return Ok(places);
    }
    Ok(vec![whole(body)?])
}

/// The body as one value.
fn whole(body: &[u8]) -> Result<Range<usize>, Refusal> {
    let mut at = Scan { body, at: 0 };
    at.peek();
    let place = at.value()?;
    at.end()?;
    Ok(place)
}

/// The list that is a field of the body's object.
fn list_in(body: &[u8], name: &str, max: usize) -> Result<Vec<Range<usize>>, Refusal> {
    let mut at = Scan { body, at: 0 };
    if at.peek() != Some(b'{') {
        return Err(Refusal::bad(format!("the body is no object with a list \"{name}\"")).about(name));
    }
    at.at += 1;
    let mut found = None;
    if at.peek() == Some(b'}') {
        at.at += 1;
    } else {
        loop {
            if at.peek() != Some(b'"') {
                return Err(at.broken("the name of a field"));
            }
            let place = at.value()?;
            let key: String = serde_json::from_slice(&body[place]).map_err(|_| at.broken("the name of a field"))?;
            at.expect(b':')?;
            let is_list = at.peek() == Some(b'[');
            if key != name {
                at.value()?;
            } else if !is_list {
                return Err(Refusal::bad(format!("\"{name}\" is no list")).about(name));
            } else if found.is_some() {
                return Err(Refusal::bad(format!("the body has \"{name}\" twice")).about(name));
            } else {
                found = Some(at.list(max)?);
            }
            match at.peek() {
                Some(b',') => at.at += 1,
                Some(b'}') => {
                    at.at += 1;
                    break;
                }
                _ => return Err(at.broken("',' or '}'")),
            }
        }
    }
    at.end()?;
    found.ok_or_else(|| Refusal::bad(format!("the body has no list \"{name}\"")).about(name))
}

fn add(places: &mut Vec<Range<usize>>, place: Range<usize>, max: usize) -> Result<(), Refusal> {
    if places.len() == max {
        return Err(Refusal::too_large(format!("more than {max} records in one request; send several")));
    }
    places.push(place);
    Ok(())
}

/// Finds the ends of JSON values. Loops and never calls itself: a body may be as deep as it is long.
struct Scan<'a> {
    body: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// Skips spaces and looks at what stands behind them.
    fn peek(&mut self) -> Option<u8> {
        while self.body.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.peek() != Some(byte) {
            return Err(self.broken(&format!("'{}'", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but spaces may follow.
    fn end(&mut self) -> Result<(), Refusal> {
        if self.peek().is_some() { Err(self.broken("the end of the body")) } else { Ok(()) }
    }

    fn broken(&self, expected: &str) -> Refusal {
        let found = if self.at >= self.body.len() { ", where the body ends" } else { "" };
        Refusal::bad(format!("the body is not JSON: expected {expected} at byte {}{found}", self.at))
    }

    /// The elements of the list at the scan.
    fn list(&mut self, max: usize) -> Result<Vec<Range<usize>>, Refusal> {
        self.expect(b'[')?;
        let mut places = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(places);
        }
        loop {
            self.peek();
            let place = self.value()?;
            add(&mut places, place, max)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(places);
                }
                _ => return Err(self.broken("',' or ']'")),
            }
        }
    }

    /// Where the value at the scan stands; the scan is then behind it.
    fn value(&mut self) -> Result<Range<usize>, Refusal> {
        let start = self.at;
        match self.body.get(start).copied() {
            Some(b'"') => self.string()?,
            Some(b'{' | b'[') => self.nested()?,
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r');
                let length = self.body[start..].iter().position(is_end).unwrap_or(self.body.len() - start);
                if length == 0 {
                    return Err(self.broken("a value"));
                }
                self.at += length;
            }
        }
        Ok(start..self.at)
    }

    /// To the end of the object or list at the scan.
    fn nested(&mut self) -> Result<(), Refusal> {
        let mut depth = 0_usize;
        while let Some(byte) = self.body.get(self.at).copied() {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.broken("'}' or ']'"))
    }

    /// To the end of the string at the scan.
    fn string(&mut self) -> Result<(), Refusal> {
        let mut at = self.at + 1;
        while let Some(found) = self.body.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found;
            if self.body[at] == b'"' {
                self.at = at + 1;
                return Ok(());
            }
            at += 2;
        }
        self.at = self.body.len();
        Err(self.broken("'\"'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(body: &'a str, written: Written, form: &HttpBody) -> Result<Vec<&'a str>, (u16, String)> {
        let places =
            places(body.as_bytes(), written, form, 3).map_err(|refusal| (refusal.status.as_u16(), refusal.message))?;
        Ok(places.into_iter().map(|place| &body[place]).collect())
    }

    fn events() -> HttpBody {
        HttpBody::Field("events".into())
    }

    #[test]
    fn each_form_of_a_body_gives_its_records_as_they_are_written() {
        let json = |body, form: HttpBody| found(body, Written::Json, &form).unwrap();
        assert_eq!(json(r#" [ {"a":"]},{" } , [1,{}] ] "#, HttpBody::Records), [r#"{"a":"]},{" }"#, "[1,{}]"]);
        assert_eq!(json(r#"{"a":"\"}"}"#, HttpBody::Records), [r#"{"a":"\"}"}"#]);
        assert_eq!(json("[1]", HttpBody::Record), ["[1]"]);
        assert_eq!(json(r#"{"v":[1,{"x":2}],"events":[{"a":1},null],"w":{}}"#, events()), [r#"{"a":1}"#, "null"]);
        assert_eq!(json("{\"\\u0065vents\": [ {} ]}", events()), ["{}"]);
        assert_eq!(found("{\"a\":1}\r\n\n  2 \n", Written::Lines, &HttpBody::Records).unwrap(), ["{\"a\":1}", "2"]);
    }

    #[test]
    fn a_body_of_another_form_is_refused_with_its_place() {
        for (body, form, expected) in [
            ("", HttpBody::Records, "expected a value at byte 0, where the body ends"),
            ("[]", HttpBody::Records, "the request holds no records"),
            ("[{},]", HttpBody::Records, "expected a value at byte 4"),
            ("[{} {}]", HttpBody::Records, "expected ',' or ']' at byte 4"),
            ("[{\"a\":\"", HttpBody::Records, "expected '\"' at byte 7, where the body ends"),
            ("[{\"a\":\"\\", HttpBody::Records, "where the body ends"),
            ("{} {}", HttpBody::Record, "expected the end of the body at byte 3"),
            ("{\"a\":1", HttpBody::Record, "expected '}' or ']'"),
            ("]", HttpBody::Record, "expected a value at byte 0"),
            ("[1]", events(), "the body is no object with a list \"events\""),
            ("{}", events(), "the body has no list \"events\""),
            ("{\"events\":{}}", events(), "\"events\" is no list"),
            ("{\"events\":[1],\"events\":[2]}", events(), "the body has \"events\" twice"),
            ("{\"events\":[1],}", events(), "expected the name of a field at byte 14"),
            ("{\"events\" [1]}", events(), "expected ':'"),
        ] {
            let (status, message) = found(body, Written::Json, &form).expect_err(body);
            assert!(status == 400 && message.contains(expected), "{body}: {status} {message}");
        }
    }

    #[test]
    fn lines_are_no_object() {
        for form in [HttpBody::Record, events()] {
            assert_eq!(found("{}", Written::Lines, &form).expect_err("lines").0, 415);
        }
    }

    #[test]
    fn more_records_than_a_request_may_hold_are_too_many() {
        assert_eq!(found("[1,2,3]", Written::Json, &HttpBody::Records).unwrap().len(), 3);
        for (body, written) in [("[1,2,3,4]", Written::Json), ("1\n2\n3\n4", Written::Lines)] {
            assert_eq!(found(body, written, &HttpBody::Records).expect_err(body).0, 413);
        }
    }

    #[test]
    fn a_body_that_is_deep_needs_no_stack() {
        let deep = "[".repeat(2_000_000);
        assert_eq!(found(&deep, Written::Json, &HttpBody::Record).expect_err("never closed").0, 400);
    }
}
