//! What an ad-hoc statement may be: one query within limits of size and depth, whose plan only reads.
//!
//! Reading is judged by the plan, node by node against a list of those that are known to read, never by keywords.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use sqlparser::ast::{self, Value, ValueWithSpan, VisitMut, VisitorMut};
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use super::columns::Columns;
use crate::error::{self, Error, Result};
use crate::sql::dialect::StreamDialect;
use crate::sql::window_tvf::WindowTvfNode;
use crate::sql::{
    LENGTH_HINT, SUBQUERY_LEVELS_HINT, SUBQUERY_LEVELS_MAX, SourceText, WrongJoin, mark_joins, refuse_reads,
    respell_alone, too_deep_message, too_deep_subquery, with_match_conditions, wrong_length,
};

/// Bytes of a statement's text.
pub const SQL_BYTES_MAX: usize = 256 * 1024;
/// Tokens of a statement, white space not counted.
const TOKENS_MAX: usize = 20_000;
/// Levels of an expression. `a + b + c` has as many levels as it has operators.
const EXPRESSION_DEPTH_MAX: usize = 500;
/// Queries joined by UNION, EXCEPT or INTERSECT: planning takes time by the square of it.
const SET_OPERATIONS_MAX: usize = 500;
/// Levels of parentheses and subqueries, as the parser counts them.
const NESTING_MAX: usize = 100;
/// Nodes of a plan, those that it names twice counted twice.
const PLAN_NODES_MAX: usize = 5_000;
const PLAN_DEPTH_MAX: usize = 500;

/// A statement that was parsed, and the names of its parameters.
#[derive(Debug)]
pub struct Parsed {
    pub statement: Statement,
    /// As DataFusion's placeholders name them (`$1`, `$name`), in the order in which values are bound.
    pub parameters: Vec<String>,
    /// What the columns of the result are called.
    pub columns: Columns,
}

/// Parses one statement. Deep input needs a deep stack: to be called on a thread of the ad-hoc runtime.
pub fn parse(sql: &str) -> Result<Parsed> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::over_budget(format!("the statement has {} bytes; the limit is {SQL_BYTES_MAX}", sql.len())));
    }
    let source = SourceText::new("", sql)?;
    let (tokens, mistake) = source.tokens(&StreamDialect::default());
    if let Some(mistake) = mistake {
        return Err(mistake);
    }
    if let Some(refusal) = tokens.first().and_then(|token| not_a_query(&token.token)) {
        return Err(refusal);
    }
    let dialect = StreamDialect::for_tokens(&tokens);
    let count = tokens.len();
    if count > TOKENS_MAX {
        return Err(Error::over_budget(format!("the statement has {count} tokens; the limit is {TOKENS_MAX}"))
            .hint("put long lists of values into a table or into several statements"));
    }
    let set_operations = tokens.iter().filter(|token| {
        matches!(&token.token, Token::Word(word) if matches!(word.keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT))
    });
    if set_operations.count() > SET_OPERATIONS_MAX {
        return Err(Error::over_budget(format!(
            "the statement joins more than {SET_OPERATIONS_MAX} queries by UNION and the like"
        ))
        .hint("write rows as VALUES (…), (…)"));
    }
    let end = tokens.last().map_or(Location { line: 1, column: 1 }, |token| token.span.end);
    let tokens = with_match_conditions(tokens).map_err(wrong_join)?;
    let parser = DFParserBuilder::new(tokens).with_dialect(&dialect).with_recursion_limit(NESTING_MAX).build();
    let mut statements =
        parser.and_then(|mut parser| parser.parse_statements()).map_err(|error| syntax_error(error, &source, end))?;
    let Some(mut statement) = statements.pop_front() else {
        return Err(Error::invalid("there is no statement"));
    };
    if !statements.is_empty() {
        return Err(Error::invalid("more than one statement was sent").hint("send them one by one"));
    }
    let (parameters, columns) = check_expressions(&mut statement)?;
    Ok(Parsed { statement, parameters, columns })
}

/// Whether a statement asks how a continuous query runs, and not for rows.
pub fn asks_for_a_stream_plan(sql: &str) -> bool {
    if sql.len() > SQL_BYTES_MAX {
        return false;
    }
    let Ok(source) = SourceText::new("", sql) else { return false };
    let (tokens, _) = source.tokens(&StreamDialect::default());
    let words = tokens.iter().map_while(|token| match &token.token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    });
    let words: Vec<Keyword> = words.take(3).collect();
    words.starts_with(&[Keyword::EXPLAIN, Keyword::MATERIALIZED])
        || words.starts_with(&[Keyword::EXPLAIN, Keyword::CREATE, Keyword::MATERIALIZED])
}

