//! How deeply subqueries stand in expressions of one another: planning does each of them at least twice for the one around it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, FunctionArguments, Spanned, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;

/// `IN (SELECT …)`, `EXISTS`, a query as a value and their like, in one another. Eight are planned in a tenth of a second or so, twenty
/// in minutes. Queries in FROM and WITH are not meant: each is planned once for each time it is named.
pub(crate) const SUBQUERY_LEVELS_MAX: usize = 8;
pub(crate) const SUBQUERY_LEVELS_HINT: &str =
    "write a join, or take parts out into a view or a WITH clause of their own";

/// The first subquery that stands too deeply: its place.
pub(crate) fn too_deep_subquery(node: &impl Visit) -> Option<Span> {
    match node.visit(&mut Levels { around: 0 }) {
        ControlFlow::Break(span) => Some(span),
        ControlFlow::Continue(()) => None,
    }
}

/// What is said of it.
pub(crate) fn too_deep_message() -> String {
    format!("more than {SUBQUERY_LEVELS_MAX} subqueries stand in one another")
}

struct Levels {
    around: usize,
}

fn has_query(expr: &Expr) -> bool {
    match expr {
        Expr::InSubquery { .. } | Expr::Exists { .. } | Expr::Subquery(_) => true,
        // ARRAY(SELECT …)
        Expr::Function(call) => matches!(call.args, FunctionArguments::Subquery(_)),
        _ => false,
    }
}

impl Visitor for Levels {
    type Break = Span;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Span> {
        if has_query(expr) {
            self.around += 1;
            if self.around > SUBQUERY_LEVELS_MAX {
                return ControlFlow::Break(expr.span());
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Span> {
        if has_query(expr) {
            self.around -= 1;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::parse_file;

    fn nested(levels: usize) -> String {
        let mut query = "SELECT a FROM t".to_owned();
        for _ in 0..levels {
            query = format!("SELECT a FROM t WHERE a IN ({query})");
        }
        query
    }

    #[test]
    fn eight_subqueries_may_stand_in_one_another_and_the_ninth_is_refused_at_its_place() {
        parse_file("q.sql", &nested(8)).expect("eight");
        let errors = parse_file("q.sql", &nested(9)).expect_err("nine");
        let report = errors[0].report();
        assert!(report.starts_with("q.sql:1:"), "{report}");
        assert!(report.contains("more than 8 subqueries stand in one another"), "{report}");
        parse_file("q.sql", &nested(20)).expect_err("twenty");
    }

    #[test]
    fn subqueries_beside_one_another_and_in_from_are_not_counted() {
        let beside = ["a IN (SELECT a FROM u)"; 12].join(" AND ");
        parse_file("q.sql", &format!("SELECT a FROM t WHERE {beside}")).expect("beside");
        let mut query = "SELECT a FROM t".to_owned();
        for level in 0..12 {
            query = format!("SELECT a FROM ({query}) AS t{level}");
        }
        parse_file("q.sql", &query).expect("in FROM");
    }
}
