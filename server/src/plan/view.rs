//! What a query tells those that read its result: how far the result's times have got, and which of its columns say a window.
//!
//! A result's watermarks are functions of the marks of its operators, which nobody above sees. So a checkpoint stores their values, each
//! under a name ([`told`]), and a query above reads those as the marks of its source ([`ViewFacts`]): it knows of the columns of a view
//! what it would know of those of the same query in a WITH.

use super::edge::{ColumnFacts, Edge, WindowColumn, WindowPart};
use super::expression::{part_moved, part_watermark};
use crate::watermark::WatermarkExpr;

/// What a checkpoint says of the times of a result, by name: the watermark of each column under the column's own, and of a window that
/// no column's watermark says when it is complete. `names`: of the columns.
pub fn told(names: &[String], edge: &Edge) -> Vec<(String, WatermarkExpr)> {
    let columns = || names.iter().zip(&edge.columns);
    let mut told: Vec<(String, WatermarkExpr)> =
        columns().filter_map(|(name, facts)| Some((name.clone(), facts.watermark.clone()?))).collect();
    for (name, facts) in columns() {
        let Some(window) = &facts.window else { continue };
        if told.iter().any(|(_, expr)| *expr == window.close) || follows_from_start(facts, window) {
            continue;
        }
        let mut name = format!("{name} closes");
        while names.contains(&name) {
            name.push('\'');
        }
        told.push((name, window.close.clone()));
    }
    told
}

/// A window is complete at the watermark of its start and its length.
fn follows_from_start(facts: &ColumnFacts, window: &WindowColumn) -> bool {
    window.part == WindowPart::Start
        && facts.watermark.is_some()
        && facts.watermark == part_watermark(&window.kind, window.part, &window.close, 1)
}

/// What is known of a view's columns, in terms of the marks that its checkpoints name.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewFacts {
    pub columns: Vec<ColumnFacts>,
    /// Of each mark its name, and the column whose times it is about.
    pub marks: Vec<(String, usize)>,
}

impl ViewFacts {
    /// `edge`: of the view's result. `names`: of its columns.
    pub fn of(names: &[String], edge: &Edge) -> Self {
        let told = told(names, edge);
        let mut marks = Marks { told: &told, edge, named: Vec::new() };
        let columns = edge.columns.iter().map(|facts| marks.restated(facts)).collect();
        ViewFacts { columns, marks: marks.named }
    }
}

struct Marks<'a> {
    told: &'a [(String, WatermarkExpr)],
    edge: &'a Edge,
    /// Those that are needed so far.
    named: Vec<(String, usize)>,
}

