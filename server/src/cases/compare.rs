//! In what rows differ from those that were expected, side by side.

use super::grid::aligned;
use super::script::Cell;
use super::value::{Day, Value};

/// Lines of a difference that are shown.
const SHOWN_MAX: usize = 30;

/// The rows that must be seen: any order is right, but for `in_order`.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<WantedRow>,
    pub(super) in_order: bool,
    /// Others may be there as well.
    pub(super) and_more: bool,
    /// Where that is said in the file; `None` where nothing is.
    pub(super) line: Option<u64>,
}

#[derive(Debug)]
pub(super) struct WantedRow {
    /// Where it stands in the file.
    pub(super) line: u64,
    /// One for each column; `None` where nothing is said of it.
    pub(super) cells: Vec<Option<Cell>>,
}

impl WantedRow {
    fn agreeing(&self, got: &[Value], day: Day) -> usize {
        self.cells
            .iter()
            .zip(got)
            .filter(|(cell, value)| cell.as_ref().is_none_or(|cell| cell.means(value, day)))
            .count()
    }

    fn means(&self, got: &[Value], day: Day) -> bool {
        self.agreeing(got, day) == got.len()
    }

    fn is_open(&self) -> bool {
        self.cells.iter().any(|cell| cell.as_ref().is_none_or(Cell::is_open))
    }
}

/// An expected row and the one that stands for it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    wanted: Option<usize>,
    got: Option<usize>,
    same: bool,
}

/// `None` where nothing differs. `got`: rows with the wanted columns.
pub(super) fn difference(wanted: &Wanted, got: &[Vec<Value>], day: Day) -> Option<String> {
    let pairs = if wanted.in_order { one_by_one(wanted, got, day) } else { matched(wanted, got, day) };
    let right = |pair: &Pair| pair.same || (pair.wanted.is_none() && wanted.and_more);
    if pairs.iter().all(right) {
        return None;
    }
    Some(side_by_side(wanted, got, &pairs, day))
}

fn one_by_one(wanted: &Wanted, got: &[Vec<Value>], day: Day) -> Vec<Pair> {
    let at = |at: usize| {
        let same = wanted.rows.get(at).zip(got.get(at)).is_some_and(|(wanted, got)| wanted.means(got, day));
        Pair { wanted: (at < wanted.rows.len()).then_some(at), got: (at < got.len()).then_some(at), same }
    };
    (0..wanted.rows.len().max(got.len())).map(at).collect()
}

fn matched(wanted: &Wanted, got: &[Vec<Value>], day: Day) -> Vec<Pair> {
    let mut free: Vec<usize> = (0..got.len()).collect();
    let mut pairs: Vec<Pair> =
        (0..wanted.rows.len()).map(|at| Pair { wanted: Some(at), got: None, same: false }).collect();
    // Those that say all of a row choose first: the others may have several to choose from.
    for open in [false, true] {
        for (row, pair) in wanted.rows.iter().zip(&mut pairs).filter(|(row, _)| row.is_open() == open) {
            if let Some(at) = free.iter().position(|at| row.means(&got[*at], day)) {
                (pair.got, pair.same) = (Some(free.remove(at)), true);
            }
        }
    }
    // What is left stands beside what it is most like.
    for (row, pair) in wanted.rows.iter().zip(&mut pairs).filter(|(_, pair)| !pair.same) {
        let likest = (0..free.len()).max_by_key(|at| (row.agreeing(&got[free[*at]], day), usize::MAX - at));
        if let Some(at) = likest.filter(|at| row.agreeing(&got[free[*at]], day) > 0) {
            pair.got = Some(free.remove(at));
        }
    }
    pairs.extend(free.into_iter().map(|at| Pair { wanted: None, got: Some(at), same: false }));
    pairs
}

