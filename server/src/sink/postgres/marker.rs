//! What the marker row and an error code mean: the decisions of the Postgres sink, without a database.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::checkpoint::Lineage;
use crate::error::ErrorKind;

/// The row of `touchline_commits` that belongs to one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The checkpoint up to which the hot table holds all rows.
    pub checkpoint: u64,
    /// The server generation that may move it.
    pub generation: u64,
    /// Which history the checkpoint is of: its chain, and who has committed it. `None` where an older server wrote the marker, and of
    /// checkpoint 0 nobody has committed.
    pub lineage: Option<Uuid>,
    pub instance: Option<Uuid>,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |id: Option<Uuid>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let Marker { checkpoint, generation, lineage, instance } = *self;
        write!(
            f,
            "checkpoint {checkpoint}, generation {generation}, lineage {}, instance {}",
            named(lineage),
            named(instance)
        )
    }
}

/// In whose name a hot table is written, and what is believed of its marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which start of a server this is.
    pub generation: u64,
    /// The history of the query's chain, and its newest checkpoint.
    pub lineage: Lineage,
    pub head: u64,
}

impl Claim {
    /// Whether what the marker says has happened in the history of this chain.
    pub fn believes(&self, marker: &Marker) -> bool {
        self.lineage.believes(self.head, marker.lineage, marker.instance, marker.checkpoint)
    }

    /// The lineage and who has committed a checkpoint, as the marker's columns have it.
    pub(super) fn names(&self, checkpoint: u64) -> (String, Option<String>) {
        (self.lineage.id.to_string(), self.lineage.instance_of(checkpoint).map(|instance| instance.to_string()))
    }
}

/// Why the marker did not move from `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An earlier attempt was committed and its answer was lost.
    AlreadyApplied { at: u64 },
    /// A newer server owns the table: this one must not write it.
    Fenced { by: u64 },
    /// The database knows less than we thought: restored from a backup, failed over, or the row is gone.
    Behind { at: u64 },
    /// A part of the range was applied: another range was cut when it was tried before.
    Ahead { at: u64 },
}

/// Reads the marker after a compare-and-set of `from → to` under `claim` has hit no row.
pub fn decide_marker(row: Option<Marker>, from: u64, to: u64, claim: &Claim) -> Verdict {
    let Some(row) = row else { return Verdict::Behind { at: 0 } };
    if row.generation > claim.generation {
        return Verdict::Fenced { by: row.generation };
    }
    let at = row.checkpoint;
    // A lower generation means that our claim is gone, so the database was set back; another history, that it was exchanged. Whatever
    // the marker says then, the claim has to be made again before anything may be applied.
    if row.generation < claim.generation || !claim.believes(&row) || at <= from {
        return Verdict::Behind { at };
    }
    if at >= to { Verdict::AlreadyApplied { at } } else { Verdict::Ahead { at } }
}

/// Who must act on a database error with this SQLSTATE. `None`: the connection failed, no answer came.
///
/// Connection trouble, shutdown, lack of resources, conflicts and timeouts pass by themselves; so does a standby that has
/// not been promoted yet. Everything else stays as it is until someone changes the data, the table or the rights.
pub fn kind_of_sqlstate(code: Option<&str>) -> ErrorKind {
    let Some(code) = code else { return ErrorKind::Unavailable };
    let class = code.get(..2).unwrap_or(code);
    match (class, code) {
        ("08" | "53" | "57" | "58", _) => ErrorKind::Unavailable,
        // Serialization failure, deadlock, statement completion unknown, lock not available, object in use.
        (_, "40001" | "40P01" | "40003" | "55P03" | "55006") => ErrorKind::Unavailable,
        (_, "25006") => ErrorKind::Unavailable,
        ("XX", _) => ErrorKind::Corrupt,
        _ => ErrorKind::Invalid,
    }
}

