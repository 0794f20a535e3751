//! Computed columns: `name AS expression`, and `name type GENERATED ALWAYS AS (expression)`, planned over the columns of their row.
//!
//! They may read one another in any order of the text. Functions of `CREATE FUNCTION` are not known here: what a table is must not
//! depend on another file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use touchline_udfs::describe::sql_type;

use super::call::explained_alone;
use super::circles::lead_back;
use super::ddl::{ColumnText, TYPES_HINT, can_be_stored};
use super::errors::at_expr;
use super::failed_value::{Code, at_large_result};
use super::function::{NoTables, converts};
use super::parser::{StatementParser, normalize};
use super::row_expr::{self, Owner};
use super::session::session;
use super::types::json_places;
use crate::catalog::{Column, ColumnKind, Computed, JsonPlaces, Reading, TimestampFormat};
use crate::error::{Error, Location, Result};

const COMPUTED: Owner = Owner {
    name: "a computed column",
    instead_of_query: "compute it in a query or view",
    computed_from: "the columns of its row",
    instead: "compute it in a query or view",
};

/// The expression of a computed column as it is written.
#[derive(Debug)]
pub(super) struct ComputedText {
    pub(super) expr: SqlExpr,
    at: Location,
}

impl StatementParser<'_> {
    /// What stands behind `name`: `AS expression`.
    pub(super) fn computed(&mut self) -> Result<ComputedText> {
        self.expect_keyword(Keyword::AS)?;
        self.computed_expr()
    }

    /// `[GENERATED ALWAYS] AS (expression) [STORED | VIRTUAL]` behind a type.
    pub(super) fn generated(&mut self) -> Result<ComputedText> {
        let at = self.here();
        let generated = self.parser.parse_keyword(Keyword::GENERATED);
        let always = self.parser.parse_keyword(Keyword::ALWAYS);
        let is_computed = generated == always
            && self.parser.peek_keyword(Keyword::AS)
            && self.parser.peek_nth_token_ref(1).token == Token::LParen;
        if !is_computed {
            return Err(Error::invalid("a column is decoded from the record, or computed from other columns")
                .hint("write name AS expression, or name type GENERATED ALWAYS AS (expression)")
                .at(at));
        }
        self.expect_keyword(Keyword::AS)?;
        self.expect_token(&Token::LParen)?;
        let computed = self.computed_expr()?;
        self.expect_token(&Token::RParen)?;
        // It is computed where rows enter, and stored nowhere.
        let _ = self.take_word("STORED") || self.take_word("VIRTUAL");
        Ok(computed)
    }

    fn computed_expr(&mut self) -> Result<ComputedText> {
        let at = self.here();
        let expr = self.parser.parse_expr();
        let mut expr = self.parsed(expr)?;
        self.respell(&mut expr)?;
        Ok(ComputedText { expr, at })
    }
}

/// Adds the computed columns that are right; a column that is not is left out and its mistake noted. `columns`: the others.
pub(super) fn add_computed(texts: &[ColumnText], columns: &mut HashMap<String, Column>, errors: &mut Vec<Error>) {
    let mut waiting: Vec<Waiting<'_>> = texts.iter().filter_map(|text| Waiting::of(text, texts)).collect();
    if waiting.is_empty() {
        return;
    }
    let state = match session(Arc::new(NoTables), 1) {
        Ok(context) => context.state(),
        Err(error) => return errors.push(error),
    };
    // One after the other, each after those that it reads.
    while !waiting.is_empty() {
        let names: BTreeSet<&str> = waiting.iter().map(|column| column.text.name.as_str()).collect();
        let waits = |column: &Waiting<'_>| column.reads.iter().any(|name| names.contains(name));
        let (rest, ready): (Vec<_>, Vec<_>) = waiting.into_iter().partition(waits);
        if ready.is_empty() {
            return errors.extend(circles(&rest));
        }
        for column in ready {
            // A column that it reads and that is itself wrong has been reported.
            if column.reads.iter().any(|name| !columns.contains_key(*name)) {
                continue;
            }
            match column.planned(texts, columns, &state) {
                Ok(planned) => drop(columns.insert(column.text.name.clone(), planned)),
                Err(error) => errors.push(error),
            }
        }
        waiting = rest;
    }
}

/// What is wrong with each that is computed from itself, directly or by way of others that wait, too.
fn circles(waiting: &[Waiting<'_>]) -> Vec<Error> {
    let places: BTreeMap<&str, usize> =
        waiting.iter().enumerate().map(|(at, column)| (column.text.name.as_str(), at)).collect();
    let read = |column: &Waiting<'_>| -> Vec<usize> {
        column.reads.iter().filter_map(|name| places.get(*name).copied()).collect()
    };
    let next: Vec<Vec<usize>> = waiting.iter().map(read).collect();
    let circular = waiting.iter().zip(lead_back(&next)).filter(|(_, leads_back)| *leads_back);
    circular.map(|(column, _)| column.circle()).collect()
}

struct Waiting<'a> {
    text: &'a ColumnText,
    computed: &'a ComputedText,
    /// The columns of the table that its expression names.
    reads: BTreeSet<&'a str>,
}

impl<'a> Waiting<'a> {
    /// `None` for a column that is not computed, or whose name is another one's before it.
    fn of(text: &'a ColumnText, texts: &'a [ColumnText]) -> Option<Self> {
        let computed = text.computed.as_ref()?;
        let first = texts.iter().find(|other| other.name == text.name)?;
        if !std::ptr::eq(first, text) {
            return None;
        }
        let named = names_in(&computed.expr);
        let reads = texts.iter().map(|text| text.name.as_str()).filter(|name| named.contains(*name)).collect();
        Some(Waiting { text, computed, reads })
    }

