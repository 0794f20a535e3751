//! Something that fails again and again: which of the failures are worth a line in the log.
//!
//! The first, each new reason, then the 8th, 16th, 32nd, 64th attempt and every 128th. At the longest pause between two attempts, half a
//! minute, that is a line an hour.

/// Different reasons that are told apart. An outage with more of them is one whose reasons say little.
const REASONS_MAX: usize = 8;
const DOUBLING_FROM: u32 = 8;
const EVERY: u32 = 128;

/// What has failed since it last went well.
#[derive(Debug, Default)]
pub(super) struct Outage {
    attempts: u32,
    reasons: Vec<String>,
}

impl Outage {
    /// Notes a failed attempt. Returns whether it is worth a line.
    pub(super) fn failed(&mut self, reason: &str) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        let new = self.reasons.len() < REASONS_MAX && self.reasons.iter().all(|known| known != reason);
        if new {
            self.reasons.push(reason.to_owned());
        }
        let attempts = self.attempts;
        new || ((DOUBLING_FROM..EVERY).contains(&attempts) && attempts.is_power_of_two())
            || attempts.is_multiple_of(EVERY)
    }

    /// Failed attempts so far.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// It went well. Returns how often it had failed before, and forgets that; `None` where it had not.
    pub(super) fn over(&mut self) -> Option<u32> {
        let attempts = std::mem::take(self).attempts;
        (attempts > 0).then_some(attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_equal_failures_twelve_are_worth_a_line() {
        let mut outage = Outage::default();
        let told: Vec<u32> = (1..=1_000).filter(|_| outage.failed("refused")).collect();
        assert_eq!(told, [1, 8, 16, 32, 64, 128, 256, 384, 512, 640, 768, 896]);
    }

    #[test]
    fn a_new_reason_is_told_and_one_that_comes_back_is_not() {
        let mut outage = Outage::default();
        let told: Vec<bool> =
            ["refused", "refused", "timed out", "refused", "timed out"].map(|why| outage.failed(why)).into();
        assert_eq!(told, [true, false, true, false, false]);
        let different = (0..100).filter(|number| outage.failed(&format!("port {number}"))).count();
        assert!(different < 16, "{different} lines for reasons that never repeat");
    }

    #[test]
    fn its_end_is_told_once_and_the_next_one_begins_anew() {
        let mut outage = Outage::default();
        assert_eq!(outage.over(), None);
        outage.failed("refused");
        outage.failed("refused");
        assert_eq!((outage.attempts(), outage.over()), (2, Some(2)));
        assert_eq!(outage.over(), None);
        assert!(outage.failed("refused"));
    }
}
