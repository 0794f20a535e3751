//! What the columns of a result are called: as they are written, `count(*)` and `events / 2`, and two may have one name.
//!
//! The engine names a column by its plan, `count(Int64(1))`, and its plans want names that differ. So the names of a
//! result are put on when its schema is sent. Where the engine refuses equal names it gets others for the plan alone.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::sql::parser::{ExplainStatement, Statement};
use sqlparser::ast::{self, Expr, Ident, ObjectNamePart, SelectItem, SetExpr, SetQuantifier, VisitMut, VisitorMut};

/// Bytes of a name: an expression can be as long as its statement.
const NAME_BYTES_MAX: usize = 200;

/// What one item of a SELECT brings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// One column, and the plan has its name.
    Planned(String),
    /// One column, called so.
    Named(String),
    /// Nobody knows how many before it is planned: `*`, `unnest`. The name if it is one.
    Several(Option<String>),
}

/// The items of a statement's result. See the module's first lines.
#[derive(Debug, Clone, Default)]
pub struct Columns(Vec<Item>);

impl Columns {
    pub fn of(statement: &Statement) -> Self {
        let Some(query) = query(statement) else { return Columns::default() };
        first_select(&query.body).map_or_else(Columns::default, |items| Columns(items.iter().map(Item::of).collect()))
    }

    /// The statement with other names where the plan's would be equal; `None` if no two could be.
    pub fn told_apart(&mut self, statement: &Statement) -> Option<Statement> {
        if let Statement::Explain(explain) = statement {
            // Whose names are not those of the result.
            let explained = Columns::of(&explain.statement).told_apart(&explain.statement)?;
            return Some(Statement::Explain(ExplainStatement { statement: Box::new(explained), ..explain.clone() }));
        }
        if self.0.len() < 2 {
            return None;
        }
        let mut statement = statement.clone();
        let Statement::Statement(inner) = &mut statement else { return None };
        let ast::Statement::Query(query) = inner.as_mut() else { return None };
        tell_apart(&mut query.body);
        for item in &mut self.0 {
            if let Item::Planned(name) = item {
                *item = Item::Named(std::mem::take(name));
            }
        }
        Some(statement)
    }

    /// The schema with the names of the result.
    pub fn named(&self, schema: SchemaRef) -> SchemaRef {
        let Some(names) = self.names(schema.fields().len()) else { return schema };
        let fields = schema.fields().iter().zip(names).map(|(field, name)| match name {
            Some(name) if name != field.name() => Arc::new(Field::clone(field).with_name(name)),
            _ => FieldRef::clone(field),
        });
        let fields: Vec<FieldRef> = fields.collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// A name, where it is known, for each of so many columns; `None` if there are not as many as the items say.
    fn names(&self, columns: usize) -> Option<Vec<Option<&str>>> {
        let several = |item: &Item| matches!(item, Item::Several(_));
        let (Some(first), Some(last)) = (self.0.iter().position(several), self.0.iter().rposition(several)) else {
            return (self.0.len() == columns).then(|| self.0.iter().map(Item::name).collect());
        };
        let behind = self.0.len() - 1 - last;
        let between = columns.checked_sub(first + behind)?;
        let mut names: Vec<Option<&str>> = self.0[..first].iter().map(Item::name).collect();
        match &self.0[first] {
            Item::Several(Some(name)) if first == last && between == 1 => names.push(Some(name)),
            _ => names.extend(std::iter::repeat_n(None, between)),
        }
        names.extend(self.0[last + 1..].iter().map(Item::name));
        Some(names)
    }
}

impl Item {
    fn of(item: &SelectItem) -> Self {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) => bare(expr),
            SelectItem::ExprWithAlias { alias, .. } => return Item::Planned(folded(alias)),
            _ => return Item::Several(None),
        };
        match expr {
            Expr::Identifier(name) => Item::Planned(folded(name)),
            // Of a table, or a field of a struct: only the plan knows, and the name is the same.
            Expr::CompoundIdentifier(names) => Item::Named(names.last().map_or_else(|| text(expr), folded)),
            Expr::Function(function) if is_unnest(function) => Item::Several(Some(text(expr))),
            _ => Item::Named(text(expr)),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Item::Named(name) => Some(name),
            Item::Planned(_) | Item::Several(_) => None,
        }
    }
}

