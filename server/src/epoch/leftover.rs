//! Bundles of which little state is left: it is written once more, together, so that a window that stays open for long does not keep all
//! that was in a bundle with it, and the bundles that a query needs are few.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::Section;

/// Bytes of state in a bundle from which on it is worth its place.
const LITTLE_BYTES: u64 = 64 * 1024;

/// Bundles with less that are left alone. Each checkpoint makes one, so they are put together once in so many, and what is little stays
/// below `BUNDLES_MAX × LITTLE_BYTES` (4 MiB) to be written again.
const BUNDLES_MAX: usize = 64;

/// The bundles whose state the next checkpoint writes anew; none while there are few. `sections`: of state, as the last checkpoint has it.
pub(super) fn bundles_to_leave<'a>(sections: impl Iterator<Item = &'a Section>) -> HashSet<String> {
    let mut left: HashMap<&str, u64> = HashMap::new();
    // What has no bytes is never read, and keeps no bundle.
    for section in sections.filter(|section| section.length > 0) {
        *left.entry(&section.object).or_default() += section.length;
    }
    let little: HashSet<String> =
        left.into_iter().filter(|(_, bytes)| *bytes < LITTLE_BYTES).map(|(object, _)| object.to_owned()).collect();
    if little.len() > BUNDLES_MAX { little } else { HashSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(object: usize, length: u64) -> Section {
        Section { object: format!("bundle-{object}"), offset: 0, length, rows: 1, sha256: String::new() }
    }

    #[test]
    fn many_bundles_with_little_in_them_are_left_and_those_with_much_are_not() {
        let of = |sections: &[Section]| bundles_to_leave(sections.iter());
        let mut sections: Vec<Section> = (0..64).map(|object| section(object, 100)).collect();
        assert!(of(&sections).is_empty(), "few");
        sections.extend((64..200).flat_map(|object| [section(object, 60_000), section(object, 60_000)]));
        sections.extend((200..300).map(|object| section(object, 0)));
        assert!(of(&sections).is_empty(), "much in each of the others, or nothing");
        sections.push(section(300, 65_535));
        let left = of(&sections);
        assert_eq!((left.len(), left.contains("bundle-63"), left.contains("bundle-64")), (65, true, false));
    }
}