impl Marks<'_> {
    /// The mark that has this value.
    fn of(&mut self, expr: &WatermarkExpr) -> Option<WatermarkExpr> {
        let (name, _) = self.told.iter().find(|(_, told)| told == expr)?;
        let number = self.named.iter().position(|(named, _)| named == name);
        let number = number.or_else(|| {
            let columns = &self.edge.columns;
            let own = columns.iter().position(|facts| facts.watermark.as_ref() == Some(expr));
            let closes = |facts: &ColumnFacts| facts.window.as_ref().is_some_and(|window| window.close == *expr);
            self.named.push((name.clone(), own.or_else(|| columns.iter().position(closes))?));
            Some(self.named.len() - 1)
        });
        number.map(WatermarkExpr::Source)
    }

    /// One mark for all parts of a window, as far as they have it in common: what is joined by one of them goes on with the others.
    fn restated(&mut self, facts: &ColumnFacts) -> ColumnFacts {
        let ColumnFacts { watermark, window, moment } = facts;
        // Rows are stored as they are, and so is what their columns have to do with one another.
        let moment = moment.clone();
        let of_window = window.as_ref().and_then(|window| {
            let close = self.of(&window.close)?;
            let own = watermark.as_ref().and_then(|of| part_moved(window, of, &close));
            Some((WindowColumn { close, ..window.clone() }, own))
        });
        match of_window {
            Some((window, Some(own))) => ColumnFacts { watermark: Some(own), window: Some(window), moment },
            Some((window, None)) => {
                ColumnFacts { watermark: watermark.as_ref().and_then(|of| self.of(of)), window: Some(window), moment }
            }
            None => {
                let own = watermark.as_ref().and_then(|of| self.of(of));
                let window = window.as_ref().filter(|window| follows_from_start(facts, window));
                let window = window.zip(own.clone()).and_then(|(window, start)| {
                    Some(WindowColumn { close: start.shifted(window.kind.longest_us()?), ..window.clone() })
                });
                ColumnFacts { watermark: own, window, moment }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;
    use crate::plan::edge::{Moment, WindowForm};
    use crate::sql::window::WindowKind;
    use crate::watermark::InputRef;

    const MINUTE: i64 = 60_000_000;
    const KIND: WindowKind = WindowKind::Hop { size_us: 5 * MINUTE, slide_us: MINUTE, offset_us: 0 };

    fn input(operator: usize) -> WatermarkExpr {
        WatermarkExpr::Input(InputRef { operator, input: 0 })
    }

    fn of_window(part: WindowPart, close: &WatermarkExpr) -> ColumnFacts {
        let window = WindowColumn { kind: KIND, part, form: WindowForm::Row, below: true, close: close.clone() };
        let watermark = Some(part)
            .filter(|part| *part != WindowPart::Struct)
            .and_then(|part| part_watermark(&KIND, part, close, 1));
        ColumnFacts { watermark, window: Some(window), moment: None }
    }

    fn time(watermark: WatermarkExpr) -> ColumnFacts {
        ColumnFacts { watermark: Some(watermark), ..ColumnFacts::default() }
    }

    fn facts(columns: &[(&str, ColumnFacts)]) -> (ViewFacts, Vec<String>) {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let edge = Edge { columns: columns.iter().map(|(_, facts)| facts.clone()).collect(), ..Edge::default() };
        (ViewFacts::of(&names, &edge), told(&names, &edge).into_iter().map(|(name, _)| name).collect())
    }

    fn named(marks: &[(&str, usize)]) -> Vec<(String, usize)> {
        marks.iter().map(|(name, column)| ((*name).to_owned(), *column)).collect()
    }

    #[test]
    fn all_parts_of_a_window_have_one_mark_in_common() {
        let close = input(0).behind(7);
        let columns = [
            ("window_start", of_window(WindowPart::Start, &close)),
            ("k", ColumnFacts::default()),
            ("window_end", of_window(WindowPart::End, &close)),
            ("at", of_window(WindowPart::Time, &close)),
        ];
        let (facts, told) = facts(&columns);
        assert_eq!(told, ["window_start", "window_end", "at"]);
        assert_eq!(facts.marks, named(&[("window_end", 2)]));
        let mark = WatermarkExpr::Source(0);
        for (at, part) in [(0, WindowPart::Start), (2, WindowPart::End), (3, WindowPart::Time)] {
            assert_eq!(facts.columns[at], of_window(part, &mark));
        }
        assert_eq!(facts.columns[1], ColumnFacts::default());
    }

    #[test]
    fn times_that_have_nothing_to_do_with_one_another_have_marks_of_their_own() {
        let (facts, told) =
            facts(&[("a", time(input(0))), ("b", time(input(1).shifted(-5))), ("again", time(input(0)))]);
        assert_eq!(told, ["a", "b", "again"]);
        assert_eq!(facts.marks, named(&[("a", 0), ("b", 1)]));
        let mark = |at| time(WatermarkExpr::Source(at));
        assert_eq!(facts.columns, [mark(0), mark(1), mark(0)]);
    }

    #[test]
    fn a_window_of_which_only_the_start_is_there_is_complete_its_length_later() {
        let (facts, told) = facts(&[("s", of_window(WindowPart::Start, &input(0)))]);
        assert_eq!((told, facts.marks), (vec!["s".to_owned()], named(&[("s", 0)])));
        let window = facts.columns[0].window.as_ref().expect("a window");
        assert_eq!(facts.columns[0].watermark, Some(WatermarkExpr::Source(0)));
        assert_eq!(window.close, WatermarkExpr::Source(0).shifted(5 * MINUTE));
    }

    #[test]
    fn a_window_that_no_watermark_says_is_told_under_a_name_that_no_column_has() {
        let slowest = WatermarkExpr::Slowest(vec![input(0), input(1)]);
        let joined = ColumnFacts { watermark: Some(input(0)), ..of_window(WindowPart::End, &slowest) };
        let columns = [
            ("w", of_window(WindowPart::Struct, &input(2))),
            ("w closes", ColumnFacts::default()),
            ("window_end", joined.clone()),
        ];
        let (facts, told) = facts(&columns);
        assert_eq!(told, ["window_end", "w closes'", "window_end closes"]);
        assert_eq!(facts.marks, named(&[("w closes'", 0), ("window_end closes", 2), ("window_end", 2)]));
        assert_eq!(facts.columns[0], of_window(WindowPart::Struct, &WatermarkExpr::Source(0)));
        let window = of_window(WindowPart::End, &WatermarkExpr::Source(1)).window;
        assert_eq!(facts.columns[2], ColumnFacts { watermark: Some(WatermarkExpr::Source(2)), window, moment: None });
    }

    #[test]
    fn columns_that_are_a_fixed_length_apart_are_so_in_the_view_too() {
        let start = Moment::new(3);
        let apart = |part| {
            let moment = start.of_part(&KIND, part, TimeUnit::Millisecond);
            ColumnFacts { moment, ..of_window(part, &input(0)) }
        };
        let columns = [("window_start", apart(WindowPart::Start)), ("window_end", apart(WindowPart::End))];
        let (facts, _) = facts(&columns);
        let moments: Vec<Option<Moment>> = facts.columns.into_iter().map(|facts| facts.moment).collect();
        assert_eq!(moments, [Some(start.clone()), start.later(5 * MINUTE)]);
    }
}