fn query(statement: &Statement) -> Option<&ast::Query> {
    let Statement::Statement(statement) = statement else { return None };
    match statement.as_ref() {
        ast::Statement::Query(query) if query.pipe_operators.is_empty() => Some(query.as_ref()),
        _ => None,
    }
}

/// The SELECT that names the result: the first one of a UNION.
fn first_select(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::Select(select) => Some(select.projection.as_slice()),
        SetExpr::Query(query) if query.pipe_operators.is_empty() => first_select(&query.body),
        SetExpr::SetOperation { left, set_quantifier, .. } if !is_by_name(*set_quantifier) => first_select(left),
        _ => None,
    }
}

/// There, columns are found by their names.
fn is_by_name(quantifier: SetQuantifier) -> bool {
    matches!(quantifier, SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName)
}

fn tell_apart(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => tell_items_apart(&mut select.projection),
        SetExpr::Query(query) if query.pipe_operators.is_empty() => tell_apart(&mut query.body),
        SetExpr::SetOperation { left, right, set_quantifier, .. } if !is_by_name(*set_quantifier) => {
            tell_apart(left);
            tell_apart(right);
        }
        _ => {}
    }
}

/// Gives each item a name of its own. One that was given by hand stays if it can: ORDER BY may mean it.
fn tell_items_apart(items: &mut [SelectItem]) {
    let among_others = items.iter().any(|item| matches!(Item::of(item), Item::Several(_)));
    let mut names = Names::default();
    for item in items {
        let (Item::Planned(name) | Item::Named(name)) = Item::of(item) else { continue };
        match item {
            SelectItem::ExprWithAlias { alias, .. } if !names.take(&name) => {
                *alias = Ident::with_quote('"', names.free(&name));
            }
            SelectItem::UnnamedExpr(expr) => {
                let is_column = matches!(bare(expr), Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                // Beside a `*` it may be there already; else a column keeps its table, by which others can mean it.
                if is_column && !among_others && names.take(&name) {
                    continue;
                }
                if is_column {
                    names.take(&name);
                }
                let alias = Ident::with_quote('"', names.free(&name));
                let expr = std::mem::replace(expr, Expr::Identifier(alias.clone()));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            _ => {}
        }
    }
}

/// The names that the items of one SELECT have.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// The number that a name was last given: to count from the start for each of thousands of equal ones would take forever.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// `false` if another item has it.
    fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// The name, or one that is made from it, which nobody else has.
    fn free(&mut self, name: &str) -> String {
        if self.take(name) {
            return name.to_owned();
        }
        let number = self.numbers.entry(name.to_owned()).or_insert(1);
        loop {
            *number += 1;
            let numbered = format!("{name} ({number})");
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

fn is_unnest(function: &ast::Function) -> bool {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.value.eq_ignore_ascii_case("unnest"),
        _ => false,
    }
}

/// An expression as it is written, names that are not quoted in small letters.
fn text(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = expr.visit(&mut Folded);
    let mut text = expr.to_string();
    if text.len() > NAME_BYTES_MAX {
        text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
        text.push('…');
    }
    text
}

/// As the engine reads a name.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        None => name.value.to_lowercase(),
        Some(_) => name.value.clone(),
    }
}

struct Folded;

impl VisitorMut for Folded {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let fold = |name: &mut Ident| name.value = folded(name);
        match expr {
            Expr::Identifier(name) => fold(name),
            Expr::CompoundIdentifier(names) => names.iter_mut().for_each(fold),
            Expr::Function(function) => {
                for part in &mut function.name.0 {
                    if let ObjectNamePart::Identifier(name) = part {
                        fold(name);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard;
    use super::*;

    /// What the columns are called whose plan calls them `planned`.
    fn named(sql: &str, planned: &[&str]) -> Vec<String> {
        let columns = guard::parse(sql).expect(sql).columns;
        let fields = planned.iter().map(|name| Field::new(*name, arrow::datatypes::DataType::Int64, true));
        let schema = columns.named(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn a_column_is_called_as_it_is_written() {
        for (sql, planned, names) in [
            (
                "SELECT COUNT(*), Sum(events)/2 FROM t",
                vec!["count(Int64(1))", "x"],
                vec!["count(*)", "sum(events) / 2"],
            ),
            ("SELECT 1, 'x', NULL, -1.5", vec!["a", "b", "c", "d"], vec!["1", "'x'", "NULL", "-1.5"]),
            ("SELECT (A), t.B, t.\"C\", (a + \"B\")", vec!["a", "b", "C", "x"], vec!["a", "b", "C", "a + \"B\""]),
            ("SELECT s.field, m['k'] FROM t", vec!["t.s[field]", "x"], vec!["field", "m['k']"]),
            ("SELECT a AS X, 1 AS \"Y\" FROM t", vec!["x", "Y"], vec!["x", "Y"]),
            ("SELECT 1, *, count(*) OVER () FROM t", vec!["x", "a", "b", "y"], vec!["1", "a", "b", "count(*) OVER ()"]),
            ("SELECT a.*, 1, b.* FROM a, b", vec!["x", "y", "z"], vec!["x", "y", "z"]),
            ("SELECT unnest(l), 1 FROM t", vec!["UNNEST(t.l)", "x"], vec!["unnest(l)", "1"]),
            ("SELECT unnest(s), 1 FROM t", vec!["s.a", "s.b", "x"], vec!["s.a", "s.b", "1"]),
            ("(SELECT 1 + 1 UNION ALL SELECT 2) ORDER BY 1", vec!["x"], vec!["1 + 1"]),
            ("SELECT 1 UNION BY NAME SELECT 2", vec!["x", "y"], vec!["x", "y"]),
            ("SELECT a + ?", vec!["x"], vec!["a + $1"]),
            ("EXPLAIN SELECT 1", vec!["plan"], vec!["plan"]),
        ] {
            assert_eq!(named(sql, &planned), names, "{sql}");
        }
        let long = named(&format!("SELECT '{}'", "ä".repeat(500)), &["x"]);
        assert!(long[0].len() <= NAME_BYTES_MAX + '…'.len_utf8() && long[0].ends_with('…'));
    }

    #[test]
    fn for_the_plan_equal_names_are_told_apart() {
        for (sql, apart) in [
            ("SELECT a, a FROM t ORDER BY a", "SELECT a, a AS \"a (2)\" FROM t ORDER BY a"),
            ("SELECT 0 AS a, 0 AS a", "SELECT 0 AS a, 0 AS \"a (2)\""),
            ("SELECT 1, 1, 1", "SELECT 1 AS \"1\", 1 AS \"1 (2)\", 1 AS \"1 (3)\""),
            ("SELECT count(*), count(1)", "SELECT count(*) AS \"count(*)\", count(1) AS \"count(1)\""),
            ("SELECT *, a FROM t", "SELECT *, a AS \"a (2)\" FROM t"),
            (
                "SELECT 1, 1 UNION SELECT 2, 2",
                "SELECT 1 AS \"1\", 1 AS \"1 (2)\" UNION SELECT 2 AS \"2\", 2 AS \"2 (2)\"",
            ),
        ] {
            let guard::Parsed { statement, mut columns, .. } = guard::parse(sql).expect(sql);
            assert_eq!(columns.told_apart(&statement).expect(sql).to_string(), apart);
        }
        // As many as there may be, and still at once.
        let many = vec!["1"; 9_000].join(", ");
        let guard::Parsed { statement, mut columns, .. } =
            guard::parse(&format!("SELECT {many}")).expect("a statement");
        let apart = columns.told_apart(&statement).expect("many columns").to_string();
        assert!(apart.ends_with("1 AS \"1 (8999)\", 1 AS \"1 (9000)\""));
        let guard::Parsed { statement, mut columns, .. } = guard::parse("SELECT 0 AS a, 0 AS a").expect("a statement");
        columns.told_apart(&statement).expect("two columns");
        let fields = ["a", "a (2)"].map(|name| Field::new(name, arrow::datatypes::DataType::Int64, true));
        let schema = columns.named(Arc::new(Schema::new(fields.to_vec())));
        assert_eq!((schema.field(0).name().as_str(), schema.field(1).name().as_str()), ("a", "a"));
    }
}
