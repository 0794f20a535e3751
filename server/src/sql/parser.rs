//! A file of statements → definitions, with all its mistakes at once.
//!
//! Each statement is parsed from its own tokens, so a mistake in one does not hide those of the next. Queries are left
//! to sqlparser; what it does not know (`CREATE TABLE` with watermarks, `EMIT`) is read here and in `ddl`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, Spanned, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location as TokenLocation, Span, Token};

use super::asof::{mark_joins, with_match_conditions};
use super::dialect::{StreamDialect, is_word};
use super::options::{self, Options};
use super::peers;
use super::source_text::{RECURSION_MAX, SourceText, StatementTokens, is_end};
use super::spelling::respell_tokens;
use super::subquery_levels::{SUBQUERY_LEVELS_HINT, too_deep_message, too_deep_subquery};
use super::window_calls::{LENGTH_HINT, wrong_length};
use crate::catalog::{Explained, ParquetRows, PlainView, Statement, ViewDef, ViewOptions};
use crate::error::{Error, Location, Result};

/// Bytes of a name: Postgres cuts longer ones off.
const NAME_BYTES_MAX: usize = 63;

/// What a file may hold.
const ALLOWED: &str = "a file holds CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE FUNCTION, INSERT INTO … SELECT, SELECT and EXPLAIN statements";

/// The statements of a file, in their order.
///
/// # Errors
/// `Invalid`, one for each mistake that could be found, with places in `file_name`.
pub fn parse_file(file_name: &str, text: &str) -> Result<Vec<Statement>, Vec<Error>> {
    let (statements, errors) = parse_statements(file_name, text);
    if errors.is_empty() { Ok(statements) } else { Err(errors) }
}

/// The statements of a file that can be read, in their order, and one error for each mistake in the others: for finding all
/// mistakes of a file at once, where [`parse_file`] takes it whole or not at all.
pub fn parse_statements(file_name: &str, text: &str) -> (Vec<Statement>, Vec<Error>) {
    let source = match SourceText::new(file_name, text) {
        Ok(source) => source,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let (tokens, cut_off) = source.tokens(&StreamDialect::default());
    let pieces = match source.statements(tokens, cut_off.is_none()) {
        Ok(pieces) => pieces,
        Err(error) => return (Vec::new(), vec![error]),
    };

    let mut statements = Vec::new();
    let mut errors = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        let dialect = StreamDialect::for_tokens(&piece.tokens);
        let hint = peers::syntax_hint(&piece.tokens);
        match StatementParser::new(&source, &dialect, piece, index + 1) {
            Ok(mut parser) => match parser.statement() {
                Ok(statement) => statements.push(statement),
                // A mistake that says nothing more is one of syntax.
                Err(found) => errors.extend(found.into_iter().map(|error| match hint {
                    Some(hint) if error.hint_text().is_none() => error.hint(hint),
                    _ => error,
                })),
            },
            Err(error) => errors.push(error),
        }
    }
    errors.extend(defined_twice(&statements));
    errors.extend(cut_off);
    (statements, errors)
}

fn defined_twice(statements: &[Statement]) -> Vec<Error> {
    let mut places: HashMap<&str, &Location> = HashMap::new();
    let mut errors = Vec::new();
    for statement in statements {
        let (name, place) = match statement {
            // All functions are compared with one another when they are planned.
            Statement::CreateFunction(_) => continue,
            Statement::CreateTable(table) => (&table.name, &table.location),
            Statement::CreatePlainView(view) => (&view.name, &view.location),
            Statement::CreateView(view) => (&view.name, &view.location),
            Statement::Insert { .. } | Statement::Select(_) | Statement::Explain(_) => continue,
        };
        if let Some(first) = places.insert(name, place) {
            errors.push(
                Error::invalid(format!("\"{name}\" is defined twice"))
                    .detail(format!("first at {first}"))
                    .hint("rename one of them")
                    .at(place.clone()),
            );
        }
    }
    errors
}

/// One statement being read.
pub(crate) struct StatementParser<'a> {
    pub(crate) parser: Parser<'a>,
    pub(crate) source: &'a SourceText<'a>,
    start: TokenLocation,
    end: TokenLocation,
    /// Its place among the file's statements, from 1.
    ordinal: usize,
}

