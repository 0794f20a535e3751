//! Which rows are one session: those that follow one another by no more than a gap, and, where there is a greatest length, all before it
//! has passed since the first.
//!
//! Pure arithmetic over ticks of one unit. A stream and batch both ask it, so they cannot differ.

/// See the module's first line. Lengths in ticks, greater than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRule {
    gap: i64,
    longest: Option<i64>,
}

impl SessionRule {
    pub fn new(gap: i64, longest: Option<i64>) -> Self {
        SessionRule { gap, longest }
    }

    /// Rows as late as this can follow one at `time` in its session. `None` where that cannot be written: such a row is in no session.
    pub fn reach(self, time: i64) -> Option<i64> {
        time.checked_add(self.gap)
    }

    /// Whether rows at these times, the later one last, follow one another.
    pub fn connects(self, time: i64, later: i64) -> bool {
        later <= time.saturating_add(self.gap)
    }

    /// Whether a run of rows that follow one another may be several sessions.
    pub fn cuts(self, first: i64, last: i64) -> bool {
        self.longest.is_some_and(|longest| last >= first.saturating_add(longest))
    }

    /// The end of the session whose first row is at `first`, where the rows that follow one another from there on reach to `last`. It lies
    /// after all rows of the session; one at the end itself would belong to it, unless it was cut there.
    pub fn end(self, first: i64, last: i64) -> i64 {
        let reach = last.saturating_add(self.gap);
        self.longest.map_or(reach, |longest| reach.min(first.saturating_add(longest)))
    }

    /// How many of these times, which ascend, are in the session of the first of them.
    pub fn first_of(self, times: &[i64]) -> usize {
        let Some(first) = times.first().copied() else { return 0 };
        let cut = self.longest.map_or(i64::MAX, |longest| first.saturating_add(longest));
        let follows = |pair: &[i64]| self.connects(pair[0], pair[1]) && pair[1] < cut;
        1 + times.windows(2).take_while(|pair| follows(pair)).count()
    }

    /// The sessions of times that ascend: how many are in each, when it begins, and when it ends.
    pub fn sessions(self, times: &[i64]) -> impl Iterator<Item = (usize, i64, i64)> {
        let mut rest = times;
        std::iter::from_fn(move || {
            let count = self.first_of(rest);
            let (session, later) = rest.split_at(count);
            rest = later;
            let (first, last) = (*session.first()?, *session.last()?);
            Some((count, first, self.end(first, last)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(gap: i64, longest: Option<i64>, times: &[i64]) -> Vec<(usize, i64, i64)> {
        SessionRule::new(gap, longest).sessions(times).collect()
    }

    #[test]
    fn rows_exactly_a_gap_apart_are_one_session() {
        assert_eq!(sessions(5, None, &[0, 5, 5, 10, 16]), [(4, 0, 15), (1, 16, 21)]);
        assert_eq!(sessions(5, None, &[]), []);
        assert_eq!(sessions(5, None, &[-7, -2, 4]), [(2, -7, 3), (1, 4, 9)]);
    }

    #[test]
    fn a_long_session_is_cut_from_its_first_row_on() {
        // The row at 10 is not before 0 + 10, so it begins the next one.
        assert_eq!(sessions(5, Some(10), &[0, 4, 8, 10, 13, 18, 20]), [(3, 0, 10), (3, 10, 20), (1, 20, 25)]);
        // It ends with its last row and the gap where that comes first.
        assert_eq!(sessions(5, Some(10), &[0, 4, 11]), [(2, 0, 9), (1, 11, 16)]);
        // The gap may be the longer one.
        assert_eq!(sessions(10, Some(4), &[0, 3, 4, 9, 30]), [(2, 0, 4), (1, 4, 8), (1, 9, 13), (1, 30, 34)]);
    }

    #[test]
    fn nothing_beyond_what_can_be_written_wraps() {
        let rule = SessionRule::new(5, Some(10));
        assert_eq!((rule.reach(i64::MAX - 5), rule.reach(i64::MAX - 4)), (Some(i64::MAX), None));
        assert_eq!(sessions(5, Some(10), &[i64::MIN, i64::MAX - 6, i64::MAX - 5]).len(), 2);
        assert_eq!(rule.end(i64::MAX - 6, i64::MAX - 5), i64::MAX);
    }

    #[test]
    fn the_end_of_a_run_of_sessions_is_that_of_the_first() {
        let rule = SessionRule::new(5, Some(10));
        for (last, cuts, end) in [(9, false, 10), (4, false, 9), (10, true, 10), (300, true, 10)] {
            assert_eq!((rule.cuts(0, last), rule.end(0, last)), (cuts, end), "{last}");
        }
        assert!(!SessionRule::new(5, None).cuts(0, i64::MAX));
    }
}
