//! Which history a checkpoint is of: who has committed a chain from which checkpoint on, so that what somebody else says of a checkpoint is
//! believed or not.
//!
//! A number alone says nothing where the store was restored from a backup, or made anew: the same numbers are then given again, to other
//! rows. A restored store keeps its lineage, and only the list of its incarnations tells what it has forgotten.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::manifest::uuid_text;

/// Where a chain comes from. It is part of each manifest, for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Drawn when the chain began, or when it was first gone on with by a server that draws one. Nil in older manifests alone.
    #[serde(with = "uuid_text")]
    pub id: Uuid,
    /// The last checkpoint from before the lineage was drawn; 0 for a chain that began with one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before: u64,
    /// From the first to the last.
    pub incarnations: Vec<Incarnation>,
}

/// One start of a server that has committed to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incarnation {
    #[serde(with = "uuid_text")]
    pub instance: Uuid,
    /// The first checkpoint that it committed. Its last is the one before the next incarnation's first.
    pub first: u64,
}

impl Lineage {
    /// Of a manifest that was written before there were any.
    pub fn is_unknown(&self) -> bool {
        self.id.is_nil()
    }

    /// That of the manifest which `instance` writes next. `head`: id and instance of the one before it, whose lineage this is; `None`
    /// where there is none. `drawn`: the id of a lineage that begins here.
    pub(super) fn continued(&self, head: Option<(u64, Uuid)>, instance: Uuid, drawn: Uuid) -> Lineage {
        let mut next = self.clone();
        if next.is_unknown() {
            next = Lineage { id: drawn, before: head.map_or(0, |(id, _)| id), incarnations: Vec::new() };
            // Who committed what before is not known any more. As one incarnation all of it has a name.
            next.incarnations.extend(head.map(|(_, by)| Incarnation { instance: by, first: 1 }));
        }
        if next.incarnations.last().is_none_or(|last| last.instance != instance) {
            next.incarnations.push(Incarnation { instance, first: head.map_or(1, |(id, _)| id + 1) });
        }
        next
    }

    /// Who has committed a checkpoint. `None` for 0, the state before the first one.
    pub fn instance_of(&self, checkpoint: u64) -> Option<Uuid> {
        let after = self.incarnations.partition_point(|incarnation| incarnation.first <= checkpoint);
        Some(self.incarnations.get(after.checked_sub(1)?)?.instance)
    }

