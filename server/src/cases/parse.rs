//! A test file as text → its SQL, and its test as steps; all mistakes of the test at once.
//!
//! The test stands in a comment, so that the whole file is SQL to everything else: from a line `/* test` to a line `*/`. A line that
//! begins at the margin says what happens or what must be seen, and the indented lines below it belong to it.

use super::grid::{Line, grid, is_of_grid};
use super::script::{Action, Expected, GridRow, Holds, Named, Record, Report, Script, SourceName, Step, What};
use super::value::Day;
use crate::clock::{Micros, micros_of};
use crate::error::{Error, Location, Result};
use crate::source::Partition;
use crate::sql::interval;

const BEGIN: &str = "/* test";
const END: &str = "*/";

const LINES: &str = "rows, watermark, idle, silence, restart and end say what happens; expect, early, late, bad, stops and refused what must \
                     be seen; day, clock, `watermarks follow the rows`, `not in batch: …` and `not at once: …` stand before them";

/// The SQL of a file, in which every line is where it was, and its test.
///
/// # Errors
/// `Invalid`, one for each mistake of the test.
pub(super) fn parse(file: &str, text: &str) -> Result<(String, Script), Vec<Error>> {
    let mut parser = Parser { file, script: Script::default(), errors: Vec::new(), joined: false };
    let (sql, entries) = parser.split(text);
    parser.heading(&sql);
    for entry in entries {
        if let Err(error) = parser.entry(&entry) {
            parser.errors.push(error);
        }
    }
    parser.whole();
    match parser.errors.is_empty() {
        true => Ok((sql, parser.script)),
        false => Err(parser.errors),
    }
}

/// A line of a test and what belongs to it.
struct Entry<'a> {
    line: u64,
    head: &'a str,
    data: Vec<Line<'a>>,
}

struct Parser<'a> {
    file: &'a str,
    script: Script,
    errors: Vec<Error>,
    /// The entry at hand happens in the epoch of the one before.
    joined: bool,
}

impl<'a> Parser<'a> {
    fn at(&self, line: u64, column: usize) -> Location {
        Location { file: self.file.to_owned(), line, column: column as u64 }
    }

