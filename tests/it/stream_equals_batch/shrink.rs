//! A failing case made small: choices are left out and lowered as long as it fails in the same way.

/// A case as the choices that make it: its query, its rows, and its script.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub(super) query: Vec<u32>,
    pub(super) rows: Vec<u32>,
    pub(super) script: Vec<u32>,
}

impl Made {
    fn part(&mut self, at: usize) -> &mut Vec<u32> {
        match at {
            0 => &mut self.query,
            1 => &mut self.rows,
            _ => &mut self.script,
        }
    }
}

/// Attempts after which it is small enough: each takes some 20 ms.
const ATTEMPTS_MAX: usize = 1_000;

/// The smallest case found that still fails, where `fails` says whether one does.
pub(super) fn shrink(mut made: Made, mut fails: impl FnMut(&Made) -> bool) -> Made {
    let mut attempts = 0;
    let mut attempt = |candidate: Made, made: &mut Made| {
        attempts += 1;
        if attempts > ATTEMPTS_MAX || !fails(&candidate) {
            return false;
        }
        *made = candidate;
        true
    };
    loop {
        let before = size(&made);
        // The query first: rows mean something only to what is left of it.
        for part in 0..3 {
            for size in [64, 16, 8, 4, 2, 1] {
                let mut at = 0;
                while at < made.part(part).len() {
                    let mut candidate = made.clone();
                    let end = candidate.part(part).len().min(at + size);
                    candidate.part(part).drain(at..end);
                    // What follows is tried in the same place.
                    if !attempt(candidate, &mut made) {
                        at += size;
                    }
                }
            }
            for at in 0.. {
                let Some(value) = made.part(part).get(at).copied() else { break };
                for lower in [0, value / 2, value.saturating_sub(1)] {
                    let mut candidate = made.clone();
                    candidate.part(part)[at] = lower;
                    if lower < value && attempt(candidate, &mut made) {
                        break;
                    }
                }
            }
        }
        if size(&made) == before {
            return made;
        }
    }
}

/// What becomes less with every attempt that succeeds.
fn size(made: &Made) -> (usize, u64) {
    let all = || made.query.iter().chain(&made.rows).chain(&made.script);
    (all().count(), all().map(|choice| u64::from(*choice)).sum())
}
