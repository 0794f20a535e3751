//! `t PARTITION BY k, …` as the first argument of a window function: `SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')`.
//!
//! The keys stand among the other arguments. In brackets they are what the brackets hold; without, they are the names up to the last one,
//! which is the time, or up to `DESCRIPTOR(…)` or an argument that is given by its name.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::dialect::is_word;
use super::window_functions::WindowFunction;

/// As what such an argument is a call in the parsed statement. Nobody can write this name without quotes.
const NAME: &str = "PARTITION BY";

/// Whether `PARTITION BY` stands next, behind the table of a window function.
pub(super) fn is_next(parser: &Parser<'_>) -> bool {
    let [partition, by] = parser.peek_tokens_ref();
    is_word(&partition.token, "PARTITION") && is_word(&by.token, "BY") && is_behind_a_table(parser)
}

/// Whether what has been read last is the first argument of a window function: a name, `TABLE` and a name, or a query in brackets.
fn is_behind_a_table(parser: &Parser<'_>) -> bool {
    let back = (0..=parser.get_current_index()).rev().map(|at| &parser.token_at(at).token);
    let mut back = back.filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    match back.next() {
        Some(Token::RParen) => {
            let mut open = 1;
            while open > 0 {
                match back.next() {
                    Some(Token::RParen) => open += 1,
                    Some(Token::LParen) => open -= 1,
                    Some(_) => {}
                    None => return false,
                }
            }
            back.next_if(|token| is_word(token, "TABLE"));
        }
        Some(Token::Word(_)) => {
            while back.next_if(|token| **token == Token::Period).is_some() {
                if !matches!(back.next(), Some(Token::Word(_))) {
                    return false;
                }
            }
            back.next_if(|token| is_word(token, "TABLE"));
        }
        _ => return false,
    }
    match (back.next(), back.next()) {
        (Some(Token::LParen), Some(Token::Word(word))) => {
            word.quote_style.is_none() && WindowFunction::named(&word.value).is_some()
        }
        (Some(Token::RArrow | Token::Assignment), Some(data)) => is_word(data, "DATA"),
        _ => false,
    }
}

/// Reads it. `table`: what stands before.
pub(super) fn parse(parser: &mut Parser<'_>, table: &Expr) -> Result<Expr, ParserError> {
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    parser.advance_token();
    let keys = match parser.consume_token(&Token::LParen) {
        true => {
            let keys = parser.parse_comma_separated(Parser::parse_expr)?;
            parser.expect_token(&Token::RParen)?;
            keys
        }
        false => {
            let mut keys = Vec::new();
            for _ in 0..keys_ahead(parser) {
                if !keys.is_empty() {
                    parser.expect_token(&Token::Comma)?;
                }
                keys.push(parser.parse_expr()?);
            }
            keys
        }
    };
    if keys.is_empty() {
        return parser.expected_ref("a column to partition by", parser.peek_token_ref());
    }
    if is_word(&parser.peek_token_ref().token, "ORDER") {
        return parser.expected_ref(
            "a comma and the time column: rows are in the order of their time, without ORDER BY",
            parser.peek_token_ref(),
        );
    }
    let args = std::iter::once(table.clone()).chain(keys);
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    let name = Ident { value: NAME.to_owned(), quote_style: None, span };
    Ok(Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }))
}

/// How many of the names that follow one another are keys.
fn keys_ahead(parser: &Parser<'_>) -> usize {
    let (mut names, mut at) = (0, 0);
    let token = |at: usize| &parser.peek_nth_token_ref(at).token;
    loop {
        let mut end = at;
        while matches!(token(end), Token::Word(_)) && *token(end + 1) == Token::Period {
            end += 2;
        }
        match (token(end), token(end + 1)) {
            (Token::Word(_), Token::Comma) => {
                names += 1;
                at = end + 2;
            }
            // Nothing comes behind: there is neither a time nor a gap.
            (Token::Word(_), Token::RParen) => return names + 1,
            // Nothing that can be there: see below.
            (Token::Word(_), order) if is_word(order, "ORDER") => return names + 1,
            (Token::Word(_), Token::RArrow | Token::Assignment) => return names,
            (descriptor, _) if is_word(descriptor, "DESCRIPTOR") => return names,
            // The last one is the time, if there are two.
            _ => return if names > 1 { names - 1 } else { names },
        }
    }
}