    fn split(&mut self, text: &'a str) -> (String, Vec<Entry<'a>>) {
        let (mut sql, mut entries) = (String::new(), Vec::<Entry<'a>>::new());
        let mut begun = None;
        let mut tests = 0;
        for (number, line) in (1..).zip(text.lines()) {
            match (line.trim_end(), begun) {
                (BEGIN, None) => {
                    begun = Some(number);
                    tests += 1;
                }
                (END, Some(_)) => begun = None,
                (_, None) => sql.push_str(line),
                ("", Some(_)) => {}
                (line, Some(_)) if line.starts_with([' ', '\t', '|', '{']) => match entries.last_mut() {
                    Some(entry) => entry.data.push((number, line)),
                    None => self.errors.push(
                        Error::invalid("nothing stands above that this line could belong to")
                            .hint(LINES)
                            .at(self.at(number, 1)),
                    ),
                },
                (line, Some(_)) if line.starts_with("--") => {}
                (line, Some(_)) => entries.push(Entry { line: number, head: line, data: Vec::new() }),
            }
            sql.push('\n');
        }
        if let Some(begun) = begun {
            let error = Error::invalid("the test does not end").hint("it ends with a line `*/`");
            self.errors.push(error.at(self.at(begun, 1)));
        }
        if tests == 0 {
            let error = Error::invalid("the file has no test")
                .hint("a test stands in a comment, from a line `/* test` to a line `*/`: see tests/cases/README.md");
            self.errors.push(error.at(self.at(0, 0)));
        }
        (sql, entries)
    }

    /// The comments of the file: the first ones say what must hold.
    fn heading(&mut self, sql: &str) {
        let mut heads = true;
        for (number, line) in (1..).zip(sql.lines()) {
            let comment = line.trim().strip_prefix("--").map(str::trim);
            match comment.and_then(|comment| comment.strip_prefix("uses ")) {
                Some(name) => {
                    let at = self.at(number, 1);
                    self.script.uses.push(Named { name: name.trim().to_owned(), at });
                }
                None => match comment {
                    Some(comment) if heads && !comment.is_empty() => {
                        let property = &mut self.script.property;
                        property.push_str(if property.is_empty() { "" } else { " " });
                        property.push_str(comment);
                    }
                    Some(_) => {}
                    None => heads &= self.script.property.is_empty() && line.trim().is_empty(),
                },
            }
        }
        if self.script.property.is_empty() {
            let error = Error::invalid("nothing says what the test is for").hint(
                "begin the file with a comment: a sentence that could be false, as in `-- A late row is in no window.`",
            );
            self.errors.push(error.at(self.at(1, 1)));
        }
    }

    fn whole(&mut self) {
        let Script { steps, refused, .. } = &self.script;
        match (steps.first(), refused.first()) {
            (None, None) if self.errors.is_empty() => {
                let error = Error::invalid("nothing happens in the test").hint(LINES);
                self.errors.push(error.at(self.at(0, 0)));
            }
            (Some(step), Some(_)) => {
                let error = Error::invalid("what is refused does not run, so there are no steps")
                    .hint("make two tests of it")
                    .at(self.at(step.line, 1));
                self.errors.push(error);
            }
            _ => {}
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        let mut words = Words { text: entry.head, at: 0 };
        self.joined = words.take("and");
        let (begin, word) = words.next();
        let place = self.at(entry.line, begin);
        if self.joined && !matches!(word, "rows" | "watermark" | "idle" | "end") {
            return Err(Error::invalid(format!("\"{word}\" cannot happen together with something else"))
                .hint("`and` joins rows, watermark, idle and end to the line above")
                .at(place));
        }
        let takes_data = matches!(word, "rows" | "expect" | "early" | "late" | "bad" | "stops" | "refused");
        if let Some((line, _)) = entry.data.first().filter(|_| !takes_data) {
            return Err(Error::invalid(format!("nothing belongs to \"{word}\"")).hint(LINES).at(self.at(*line, 1)));
        }
        match word {
            "day" | "clock" | "watermarks" | "not" => self.setting(word, &mut words, place),
            "rows" => self.rows(&mut words, entry, place),
            "watermark" => {
                let source = self.source(&mut words, entry.line)?;
                if self.script.follows_rows {
                    return Err(Error::invalid("the watermarks follow the rows")
                        .hint("leave one of both out")
                        .at(place));
                }
                let at = self.time(&mut words, entry.line)?;
                self.act(entry.line, Action::Watermark { source, at })
            }
            "idle" => {
                let source = self.source(&mut words, entry.line)?;
                self.end_of(&mut words, entry.line)?;
                self.act(entry.line, Action::Idle(source))
            }
            "silence" => {
                let (column, text) = words.rest();
                let length = interval::from_text(text).map_err(|why| {
                    Error::invalid(format!("the silence {why}"))
                        .hint("write it as in `silence 30 seconds`")
                        .at(self.at(entry.line, column))
                })?;
                self.act(entry.line, Action::Silence(micros_of(length)))
            }
            "restart" => {
                self.end_of(&mut words, entry.line)?;
                self.act(entry.line, Action::Restart)
            }
            "end" => {
                let table = self.name(&mut words, entry.line);
                self.end_of(&mut words, entry.line)?;
                self.act(entry.line, Action::End(table))
            }
            "expect" | "early" | "late" | "bad" | "stops" | "refused" => {
                self.expectation(word, &mut words, entry, place)
            }
            _ => Err(Error::invalid(format!("no line of a test begins with \"{word}\"")).hint(LINES).at(place)),
        }
    }

    fn setting(&mut self, word: &str, words: &mut Words<'_>, place: Location) -> Result<()> {
        if !self.script.steps.is_empty() {
            return Err(Error::invalid("this is said before anything happens").hint("move the line up").at(place));
        }
        let (_, rest) = words.rest();
        let wrong = |how: &str| Error::invalid(format!("cannot read this \"{word}\"")).hint(how).at(place.clone());
        match word {
            "day" => self.script.day = Day::parse(rest).ok_or_else(|| wrong("write it as in `day 2026-01-10`"))?,
            "clock" => {
                let at = self.script.day.micros(rest).ok_or_else(|| wrong("write a time, as in `clock 15:00:00`"))?;
                self.script.clock = Some(at);
            }
            "watermarks" if rest == "follow the rows" => self.script.follows_rows = true,
            "watermarks" => return Err(wrong("write `watermarks follow the rows`, or leave it out")),
            _ => {
                let how = "write `not in batch: …` or `not at once: …`, and why";
                let (what, why) = rest.split_once(':').ok_or_else(|| wrong(how))?;
                let holds = match what.trim() {
                    "in batch" => Holds::AtOnce,
                    "at once" => Holds::StepByStep,
                    _ => return Err(wrong(how)),
                };
                if why.trim().is_empty() {
                    return Err(wrong(how));
                }
                self.script.holds = self.script.holds.max(holds);
            }
        }
        Ok(())
    }

    fn rows(&mut self, words: &mut Words<'_>, entry: &Entry<'_>, place: Location) -> Result<()> {
        let table = self.name(words, entry.line).ok_or_else(|| {
            Error::invalid("the rows are of no table").hint("name it, as in `rows clicks`").at(place.clone())
        })?;
        let partition = self.partition(words, entry.line)?.unwrap_or_default();
        self.end_of(words, entry.line)?;
        let (of_grid, raw): (Vec<Line<'_>>, Vec<Line<'_>>) = entry.data.iter().partition(|(_, line)| is_of_grid(line));
        if let (Some((grid, _)), Some((raw, _))) = (of_grid.first(), raw.first()) {
            return Err(Error::invalid("the rows are a table in part, and records as they are in part")
                .hint("make two steps of them, with `and` before the second")
                .at(self.at(*grid.max(raw), 1)));
        }
        let grid = grid(self.file, &of_grid)?;
        let row = |row: GridRow| Record::Row(grid.columns.iter().cloned().zip(row.cells).collect());
        let raw = raw.into_iter().map(|(_, line)| Record::Raw(line.trim().to_owned()));
        let records = grid.rows.clone().into_iter().map(row).chain(raw).collect();
        self.act(entry.line, Action::Rows { table, partition, records })
    }

    fn expectation(&mut self, word: &str, words: &mut Words<'_>, entry: &Entry<'_>, at: Location) -> Result<()> {
        let mut view = None;
        if word != "refused" && !["in", "nothing"].contains(&words.peek()) {
            view = self.name(words, entry.line);
        }
        let in_order = word == "expect" && words.take("in");
        if in_order && !words.take("order") {
            return Err(Error::invalid("cannot read this \"expect\"").hint("write `expect view in order`").at(at));
        }
        let nothing = ["expect", "early"].contains(&word) && words.take("nothing");
        self.end_of(words, entry.line)?;
        let what = match word {
            "expect" | "early" | "late" | "bad" => {
                let stray = entry.data.iter().find(|(_, line)| !is_of_grid(line));
                if let Some((line, _)) = stray {
                    let error = Error::invalid("expected a row of a table").hint("write it as in `| page | count |`");
                    return Err(error.at(self.at(*line, 1)));
                }
                let grid = grid(self.file, &entry.data)?;
                if grid.rows.is_empty() != nothing {
                    let (what, hint) = match nothing {
                        true => ("nothing is expected, and rows are", "leave one of both out"),
                        false => ("no row is expected", "write a header and rows below it, or leave the line out"),
                    };
                    return Err(Error::invalid(what).hint(hint).at(at));
                }
                match word {
                    "expect" => What::Rows { grid, in_order },
                    "early" => What::Early(grid),
                    "late" => What::Late(grid),
                    _ => What::Bad(grid),
                }
            }
            "stops" => What::Stops(self.report(entry, &at)?),
            _ => What::Refused(self.report(entry, &at)?),
        };
        let expected = Expected { at: at.clone(), view, what };
        if let What::Refused(_) = expected.what {
            self.script.refused.push(expected);
            return Ok(());
        }
        let Some(step) = self.script.steps.last_mut() else {
            return Err(Error::invalid("nothing has happened yet")
                .hint("say first what happens, as in `rows clicks`")
                .at(at));
        };
        let kind = std::mem::discriminant(&expected.what);
        let of_view = |other: &Expected| other.view.as_ref().map(|view| view.name.clone());
        let same =
            |other: &&Expected| std::mem::discriminant(&other.what) == kind && of_view(other) == of_view(&expected);
        if let Some(first) = step.expected.iter().find(same) {
            return Err(Error::invalid(format!("\"{word}\" is said twice of one step"))
                .detail(format!("first in line {}", first.at.line))
                .hint("put the rows together")
                .at(at));
        }
        step.expected.push(expected);
        Ok(())
    }

    /// Place and sentence, and below them what is said of detail and hint.
    fn report(&self, entry: &Entry<'_>, at: &Location) -> Result<Report> {
        let mut lines = entry.data.iter();
        let Some((_, first)) = lines.next() else {
            return Err(Error::invalid("no error is expected")
                .hint("write it below, as `4:8: what is said there`")
                .at(at.clone()));
        };
        let mut report = Report { first: first.trim().to_owned(), ..Report::default() };
        for (line, text) in lines {
            let text = text.trim();
            match (text.strip_prefix("detail:"), text.strip_prefix("hint:")) {
                (Some(detail), _) => report.detail = Some(detail.trim().to_owned()),
                (_, Some(hint)) => report.hint = Some(hint.trim().to_owned()),
                _ => {
                    return Err(Error::invalid("an error has a sentence, a detail and a hint")
                        .hint("write `detail: …` or `hint: …` below the first line")
                        .at(self.at(*line, 1)));
                }
            }
        }
        Ok(report)
    }

    fn act(&mut self, line: u64, action: Action) -> Result<()> {
        if !self.joined {
            self.script.steps.push(Step { line, actions: vec![action], expected: Vec::new() });
            return Ok(());
        }
        match self.script.steps.last_mut() {
            Some(step) if step.expected.is_empty() => {
                step.actions.push(action);
                Ok(())
            }
            Some(_) => Err(Error::invalid("`and` stands behind what must be seen of the step that it belongs to")
                .hint("move the line up")
                .at(self.at(line, 1))),
            None => Err(Error::invalid("`and` has nothing to be joined to").hint("leave it out").at(self.at(line, 1))),
        }
    }

    fn source(&self, words: &mut Words<'_>, line: u64) -> Result<SourceName> {
        let at = self.at(line, 1);
        let begins_a_time = words.peek().starts_with(|char: char| char.is_ascii_digit());
        let table = if begins_a_time { None } else { self.name(words, line) };
        let partition = self.partition(words, line)?;
        Ok(SourceName { table, partition, at })
    }

    fn name(&self, words: &mut Words<'_>, line: u64) -> Option<Named> {
        let (column, name) = words.next();
        (!name.is_empty()).then(|| Named { name: name.to_owned(), at: self.at(line, column) })
    }

    fn partition(&self, words: &mut Words<'_>, line: u64) -> Result<Option<Partition>> {
        if !words.take("partition") {
            return Ok(None);
        }
        let (column, number) = words.next();
        match number.parse::<Partition>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Error::invalid("a partition is a number, from 0").at(self.at(line, column))),
        }
    }

