//! Which windows a pane belongs to, and which of them close: arithmetic on event time, and nothing else.
//!
//! A pane is the longest span of time such that every window is a run of panes. Every row lies in one pane, so a row of an
//! overlapping window is kept once and not `size / slide` times (Krishnamurthy et al., "On-the-fly sharing for streamed
//! aggregation", SIGMOD 2006). Where rows come with their window, a row for each, the pane *is* the window, and is named by the
//! window's end. All times are microseconds since the Unix epoch; windows are half-open, `[start, end)`.

use crate::clock::Micros;
use crate::sql::window::WindowKind;
use crate::watermark::{END, NONE};

/// The windows of one aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windows {
    pub kind: WindowKind,
    /// How a row says which windows it belongs to.
    pub rows: RowWindows,
    /// How long after the watermark has passed its end a window stays open.
    pub allowed_lateness: Micros,
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
    /// Whether windows share panes.
    pub fn overlap(&self) -> bool {
        self.rows == RowWindows::ByPane && self.kind.size_us() > self.pane_width()
    }

    pub fn pane_width(&self) -> Micros {
        self.kind.pane_us()
    }

    /// The end of the last window that holds the pane.
    pub fn last_end(&self, pane: Micros) -> Micros {
        match self.rows {
            RowWindows::ByEnd => pane,
            RowWindows::ByPane => floor(pane, self.kind.slide_us()).saturating_add(self.kind.size_us()),
        }
    }

    /// The end of the first window that holds the pane.
    pub fn first_end(&self, pane: Micros) -> Micros {
        if self.rows == RowWindows::ByEnd {
            return pane;
        }
        // Window ends lie at k * slide + size; the first that covers the pane ends at or after the pane's end.
        let slide = self.kind.slide_us();
        let pane_end = pane.saturating_add(self.pane_width());
        let phase = self.kind.size_us().rem_euclid(slide);
        let over = pane_end.saturating_sub(phase).rem_euclid(slide);
        if over == 0 { pane_end } else { pane_end.saturating_add(slide - over) }
    }

    /// The end of the first window that holds the pane and ends after `after`.
    pub fn next_end(&self, pane: Micros, after: Micros) -> Option<Micros> {
        let first = self.first_end(pane);
        let last = self.last_end(pane);
        if first > after {
            return Some(first);
        }
        if last <= after {
            return None;
        }
        // Both lie on the same grid of ends.
        let slide = self.kind.slide_us();
        let over = after.saturating_sub(first).rem_euclid(slide);
        Some(after.saturating_add(slide - over).min(last))
    }

    /// The end of the last window that holds the pane and ends at or before `through`.
    pub fn last_end_through(&self, pane: Micros, through: Micros) -> Option<Micros> {
        let (first, last) = (self.first_end(pane), self.last_end(pane));
        if first > through {
            return None;
        }
        if last <= through {
            return Some(last);
        }
        let slide = self.kind.slide_us();
        Some(through.saturating_sub(through.saturating_sub(first).rem_euclid(slide)))
    }

    /// The start of the window that ends at `end`.
    pub fn start_of(&self, end: Micros) -> Micros {
        end.saturating_sub(self.kind.size_us())
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

/// The greatest multiple of `step` that is not above `at`.
pub fn floor(at: Micros, step: Micros) -> Micros {
    at.saturating_sub(at.rem_euclid(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(size_us: Micros, slide_us: Micros) -> Windows {
        Windows { kind: WindowKind::Hop { size_us, slide_us }, rows: RowWindows::ByPane, allowed_lateness: 0 }
    }

    const SHAPES: [(Micros, Micros); 6] = [(10, 10), (10, 5), (10, 4), (9, 6), (60, 1), (7, 3)];

    /// The ends of the windows that cover a pane, by definition.
    fn naive(windows: Windows, pane: Micros) -> Vec<Micros> {
        let (size, slide) = (windows.kind.size_us(), windows.kind.slide_us());
        let starts = (-200..200).map(|k| k * slide);
        let covers = |start: &Micros| *start <= pane && pane + windows.pane_width() <= start + size;
        starts.filter(covers).map(|start| start + size).collect()
    }

    #[test]
    fn a_pane_lies_in_exactly_the_windows_that_cover_it() {
        for windows in SHAPES.map(|(size, slide)| hop(size, slide)) {
            for pane in (-40..40).map(|n| n * windows.pane_width()) {
                let ends = naive(windows, pane);
                let found: Vec<Micros> =
                    std::iter::successors(windows.next_end(pane, NONE), |end| windows.next_end(pane, *end)).collect();
                assert_eq!(found, ends, "{windows:?} pane {pane}");
                assert_eq!((windows.first_end(pane), windows.last_end(pane)), (ends[0], ends[ends.len() - 1]));
                for at in -80..80 {
                    let next = ends.iter().copied().find(|end| *end > at);
                    assert_eq!(windows.next_end(pane, at), next, "{windows:?} pane {pane} after {at}");
                    let last = ends.iter().copied().rfind(|end| *end <= at);
                    assert_eq!(windows.last_end_through(pane, at), last, "{windows:?} pane {pane} through {at}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_comes_with_its_window_is_in_no_other() {
        let windows = Windows { rows: RowWindows::ByEnd, ..hop(10, 5) };
        assert_eq!((windows.first_end(35), windows.last_end(35), windows.start_of(35)), (35, 35, 25));
        assert_eq!((windows.next_end(35, 34), windows.next_end(35, 35)), (Some(35), None));
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