    fn circle(&self) -> Error {
        let name = self.text.name.as_str();
        let error = match self.reads.contains(name) {
            true => Error::invalid(format!("column \"{name}\" is computed from itself")).hint(format!(
                "the record's field needs a column of another name, as {name}_raw with 'aliases.{name}_raw' = '{name}'"
            )),
            false => Error::invalid(format!("column \"{name}\" is computed from itself, by way of others"))
                .hint("write one of them out"),
        };
        error.at(self.computed.at.clone())
    }

    fn planned(&self, texts: &[ColumnText], columns: &HashMap<String, Column>, state: &SessionState) -> Result<Column> {
        let ComputedText { expr: written, at } = self.computed;
        // All of them, so that a name that is nobody's is told what there is.
        let known = texts.iter().filter_map(|text| columns.get(&text.name)).map(as_read);
        let known = DFSchema::try_from(Schema::new(known.collect::<Vec<_>>()))?;
        let placed = |error| at_large_result(explained_alone(error, state, at), at, Code::Expr(written));
        let expr = row_expr::planned(written, &known, state, COMPUTED).map_err(placed)?;
        let (declared, json) = (self.text.declared_type()?, self.json()?);
        let expr = self.typed(expr, declared.as_ref(), &known).map_err(placed)?;
        let data_type = expr.get_type(&known)?;

        let reads: BTreeSet<usize> = expr
            .column_refs()
            .into_iter()
            .filter_map(|column| texts.iter().position(|text| text.name == column.name))
            .collect();
        let over = reads.iter().filter_map(|at| columns.get(&texts[*at].name)).map(as_read);
        let over = Arc::new(Schema::new(over.collect::<Vec<_>>()));
        let read = DFSchema::try_from(Arc::clone(&over))?;
        let physical = row_expr::physical(expr, &read, state).map_err(placed)?;
        let reads = reads.into_iter().collect();
        let computed = Computed { reads, over, physical, written: Box::new(written.clone()), at: at.clone() };
        Ok(Column {
            name: self.text.name.clone(),
            data_type,
            nullable: self.text.nullable,
            kind: ColumnKind::Computed(Arc::new(computed)),
            timestamps: TimestampFormat::default(),
            reading: Reading { json, ..Reading::default() },
            checks: self.text.checks_of_type()?,
            comment: self.text.comment.clone(),
        })
    }

    /// Of texts inside a value nobody sees whether they are JSON.
    fn json(&self) -> Result<JsonPlaces> {
        let places = json_places(&self.text.sql_type);
        match places.is_empty() || places.is_whole() {
            true => Ok(places),
            false => Err(Error::invalid(format!("computed column \"{}\" cannot have JSON inside", self.text.name))
                .hint("write VARCHAR for it, or declare the column as JSON")
                .at(self.text.type_at.clone())),
        }
    }

    /// The expression in the column's type.
    fn typed(&self, expr: Expr, declared: Option<&DataType>, over: &DFSchema) -> PlanResult<Expr> {
        let (written, found) = (&self.computed.expr, expr.get_type(over)?);
        let wanted = match declared {
            Some(declared) if converts(&found, declared) => declared.clone(),
            Some(declared) => {
                let (found, declared) = (sql_type(&found), sql_type(declared));
                return Err(at_expr(
                    format!("the expression is {found}, and column \"{}\" is {declared}", self.text.name),
                    format!("write CAST(… AS {declared}), or leave the type out: {} AS …", self.text.name),
                    written,
                ));
            }
            None => as_declared(&found),
        };
        if !can_be_stored(&wanted) {
            let what = match wanted {
                DataType::Null => "NULL alone".to_owned(),
                other => sql_type(&other),
            };
            let message = format!("column \"{}\" would be {what}, which no column can be", self.text.name);
            return Err(at_expr(message, format!("CAST it: {TYPES_HINT}"), written));
        }
        expr.cast_to(&wanted, over)
    }
}

/// A column as an expression sees it; see [`Computed::over`].
fn as_read(column: &Column) -> Field {
    let is_computed = matches!(column.kind, ColumnKind::Computed(_));
    Field::new(&column.name, column.data_type.clone(), column.nullable || is_computed)
}

/// The type that a declared column would have.
fn as_declared(found: &DataType) -> DataType {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => as_declared(value),
        other => other.clone(),
    }
}

/// The names that an expression may mean columns by.
fn names_in(expr: &SqlExpr) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
            match expr {
                SqlExpr::Identifier(name) => _ = self.0.insert(normalize(name)),
                // Fields of a struct stand behind its name.
                SqlExpr::CompoundIdentifier(parts) => self.0.extend(parts.first().map(normalize)),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = expr.visit(&mut names);
    names.0
}

/// Whether two expressions are written alike, brackets around them apart, and capitals where no text stands in quotes.
pub(super) fn written_alike(one: &SqlExpr, other: &SqlExpr) -> bool {
    fn bare(mut expr: &SqlExpr) -> String {
        while let SqlExpr::Nested(inner) = expr {
            expr = inner.as_ref();
        }
        expr.to_string()
    }
    let (one, other) = (bare(one), bare(other));
    one == other || (!one.contains(['\'', '"', '`']) && one.eq_ignore_ascii_case(&other))
}

#[cfg(test)]
mod tests;