    fn time(&self, words: &mut Words<'_>, line: u64) -> Result<Micros> {
        let (column, text) = words.rest();
        self.script.day.micros(text).ok_or_else(|| {
            Error::invalid(format!("\"{text}\" is no time"))
                .hint("write it as in `watermark clicks 15:00:05` or `watermark clicks 2026-01-10 15:00:05`")
                .at(self.at(line, column))
        })
    }

    fn end_of(&self, words: &mut Words<'_>, line: u64) -> Result<()> {
        match words.rest() {
            (_, "") => Ok(()),
            (column, rest) => {
                let error = Error::invalid(format!("expected the end of the line, found \"{rest}\""));
                Err(error.hint("see tests/cases/README.md").at(self.at(line, column)))
            }
        }
    }
}

/// The words of a line, with the columns where they begin.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> (usize, &'a str) {
        let rest = &self.text[self.at..];
        let begin = self.at + rest.len() - rest.trim_start().len();
        (self.text[..begin].chars().count() + 1, rest.trim())
    }

    /// Empty at the end of the line.
    fn peek(&self) -> &'a str {
        self.rest().1.split_whitespace().next().unwrap_or_default()
    }

    fn next(&mut self) -> (usize, &'a str) {
        let ((column, _), word) = (self.rest(), self.peek());
        self.at = self.text.len() - (self.text[self.at..].trim_start().len() - word.len());
        (column, word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        if found {
            self.next();
        }
        found
    }
}