impl<'a> StatementParser<'a> {
    fn new(
        source: &'a SourceText<'a>,
        dialect: &'a StreamDialect,
        piece: StatementTokens,
        ordinal: usize,
    ) -> Result<Self> {
        piece.check_depth(source)?;
        let StatementTokens { mut tokens, start, end } = piece;
        respell_tokens(&mut tokens);
        let tokens = with_match_conditions(tokens)
            .map_err(|wrong| Error::invalid(wrong.what).hint(wrong.hint).at(source.location(wrong.span.start)))?;
        let parser = Parser::new(dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        Ok(StatementParser { parser, source, start, end, ordinal })
    }

    fn statement(&mut self) -> Result<Statement, Vec<Error>> {
        let first = self.parser.peek_token_ref().clone();
        let keyword = match &first.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            Token::LParen => Keyword::SELECT,
            _ => Keyword::NoKeyword,
        };
        match keyword {
            Keyword::CREATE => self.create(),
            Keyword::INSERT => self.insert().map_err(alone),
            Keyword::EXPLAIN => self.explain(),
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM => {
                let name = format!("query_{}", self.ordinal);
                self.view(name, ViewOptions::default()).map(Statement::Select).map_err(alone)
            }
            _ => {
                let hint = peers::statement_hint(&first.token.to_string()).unwrap_or(ALLOWED);
                let error = Error::invalid(format!("expected a statement, found `{first}`")).hint(hint);
                Err(vec![error.at(self.at(first.span))])
            }
        }
    }

    fn explain(&mut self) -> Result<Statement, Vec<Error>> {
        self.parser.advance_token();
        let place = self.here();
        if self.parser.parse_keywords(&[Keyword::MATERIALIZED, Keyword::VIEW]) {
            let name = self.definition_name("view").map_err(alone)?;
            self.expect_end().map_err(alone)?;
            return Ok(Statement::Explain(Explained::View { name, location: self.location() }));
        }
        for option in ["ANALYZE", "VERBOSE", "FORMAT", "EXPLAIN"] {
            if is_word(&self.parser.peek_token_ref().token, option) {
                let error = Error::invalid(format!("EXPLAIN {option} is not available in a file"));
                return Err(alone(error.hint("write EXPLAIN and the statement").at(place)));
            }
        }
        match self.statement()? {
            Statement::Select(view) | Statement::CreateView(view) | Statement::Insert { view, .. } => {
                Ok(Statement::Explain(Explained::Query(view)))
            }
            _ => Err(alone(
                Error::invalid("only what a query does can be explained")
                    .hint("write EXPLAIN with SELECT, INSERT INTO … SELECT, CREATE MATERIALIZED VIEW, or MATERIALIZED VIEW and its name")
                    .at(place),
            )),
        }
    }

    fn create(&mut self) -> Result<Statement, Vec<Error>> {
        self.parser.advance_token();
        let kind = self.parser.peek_token_ref().clone();
        // RisingWave's SOURCE is a table that keeps nothing, as ours are.
        if self.parser.parse_keyword(Keyword::TABLE) || self.take_word("SOURCE") {
            self.refuse_if_not_exists().map_err(alone)?;
            return Ok(Statement::CreateTable(self.create_table()?));
        }
        if self.parser.parse_keywords(&[Keyword::MATERIALIZED, Keyword::VIEW]) {
            self.refuse_if_not_exists().map_err(alone)?;
            return self.create_view().map(Statement::CreateView);
        }
        if self.parser.parse_keyword(Keyword::VIEW) {
            self.refuse_if_not_exists().map_err(alone)?;
            return self.create_plain_view().map(Statement::CreatePlainView).map_err(alone);
        }
        if self.parser.parse_keyword(Keyword::FUNCTION) {
            self.refuse_if_not_exists().map_err(alone)?;
            return self.create_function().map(Statement::CreateFunction).map_err(alone);
        }
        let error = match &kind.token {
            Token::Word(word) if word.keyword == Keyword::OR => Error::invalid("CREATE OR REPLACE is not needed")
                .hint("leave OR REPLACE out: a changed statement replaces the running one"),
            _ if is_end(kind.span) => {
                Error::invalid("expected TABLE, VIEW, MATERIALIZED VIEW or FUNCTION, found the end of the statement")
            }
            word => {
                let hint = peers::create_hint(&word.to_string()).unwrap_or(ALLOWED);
                Error::invalid(format!("cannot create {kind}")).hint(hint)
            }
        };
        Err(vec![error.at(self.at(kind.span))])
    }