    /// Whether a checkpoint that somebody else names is one of this chain, whose newest is `head`.
    ///
    /// What names no lineage is believed where it can be from before there was one. Checkpoint 0 holds nothing, in whichever history.
    pub fn believes(&self, head: u64, lineage: Option<Uuid>, instance: Option<Uuid>, checkpoint: u64) -> bool {
        match lineage {
            _ if checkpoint == 0 => true,
            _ if checkpoint > head => false,
            None => checkpoint <= self.before,
            Some(lineage) => lineage == self.id && instance.is_some() && self.instance_of(checkpoint) == instance,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_checkpoint_is_of_the_incarnation_that_committed_it() {
        let first = Lineage::default().continued(None, id(1), id(100));
        assert_eq!(
            first,
            Lineage { id: id(100), before: 0, incarnations: vec![Incarnation { instance: id(1), first: 1 }] }
        );
        // The same start goes on, then another one.
        assert_eq!(first.continued(Some((4, id(1))), id(1), id(101)), first);
        let second = first.continued(Some((9, id(1))), id(2), id(101));
        assert_eq!((second.id, second.incarnations[1]), (id(100), Incarnation { instance: id(2), first: 10 }));
        let of = |checkpoint| second.instance_of(checkpoint);
        assert_eq!([of(0), of(1), of(9), of(10), of(99)], [None, Some(id(1)), Some(id(1)), Some(id(2)), Some(id(2))]);
    }

    #[test]
    fn a_checkpoint_without_a_lineage_is_believed_where_it_can_be_from_before_there_was_one() {
        let old = Lineage::default().continued(Some((7, id(1))), id(2), id(100));
        assert_eq!((old.before, old.instance_of(7), old.instance_of(8)), (7, Some(id(1)), Some(id(2))));
        assert!(old.believes(20, None, None, 7));
        assert!(!old.believes(20, None, None, 8), "by then markers named it");
        assert!(!old.believes(6, None, None, 7), "ahead of the head");
        let new = Lineage::default().continued(None, id(2), id(100));
        assert!(!new.believes(20, None, None, 1) && new.believes(20, None, None, 0));
    }

    #[test]
    fn a_checkpoint_of_another_chain_is_not_believed_although_its_number_and_instance_are_known() {
        let ours = Lineage::default().continued(None, id(1), id(100));
        assert!(ours.believes(5, Some(id(100)), Some(id(1)), 5));
        assert!(!ours.believes(5, Some(id(101)), Some(id(1)), 5));
        assert!(!ours.believes(5, Some(id(100)), Some(id(9)), 5));
        assert!(!ours.believes(5, Some(id(100)), None, 5));
        assert!(!ours.believes(5, Some(id(100)), Some(id(1)), 6), "ahead of the head");
        assert!(ours.believes(5, Some(id(101)), Some(id(9)), 0), "nothing is written");
    }

    #[test]
    fn what_was_written_is_read_and_an_older_manifest_has_none() {
        let lineage = Lineage::default().continued(Some((7, id(1))), id(2), id(100));
        let text = serde_json::to_string(&lineage).unwrap();
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
        assert!(Lineage::default().is_unknown() && !lineage.is_unknown());
    }

    /// A chain as its last manifest has it.
    #[derive(Debug, Clone)]
    struct Chained {
        lineage: Lineage,
        head: u64,
        by: Uuid,
    }

    /// Starts, each with the number of checkpoints that it commits, the first of which takes the chain over.
    fn run(mut chain: Option<Chained>, starts: &[(u128, u64)]) -> Chained {
        for (instance, commits) in starts {
            let head = chain.as_ref().map(|chain| (chain.head, chain.by));
            let lineage = chain.take().map(|chain| chain.lineage).unwrap_or_default();
            let lineage = lineage.continued(head, id(*instance), id(*instance + 1_000_000));
            chain = Some(Chained { lineage, head: head.map_or(0, |(id, _)| id) + commits, by: id(*instance) });
        }
        chain.expect("at least one start")
    }

    fn starts(from: u128) -> impl Strategy<Value = Vec<(u128, u64)>> {
        proptest::collection::vec(1..6_u64, 1..5).prop_map(move |commits| {
            commits.into_iter().enumerate().map(|(n, c)| (from + n as u128, c)).collect::<Vec<_>>()
        })
    }

    proptest! {
        // A store that is restored at any point and run past its old head, or not as far.
        #[test]
        fn after_a_restore_what_both_have_is_believed_and_nothing_else(
            common in starts(1), forgotten in starts(100), since in starts(200),
        ) {
            let copied = run(None, &common);
            let lost = run(Some(copied.clone()), &forgotten);
            let now = run(Some(copied.clone()), &since);
            for checkpoint in 1..=lost.head {
                let said = now.lineage.believes(now.head, Some(lost.lineage.id), lost.lineage.instance_of(checkpoint), checkpoint);
                prop_assert_eq!(said, checkpoint <= copied.head, "checkpoint {} of {:?} in {:?}", checkpoint, lost, now);
            }
            for checkpoint in 0..=now.head {
                prop_assert!(now.lineage.believes(now.head, Some(now.lineage.id), now.lineage.instance_of(checkpoint), checkpoint));
            }
        }

        // The start during which the copy was made goes on after it.
        #[test]
        fn a_copy_that_was_made_in_mid_run_forgets_the_rest_of_that_run(
            common in starts(1), more in 1..9_u64, since in starts(200),
        ) {
            let copied = run(None, &common);
            let lost = Chained { head: copied.head + more, ..copied.clone() };
            let now = run(Some(copied.clone()), &since);
            for checkpoint in 1..=lost.head {
                let said = now.lineage.believes(now.head, Some(lost.lineage.id), lost.lineage.instance_of(checkpoint), checkpoint);
                prop_assert_eq!(said, checkpoint <= copied.head);
            }
        }
    }
}
