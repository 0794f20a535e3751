//! As-of joins in the one form that sqlparser reads: `ASOF JOIN b MATCH_CONDITION (…) ON …`.
//!
//! It knows neither LEFT nor a condition that stands in ON. Both are put into the MATCH_CONDITION, as names that nobody can write;
//! [`super::marks`] takes them out again. All other tokens stay as they are, and so do the places of mistakes.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use super::Wrong;

const WITHOUT_ON: &str = "ASOF JOIN needs ON, with a comparison of times";
const FORM: &str = "write a ASOF JOIN b ON a.k = b.k AND a.ts >= b.ts";

/// What a join is, where its MATCH_CONDITION says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
}

impl Kind {
    /// No word of a text has a space in it.
    fn name(self) -> &'static str {
        match self {
            Kind::Inner => "as-of inner",
            Kind::Left => "as-of left",
        }
    }

    pub(super) fn of(name: &Ident) -> Option<Self> {
        let kinds = [Kind::Inner, Kind::Left].into_iter();
        kinds.filter(|_| name.quote_style.is_none()).find(|kind| kind.name() == name.value)
    }

    fn token(self, span: Span) -> TokenWithSpan {
        let word = Word { value: self.name().to_owned(), quote_style: None, keyword: Keyword::NoKeyword };
        TokenWithSpan { token: Token::Word(word), span }
    }
}

/// The tokens of a statement, with its as-of joins as sqlparser reads them.
///
/// # Errors
/// What no as-of join can be.
pub(crate) fn with_match_conditions(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, Wrong> {
    let mut edits = Edits::default();
    for at in 0..tokens.len() {
        if let Some((kind, join)) = asof_join(&tokens, at)? {
            edits.join(&tokens, at, kind, join)?;
        }
    }
    Ok(edits.applied(tokens))
}

#[derive(Default)]
struct Edits {
    /// What is put before a token.
    before: BTreeMap<usize, Vec<TokenWithSpan>>,
    left_out: Vec<usize>,
}

impl Edits {
    /// `asof`, `join`: where these two words stand.
    fn join(&mut self, tokens: &[TokenWithSpan], asof: usize, kind: Kind, join: usize) -> Result<(), Wrong> {
        let span = tokens[asof].span;
        let sign = |token: Token| TokenWithSpan { token, span };
        self.left_out.extend(asof + 1..join);
        let condition = behind_table(tokens, join + 1);
        match condition.map(|at| keyword(&tokens[at])) {
            Some(Keyword::MATCH_CONDITION) => {
                let Some(end) = condition.and_then(|at| closing(tokens, at + 1)) else { return Ok(()) };
                if let (Kind::Left, Some(at)) = (kind, condition) {
                    // MATCH_CONDITION ((kind, …))
                    self.put(at + 2, [sign(Token::LParen), kind.token(span), sign(Token::Comma)]);
                    self.put(end, [sign(Token::RParen)]);
                }
            }
            Some(_) => {
                let words = [Keyword::MATCH_CONDITION].map(|keyword| {
                    let value = "MATCH_CONDITION".to_owned();
                    sign(Token::Word(Word { value, quote_style: None, keyword }))
                });
                let condition = condition.unwrap_or(tokens.len());
                self.put(condition, words);
                self.put(condition, [sign(Token::LParen), kind.token(span), sign(Token::RParen)]);
            }
            None => return Err(Wrong::new(WITHOUT_ON, FORM, span)),
        }
        Ok(())
    }

    fn put<const N: usize>(&mut self, at: usize, tokens: [TokenWithSpan; N]) {
        self.before.entry(at).or_default().extend(tokens);
    }

    fn applied(mut self, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
        if self.before.is_empty() && self.left_out.is_empty() {
            return tokens;
        }
        let mut edited = Vec::with_capacity(tokens.len() + 4 * self.before.len());
        for (at, token) in tokens.into_iter().enumerate() {
            edited.extend(self.before.remove(&at).unwrap_or_default());
            if !self.left_out.contains(&at) {
                edited.push(token);
            }
        }
        edited
    }
}

fn keyword(token: &TokenWithSpan) -> Keyword {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// What joins as of a time where that begins at `at`, and where its JOIN stands.
fn asof_join(tokens: &[TokenWithSpan], at: usize) -> Result<Option<(Kind, usize)>, Wrong> {
    let next = |ahead: usize| tokens.get(at + ahead).map_or(Keyword::NoKeyword, keyword);
    if next(0) != Keyword::ASOF || !at.checked_sub(1).is_some_and(|before| ends_a_part(&tokens[before])) {
        return Ok(None);
    }
    let span = tokens[at].span;
    let is_column = at > 1 && tokens[at - 2].token == Token::Period;
    match [next(1), next(2), next(3)] {
        [Keyword::JOIN, ..] if !is_column && keyword(&tokens[at - 1]) == Keyword::LEFT => {
            Err(Wrong::new("LEFT ASOF JOIN is not available", "write ASOF LEFT JOIN", span))
        }
        [Keyword::JOIN, ..] => Ok(Some((Kind::Inner, at + 1))),
        [Keyword::INNER, Keyword::JOIN, _] => Ok(Some((Kind::Inner, at + 2))),
        [Keyword::LEFT, Keyword::JOIN, _] => Ok(Some((Kind::Left, at + 2))),
        [Keyword::LEFT, Keyword::OUTER, Keyword::JOIN] => Ok(Some((Kind::Left, at + 3))),
        [
            kind @ (Keyword::RIGHT | Keyword::FULL | Keyword::SEMI | Keyword::ANTI),
            Keyword::JOIN | Keyword::OUTER,
            _,
        ] => Err(Wrong::new(
            format!("ASOF {kind:?} JOIN is not available"),
            "ASOF JOIN and ASOF LEFT JOIN are; the rows of the left side are those that are looked for a partner",
            span,
        )),
        _ => Ok(None),
    }
}

/// Whether a token can end what stands before a join: a table, its alias, or the condition of the join before. Else the word behind it is a
/// name like any other.
fn ends_a_part(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => !matches!(
            word.keyword,
            Keyword::FROM
                | Keyword::AS
                | Keyword::ON
                | Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::SELECT
                | Keyword::WHERE
                | Keyword::BY
                | Keyword::JOIN
                | Keyword::LATERAL
                | Keyword::TABLE
        ),
        Token::Word(_) | Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_) => true,
        _ => false,
    }
}

/// Where the table that begins at `from` ends: the place of what it is joined by.
fn behind_table(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => open += 1,
            Token::RParen | Token::RBracket | Token::RBrace => open = open.checked_sub(1)?,
            Token::Comma if open == 0 => return None,
            _ if open > 0 => {}
            _ => match keyword(token) {
                Keyword::ON | Keyword::USING | Keyword::MATCH_CONDITION => return Some(at),
                Keyword::JOIN | Keyword::WHERE | Keyword::GROUP | Keyword::UNION | Keyword::ORDER => return None,
                _ => {}
            },
        }
    }
    None
}

/// Where the bracket closes that opens at `at`.
fn closing(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(at) {
        match token.token {
            Token::LParen => open += 1,
            Token::RParen => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return Some(at);
                }
            }
            _ if open == 0 => return None,
            _ => {}
        }
    }
    None
}
