//! One SQL file as tokens: its statements, the places of their parts, and the limits that keep parsing cheap.
//!
//! The whole file is tokenised once, so that every span counts from the file's first line.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location as TokenLocation, Span, Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Location};

/// Bytes of one file.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Tokens of one file, white space and comments not counted.
const TOKENS_MAX: usize = 20_000;
/// Open brackets around one token. sqlparser tries several readings of a bracket, so time grows steeply with depth.
const BRACKETS_MAX: usize = 24;
/// Operators in a row at one level of brackets, with no comma between. Each makes the tree one level deeper.
const CHAIN_MAX: usize = 1_000;
/// UNION, INTERSECT and EXCEPT in a row; commas do not end such a chain.
const SET_OPERATIONS_MAX: usize = 200;
/// Signs before an operand, as in `NOT NOT - a`: each nests.
const SIGNS_MAX: usize = 24;
/// Nested expressions and queries, as sqlparser counts them.
pub(crate) const RECURSION_MAX: usize = 64;

/// A file and where its lines begin.
#[derive(Debug)]
pub(crate) struct SourceText<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    line_starts: Vec<usize>,
}

/// The tokens of one statement, without the semicolon.
#[derive(Debug)]
pub(crate) struct StatementTokens {
    pub(crate) tokens: Vec<TokenWithSpan>,
    pub(crate) start: TokenLocation,
    pub(crate) end: TokenLocation,
}

impl<'a> SourceText<'a> {
    /// # Errors
    /// `Invalid` where the text is too long.
    pub(crate) fn new(file: &'a str, text: &'a str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!("SQL text is too long: {} bytes", text.len()))
                .hint(format!("at most {TEXT_BYTES_MAX} bytes; split the file"))
                .at(Location { file: file.to_owned(), line: 0, column: 0 }));
        }
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Ok(SourceText { file, text, line_starts })
    }

    pub(crate) fn location(&self, place: TokenLocation) -> Location {
        Location { file: self.file.to_owned(), line: place.line, column: place.column }
    }

    /// The text between two places; sqlparser counts columns in characters, from 1.
    pub(crate) fn slice(&self, start: TokenLocation, end: TokenLocation) -> &'a str {
        let (start, end) = (self.offset(start), self.offset(end));
        self.text.get(start..end.max(start)).unwrap_or("").trim_end()
    }

    fn offset(&self, place: TokenLocation) -> usize {
        let line = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(&start) = self.line_starts.get(line) else { return self.text.len() };
        let rest = self.text.get(start..).unwrap_or("");
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    /// All tokens, and the mistake that ended them early if there is one.
    pub(crate) fn tokens(&self, dialect: &dyn Dialect) -> (Vec<TokenWithSpan>, Option<Error>) {
        let mut tokens = Vec::new();
        let outcome = Tokenizer::new(dialect, self.text).tokenize_with_location_into_buf(&mut tokens);
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let error = outcome.err().map(|error| {
            Error::invalid(sentence(&error.message)).at(self.location(error.location)).hint_for_text(&error.message)
        });
        (tokens, error)
    }

    /// Cuts at semicolons. Empty statements are left out.
    ///
    /// `complete`: whether the tokens reach the end of the file; if not, the last statement is cut off and left out.
    ///
    /// # Errors
    /// `Invalid` where there are too many tokens to parse in reasonable time.
    pub(crate) fn statements(&self, tokens: Vec<TokenWithSpan>, complete: bool) -> Result<Vec<StatementTokens>, Error> {
        if let Some(token) = tokens.get(TOKENS_MAX) {
            return Err(Error::invalid("SQL text has too many words and signs")
                .hint(format!("at most {TOKENS_MAX} in one file; split the file"))
                .at(self.location(token.span.start)));
        }
        let mut statements = Vec::new();
        let mut current: Vec<TokenWithSpan> = Vec::new();
        for token in tokens {
            if token.token == Token::SemiColon {
                statements.extend(StatementTokens::new(std::mem::take(&mut current)));
            } else {
                current.push(token);
            }
        }
        if complete {
            statements.extend(StatementTokens::new(current));
        }
        Ok(statements)
    }

    /// Turns sqlparser's text into our error: the place at its end is cut off and used.
    ///
    /// `end`: the statement's end, the place of what is missing there.
    pub(crate) fn parser_error(&self, error: ParserError, end: TokenLocation) -> Error {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => return too_deep().at(self.location(end)),
        };
        let (message, place) = split_place(&text);
        Error::invalid(sentence(message)).at(self.location(place.unwrap_or(end)))
    }
}