    fn refuse_if_not_exists(&mut self) -> Result<()> {
        let place = self.here();
        if self.parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]) {
            return Err(Error::invalid("IF NOT EXISTS is not needed")
                .hint("leave it out: a file says what shall exist, and is compared with what does")
                .at(place));
        }
        Ok(())
    }

    fn create_plain_view(&mut self) -> Result<PlainView> {
        let name = self.view_name()?;
        let options = self.here();
        if self.parser.parse_keyword(Keyword::WITH) {
            return Err(Error::invalid("a view has no options: nothing of it is stored")
                .hint("leave WITH (…) out, or write CREATE MATERIALIZED VIEW")
                .at(options));
        }
        self.expect_keyword(Keyword::AS)?;
        let query = self.query()?;
        let emit = self.here();
        if is_word(&self.parser.peek_token_ref().token, "EMIT") {
            return Err(Error::invalid("a view emits nothing: it is part of the queries that read it")
                .hint("leave EMIT out, or write CREATE MATERIALIZED VIEW")
                .at(emit));
        }
        self.expect_end()?;
        Ok(PlainView { name, query, text: self.text(), location: self.location() })
    }

    fn view_name(&mut self) -> Result<String> {
        let name = self.definition_name("view")?;
        if self.parser.peek_token_ref().token == Token::LParen {
            return Err(Error::invalid("a list of column names is not available here")
                .hint("name the columns in the query, with AS")
                .at(self.here()));
        }
        Ok(name)
    }

    fn create_view(&mut self) -> Result<ViewDef, Vec<Error>> {
        let name = self.view_name().map_err(alone)?;
        let (mut errors, mut files_at) = (Vec::new(), None);
        let options = match self.parser.parse_keyword(Keyword::WITH) {
            true => {
                let given = Options::parse(self).map_err(alone)?;
                files_at = given.place_of(options::PARQUET_ROWS);
                options::view_options(given, &mut errors)
            }
            false => ViewOptions::default(),
        };
        self.expect_keyword(Keyword::AS).map_err(alone)?;
        let view = self.view(name, options).and_then(|view| match (view.options.parquet_rows, view.emit.early) {
            (ParquetRows::Changes, None) => Err(Error::invalid(
                "option \"parquet.rows\" is 'changes', and the rows of this view do not change",
            )
            .hint("add EMIT CHANGES, EMIT EVERY or EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS, or leave the option out")
            .at(files_at.unwrap_or_else(|| view.location.clone()))),
            _ => Ok(view),
        });
        match view {
            Ok(view) if errors.is_empty() => Ok(view),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }

    fn insert(&mut self) -> Result<Statement> {
        self.parser.advance_token();
        self.expect_keyword(Keyword::INTO)?;
        let _ = self.parser.parse_keyword(Keyword::TABLE);
        let target = self.definition_name("target")?;
        let lists_columns = self.parser.peek_token_ref().token == Token::LParen
            && matches!(&self.parser.peek_nth_token_ref(1).token, Token::Word(word)
                if !matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM));
        if lists_columns {
            return Err(Error::invalid("a list of column names is not available here")
                .hint("let the query return the target's columns in their order")
                .at(self.here()));
        }
        let view = self.view(target.clone(), ViewOptions::default())?;
        Ok(Statement::Insert { target, view })
    }

    /// `query [EMIT …]` to the end of the statement.
    fn view(&mut self, name: String, options: ViewOptions) -> Result<ViewDef> {
        let query = self.query()?;
        let emit = self.emission()?;
        self.expect_end()?;
        Ok(ViewDef { name, query, emit, options, text: self.text(), location: self.location() })
    }

    fn query(&mut self) -> Result<Box<Query>> {
        let query = self.parser.parse_query();
        let mut query = self.parsed(query)?;
        if let Some(span) = too_deep_subquery(query.as_ref()) {
            let place = if is_end(span) { self.location() } else { self.at(span) };
            return Err(Error::invalid(too_deep_message()).hint(SUBQUERY_LEVELS_HINT).at(place));
        }
        self.respell(&mut query)?;
        let mut check = QueryCheck { statement: self };
        if let ControlFlow::Break(error) = query.visit(&mut check) {
            return Err(*error);
        }
        mark_joins(&mut query).map_err(|wrong| {
            let place = if is_end(wrong.span) { self.location() } else { self.at(wrong.span) };
            Error::invalid(wrong.what).hint(wrong.hint).at(place)
        })?;
        Ok(query)
    }

    /// The name of what is defined: one part, and usable as a file and table name everywhere.
    pub(crate) fn definition_name(&mut self, what: &str) -> Result<String> {
        let place = self.here();
        let name = self.parser.parse_object_name(false);
        let ObjectName(parts) = self.parsed(name)?;
        let [ObjectNamePart::Identifier(ident)] = parts.as_slice() else {
            return Err(Error::invalid(format!("the name of a {what} has one part"))
                .hint("leave the schema out")
                .at(place));
        };
        let name = normalize(ident);
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !plain || name.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("\"{name}\" cannot be the name of a {what}"))
                .hint(format!(
                    "use letters, digits and _, at most {NAME_BYTES_MAX} of them, not beginning with a digit"
                ))
                .at(place));
        }
        Ok(name)
    }

    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let found = is_word(&self.parser.peek_token_ref().token, word);
        if found {
            self.parser.advance_token();
        }
        found
    }

    pub(crate) fn expect_keyword(&mut self, keyword: Keyword) -> Result<()> {
        let outcome = self.parser.expect_keyword_is(keyword);
        self.parsed(outcome)
    }

    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<()> {
        let outcome = self.parser.expect_token(token);
        self.parsed(outcome).map(|_| ())
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        let next = self.parser.peek_token_ref();
        if next.token == Token::EOF {
            return Ok(());
        }
        Err(Error::invalid(format!("expected the end of the statement, found `{next}`"))
            .hint("statements end with a semicolon")
            .at(self.at(next.span)))
    }

    pub(crate) fn parsed<T>(&self, outcome: Result<T, ParserError>) -> Result<T> {
        outcome.map_err(|error| self.source.parser_error(error, self.end))
    }

    /// The place of the next token.
    pub(crate) fn here(&self) -> Location {
        self.at(self.parser.peek_token_ref().span)
    }

    pub(crate) fn at(&self, span: Span) -> Location {
        self.source.location(if is_end(span) { self.end } else { span.start })
    }

    pub(crate) fn location(&self) -> Location {
        self.source.location(self.start)
    }

    pub(crate) fn text(&self) -> String {
        self.source.slice(self.start, self.end).to_owned()
    }
}

