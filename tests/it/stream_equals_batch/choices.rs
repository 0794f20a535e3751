//! What a random case is made of: a row of small numbers. Written down, it makes the same case again; made shorter or lower, a simpler one.
//!
//! Whoever draws puts the simplest possibility first, so that 0 everywhere is the simplest case there is.

/// Numbers drawn at random and written down, or read from what was written down.
#[derive(Debug)]
pub(super) struct Choices {
    random: Option<u64>,
    made: Vec<u32>,
    next: usize,
}

impl Choices {
    pub(super) fn random(seed: u64) -> Self {
        Self { random: Some(seed), made: Vec::new(), next: 0 }
    }

    /// The choices that were `made`, and behind their end the simplest.
    pub(super) fn again(made: &[u32]) -> Self {
        Self { random: None, made: made.to_vec(), next: 0 }
    }

    /// Below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        let choice = match &mut self.random {
            Some(state) => {
                let choice = u32::try_from(random(state) % u64::from(limit)).unwrap_or_default();
                self.made.push(choice);
                choice
            }
            None => self.made.get(self.next).map_or(0, |made| made % limit),
        };
        self.next += 1;
        choice
    }

    /// True in `of` out of 16 cases; false is the simpler one.
    pub(super) fn sometimes(&mut self, of: u32) -> bool {
        self.below(16) >= 16 - of
    }

    pub(super) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(u32::try_from(values.len()).unwrap_or(u32::MAX)) as usize]
    }

    /// All that has been drawn.
    pub(super) fn made(mut self) -> Vec<u32> {
        self.made.truncate(self.next);
        self.made
    }
}

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