impl StatementTokens {
    fn new(tokens: Vec<TokenWithSpan>) -> Option<Self> {
        let (start, end) = (tokens.first()?.span.start, tokens.last()?.span.end);
        Some(StatementTokens { tokens, start, end })
    }

    /// Refuses what would make a tree too deep to walk, before it is built.
    pub(crate) fn check_depth(&self, source: &SourceText<'_>) -> Result<(), Error> {
        let mut levels = vec![Level::default()];
        let mut signs = 0;
        for token in &self.tokens {
            let at = |error: Error| error.at(source.location(token.span.start));
            signs = if is_sign(&token.token) { signs + 1 } else { 0 };
            if signs > SIGNS_MAX {
                return Err(at(too_deep()));
            }
            match &token.token {
                Token::LParen | Token::LBracket | Token::LBrace => {
                    if levels.len() > BRACKETS_MAX {
                        return Err(at(too_deep()));
                    }
                    levels.push(Level::default());
                }
                Token::RParen | Token::RBracket | Token::RBrace if levels.len() > 1 => {
                    levels.pop();
                }
                other => {
                    let level = levels.last_mut().expect("the outermost level is never popped");
                    level.count(other);
                    if level.operators > CHAIN_MAX || level.set_operations > SET_OPERATIONS_MAX {
                        return Err(at(Error::invalid("the expression is too long").hint(format!(
                            "at most {CHAIN_MAX} operators or {SET_OPERATIONS_MAX} UNIONs in a row; an IN list or VALUES has no such limit"
                        ))));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether this may stand before an operand, again and again.
fn is_sign(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.keyword, Keyword::NOT | Keyword::INTERVAL),
        Token::Plus | Token::Minus | Token::Tilde => true,
        _ => false,
    }
}

#[derive(Default)]
struct Level {
    operators: usize,
    set_operations: usize,
}

impl Level {
    fn count(&mut self, token: &Token) {
        match token {
            Token::Comma => self.operators = 0,
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => self.set_operations += 1,
                Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::DIV
                | Keyword::JOIN
                | Keyword::PIVOT
                | Keyword::UNPIVOT => self.operators += 1,
                _ => {}
            },
            // A dot joins names, and names are lists, not trees.
            Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Period => {}
            _ => self.operators += 1,
        }
    }
}

fn too_deep() -> Error {
    Error::invalid("the statement is nested too deeply")
        .hint(format!("at most {BRACKETS_MAX} brackets in one another; a WITH clause takes parts of it out"))
}

/// Takes " at Line: 3, Column: 7" off the end of sqlparser's text.
fn split_place(text: &str) -> (&str, Option<TokenLocation>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (text, None) };
    match (line.parse(), column.trim().parse()) {
        (Ok(0), _) => (message, None),
        (Ok(line), Ok(column)) => (message, Some(TokenLocation { line, column })),
        _ => (text, None),
    }
}

/// sqlparser's words in our voice: lower case, no full stop, no colons.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    if let Some((expected, found)) = text
        .strip_prefix("Expected: ")
        .or_else(|| text.strip_prefix("Expected "))
        .and_then(|rest| rest.rsplit_once(", found: "))
    {
        let found = if found == "EOF" { "the end of the statement".to_owned() } else { format!("`{found}`") };
        return format!("expected {}, found {found}", expected.trim_start_matches("expected to "));
    }
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

trait HintForText {
    fn hint_for_text(self, message: &str) -> Self;
}

impl HintForText for Error {
    fn hint_for_text(self, message: &str) -> Self {
        if message.starts_with("Unterminated") {
            self.hint("close the quote or comment that begins here")
        } else {
            self
        }
    }
}

/// An empty span stands for the end of the input.
pub(crate) fn is_end(span: Span) -> bool {
    span.start.line == 0
}
