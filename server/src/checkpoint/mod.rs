//! What survives: the chain of manifests of each query, the bundles they refer to, and who may extend them.
//!
//! A checkpoint is committed by creating the next manifest, and by nothing else. Before that nothing is visible; after
//! it everything left to do is listed in the manifest and may be repeated. `server/docs/checkpoint.md` has the objects,
//! the order and what each crash leaves behind. Only this module names checkpoint objects.

mod bundle;
mod chain;
mod change;
mod create;
mod days;
mod definition;
mod duel;
mod fallback;
mod garbage;
mod generation;
mod heartbeat;
mod inspect;
mod keep;
mod lineage;
mod manifest;
mod owner;
mod paths;
mod replay;
mod runs;
mod sealed;
mod standing;
mod strangers;
mod surgery;

#[cfg(test)]
pub(crate) mod faulty;

pub use bundle::{BundleBuilder, read_section, read_section_by_batches, segment_home};
pub use chain::{Chain, Committed, Opened};
pub use change::{Answer, Question, VersionStanding, answer, ask, forget_question, question_of, version_standing};
pub use days::{DAYS_MAX, Day, FUTURE_DAYS_MAX, Filing, days_of_checkpoint, days_of_seal};
pub use definition::{
    DefinitionFile, definition_files_of, definition_of, keep_definition, keep_definition_files, version_before,
};
pub use duel::{HoldBack, hold_back};
pub use fallback::{Damage, Fallback, damage_of, fall_back};
pub use garbage::{CleanUp, Cleaned, Collected};
pub use generation::Generation;
pub use heartbeat::{Heartbeat, Watched};
pub use inspect::{Finding, FoundChain, Verified, find_chain, find_chains, find_checkpoint, ranges, verify};
pub use lineage::{Incarnation, Lineage};
pub use manifest::{
    Accounting, EarlySection, EarlyState, FORMAT_VERSION, HotRun, IntentFile, Manifest, OperatorState, OutputChanges,
    OutputMark, OutputState, PartitionState, SealIntent, SealedIndex, SealedIndexRef, Section, SegmentRef, SourceState,
    TailEntry,
};
pub use owner::{Owner, state_store_id};
pub use paths::{CHANGES, DEAD_LETTER_LEDGER, LATE_LEDGER, QueryPaths, public_folder};
pub use replay::{HotListRef, HotTableState, read_hot_runs};
pub use runs::FileRuns;
pub use sealed::read_sealed_files;
pub use standing::chain_of;
pub use strangers::{NamedFiles, Strangers, find_strangers};
pub use surgery::{DropPlan, ForkPlan, drop_whole, plan_drop, plan_fork};

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(bytes))
}
