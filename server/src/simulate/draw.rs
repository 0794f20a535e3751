//! Randomness that is a pure function of seed, purpose and place: no global state, no platform's mathematics.
//!
//! Each purpose draws from a stream of its own (SplitMix64 over a counter), so that one more draw here changes nothing
//! there. Only operations that IEEE 754 fixes to the bit are used: the same seed gives the same bytes on every machine.

use std::sync::LazyLock;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    key: u64,
    counter: u64,
}

impl Draws {
    /// The stream of `path` under `seed`; different paths are independent.
    pub(super) fn new(seed: u64, path: &[u64]) -> Self {
        let key = path.iter().fold(mix(seed), |key, step| mix(key ^ mix(*step)));
        Draws { key, counter: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        mix(self.key.wrapping_add(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Uniform in `0.0..1.0`, of 53 bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..end`; `end` must not be 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Uniform in `from..to`.
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of the items, with probability in proportion to its weight; of 32 bits.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, table: &Table<T, N>) -> T {
        let u = (self.next() >> 32) as u32;
        let at = table.ends.iter().position(|end| u < *end).unwrap_or(N - 1);
        table.items[at]
    }

    /// From a distribution given by its quantiles: (probability from 0 to 1, value), straight lines between them.
    pub(super) fn quantile(&mut self, table: &[(f64, f64)]) -> f64 {
        let u = self.unit();
        let above = table.iter().position(|(probability, _)| u < *probability).unwrap_or(table.len() - 1).max(1);
        let ((p0, v0), (p1, v1)) = (table[above - 1], table[above]);
        v0 + (v1 - v0) * (u - p0) / (p1 - p0)
    }

    /// About normal, mean 0 and deviation 1: four uniforms, so never beyond ±3.5.
    pub(super) fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 3f64.sqrt()
    }

    /// Time until the next of events that come once in `mean` on average.
    pub(super) fn gap(&mut self, mean: f64) -> f64 {
        let bits = self.next();
        let cell = (bits >> (64 - GAP_BITS)) as usize;
        let within = (bits << GAP_BITS >> 11) as f64 / (1u64 << 53) as f64;
        if cell == GAP_CELLS - 1 {
            // The last cell has no upper end.
            return (GAPS[cell] - ln(1.0 - within)) * mean;
        }
        (GAPS[cell] + (GAPS[cell + 1] - GAPS[cell]) * within) * mean
    }

    pub(super) fn uuid(&mut self) -> u128 {
        uuid_of(self.next(), self.next())
    }
}

/// Version 8 (made by the application), variant 1, as RFC 9562 has it.
pub(super) fn uuid_of(high: u64, low: u64) -> u128 {
    (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62
}

/// Items with weights, made into ends of ranges once.
#[derive(Debug, Clone)]
pub(super) struct Table<T, const N: usize> {
    items: [T; N],
    /// Where the range of each item ends, of 2^32.
    ends: [u32; N],
}

impl<T: Copy, const N: usize> Table<T, N> {
    pub(super) const fn new(weighted: [(T, f64); N]) -> Self {
        let (mut items, mut ends) = ([weighted[0].0; N], [u32::MAX; N]);
        let (mut all, mut sum, mut at) = (0.0, 0.0, 0);
        while at < N {
            all += weighted[at].1;
            at += 1;
        }
        at = 0;
        while at < N {
            items[at] = weighted[at].0;
            sum += weighted[at].1;
            ends[at] = (sum / all * 4_294_967_296.0) as u32;
            at += 1;
        }
        Table { items, ends }
    }
}

/// Quantiles of the exponential distribution with mean 1: a look-up is several times as fast as a logarithm.
static GAPS: LazyLock<[f64; GAP_CELLS]> =
    LazyLock::new(|| std::array::from_fn(|cell| -ln(1.0 - cell as f64 / GAP_CELLS as f64)));
const GAP_BITS: u32 = 10;
const GAP_CELLS: usize = 1 << GAP_BITS;

/// The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Natural logarithm of a positive normal number, from exact operations alone; relative error below 1e-10.
fn ln(value: f64) -> f64 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as f64 - 1023.0;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    // ln m = 2 artanh z, |z| ≤ 1/3.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    // The logarithm agrees with the platform's, and gaps have the mean they are asked for.
    #[test]
    fn logarithm_and_gaps() {
        for value in [1.0, 0.5, 1e-16, 0.999_999, 0.37, 123.456] {
            assert!((ln(value) - f64::ln(value)).abs() < 1e-9, "{value}");
        }
        let mut draws = Draws::new(1, &[2, 3]);
        let mean = (0..100_000).map(|_| draws.gap(7.0)).sum::<f64>() / 1e5;
        assert!((mean - 7.0).abs() < 0.1, "{mean}");
        let normal: Vec<f64> = (0..100_000).map(|_| draws.normal()).collect();
        let variance = normal.iter().map(|value| value * value).sum::<f64>() / 1e5;
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    // Weights are the shares with which items are picked, and the last item takes what rounding leaves.
    #[test]
    fn weights_are_shares() {
        static TABLE: Table<u8, 3> = Table::new([(7, 1.0), (8, 2.0), (9, 1.0)]);
        let mut draws = Draws::new(1, &[5]);
        let mut counts = [0_i64; 3];
        (0..100_000).for_each(|_| counts[usize::from(draws.pick(&TABLE)) - 7] += 1);
        assert!(
            counts.iter().zip([25_000, 50_000, 25_000]).all(|(n, want): (&i64, i64)| (n - want).abs() < 700),
            "{counts:?}"
        );
    }

    // A table of quantiles gives its median half of the time and never leaves its range.
    #[test]
    fn quantiles() {
        let table = [(0.0, 1.0), (0.5, 2.0), (1.0, 10.0)];
        let mut draws = Draws::new(1, &[4]);
        let values: Vec<f64> = (0..10_000).map(|_| draws.quantile(&table)).collect();
        assert!(values.iter().all(|value| (1.0..10.0).contains(value)));
        let below = values.iter().filter(|value| **value < 2.0).count();
        assert!((4_800..5_200).contains(&below), "{below}");
    }
}