/// How long to wait before attempt `attempt` (from 0): exponential from 100 ms to 30 s, with full jitter.
///
/// `random`: uniform in `[0, 1)`, so that servers which lost the same database do not come back in step.
pub fn retry_delay(attempt: u32, random: f64) -> Duration {
    let ceiling = Duration::from_millis(100).saturating_mul(1 << attempt.min(9)).min(Duration::from_secs(30));
    ceiling.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Incarnation;

    const LINEAGE: Uuid = Uuid::from_u128(100);

    /// Checkpoints 1 to 6 are of the first instance, those after them of the second.
    fn claim() -> Claim {
        let incarnations = [(1, 1), (2, 7)].map(|(id, first)| Incarnation { instance: Uuid::from_u128(id), first });
        let lineage = Lineage { id: LINEAGE, before: 0, incarnations: incarnations.to_vec() };
        Claim { generation: 3, lineage, head: 9 }
    }

    #[test]
    fn the_marker_says_what_became_of_a_range() {
        let row = |checkpoint, generation| {
            let instance = claim().lineage.instance_of(checkpoint);
            Some(Marker { checkpoint, generation, lineage: Some(LINEAGE), instance })
        };
        let other = |marker: Option<Marker>, lineage: u128, instance: u128| {
            let (lineage, instance) = (Some(Uuid::from_u128(lineage)), Some(Uuid::from_u128(instance)));
            marker.map(|marker| Marker { lineage, instance, ..marker })
        };
        let cases = [
            // (row, from, to) → verdict
            (row(8, 3), 5, 8, Verdict::AlreadyApplied { at: 8 }),
            (row(9, 3), 5, 8, Verdict::AlreadyApplied { at: 9 }),
            (row(6, 3), 5, 8, Verdict::Ahead { at: 6 }),
            (row(4, 3), 5, 8, Verdict::Behind { at: 4 }),
            (row(5, 3), 5, 8, Verdict::Behind { at: 5 }),
            (row(8, 4), 5, 8, Verdict::Fenced { by: 4 }),
            (row(0, 4), 5, 8, Verdict::Fenced { by: 4 }),
            (row(8, 2), 5, 8, Verdict::Behind { at: 8 }),
            (row(5, 2), 5, 8, Verdict::Behind { at: 5 }),
            (None, 5, 8, Verdict::Behind { at: 0 }),
            // The same numbers in another chain, by another instance, and beyond the head.
            (other(row(8, 3), 101, 2), 5, 8, Verdict::Behind { at: 8 }),
            (other(row(8, 3), 100, 1), 5, 8, Verdict::Behind { at: 8 }),
            (row(10, 3), 5, 8, Verdict::Behind { at: 10 }),
        ];
        for (row, from, to, verdict) in cases {
            assert_eq!(decide_marker(row, from, to, &claim()), verdict, "{row:?} {from}..{to}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_retried_and_nothing_else() {
        let retried =
            ["08006", "53100", "53300", "57P01", "57P03", "57014", "40001", "40P01", "55P03", "25006", "58030"];
        for code in retried {
            assert_eq!(kind_of_sqlstate(Some(code)), ErrorKind::Unavailable, "{code}");
        }
        assert_eq!(kind_of_sqlstate(None), ErrorKind::Unavailable);
        for code in ["22001", "22P02", "23505", "23502", "42P01", "42703", "42501", "28P01", "3D000", "0A000", ""] {
            assert_eq!(kind_of_sqlstate(Some(code)), ErrorKind::Invalid, "{code}");
        }
        assert_eq!(kind_of_sqlstate(Some("XX001")), ErrorKind::Corrupt);
    }

    #[test]
    fn retries_wait_longer_up_to_half_a_minute() {
        assert_eq!(retry_delay(0, 1.0), Duration::from_millis(100));
        assert_eq!(retry_delay(3, 0.5), Duration::from_millis(400));
        assert_eq!(retry_delay(9, 1.0), Duration::from_secs(30));
        assert_eq!(retry_delay(u32::MAX, 1.0), Duration::from_secs(30));
        assert_eq!(retry_delay(5, 0.0), Duration::ZERO);
    }
}