/// What a statement is refused for by its first word alone: it changes something, and may not even be SQL that the planner
/// knows. Nothing is let through here; that is for [`verify`] to say.
fn not_a_query(first: &Token) -> Option<Error> {
    let Token::Word(word) = first else { return None };
    let verb = word.value.to_uppercase();
    let hint = match verb.as_str() {
        "CREATE" => {
            "write it into a file, CREATE TABLE in schemas/ and CREATE MATERIALIZED VIEW in queries/; the server takes it up at once"
        }
        "ALTER" => "change its file in schemas/ or queries/; the server takes the change up at once",
        "DROP" => "delete its file from schemas/ or queries/; the server takes that up at once",
        "INSERT" | "COPY" => {
            "for a result that is kept up to date, write CREATE MATERIALIZED VIEW into a file in queries/; to write files, use \
             `touchline sql --output csv` or `touchline run`"
        }
        "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => {
            "the rows of a view are what its query says: change its file in queries/"
        }
        "SET" | "RESET" => "there is nothing to set but TIME ZONE 'UTC'; USE chooses the schema",
        "USE" => "write USE public or USE SCHEMA touchline",
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "END" => {
            return Some(
                Error::invalid("there are no transactions: each statement reads one committed checkpoint")
                    .hint(format!("leave {verb} out; BEGIN, COMMIT and ROLLBACK alone are accepted")),
            );
        }
        "GRANT" | "REVOKE" | "VACUUM" | "CALL" | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "LOAD" | "INSTALL"
        | "ATTACH" | "REFRESH" | "PURGE" => "tables and views are defined by the files in schemas/ and queries/",
        _ => return None,
    };
    Some(read_only(&verb).hint(hint))
}

fn read_only(what: &str) -> Error {
    Error::invalid("only queries can be run here: SQL connections are read-only")
        .detail(format!("the statement contains {what}"))
}

/// The parser's own words, without the names of its types. `end`: the place of what is missing.
fn syntax_error(error: DataFusionError, source: &SourceText<'_>, end: Location) -> Error {
    let DataFusionError::SQL(error, _) = error.find_root() else {
        return Error::from(error);
    };
    match error.as_ref() {
        ParserError::RecursionLimitExceeded => {
            Error::over_budget(format!("the statement nests more than {NESTING_MAX} levels deep"))
        }
        error => {
            let error = source.parser_error(error.clone(), end);
            match error.primary().contains("found `EMIT`") {
                true => error.hint("EMIT belongs to a view in a file of queries/; leave it out here"),
                false => error,
            }
        }
    }
}

fn check_expressions(whole: &mut Statement) -> Result<(Vec<String>, Columns)> {
    let mut visitor = Expressions::default();
    {
        // What else there is writes or sets, and is refused as a plan.
        let Some(statement) = explained(whole) else { return Ok((Vec::new(), Columns::default())) };
        if let ControlFlow::Break(error) = statement.visit(&mut visitor) {
            return Err(error);
        }
        if let Some(span) = too_deep_subquery(&*statement) {
            let place = error::Location { file: String::new(), line: span.start.line, column: span.start.column };
            return Err(Error::over_budget(too_deep_message()).hint(SUBQUERY_LEVELS_HINT).at(place));
        }
    }
    // While it is still as it was written, and known to be no deeper than can be walked.
    let columns = Columns::of(whole);
    if let Some(statement) = explained(whole) {
        respell_alone(statement)?;
        refuse_reads(statement)?;
        mark_joins(statement).map_err(wrong_join)?;
    }
    Ok((visitor.parameters()?, columns))
}

/// The statement that is asked about, or the statement itself.
fn explained(mut statement: &mut Statement) -> Option<&mut ast::Statement> {
    while let Statement::Explain(explain) = statement {
        statement = &mut explain.statement;
    }
    match statement {
        Statement::Statement(statement) => Some(statement.as_mut()),
        _ => None,
    }
}

/// Functions that SQL writes without parentheses, where the parser takes them for columns.
fn called_by_name(name: &ast::Ident) -> Option<ast::Expr> {
    let function = ["current_schema", "current_database"]
        .into_iter()
        .find(|function| name.quote_style.is_none() && name.value.eq_ignore_ascii_case(function))?;
    let dialect = GenericDialect {};
    let call = Parser::new(&dialect).try_with_sql(&format!("{function}()"));
    call.and_then(|mut parser| parser.parse_expr()).ok()
}

fn wrong_join(wrong: WrongJoin) -> Error {
    let Location { line, column } = wrong.span.start;
    Error::invalid(wrong.what).hint(wrong.hint).at(error::Location { file: String::new(), line, column })
}

