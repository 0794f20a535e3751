//! Which spellings the parser takes: sqlparser's generic dialect, and what streams need beside it.
//!
//! Everything is forwarded to [`GenericDialect`], so ordinary SQL parses to the same tree; the differences are
//! `TABLE t` and `t PARTITION BY k` as arguments of a window function, `EMIT …` not being read as an alias, `FOR SYSTEM_TIME AS OF`, types
//! `MAP<…>`, JSON's arrows and `RETURNING`, and a comment being a comment.

use std::any::TypeId;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident, JsonReturningClause,
    ObjectName, ObjectNamePart,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::{self, Keyword};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::partition_by;

/// Expressions begun, for a token: ordinary SQL needs fewer than ten.
const EXPRESSIONS_PER_TOKEN: usize = 200;
const EXPRESSIONS_MIN: usize = 10_000;
/// How strongly the operators bind that only Postgres has: between arithmetic and comparisons.
const ABOVE_COMPARISONS: u8 = 25;

/// The dialect for parsing one statement; see the module's first lines.
#[derive(Debug)]
pub struct StreamDialect {
    table_versions: bool,
    /// sqlparser tries a word as a type, then as an expression; nested, that doubles the work at every level. Where this
    /// runs out, the statement is refused as nested too deeply.
    expressions_left: AtomicUsize,
}

impl StreamDialect {
    /// The dialect for a statement of these tokens.
    ///
    /// Table versions are looked for only where `SYSTEM_TIME` occurs: with them sqlparser reads `at`, `before` and
    /// `changes` behind a table as the start of a version, and they could no longer be aliases.
    pub fn for_tokens(tokens: &[TokenWithSpan]) -> Self {
        let table_versions = tokens
            .iter()
            .any(|token| matches!(&token.token, Token::Word(word) if word.keyword == Keyword::SYSTEM_TIME));
        let expressions = EXPRESSIONS_MIN + EXPRESSIONS_PER_TOKEN * tokens.len();
        StreamDialect { table_versions, expressions_left: AtomicUsize::new(expressions) }
    }

    fn begin_expression(&self) -> Result<(), ParserError> {
        match self.expressions_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            // Of all errors this one alone is not caught by sqlparser's next attempt.
            Err(_) => Err(ParserError::RecursionLimitExceeded),
        }
    }
}

/// For tokenising, and for short statements.
impl Default for StreamDialect {
    fn default() -> Self {
        StreamDialect::for_tokens(&[])
    }
}

macro_rules! as_generic {
    ($($method:ident),* $(,)?) => { $(fn $method(&self) -> bool { GenericDialect.$method() })* };
}

impl Dialect for StreamDialect {
    // sqlparser asks in many places "is this the generic dialect"; it is.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal, supports_partition_by_after_order_by, supports_array_join_syntax,
        supports_group_by_expr, supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens, supports_connect_by, supports_match_recognize,
        supports_pipe_operator, supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg, supports_dictionary_syntax,
        supports_window_clause_named_window_reference, supports_parenthesized_set_variables,
        supports_select_wildcard_except, support_map_literal_syntax, allow_extract_custom,
        allow_extract_single_quotes, supports_extract_comma_syntax, supports_create_view_comment_syntax,
        supports_parens_around_table_factor, supports_values_as_table_factor,
        supports_create_index_with_clause, supports_explain_with_utility_options, supports_limit_comma,
        supports_update_order_by, supports_from_first_select, supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition, supports_try_convert, supports_bitwise_shift_operators,
        supports_comment_on, supports_load_extension, supports_named_fn_args_with_assignment_operator,
        supports_struct_literal, supports_empty_projections, supports_nested_comments,
        supports_user_host_grantee, supports_string_escape_constant, supports_array_typedef_with_brackets,
        supports_match_against, supports_set_names, supports_comma_separated_set_assignments,
        supports_filter_during_aggregation, supports_select_wildcard_exclude,
        supports_data_type_signed_suffix, supports_interval_options, supports_quote_delimited_string,
        supports_select_wildcard_replace, supports_select_wildcard_ilike, supports_select_wildcard_rename,
        supports_optimize_table, supports_install, supports_detach, supports_prewhere, supports_with_fill,
        supports_limit_by, supports_interpolate, supports_settings, supports_select_format,
        supports_comment_optimizer_hint, supports_constraint_keyword_without_name,
        supports_key_column_option, supports_comma_separated_trim, supports_cte_without_as,
        supports_select_item_multi_column_alias, supports_xml_expressions
    }

    // MySQL runs what stands in `/*! … */`; here it stays a comment. (Nested ones would also recurse without a limit.)
    fn supports_multiline_comment_hints(&self) -> bool {
        false
    }

    fn supports_table_versioning(&self) -> bool {
        self.table_versions
    }

    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        !keywords::RESERVED_FOR_COLUMN_ALIAS.contains(keyword) && !at_emit(parser)
    }

    fn is_table_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        !keywords::RESERVED_FOR_TABLE_ALIAS.contains(keyword) && !at_emit(parser)
    }

    // `MAP<VARCHAR, BIGINT>`, as Flink writes it.
    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    // As in Postgres, `j ->> 'a' = 'x'` compares what the arrow gives.
    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::PgOther => ABOVE_COMPARISONS,
            other => GenericDialect.prec_value(other),
        }
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if let Err(error) = self.begin_expression() {
            return Some(Err(error));
        }
        table_argument(parser).or_else(|| json_function(parser))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        // Of all that can stand behind an argument it binds least: it is about the whole of it.
        partition_by::is_next(parser).then(|| Ok(self.prec_value(Precedence::Or)))
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        if partition_by::is_next(parser) {
            return Some(partition_by::parse(parser, left));
        }
        let distinct = match parser.peek_tokens_ref() {
            [is, distinct, from, _] if [(is, "IS"), (distinct, "DISTINCT"), (from, "FROM")].iter().all(says) => true,
            [is, not, distinct, from]
                if [(is, "IS"), (not, "NOT"), (distinct, "DISTINCT"), (from, "FROM")].iter().all(says) =>
            {
                false
            }
            _ => return None,
        };
        for _ in 0..if distinct { 3 } else { 4 } {
            parser.advance_token();
        }
        // sqlparser itself reads everything that follows, `AND` and all, as the right side.
        let (left, right) = (Box::new(left.clone()), parser.parse_subexpr(self.prec_value(Precedence::Is)));
        Some(right.map(Box::new).map(|right| match distinct {
            true => Expr::IsDistinctFrom(left, right),
            false => Expr::IsNotDistinctFrom(left, right),
        }))
    }
}

