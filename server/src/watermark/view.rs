//! Event-time progress of a view that is read as a stream: how far each of its times has got, as its own checkpoints say it.

use super::{END, Mark, NONE};
use crate::clock::Micros;
use crate::source::{Known, Offset, ViewProgress};

/// The marks of a view behind the checkpoints that have been taken. None of them moves back.
#[derive(Debug, Clone)]
pub struct ViewWatermark {
    marks: Vec<Mark>,
    /// The latest time that has come, by mark.
    newest: Vec<Micros>,
    /// Every checkpoint before this one has been taken; `None` until the reader has said where it stands.
    position: Option<Offset>,
    /// What is known of the view's newest checkpoint. `None`: it does not run, and may bring anything.
    known: Option<Known>,
}

impl ViewWatermark {
    pub fn new(marks: usize) -> Self {
        ViewWatermark { marks: vec![Mark::NONE; marks], newest: vec![NONE; marks], position: None, known: None }
    }

    /// Takes up the latest times that a checkpoint holds. How far the view has got it says itself when it is read again.
    pub fn restore(&mut self, newest: impl IntoIterator<Item = (usize, Micros)>) {
        for (mark, at) in newest {
            if let Some(newest) = self.newest.get_mut(mark) {
                *newest = at.max(*newest);
            }
        }
    }

    /// Notes that everything before `position` has been taken, and what the view has said with it.
    pub fn observe(&mut self, position: Offset, said: &ViewProgress) {
        self.position = Some(position);
        for (newest, at) in self.newest.iter_mut().zip(&said.newest) {
            *newest = (*at).max(*newest);
        }
        for (mark, said) in self.marks.iter_mut().zip(&said.marks) {
            let at = said.at.max(mark.at);
            *mark = Mark { at, idle: said.idle && at != END };
        }
    }

    pub fn observe_end(&mut self, known: Option<Known>) {
        self.known = known;
    }

    /// Raises each mark to `at`, whatever the view says: an emission timeout.
    pub fn force(&mut self, at: &[Micros]) {
        for (mark, at) in self.marks.iter_mut().zip(at) {
            mark.at = mark.at.max(*at);
        }
    }

    /// Nothing comes any more.
    pub fn end(&mut self) {
        self.marks.fill(Mark::END);
    }

    /// One that does not run is not idle: nobody knows what it brings when it does again.
    pub fn marks(&self) -> Vec<Mark> {
        let runs = self.known.is_some();
        self.marks.iter().map(|mark| Mark { idle: mark.idle && runs, ..*mark }).collect()
    }

    /// The latest times that have come, by mark.
    pub fn newest(&self) -> &[Micros] {
        &self.newest
    }

    /// For how long the view has had nothing more although it runs: microseconds, counted from `last_row` at the earliest. `None`
    /// while it does not run, or has more.
    pub fn silent_for(&self, last_row: Micros) -> Option<Micros> {
        let known = self.known.filter(|known| self.position.is_some_and(|position| known.end <= position))?;
        Some(known.at.saturating_sub(known.since.max(last_row)).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(marks: &[Mark], newest: &[Micros]) -> ViewProgress {
        ViewProgress { marks: marks.to_vec(), newest: newest.to_vec(), partial: false }
    }

    fn idle(at: Micros) -> Mark {
        Mark { at, idle: true }
    }

    #[test]
    fn each_time_of_a_view_has_a_mark_of_its_own_that_never_moves_back() {
        let mut view = ViewWatermark::new(2);
        view.observe_end(Some(Known { end: 4, since: 0, at: 0 }));
        assert_eq!(view.marks(), [Mark::NONE, Mark::NONE]);
        view.observe(4, &said(&[Mark::new(60), idle(50)], &[70, 55]));
        assert_eq!((view.marks(), view.newest()), (vec![Mark::new(60), idle(50)], &[70, 55][..]));
        // Rows alone move none of them.
        view.observe(4, &said(&[], &[90, NONE]));
        assert_eq!((view.marks(), view.newest()), (vec![Mark::new(60), idle(50)], &[90, 55][..]));
        view.observe(5, &said(&[Mark::new(40), Mark::new(50)], &[]));
        assert_eq!(view.marks(), [Mark::new(60), Mark::new(50)]);
        view.force(&[100, NONE]);
        assert_eq!(view.marks(), [Mark::new(100), Mark::new(50)]);
        view.end();
        view.observe(6, &said(&[idle(100), idle(50)], &[]));
        assert_eq!(view.marks(), [Mark::END, Mark::END]);
    }

    #[test]
    fn a_view_that_does_not_run_is_waited_for_also_where_it_was_idle() {
        let mut view = ViewWatermark::new(1);
        view.observe(4, &said(&[idle(50)], &[]));
        assert_eq!(view.marks(), [Mark::new(50)], "it is not known whether it runs");
        view.observe_end(Some(Known { end: 4, since: 0, at: 0 }));
        assert_eq!(view.marks(), [idle(50)]);
        view.observe_end(None);
        assert_eq!(view.marks(), [Mark::new(50)]);
        view.observe_end(Some(Known { end: 4, since: 9, at: 9 }));
        assert_eq!(view.marks(), [idle(50)]);
    }

    #[test]
    fn a_view_is_silent_where_it_runs_and_all_its_checkpoints_have_been_taken() {
        let mut view = ViewWatermark::new(0);
        let known = |end| Some(Known { end, since: 10, at: 50 });
        view.observe_end(known(3));
        assert_eq!(view.silent_for(0), None, "where the reader stands is not known");
        view.observe(3, &said(&[], &[]));
        assert_eq!((view.silent_for(0), view.silent_for(30), view.silent_for(60)), (Some(40), Some(20), Some(0)));
        view.observe_end(known(4));
        assert_eq!(view.silent_for(0), None);
        view.observe_end(None);
        assert_eq!(view.silent_for(0), None);
    }
}
