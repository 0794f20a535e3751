//! Names as a statement has to spell them.

use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement, TableFactor};
use datafusion::sql::sqlparser::parser::Parser;

use crate::sql::dialect::StreamDialect;

/// Words that begin another clause of a CREATE TABLE.
const OF_A_TABLE: [&str; 4] = ["check", "constraint", "primary", "watermark"];
/// Bytes of the name of a table.
const NAME_BYTES_MAX: usize = 63;

/// The name of a column, in quotes where it would not be itself without.
pub(super) fn quoted(name: &str) -> String {
    if is_plain(name) && !OF_A_TABLE.contains(&name) && is_read_alike(name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// Whether a query takes the bare word for this column, beside others and behind an operator.
fn is_read_alike(name: &str) -> bool {
    let Some((items, _)) = selected(&format!("SELECT {name}, 1 + {name}, {name} FROM t")) else { return false };
    let named = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if ident.value == name);
    let read = items.iter().filter(|item| match item {
        SelectItem::UnnamedExpr(Expr::BinaryOp { right, .. }) => named(right),
        SelectItem::UnnamedExpr(expr) => named(expr),
        _ => false,
    });
    read.count() == 3
}

fn selected(text: &str) -> Option<(Vec<SelectItem>, String)> {
    let mut statements = Parser::parse_sql(&StreamDialect::default(), text).ok()?;
    let Some(Statement::Query(query)) = statements.pop().filter(|_| statements.is_empty()) else { return None };
    let SetExpr::Select(select) = *query.body else { return None };
    match &select.from.as_slice() {
        [from] if from.joins.is_empty() => match &from.relation {
            TableFactor::Table { name, alias: None, .. } => Some((select.projection, name.to_string())),
            _ => None,
        },
        _ => None,
    }
}

/// A name for the table that holds what is called `source`: a topic, or a file without folder and endings.
pub(super) fn of_table(source: &str) -> String {
    let mut name: String = source
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(NAME_BYTES_MAX - 2)
        .collect();
    name = name.trim_matches('_').to_owned();
    let is_itself = |name: &str| selected(&format!("SELECT 1 FROM {name}")).is_some_and(|(_, read)| read == name);
    match name.starts_with(|first: char| first.is_ascii_alphabetic()) && is_itself(&name) {
        true => name,
        false if name.is_empty() => "t".to_owned(),
        false => format!("t_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_not_be_itself_is_quoted() {
        for name in ["id", "ts", "event_time", "type", "value", "a1", "_x", "name", "at"] {
            assert_eq!(quoted(name), name);
        }
        for name in ["orderId", "a b", "1a", "", "Über", "watermark", "check", "primary", "offset"] {
            assert_eq!(quoted(name), format!("\"{name}\""));
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_table_is_called_as_its_source() {
        for (source, name) in
            [("match-events", "match_events"), ("Orders.2026", "orders_2026"), ("2026-01", "t_2026_01"), ("…", "t")]
        {
            assert_eq!(of_table(source), name);
        }
        assert_eq!(of_table(&"x".repeat(500)).len(), NAME_BYTES_MAX - 2);
    }
}
