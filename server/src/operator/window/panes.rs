//! The windows of one aggregate over the panes that its rows come in: which of them close, and what is in them.
//!
//! Every row lies in one pane, so a row of an overlapping window is kept once and not once for each window (Krishnamurthy et al.,
//! "On-the-fly sharing for streamed aggregation", SIGMOD 2006). Where rows come with their window, a row for each, the pane *is* the
//! window, and is named by the window's end. All times are microseconds since the Unix epoch.

use crate::clock::Micros;
use crate::sql::window::{WindowAssigner, WindowKind};
use crate::watermark::{END, NONE};

/// See the module's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windows {
    pub kind: WindowKind,
    /// How a row says which windows it belongs to.
    pub rows: RowWindows,
    /// How long after the watermark has passed its end a window stays open.
    pub allowed_lateness: Micros,
    assigner: WindowAssigner,
}

/// What the pane column of a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowWindows {
    /// The start of its pane: it belongs to every window that covers it.
    ByPane,
    /// The end of its one window.
    ByEnd,
}

impl Windows {
    pub fn new(kind: WindowKind, rows: RowWindows, allowed_lateness: Micros) -> Self {
        Windows { kind, rows, allowed_lateness, assigner: kind.in_micros() }
    }

    /// Whether windows share panes.
    pub fn overlap(&self) -> bool {
        self.rows == RowWindows::ByPane && self.assigner.panes_of_a_window() > 1
    }

    pub fn assigner(&self) -> WindowAssigner {
        self.assigner
    }

    /// The end of the last window that holds the pane.
    pub fn last_end(&self, pane: Micros) -> Micros {
        match self.rows {
            RowWindows::ByEnd => pane,
            RowWindows::ByPane => self.assigner.last_end(pane),
        }
    }

    /// The end of the first window that holds the pane.
    pub fn first_end(&self, pane: Micros) -> Micros {
        match self.rows {
            RowWindows::ByEnd => pane,
            RowWindows::ByPane => self.assigner.first_end(pane),
        }
    }

    /// The end of the first window that holds the pane and ends after `after`.
    pub fn next_end(&self, pane: Micros, after: Micros) -> Option<Micros> {
        match self.rows {
            RowWindows::ByEnd => (pane > after).then_some(pane),
            RowWindows::ByPane => self.assigner.next_end(pane, after),
        }
    }

    /// The end of the last window that holds the pane and ends at or before `through`.
    pub fn last_end_through(&self, pane: Micros, through: Micros) -> Option<Micros> {
        match self.rows {
            RowWindows::ByEnd => (pane <= through).then_some(pane),
            RowWindows::ByPane => self.assigner.last_end_through(pane, through),
        }
    }

    /// The start of the window that ends at `end`.
    pub fn start_of(&self, end: Micros) -> Micros {
        self.assigner.start_of(end)
    }

    /// The panes of the window that ends at `end`: those from the first up to, and without, the second.
    pub fn panes_of(&self, end: Micros) -> (Micros, Micros) {
        match self.rows {
            RowWindows::ByEnd => (end, end.saturating_add(1)),
            RowWindows::ByPane => (self.start_of(end), end),
        }
    }

    /// No row of the pane is earlier than this.
    pub fn earliest_row(&self, pane: Micros) -> Micros {
        match self.rows {
            RowWindows::ByEnd => self.start_of(pane),
            RowWindows::ByPane => pane,
        }
    }

    /// Windows that end at or before this are closed once the watermark is at `watermark`.
    pub fn closed_through(&self, watermark: Micros) -> Micros {
        match watermark {
            NONE => NONE,
            END => END,
            at => at.saturating_sub(self.allowed_lateness),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::window::Origin;

    fn hop(size_us: Micros, slide_us: Micros) -> Windows {
        Windows::new(WindowKind::Hop { size_us, slide_us, offset_us: 0 }, RowWindows::ByPane, 0)
    }

    #[test]
    fn a_pane_lies_in_the_windows_that_cover_it() {
        let windows = hop(10, 4);
        let ends = |pane| -> Vec<Micros> {
            std::iter::successors(windows.next_end(pane, NONE), |end| windows.next_end(pane, *end)).collect()
        };
        assert_eq!((ends(8), ends(10)), (vec![10, 14, 18], vec![14, 18]));
        assert_eq!((windows.panes_of(14), windows.earliest_row(8)), ((4, 14), 8));
        let cumulate = Windows::new(
            WindowKind::Cumulate { size_us: 12, step_us: 4, origin: Origin::Offset(1) },
            RowWindows::ByPane,
            0,
        );
        assert_eq!((cumulate.panes_of(5), cumulate.panes_of(13)), ((1, 5), (1, 13)));
        assert!(cumulate.overlap() && windows.overlap() && !hop(10, 10).overlap());
    }

    #[test]
    fn a_row_that_comes_with_its_window_is_in_no_other() {
        let windows = Windows { rows: RowWindows::ByEnd, ..hop(10, 5) };
        assert_eq!((windows.first_end(35), windows.last_end(35), windows.start_of(35)), (35, 35, 25));
        assert_eq!((windows.next_end(35, 34), windows.next_end(35, 35)), (Some(35), None));
        assert_eq!((windows.last_end_through(35, 34), windows.last_end_through(35, 35)), (None, Some(35)));
        assert_eq!(windows.panes_of(35), (35, 36));
        assert!(!windows.overlap());
    }

    #[test]
    fn lateness_holds_windows_open_longer() {
        let windows = Windows { allowed_lateness: 3, ..hop(10, 10) };
        assert_eq!(windows.closed_through(12), 9);
        assert_eq!(windows.closed_through(NONE), NONE);
        assert_eq!(windows.closed_through(END), END);
    }
}