/// Measures the depth of expressions, and turns each `?` into the next `$n`.
#[derive(Default)]
struct Expressions {
    depth: usize,
    question_marks: usize,
    named: Vec<String>,
}

impl Expressions {
    fn parameters(self) -> Result<Vec<String>> {
        if self.question_marks > 0 {
            if !self.named.is_empty() {
                return Err(Error::invalid("parameters are written as ? and by name or number in one statement"));
            }
            return Ok((1..=self.question_marks).map(|n| format!("${n}")).collect());
        }
        let numbers: Vec<_> = self.named.iter().filter_map(|name| name[1..].parse::<usize>().ok()).collect();
        let Some(highest) = numbers.iter().copied().max() else {
            return Ok(self.named);
        };
        if numbers.len() != self.named.len() {
            return Err(Error::invalid("parameters are written by name and by number in one statement"));
        }
        if highest > self.named.len() {
            return Err(Error::invalid(format!("parameter ${highest} is used, but not every one before it")));
        }
        Ok((1..=highest).map(|n| format!("${n}")).collect())
    }
}

impl VisitorMut for Expressions {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        if let ast::Expr::Identifier(name) = expr
            && let Some(call) = called_by_name(name)
        {
            *expr = call;
        }
        if let Some((what, span)) = wrong_length(expr) {
            let place = error::Location { file: String::new(), line: span.start.line, column: span.start.column };
            return ControlFlow::Break(Error::invalid(what).hint(LENGTH_HINT).at(place));
        }
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return ControlFlow::Break(
                Error::over_budget(format!("an expression has more than {EXPRESSION_DEPTH_MAX} levels"))
                    .hint("write long chains of OR as IN (…), and long sums as an aggregate"),
            );
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &mut ast::Expr) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Error> {
        if let Value::Placeholder(name) = &mut value.value {
            if name == "?" {
                self.question_marks += 1;
                *name = format!("${}", self.question_marks);
            } else if name.len() < 2 || !name.is_char_boundary(1) {
                return ControlFlow::Break(Error::invalid(format!("parameter \"{name}\" has no name")));
            } else if !self.named.contains(name) {
                self.named.push(name.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Refuses a plan that does anything but read, or that is too large. Explains itself to the user.
pub fn verify(plan: &LogicalPlan) -> Result<()> {
    verify_below(plan, 0, &mut 0)
}

/// `subqueries`: how many expressions with a query this one stands in, also by way of WITH and of views. `nodes`: those of the statement
/// that have been looked at.
fn verify_below(plan: &LogicalPlan, subqueries: usize, nodes: &mut usize) -> Result<()> {
    if subqueries > SUBQUERY_LEVELS_MAX {
        return Err(Error::over_budget(too_deep_message())
            .detail("some of them by the name of a WITH clause or of a view")
            .hint(SUBQUERY_LEVELS_HINT));
    }
    // By hand and not by recursion, and counted on the way: a plan can name the same subplan exponentially often.
    let mut todo = vec![(plan, 0)];
    while let Some((plan, depth)) = todo.pop() {
        *nodes += 1;
        if *nodes > PLAN_NODES_MAX {
            return Err(Error::over_budget(format!("the statement's plan has more than {PLAN_NODES_MAX} nodes")));
        }
        if depth > PLAN_DEPTH_MAX {
            return Err(Error::over_budget(format!("the statement's plan has more than {PLAN_DEPTH_MAX} levels")));
        }
        node_reads(plan)?;
        todo.extend(plan.inputs().into_iter().map(|input| (input, depth + 1)));
        plan.apply_expressions(|expression| {
            // The closure cannot lend what it sees for longer, so subqueries are judged here, one level of recursion each.
            expression.apply(|expression| {
                let subquery = match expression {
                    Expr::Exists(exists) => &exists.subquery,
                    Expr::InSubquery(within) => &within.subquery,
                    Expr::SetComparison(comparison) => &comparison.subquery,
                    Expr::ScalarSubquery(subquery) => subquery,
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                verify_below(&subquery.subquery, subqueries + 1, nodes)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
    }
    Ok(())
}

fn node_reads(plan: &LogicalPlan) -> Result<()> {
    let what = match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => return Ok(()),
        // Becomes a projection and an unnest.
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<WindowTvfNode>() => return Ok(()),
        LogicalPlan::Extension(extension) => extension.node.name().to_owned(),
        LogicalPlan::Statement(statement) => statement.name().to_owned(),
        LogicalPlan::Dml(dml) => dml.op.name().to_owned(),
        LogicalPlan::Ddl(ddl) => ddl.name().to_owned(),
        LogicalPlan::Copy(_) => "COPY".to_owned(),
    };
    Err(read_only(&what).hint("tables and views are defined by the files in schemas/ and queries/"))
}
