//! Which windows a pane belongs to, and which of them close: arithmetic on event time, and nothing else.
//!
//! A pane is `gcd(size, slide)` wide. Every row lies in one pane and every window is a run of panes, so a row of an
//! overlapping window is kept once and not `size / slide` times (Krishnamurthy et al., "On-the-fly sharing for streamed
//! aggregation", SIGMOD 2006). All times are microseconds since the Unix epoch; windows are half-open, `[start, end)`.

use crate::clock::Micros;
use crate::watermark::{END, NONE};

/// The windows of one `TUMBLE` or `HOP`. A tumbling window is a hopping one with `slide == size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windows {
    pub size: Micros,
    pub slide: Micros,
    /// How long after the watermark has passed its end a window stays open.
    pub allowed_lateness: Micros,
}

impl Windows {
    pub fn pane_width(&self) -> Micros {
        gcd(self.size, self.slide)
    }

    /// The end of the last window that holds the pane at `pane`.
    pub fn last_end(&self, pane: Micros) -> Micros {
        self.last_start(pane).saturating_add(self.size)
    }

    /// The end of the first window that holds the pane at `pane`.
    pub fn first_end(&self, pane: Micros) -> Micros {
        // Window ends lie at k * slide + size; the first that covers the pane ends at or after the pane's end.
        let pane_end = pane.saturating_add(self.pane_width());
        let phase = self.size.rem_euclid(self.slide);
        let over = pane_end.saturating_sub(phase).rem_euclid(self.slide);
        if over == 0 { pane_end } else { pane_end.saturating_add(self.slide - over) }
    }

    /// The starts of all windows that hold the pane at `pane`, ascending.
    pub fn starts(&self, pane: Micros) -> impl Iterator<Item = Micros> + use<> {
        let first = self.first_end(pane).saturating_sub(self.size);
        let last = self.last_start(pane);
        let slide = self.slide;
        std::iter::successors(Some(first), move |start| start.checked_add(slide))
            .take_while(move |start| *start <= last)
    }

    /// Windows that end at or before this are closed once the watermark is at `watermark`.
    pub fn closed_through(&self, watermark: Micros) -> Micros {
        match watermark {
            NONE => NONE,
            END => END,
            at => at.saturating_sub(self.allowed_lateness),
        }
    }

    /// Every pane up to and including this start lies only in windows that have closed. [`NONE`]: there is none.
    pub fn panes_done_through(&self, closed_through: Micros) -> Micros {
        match closed_through {
            NONE => NONE,
            END => END,
            // last_end(pane) <= closed  <=>  floor(pane, slide) <= closed - size  <=>  pane < floor(closed - size, slide) + slide
            closed => {
                let start = floor(closed.saturating_sub(self.size), self.slide);
                start.saturating_add(self.slide).saturating_sub(1)
            }
        }
    }

    fn last_start(&self, pane: Micros) -> Micros {
        floor(pane, self.slide)
    }
}

/// The greatest multiple of `step` that is not above `at`.
pub fn floor(at: Micros, step: Micros) -> Micros {
    at.saturating_sub(at.rem_euclid(step))
}

fn gcd(a: Micros, b: Micros) -> Micros {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(size: Micros, slide: Micros) -> Windows {
        Windows { size, slide, allowed_lateness: 0 }
    }

    #[test]
    fn a_pane_lies_in_exactly_the_windows_that_cover_it() {
        for windows in [hop(10, 10), hop(10, 5), hop(10, 4), hop(9, 6), hop(60, 1), hop(7, 3)] {
            let width = windows.pane_width();
            for pane in (-40..40).map(|n| n * width) {
                let naive: Vec<Micros> = (-200..200)
                    .map(|k| k * windows.slide)
                    .filter(|start| *start <= pane && pane + width <= start + windows.size)
                    .collect();
                assert_eq!(windows.starts(pane).collect::<Vec<_>>(), naive, "{windows:?} pane {pane}");
                assert_eq!(windows.last_end(pane), naive.last().unwrap() + windows.size);
                assert_eq!(windows.first_end(pane), naive[0] + windows.size);
            }
        }
    }

    #[test]
    fn a_pane_is_done_when_its_last_window_has_closed_and_not_before() {
        for windows in [hop(10, 10), hop(10, 5), hop(10, 4), hop(9, 6)] {
            let width = windows.pane_width();
            for closed in -30..30 {
                for pane in (-40..40).map(|n| n * width) {
                    let done = windows.last_end(pane) <= closed;
                    assert_eq!(pane <= windows.panes_done_through(closed), done, "{windows:?} {closed} {pane}");
                }
            }
        }
    }

    #[test]
    fn lateness_holds_windows_open_longer() {
        let windows = Windows { size: 10, slide: 10, allowed_lateness: 3 };
        assert_eq!(windows.closed_through(12), 9);
        assert_eq!(windows.closed_through(NONE), NONE);
        assert_eq!(windows.closed_through(END), END);
    }
}