fn says((token, word): &(&TokenWithSpan, &str)) -> bool {
    is_word(&token.token, word)
}

/// Whether the token just taken is the `EMIT` that begins an emission clause, and not an alias called "emit".
fn at_emit(parser: &Parser) -> bool {
    is_word(&parser.get_current_token().token, "EMIT") && begins_emission(&parser.peek_tokens::<3>())
}

/// `after`: the three tokens behind an `EMIT`.
pub(crate) fn begins_emission(after: &[Token; 3]) -> bool {
    match after {
        // `JOIN t emit ON window.x = …` is a join condition.
        [on, window, then] if is_word(on, "ON") => is_word(window, "WINDOW") && *then != Token::Period,
        [first, ..] => ["TIMEOUT", "CHANGES", "EVERY", "FINAL", "AFTER"].iter().any(|word| is_word(first, word)),
    }
}

/// Whether the token is this unquoted word; `word` in upper case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// `json_value(j, '$.n' RETURNING BIGINT)` as `TRY_CAST(json_value(j, '$.n') AS BIGINT)`. Takes nothing where it is not one.
fn json_function(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let named =
        is_word(&parser.peek_token_ref().token, "JSON_VALUE") && parser.peek_nth_token_ref(1).token == Token::LParen;
    if !named {
        return None;
    }
    let name = match parser.parse_identifier() {
        Ok(name) => ObjectName::from(vec![name]),
        Err(error) => return Some(Err(error)),
    };
    Some(parser.parse_function(name).map(|mut call| {
        let returning = match &mut call {
            Expr::Function(function) => returning(function),
            _ => None,
        };
        match returning {
            Some(data_type) => {
                Expr::Cast { kind: CastKind::TryCast, expr: Box::new(call), data_type, array: false, format: None }
            }
            None => call,
        }
    }))
}

/// Takes the type out of `RETURNING type`.
fn returning(function: &mut Function) -> Option<DataType> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let at = list.clauses.iter().position(|clause| matches!(clause, FunctionArgumentClause::JsonReturningClause(_)))?;
    match list.clauses.remove(at) {
        FunctionArgumentClause::JsonReturningClause(JsonReturningClause { data_type }) => Some(data_type),
        _ => None,
    }
}

/// `TABLE name` as a whole argument of a function call, read as the name alone, and `TABLE (SELECT …)`, read as the query. Takes
/// nothing where it is neither.
fn table_argument(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let is_argument =
        matches!(parser.get_current_token().token, Token::LParen | Token::Comma | Token::RArrow | Token::Assignment);
    if !is_argument || !is_word(&parser.peek_token_ref().token, "TABLE") {
        return None;
    }
    let is_query = |token: &Token| ["SELECT", "WITH", "VALUES"].iter().any(|word| is_word(token, word));
    if parser.peek_nth_token_ref(1).token == Token::LParen && is_query(&parser.peek_nth_token_ref(2).token) {
        parser.advance_token();
        return Some(parser.parse_prefix());
    }
    // How far the name reaches: word (. word)*, then the end of the argument.
    let mut ahead = 1;
    let mut parts = Vec::new();
    loop {
        let token = parser.peek_nth_token_ref(ahead);
        let Token::Word(word) = &token.token else { return None };
        parts.push(Ident { value: word.value.clone(), quote_style: word.quote_style, span: token.span });
        ahead += 1;
        match &parser.peek_nth_token_ref(ahead).token {
            Token::Period => ahead += 1,
            Token::Comma | Token::RParen => break,
            partition if is_word(partition, "PARTITION") => break,
            _ => return None,
        }
    }
    for _ in 0..ahead {
        parser.advance_token();
    }
    Some(Ok(name_as_expr(parts)))
}

fn name_as_expr(mut parts: Vec<Ident>) -> Expr {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => Expr::Identifier(only),
        (last, _) => {
            parts.extend(last);
            Expr::CompoundIdentifier(parts)
        }
    }
}

/// The name as an object name's parts: what `TABLE t` and a bare `t` both give for a relation.
pub(crate) fn object_name_parts(expr: &Expr) -> Option<Vec<ObjectNamePart>> {
    let parts = match expr {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => return None,
    };
    Some(parts.into_iter().map(ObjectNamePart::Identifier).collect())
}