fn side_by_side(wanted: &Wanted, got: &[Vec<Value>], pairs: &[Pair], day: Day) -> String {
    let mut shown: Vec<Pair> = pairs.to_vec();
    if shown.len() > SHOWN_MAX {
        shown.retain(|pair| !pair.same);
    }
    let left_out = pairs.len() - shown.len().min(SHOWN_MAX);
    shown.truncate(SHOWN_MAX);
    let blank = || vec![String::new(); wanted.columns.len()];
    let cell = |cell: &Option<Cell>| cell.as_ref().map_or_else(|| "…".to_owned(), Cell::shown);
    let left = shown.iter().map(|pair| match pair.wanted {
        Some(at) => wanted.rows[at].cells.iter().map(cell).collect(),
        None => blank(),
    });
    let right = shown.iter().map(|pair| match pair.got {
        Some(at) => got[at].iter().map(|value| value.shown(day)).collect(),
        None => blank(),
    });
    let header = || std::iter::once(wanted.columns.clone());
    let (left, right) =
        (aligned(&header().chain(left).collect::<Vec<_>>()), aligned(&header().chain(right).collect::<Vec<_>>()));
    let width = left.first().map_or(0, |line| line.chars().count()).max("expected".len());
    let mut lines = vec![format!("           {:<width$}   got", "expected")];
    let margins = shown.iter().map(|pair| {
        let line = pair.wanted.map_or_else(String::new, |at| wanted.rows[at].line.to_string());
        let what = match (pair.wanted, pair.got) {
            (Some(_), Some(_)) if pair.same => " ",
            (Some(_), Some(_)) => "≠",
            (Some(_), None) => "-",
            (None, _) => "+",
        };
        (line, what)
    });
    let margins = std::iter::once((String::new(), " ")).chain(margins);
    let sides = shown.iter().map(|pair| (pair.wanted.is_some(), pair.got.is_some()));
    let sides = std::iter::once((true, true)).chain(sides);
    for (((line, what), (has_left, has_right)), (left, right)) in margins.zip(sides).zip(left.into_iter().zip(right)) {
        let (left, right) =
            (if has_left { left } else { String::new() }, if has_right { right } else { String::new() });
        lines.push(format!("  {line:>6} {what} {left:<width$}   {right}").trim_end().to_owned());
    }
    if left_out > 0 {
        lines.push(format!("  and {left_out} rows more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rows: &[[&str; 2]]) -> Wanted {
        let cell = |text: &&str| match *text {
            "NULL" => Some(Cell::Null),
            "" => None,
            text => Some(Cell::Bare(text.to_owned())),
        };
        let row = |(line, row): (u64, &[&str; 2])| WantedRow { line, cells: row.iter().map(cell).collect() };
        Wanted {
            columns: vec!["page".to_owned(), "n".to_owned()],
            rows: (7..).zip(rows).map(row).collect(),
            ..Wanted::default()
        }
    }

    fn got(rows: &[(&str, i128)]) -> Vec<Vec<Value>> {
        rows.iter().map(|(page, n)| vec![Value::Text((*page).to_owned()), Value::Whole(*n)]).collect()
    }

    #[test]
    fn rows_stand_beside_those_that_they_are_most_like() {
        let found = difference(
            &wanted(&[["a", "1"], ["b", "2"], ["b", "2"], ["c", "4"]]),
            &got(&[("d", 5), ("b", 2), ("c", 3), ("a", 1)]),
            Day::default(),
        );
        let shown = "           expected       got
           | page | n |   | page | n |
       7   | a    | 1 |   | a    | 1 |
       8   | b    | 2 |   | b    | 2 |
       9 - | b    | 2 |
      10 ≠ | c    | 4 |   | c    | 3 |
         +                | d    | 5 |";
        assert_eq!(found.as_deref(), Some(shown));
    }

    #[test]
    fn rows_are_counted_and_their_order_is_right_unless_it_matters() {
        let rows = || got(&[("a", 1), ("b", 2)]);
        let day = Day::default();
        assert_eq!(difference(&wanted(&[["b", "2"], ["a", "1"]]), &rows(), day), None);
        assert!(difference(&Wanted { in_order: true, ..wanted(&[["b", "2"], ["a", "1"]]) }, &rows(), day).is_some());
        assert_eq!(difference(&Wanted { in_order: true, ..wanted(&[["a", "1"], ["b", "2"]]) }, &rows(), day), None);
        assert!(difference(&wanted(&[["a", "1"]]), &rows(), day).is_some());
        assert_eq!(difference(&Wanted { and_more: true, ..wanted(&[["a", "1"]]) }, &rows(), day), None);
        assert!(difference(&wanted(&[["a", "1"], ["a", "1"]]), &got(&[("a", 1)]), day).is_some());
    }

    #[test]
    fn a_row_of_which_less_is_said_takes_what_the_others_leave() {
        let rows = got(&[("a", 1), ("a", 2)]);
        assert_eq!(difference(&wanted(&[["a", ""], ["a", "1"]]), &rows, Day::default()), None);
        assert_eq!(difference(&wanted(&[["…", "2"], ["a", "1"]]), &rows, Day::default()), None);
        assert!(difference(&wanted(&[["NULL", "2"], ["a", "1"]]), &rows, Day::default()).is_some());
    }
}