/// The table, and the keys behind it.
pub(super) fn taken_apart(argument: Expr) -> (Expr, Vec<Expr>) {
    let is_ours = |function: &Function| match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.quote_style.is_none() && name.value == NAME,
        _ => false,
    };
    let Expr::Function(function) = &argument else { return (argument, vec![]) };
    let (true, FunctionArguments::List(list)) = (is_ours(function), &function.args) else { return (argument, vec![]) };
    let mut parts = list.args.iter().filter_map(|part| match part {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) => Some(part.clone()),
        _ => None,
    });
    match parts.next() {
        Some(table) => (table, parts.collect()),
        None => (argument, vec![]),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::sql::dialect::StreamDialect;

    /// The first argument of a call, and how many others there are.
    fn first_argument(call: &str) -> (String, Vec<String>, usize) {
        let dialect = StreamDialect::default();
        let mut parser = Parser::new(&dialect).try_with_sql(call).expect(call);
        let expr = parser.parse_expr().unwrap_or_else(|error| panic!("{call}: {error}"));
        let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = expr else { panic!("{call}") };
        let (FunctionArg::Unnamed(FunctionArgExpr::Expr(first))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(first), .. }) = &list.args[0]
        else {
            panic!("{call}")
        };
        let (table, keys) = taken_apart(first.clone());
        (table.to_string(), keys.iter().map(ToString::to_string).collect(), list.args.len() - 1)
    }

    #[test]
    fn keys_reach_as_far_as_the_time() {
        for (call, table, keys, others) in [
            ("SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')", "t", &["k"][..], 2),
            ("SESSION(t PARTITION BY k, s.j, ts, INTERVAL '5 minutes')", "t", &["k", "s.j"], 2),
            ("session(t partition by k, INTERVAL '5 minutes')", "t", &["k"], 1),
            ("SESSION(t PARTITION BY (k, j), INTERVAL '5 minutes')", "t", &["k", "j"], 1),
            ("SESSION(t PARTITION BY (k, j), ts, INTERVAL '5 minutes')", "t", &["k", "j"], 2),
            ("SESSION(TABLE t PARTITION BY k, j, DESCRIPTOR(ts), INTERVAL '5' MINUTES)", "t", &["k", "j"], 2),
            ("SESSION(TABLE a.t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' MINUTES)", "a.t", &["k"], 2),
            (
                "SESSION(DATA => TABLE t PARTITION BY k, j, TIMECOL => ts, GAP => INTERVAL '5' MINUTES)",
                "t",
                &["k", "j"],
                2,
            ),
            ("SESSION((SELECT (1) AS k) PARTITION BY k, ts, INTERVAL '5 minutes')", "(SELECT (1) AS k)", &["k"], 2),
            ("SESSION(TABLE (SELECT 1 AS k) PARTITION BY k, ts, INTERVAL '5 minutes')", "(SELECT 1 AS k)", &["k"], 2),
            ("SESSION(t PARTITION BY k, j)", "t", &["k", "j"], 0),
            ("TUMBLE(t PARTITION BY \"K k\", ts, INTERVAL '5 minutes')", "t", &["\"K k\""], 2),
            ("SESSION(t, ts, INTERVAL '5 minutes')", "t", &[], 2),
        ] {
            let keys = keys.iter().map(ToString::to_string).collect();
            assert_eq!(first_argument(call), (table.to_owned(), keys, others), "{call}");
        }
    }

    #[test]
    fn elsewhere_it_is_what_it_always_was() {
        let dialect = StreamDialect::default();
        for query in ["SELECT sum(a) OVER (PARTITION BY b ORDER BY c) FROM t", "SELECT partition FROM partition"] {
            let parsed = Parser::parse_sql(&dialect, query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(parsed.len(), 1);
        }
        for query in [
            "SELECT a PARTITION BY b FROM t",
            "SELECT count(a PARTITION BY b) FROM t",
            "SELECT * FROM SESSION(t, ts PARTITION BY k, INTERVAL '5 minutes')",
            "SELECT * FROM SESSION(t PARTITION BY 1, ts, INTERVAL '5 minutes')",
        ] {
            assert!(Parser::parse_sql(&dialect, query).is_err(), "{query}");
        }
    }
}