/// Unquoted names are lower case, as DataFusion and Postgres have it: capitals beyond ASCII stay, or a name that is declared
/// would not be the name that a query asks for.
pub(crate) fn normalize(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// A syntax error ends its statement: it is the only one.
pub(crate) fn alone(error: Error) -> Vec<Error> {
    vec![error]
}

/// Refuses what parses but would be ignored or would write: planning itself does not look at these parts.
struct QueryCheck<'a, 'b> {
    statement: &'a StatementParser<'b>,
}

impl QueryCheck<'_, '_> {
    fn refuse(&self, what: &str, hint: &str, span: Span) -> ControlFlow<Box<Error>> {
        let place = if is_end(span) { self.statement.location() } else { self.statement.at(span) };
        ControlFlow::Break(Box::new(Error::invalid(what).hint(hint).at(place)))
    }
}

impl Visitor for QueryCheck<'_, '_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if has_write(&query.body) {
            return self.refuse("a query cannot change data", ALLOWED, query.body.span());
        }
        let ignored = [
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR XML/JSON"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ];
        match ignored.iter().find(|(given, _)| *given) {
            Some((_, name)) => self.refuse(&format!("{name} has no effect here"), "leave it out", query.body.span()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        let ignored = [
            (select.into.is_some(), "SELECT INTO is not available", "write INSERT INTO … SELECT"),
            (select.prewhere.is_some(), "PREWHERE is not available", "write WHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY is not available", "write WITH RECURSIVE in an ad-hoc query"),
        ];
        match ignored.iter().find(|(given, ..)| *given) {
            Some((_, what, hint)) => self.refuse(what, hint, select.span()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::MatchRecognize { table, .. } = table {
            return self.refuse(
                "patterns of rows (MATCH_RECOGNIZE) are not available",
                "join the stream with itself, with a bound in time",
                table.span(),
            );
        }
        let TableFactor::Table { name, sample, partitions, with_hints, .. } = table else {
            return ControlFlow::Continue(());
        };
        let span = name.span();
        if sample.is_some() {
            return self.refuse("TABLESAMPLE is not available", "filter by a hash of the key, as in WHERE …", span);
        }
        if !partitions.is_empty() || !with_hints.is_empty() {
            return self.refuse("partitions and hints of a table are not available", "leave them out", span);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match wrong_length(expr) {
            Some((what, span)) => self.refuse(&what, LENGTH_HINT, span),
            None => ControlFlow::Continue(()),
        }
    }
}

/// A body that writes, also as part of a UNION; bodies of nested queries are visited on their own.
fn has_write(body: &SetExpr) -> bool {
    match body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
        SetExpr::SetOperation { left, right, .. } => has_write(left) || has_write(right),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
