//! How many records a key may send: a token bucket that holds one second's worth.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::clock::Micros;

const SECOND: f64 = 1_000_000.0;

/// The buckets of all keys.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    by_key: Mutex<BTreeMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Records that may be sent now. Below zero: a request may be larger than what was left, and is waited for after it.
    tokens: f64,
    at: Micros,
}

impl Buckets {
    /// Takes `records` from a key's bucket, or says after how many seconds there will be any.
    ///
    /// `per_second`: how fast it fills.
    pub(super) fn take(&self, key: &str, per_second: u32, records: usize, now: Micros) -> Result<(), u64> {
        let rate = f64::from(per_second.max(1));
        let mut buckets = self.by_key.lock();
        let bucket = match buckets.get_mut(key) {
            Some(bucket) => bucket,
            None => buckets.entry(key.to_owned()).or_insert(Bucket { tokens: rate, at: now }),
        };
        // A clock that has been set back fills nothing.
        let passed = now.saturating_sub(bucket.at).max(0) as f64 / SECOND;
        bucket.tokens = (bucket.tokens + passed * rate).min(rate);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(((1.0 - bucket.tokens) / rate).ceil().max(1.0) as u64);
        }
        bucket.tokens -= records as f64;
        Ok(())
    }

    /// Forgets the keys that are no more.
    pub(super) fn retain(&self, is_key: impl Fn(&str) -> bool) {
        self.by_key.lock().retain(|key, _| is_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_sends_as_many_records_a_second_as_it_may() {
        let buckets = Buckets::default();
        let mut now = 1_000_000;
        assert_eq!(buckets.take("a", 10, 4, now), Ok(()));
        assert_eq!(buckets.take("a", 10, 6, now), Ok(()));
        assert_eq!(buckets.take("a", 10, 1, now), Err(1));
        assert_eq!(buckets.take("b", 10, 1, now), Ok(()), "each key has its own");
        now += 100_000;
        assert_eq!(buckets.take("a", 10, 1, now), Ok(()));
        assert_eq!(buckets.take("a", 10, 1, now), Err(1));
        // A clock that goes back gives nothing, and takes nothing.
        assert_eq!(buckets.take("a", 10, 1, now - 90_000), Err(1));
    }

    #[test]
    fn a_request_above_the_rate_is_taken_and_waited_for() {
        let buckets = Buckets::default();
        assert_eq!(buckets.take("a", 10, 50, 0), Ok(()));
        assert_eq!(buckets.take("a", 10, 1, 0), Err(5));
        assert_eq!(buckets.take("a", 10, 1, 3_000_000), Err(2));
        assert_eq!(buckets.take("a", 10, 1, 4_200_000), Ok(()));
        buckets.retain(|_| false);
        assert_eq!(buckets.take("a", 10, 10, 4_200_000), Ok(()));
    }
}
