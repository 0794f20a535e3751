//! Which definitions lead back to themselves, where each names others of them.
//!
//! Two lead to one another where they are in one strongly connected component: Tarjan, "Depth-First Search and Linear Graph
//! Algorithms", SIAM J. Comput. 1972. Without recursion, since a chain of definitions is as long as a file lets it be.

const UNSEEN: usize = usize::MAX;

/// Of each definition whether it leads back to itself, directly or by way of others. Takes as long as there are definitions and names
/// in them.
///
/// `next`: for each of them those that it names, by their places.
pub(super) fn lead_back(next: &[Vec<usize>]) -> Vec<bool> {
    let mut leads_back = vec![false; next.len()];
    let mut number = vec![UNSEEN; next.len()];
    // The first by number that each is known to lead to.
    let mut lowest = vec![UNSEEN; next.len()];
    // Those whose component is not complete, in the order of their numbers.
    let (mut open, mut is_open) = (Vec::<usize>::new(), vec![false; next.len()]);
    let mut numbered = 0;
    // From where the search began to where it is, each with how many of its names have been followed.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..next.len() {
        if number[start] == UNSEEN {
            path.push((start, 0));
        }
        while let Some((at, followed)) = path.last_mut() {
            let at = *at;
            if number[at] == UNSEEN {
                (number[at], lowest[at], is_open[at]) = (numbered, numbered, true);
                numbered += 1;
                open.push(at);
            }
            if let Some(&to) = next[at].get(*followed) {
                *followed += 1;
                leads_back[at] |= to == at;
                if number[to] == UNSEEN {
                    path.push((to, 0));
                } else if is_open[to] {
                    lowest[at] = lowest[at].min(number[to]);
                }
                continue;
            }
            path.pop();
            if let Some((above, _)) = path.last() {
                lowest[*above] = lowest[*above].min(lowest[at]);
            }
            if lowest[at] == number[at] {
                let from = open.iter().rposition(|other| *other == at).unwrap_or_default();
                let together = open.split_off(from);
                for other in &together {
                    is_open[*other] = false;
                    leads_back[*other] |= together.len() > 1;
                }
            }
        }
    }
    leads_back
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// As it is said: whether a walk from it comes to it.
    fn walked(next: &[Vec<usize>], from: usize) -> bool {
        let (mut todo, mut seen) = (next[from].clone(), BTreeSet::new());
        while let Some(at) = todo.pop() {
            if at == from {
                return true;
            }
            if seen.insert(at) {
                todo.extend(&next[at]);
            }
        }
        false
    }

    #[test]
    fn what_is_on_a_circle_leads_back_and_what_only_leads_to_one_does_not() {
        // 0 → 1 → 2 → 1, 3 → 3, 4 → 0, and 5 alone.
        let next = [vec![1], vec![2], vec![1], vec![3], vec![0], vec![]];
        assert_eq!(lead_back(&next), [false, true, true, true, false, false]);
        assert!(lead_back(&[]).is_empty());
    }

    #[test]
    fn every_graph_of_four_has_the_answers_of_a_walk() {
        for edges in 0_u32..1 << 16 {
            let named = |from: usize| -> Vec<usize> {
                (0..4_usize).filter(|to| (edges >> (4 * from + *to)) & 1 == 1).collect()
            };
            let next: Vec<Vec<usize>> = (0..4).map(named).collect();
            let want: Vec<bool> = (0..4).map(|from| walked(&next, from)).collect();
            assert_eq!(lead_back(&next), want, "{next:?}");
        }
    }

    #[test]
    fn a_long_circle_with_a_long_way_to_it_is_no_matter() {
        let count = 100_000;
        let after = |at: usize| if at + 1 < count { at + 1 } else { count / 2 };
        let next: Vec<Vec<usize>> = (0..count).map(|at| vec![after(at)]).collect();
        let answers = lead_back(&next);
        assert_eq!(answers.iter().filter(|leads_back| **leads_back).count(), count / 2);
        assert!(!answers[count / 2 - 1] && answers[count / 2]);
    }
}
