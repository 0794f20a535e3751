//! `EMIT …` behind a query: when its results leave.

use std::time::Duration;

use super::dialect::is_word;
use super::interval;
use super::parser::StatementParser;
use crate::catalog::{Early, EarlyWhen, Emit};
use crate::error::{Error, Location, Result};

const ALLOWED: &str = "EMIT ON WINDOW CLOSE, with LATE CORRECTIONS or without, EMIT CHANGES, EMIT EVERY INTERVAL '1 second' and EMIT TIMEOUT \
     INTERVAL '3 seconds' are available";

/// One form of the clause.
#[derive(Clone, Copy)]
enum Form {
    When(When),
    Timeout(Duration),
}

/// When results leave; a clause says it once.
#[derive(Clone, Copy)]
enum When {
    Close,
    Early(EarlyWhen),
}

impl When {
    fn name(self) -> String {
        match self {
            When::Close => "EMIT ON WINDOW CLOSE".to_owned(),
            When::Early(when) => when.to_string(),
        }
    }
}

impl StatementParser<'_> {
    /// The emission clause, if there is one.
    pub(super) fn emission(&mut self) -> Result<Emit> {
        let (mut when, mut timeout): (Option<(When, Location)>, Option<Duration>) = (None, None);
        while is_word(&self.parser.peek_token_ref().token, "EMIT") {
            let place = self.here();
            self.parser.advance_token();
            // Forms may follow one another with one EMIT or with one each.
            while let Some(form) = self.emission_form(&place)? {
                match form {
                    Form::Timeout(_) if timeout.is_some() => return Err(twice(place)),
                    Form::Timeout(length) => timeout = Some(length),
                    Form::When(new) => match &when {
                        Some((first, _)) => return Err(both(*first, new, place)),
                        None => when = Some((new, place.clone())),
                    },
                }
            }
        }
        let early = match when {
            Some((When::Early(when), Location { line, column, .. })) => Some(Early { when, line, column }),
            Some((When::Close, _)) | None => None,
        };
        Ok(Emit { timeout, early })
    }

    /// `None` at the end of the statement or at another EMIT, once a form has been read.
    fn emission_form(&mut self, emit: &Location) -> Result<Option<Form>> {
        let after_emit = is_word(&self.parser.get_current_token().token, "EMIT");
        let next = self.parser.peek_token_ref().clone();
        if self.take_word("ON") {
            if self.take_word("WINDOW") && self.take_word("CLOSE") {
                if !self.take_word("WITH") {
                    return Ok(Some(Form::When(When::Close)));
                }
                if self.take_word("LATE") && self.take_word("CORRECTIONS") {
                    return Ok(Some(Form::When(When::Early(EarlyWhen::LateCorrections))));
                }
            }
        } else if self.take_word("CHANGES") {
            return Ok(Some(Form::When(When::Early(EarlyWhen::Changes))));
        } else if self.take_word("EVERY") {
            let length = self.emission_length("interval")?;
            return Ok(Some(Form::When(When::Early(EarlyWhen::Every(length)))));
        } else if self.take_word("TIMEOUT") {
            return self.emission_length("timeout").map(|length| Some(Form::Timeout(length)));
        } else if !after_emit {
            return Ok(None);
        }
        let error = match ["FINAL", "AFTER"].iter().any(|word| is_word(&next.token, word)) {
            true => Error::invalid(format!("EMIT {} is not available yet", next.to_string().to_uppercase())),
            false => Error::invalid("cannot read this EMIT"),
        };
        Err(error.hint(ALLOWED).at(emit.clone()))
    }

    /// A length of time, which is not zero. `what`: what it is called.
    fn emission_length(&mut self, what: &str) -> Result<Duration> {
        let place = self.here();
        let expr = self.parser.parse_expr();
        let expr = self.parsed(expr)?;
        let length = match interval::from_sql(&expr) {
            Ok(length) if length.is_zero() => Err("must be longer than zero".to_owned()),
            other => other,
        };
        length.map_err(|why| Error::invalid(format!("the {what} {why}")).at(place))
    }
}

fn twice(place: Location) -> Error {
    Error::invalid("this EMIT is given twice").hint("leave one out").at(place)
}

/// Two forms that each say when results leave.
fn both(first: When, second: When, place: Location) -> Error {
    let (first_name, second_name) = (first.name(), second.name());
    if first_name == second_name {
        return twice(place);
    }
    let hint = match (first, second) {
        (When::Early(EarlyWhen::LateCorrections), When::Close)
        | (When::Close, When::Early(EarlyWhen::LateCorrections)) => {
            return twice(place);
        }
        (When::Early(EarlyWhen::LateCorrections), _) | (_, When::Early(EarlyWhen::LateCorrections)) => {
            "leave the corrections out: with 'allowed-lateness' early results stay correctable that long in any case"
        }
        (When::Close, _) | (_, When::Close) => {
            "leave ON WINDOW CLOSE out: the closing result leaves in any case, with is_final"
        }
        _ => "leave one out: EMIT CHANGES emits after each epoch, EMIT EVERY at most so often",
    };
    Error::invalid(format!("{first_name} and {second_name} both say when results leave")).hint(hint).at(place)
}

#[cfg(test)]
mod tests;
