//! The manifest: everything a query needs to go on from a checkpoint, and the bytes that say so.
//!
//! A manifest is one JSON object, `{"sha256":"…","manifest":{…}}`, whose hash covers the inner object byte by byte, so
//! that any flipped or missing byte is found. The next manifest names that hash as its parent.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lineage::Lineage;
use super::replay::HotTableState;
use super::sha256;
use crate::catalog::QueryVersion;
use crate::changelog::Changes;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::source::{FileIdentity, Offset, Partition};
use crate::tables::SealedFile;
use crate::watermark::{Mark, NONE};

/// Written by this version. Older ones are read, newer ones refused.
///
/// 2: segments name input and shard; operators their inputs' marks and position; outputs the watermarks of their time columns, seals those
/// after them, sealed files their checkpoints; rows that were late for a part of their windows are counted apart.
pub const FORMAT_VERSION: u32 = 2;

/// How this version names what a query is. 1: with all columns and settings of its tables ([`QueryVersion::former`]); 2: by what it reads
/// and means.
pub(super) const FINGERPRINT_VERSION: u32 = 2;

/// One checkpoint of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format_version: u32,
    pub engine_version: String,
    pub query: String,
    /// Counts from 1 without a gap.
    pub id: u64,
    /// `None` for the first.
    pub parent_sha256: Option<String>,
    /// The server that wrote it.
    pub generation: u64,
    #[serde(with = "uuid_text")]
    pub instance: Uuid,
    /// Drawn anew for every attempt to write a checkpoint: tells our manifest from any other of the same id.
    #[serde(with = "uuid_text")]
    pub attempt: Uuid,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at: Micros,
    /// Names the version of the query: state is only restored into the query that wrote it.
    pub fingerprint: String,
    /// By which way it is named. Older servers know one way and do not say it: to them a manifest that does is damaged, not another
    /// query's, and none of them begins anew beside it.
    #[serde(default = "first_fingerprint", skip_serializing_if = "is_first_fingerprint")]
    pub fingerprint_version: u32,
    /// Which history this checkpoint is of. Older manifests have none.
    #[serde(default, skip_serializing_if = "Lineage::is_unknown")]
    pub lineage: Lineage,
    pub sources: BTreeMap<String, SourceState>,
    pub operators: Vec<OperatorState>,
    /// By output name: the view's own, [`super::LATE_LEDGER`], [`super::DEAD_LETTER_LEDGER`] and [`super::CHANGES`].
    pub outputs: BTreeMap<String, OutputState>,
    pub accounting: Accounting,
}

/// How far a source table has been read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceState {
    /// Of a view that is read its one partition, 0, whose offsets are the view's checkpoints.
    pub offsets: BTreeMap<Partition, PartitionState>,
    pub watermark: Option<Micros>,
    /// Of a view: the latest time that has come, by the name of each of its marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub newest: BTreeMap<String, Micros>,
    /// Of a topic: which one the offsets are of. `None` where the broker does not say it, and in older manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Of files: which ones the offsets are of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Partition, FileIdentity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionState {
    /// The next offset to read.
    pub next: Offset,
    pub event_time_max: Option<Micros>,
}

/// The state of one stateful operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorState {
    /// Ours and stable: from the place in the query's text and the kind.
    pub id: String,
    pub kind: String,
    pub state_version: u32,
    pub schema_sha256: String,
    /// Of format 1: the mark of its one input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Micros>,
    /// The mark that each input has kept; `None` before anything is known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Option<Micros>>,
    /// How far a bounded input inside the operator has been read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub position: u64,
    pub segments: Vec<SegmentRef>,
}

impl OperatorState {
    /// The mark that an input had kept, whichever format says it.
    pub fn mark_of(&self, input: usize) -> Option<Micros> {
        match self.marks.get(input) {
            Some(mark) => *mark,
            None if input == 0 => self.watermark,
            None => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRef {
    pub id: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shard: u32,
    pub pane: i64,
    pub level: u8,
    pub section: Section,
}

/// The rows a query has emitted under one name: recent ones in the tail, older ones in sealed public files.
///
/// In every manifest a row is in exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputState {
    /// Oldest first.
    pub tail: Vec<TailEntry>,
    pub sealed: SealedIndex,
    /// Public files about to be written from the oldest tail entries, which stay in the tail until that is done.
    pub intents: Vec<SealIntent>,
    pub next_seal: u64,
    /// Rows the hot table may not have yet, or may be given again; they can be in the tail as well. Oldest first.
    pub hot: Vec<TailEntry>,
    /// More of them, where there are many checkpoints: put together, so that the manifest stays small. Oldest first; no
    /// checkpoint is both here and in `hot`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot_runs: Vec<HotRun>,
    /// How much of them it has had, and from where on all are there. `None` in older manifests, and where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_table: Option<HotTableState>,
    /// How far the rows in `tail` and `sealed` have got, for whoever reads on from here: the watermark of each time column under its
    /// name, and of a window that no column's watermark says when it is complete (`w closes`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, OutputMark>,
    /// Of all rows of the query. Those in `tail` and `sealed` only come all the same: they are final. Where rows are upserted, those in
    /// `hot` and `hot_runs` have the columns of early ones: [`crate::changelog::early`].
    #[serde(default, skip_serializing_if = "OutputChanges::is_append")]
    pub changes: OutputChanges,
    /// Rows that may change again; `None` where the query emits none. To a version that does not know the field the manifest is
    /// damaged: it cannot run such a query either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<EarlyState>,
}

/// The newest row of each key that is not final, and where there is none any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyState {
    /// What is final up to here is in `tail` and `sealed`, and no longer here. `None`: nothing is.
    pub final_through: Option<Micros>,
    /// From the oldest to the newest: of several rows of one key the newest counts.
    pub sections: Vec<EarlySection>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlySection {
    /// When the last of its rows is final.
    pub until: Micros,
    pub section: Section,
}

/// [`Changes`] of an output, with columns by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputChanges {
    #[default]
    Append,
    Upsert(Vec<String>),
    Retract,
}

impl OutputChanges {
    /// `schema`: of the rows.
    pub fn of(changes: &Changes, schema: &Schema) -> Self {
        match changes {
            Changes::Append => OutputChanges::Append,
            Changes::Upsert(key) => {
                OutputChanges::Upsert(key.iter().map(|at| schema.field(*at).name().clone()).collect())
            }
            Changes::Retract => OutputChanges::Retract,
        }
    }

    fn is_append(&self) -> bool {
        *self == OutputChanges::Append
    }
}

/// The watermark of a time column of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputMark {
    /// `None` before anything is known.
    pub at: Option<Micros>,
    /// Nothing comes any more until a source wakes.
    pub idle: bool,
}

impl From<Mark> for OutputMark {
    fn from(Mark { at, idle }: Mark) -> Self {
        OutputMark { at: Some(at).filter(|at| *at != NONE), idle }
    }
}

impl From<OutputMark> for Mark {
    fn from(OutputMark { at, idle }: OutputMark) -> Self {
        Mark { at: at.unwrap_or(NONE), idle }
    }
}

fn first_fingerprint() -> u32 {
    1
}

fn is_first_fingerprint(version: &u32) -> bool {
    *version == first_fingerprint()
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Rows of several checkpoints for the hot table, in one section. Their batches have a column more, the last: the
/// checkpoint that each row is of, so that one that was applied in part goes on in its middle. A run of one checkpoint is its section as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotRun {
    /// First and last of these checkpoints, both included.
    pub from: u64,
    pub to: u64,
    /// When the first of them was.
    pub created_at: Micros,
    /// When the last of them was; older runs do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
    pub section: Section,
}

impl HotRun {
    /// When the last of its checkpoints was, as far as it says.
    pub fn last_at(&self) -> Micros {
        self.until.unwrap_or(self.created_at)
    }
}

/// The rows that one checkpoint added to an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailEntry {
    pub checkpoint: u64,
    /// When that was. Rows without an event time are filed under this day.
    pub created_at: Micros,
    pub section: Section,
    /// Rows per event date, `YYYY-MM-DD`.
    pub dates: BTreeMap<String, u64>,
}

/// All sealed files: the newest listed here, older ones in lists of their own, so that manifests stay small.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedIndex {
    pub recent: Vec<SealedFile>,
    pub indexes: Vec<SealedIndexRef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedIndexRef {
    pub object: String,
    pub files: u64,
    pub rows: u64,
    /// Lists of one level are merged into one of the next.
    pub level: u8,
    pub sha256: String,
}

/// Public files to be written, decided and committed before the first byte of them is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealIntent {
    pub seal: u64,
    /// First and last checkpoint whose tail entries go in, both included.
    pub from: u64,
    pub to: u64,
    /// The column that dates a row; `None`: the day of the checkpoint does.
    pub date_column: Option<String>,
    /// One per event date, in order of dates.
    pub files: Vec<IntentFile>,
    /// How far the rows up to `to` have got, as [`OutputState::watermarks`] says it; empty where that is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, OutputMark>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentFile {
    /// Key within the public store.
    pub path: String,
    pub event_date: String,
    pub rows: u64,
}

/// Where rows have gone, since the query began: `rows_in = rows_out + late + dead + filtered + held` where a row out is
/// one row in; aggregates count what they consumed as held until their window closes. A record counts with its rows: as one of a
/// table whose records are one row each, else as its rows, good and bad, or as one filtered row where it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounting {
    pub rows_in: u64,
    pub rows_out: u64,
    /// In no result, because they came too late for all that they could have been part of.
    pub late: u64,
    /// Too late for some of their windows, and counted in the others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_partly: u64,
    pub dead: u64,
    pub filtered: u64,
    pub held: u64,
    /// Rows whose event time lay too far ahead to move the watermark.
    pub far_future: u64,
}

/// A run of bytes within a bundle: one Arrow IPC stream. Of length 0 it stands for no rows and is never read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub object: String,
    pub offset: u64,
    pub length: u64,
    pub rows: u64,
    pub sha256: String,
}

/// A manifest as stored.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    /// Of the inner object: what the next manifest names as its parent.
    pub(super) sha256: String,
}

const OPENING: &str = "{\"sha256\":\"";
const BETWEEN: &str = "\",\"manifest\":";
const CLOSING: &str = "}\n";
const SHA256_HEX_LENGTH: usize = 64;

impl Manifest {
    /// Whether it is of this version of the query.
    ///
    /// # Errors
    /// `Corrupt` where that cannot be said, because a newer server names versions in another way.
    pub fn is_of(&self, version: &QueryVersion) -> Result<bool> {
        match self.fingerprint_version {
            1 => Ok(self.fingerprint == version.former),
            FINGERPRINT_VERSION => Ok(self.fingerprint == version.name),
            newer => Err(Error::corrupt(format!(
                "checkpoint {} of query {:?} names the query in a way that is not known here",
                self.id, self.query
            ))
            .detail(format!(
                "touchline {} wrote it, by way {newer}; this is {} and knows ways up to {FINGERPRINT_VERSION}",
                self.engine_version,
                env!("CARGO_PKG_VERSION")
            ))
            .hint("upgrade this server to that version; nothing is begun anew beside it")),
        }
    }

    pub(super) fn encode(&self) -> Result<Encoded> {
        let body = serde_json::to_string(self).map_err(|error| {
            Error::bug(format!("checkpoint {} of {:?} is not JSON", self.id, self.query)).caused_by(error)
        })?;
        let sha256 = sha256(body.as_bytes());
        let bytes = Bytes::from([OPENING, &sha256, BETWEEN, &body, CLOSING].concat());
        Ok(Encoded { bytes, sha256 })
    }

    /// Reads a manifest and its hash back. `object` names it in errors.
    ///
    /// # Errors
    /// `Corrupt` where any byte is not what was written, and for a newer format.
    pub(super) fn decode(bytes: &[u8], object: &str) -> Result<(Manifest, String)> {
        let (expected, body) = unwrap(bytes).ok_or_else(|| {
            corrupt(object).detail(format!("its {} bytes do not begin and end as a manifest does", bytes.len()))
        })?;
        let found = sha256(body);
        if found.as_bytes() != expected {
            let expected = String::from_utf8_lossy(expected);
            return Err(
                corrupt(object).detail(format!("its content has SHA-256 {found}, it was written with {expected}"))
            );
        }
        // Read alone, because a later format may have other fields.
        let Versions { format_version, engine_version } =
            serde_json::from_slice(body).map_err(|error| corrupt(object).caused_by(error))?;
        if format_version > FORMAT_VERSION {
            // Not `Invalid`: a query that finds another one's checkpoints begins anew beside them, and these are its own.
            return Err(Error::corrupt(format!("checkpoint manifest {object} has format {format_version}"))
                .detail(format!(
                    "touchline {engine_version} wrote it; this is {} and reads up to format {FORMAT_VERSION}",
                    env!("CARGO_PKG_VERSION")
                ))
                .hint("upgrade this server to that version; nothing is begun anew beside it"));
        }
        // Whole, but it may say something of a later version.
        let manifest = serde_json::from_slice(body).map_err(|error| {
            let this = env!("CARGO_PKG_VERSION");
            corrupt(object).detail(format!("touchline {engine_version} wrote it; this is {this}")).caused_by(error)
        })?;
        Ok((manifest, found))
    }

    /// Every section that it refers to: of state, of rows in tails, of rows for hot tables, of rows that may change.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        let segments = self.operators.iter().flat_map(|operator| &operator.segments).map(|segment| &segment.section);
        let outputs = self.outputs.values();
        let rows = outputs.clone().flat_map(|output| output.tail.iter().chain(&output.hot)).map(|entry| &entry.section);
        let runs = outputs.clone().flat_map(|output| &output.hot_runs).map(|run| &run.section);
        let early = outputs.filter_map(|output| output.early.as_ref()).flat_map(|early| &early.sections);
        segments.chain(rows).chain(runs).chain(early.map(|early| &early.section))
    }

    /// Every private object that must be kept for this manifest.
    pub(super) fn objects(&self) -> BTreeSet<String> {
        let sections = self.sections().filter(|section| section.length > 0).map(|section| &section.object);
        let lists = self.outputs.values().flat_map(|output| &output.sealed.indexes).map(|index| &index.object);
        // What these list is not named here: clean-up reads them.
        let hot_tables = self.outputs.values().filter_map(|output| output.hot_table.as_ref());
        let hot_lists = hot_tables.flat_map(|table| &table.lists).map(|list| &list.object);
        sections.chain(lists).chain(hot_lists).cloned().collect()
    }
}

#[derive(Deserialize)]
struct Versions {
    format_version: u32,
    #[serde(default)]
    engine_version: String,
}

fn unwrap(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = bytes.strip_prefix(OPENING.as_bytes())?.strip_suffix(CLOSING.as_bytes())?;
    let (hash, rest) = inner.split_at_checked(SHA256_HEX_LENGTH)?;
    Some((hash, rest.strip_prefix(BETWEEN.as_bytes())?))
}

pub(super) fn corrupt(object: &str) -> Error {
    Error::corrupt(format!("checkpoint object {object} is damaged"))
        .hint("restore it from a backup or an older version of the object; without it the query cannot resume")
}

/// A UUID as its usual text.
pub(super) mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use uuid::Uuid;

    pub(in super::super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::checkpoint::replay::HotListRef;
    use crate::error::ErrorKind;
    use crate::tables::CheckpointRange;

    pub(in super::super) fn section(object: &str) -> Section {
        Section { object: object.to_owned(), offset: 0, length: 10, rows: 2, sha256: sha256(object.as_bytes()) }
    }

    pub(in super::super) fn sample() -> Manifest {
        let entry = |checkpoint, object: &str| TailEntry {
            checkpoint,
            created_at: 1_700_000_000_000_000,
            section: section(object),
            dates: BTreeMap::from([("2023-11-14".to_owned(), 2)]),
        };
        let list = SealedIndexRef { object: "list".to_owned(), files: 3, rows: 9, level: 0, sha256: sha256(b"list") };
        let output = OutputState {
            tail: vec![entry(3, "tail"), entry(4, "both")],
            sealed: SealedIndex {
                recent: vec![SealedFile {
                    path: "v/event_date=2023-11-13/a.parquet".to_owned(),
                    bytes: 5,
                    rows: 7,
                    checkpoints: Some(CheckpointRange { from: 1, to: 2 }),
                    sha256: Some(sha256(b"a.parquet")),
                    times: Default::default(),
                }],
                indexes: vec![list],
            },
            intents: vec![SealIntent {
                seal: 8,
                from: 3,
                to: 3,
                date_column: Some("window_start".to_owned()),
                files: vec![IntentFile { path: "p".to_owned(), event_date: "2023-11-14".to_owned(), rows: 2 }],
                watermarks: BTreeMap::from([("window_end".to_owned(), OutputMark { at: Some(5), idle: false })]),
            }],
            next_seal: 9,
            hot: vec![entry(4, "both")],
            hot_runs: vec![HotRun {
                from: 1,
                to: 2,
                created_at: 1_700_000_000_000_000,
                until: Some(1_700_000_000_000_001),
                section: section("run"),
            }],
            hot_table: Some(HotTableState {
                applied: 3,
                floor: 1,
                lists: vec![HotListRef {
                    object: "hot list".to_owned(),
                    from: 1,
                    to: 1,
                    until: 5,
                    runs: 1,
                    level: 0,
                    sha256: sha256(b"hot list"),
                }],
            }),
            watermarks: BTreeMap::from([("window_end".to_owned(), OutputMark { at: Some(7), idle: true })]),
            changes: OutputChanges::Upsert(vec!["team".to_owned(), "window_end".to_owned()]),
            early: Some(EarlyState {
                final_through: Some(-3),
                sections: vec![EarlySection { until: 9, section: section("early") }],
            }),
        };
        let operator = OperatorState {
            id: "window-1".to_owned(),
            kind: "tumble".to_owned(),
            state_version: 1,
            schema_sha256: sha256(b"schema"),
            watermark: None,
            marks: vec![Some(-1), None],
            position: 1,
            segments: vec![SegmentRef { id: 1, input: 1, shard: 3, pane: -300, level: 2, section: section("segment") }],
        };
        let partition = PartitionState { next: 17, event_time_max: None };
        let source = SourceState {
            offsets: BTreeMap::from([(0, partition), (11, partition)]),
            watermark: Some(5),
            newest: BTreeMap::from([("window_end".to_owned(), 6)]),
            topic_id: Some("qBqTjvTIQqeNVHjuTOXoWQ".to_owned()),
            files: BTreeMap::from([(
                0,
                FileIdentity { name: "a.csv".to_owned(), bytes: 3, head_sha256: sha256(b"a\n1") },
            )]),
        };
        Manifest {
            format_version: FORMAT_VERSION,
            engine_version: "0.1.0".to_owned(),
            query: "momentum \"5m\"".to_owned(),
            id: 4,
            parent_sha256: Some(sha256(b"parent")),
            generation: 2,
            instance: Uuid::new_v4(),
            attempt: Uuid::new_v4(),
            created_at: 1_700_000_000_000_000,
            fingerprint: "f".to_owned(),
            fingerprint_version: FINGERPRINT_VERSION,
            lineage: Lineage::default().continued(Some((2, Uuid::new_v4())), Uuid::new_v4(), Uuid::new_v4()),
            sources: BTreeMap::from([("match_events".to_owned(), source)]),
            operators: vec![operator],
            outputs: BTreeMap::from([("momentum".to_owned(), output)]),
            accounting: Accounting {
                rows_in: 10,
                rows_out: 4,
                late: 1,
                late_partly: 3,
                dead: 1,
                filtered: 2,
                held: 2,
                far_future: 1,
            },
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let manifest = sample();
        let encoded = manifest.encode().unwrap();
        let (read, hash) = Manifest::decode(&encoded.bytes, "m").unwrap();
        assert_eq!(read, manifest);
        assert_eq!(hash, encoded.sha256);
        let json: serde_json::Value = serde_json::from_slice(&encoded.bytes).unwrap();
        assert_eq!(json["manifest"]["id"], 4);
    }

    // As format 1 wrote it, field by field: one mark an operator, no input or shard of a segment, no watermarks of outputs.
    #[test]
    fn a_manifest_of_format_1_is_read() {
        let hash = sha256(b"x");
        let section = format!(r#"{{"object":"o","offset":0,"length":3,"rows":1,"sha256":"{hash}"}}"#);
        let body = format!(
            r#"{{"format_version":1,"engine_version":"0.1.0","query":"q","id":7,"parent_sha256":null,"generation":1,
            "instance":"6f2c1a52-0f3e-4f8e-9a57-0a4f6a4d3c11","attempt":"6f2c1a52-0f3e-4f8e-9a57-0a4f6a4d3c12","created_at":5,
            "fingerprint":"f","sources":{{"t":{{"offsets":{{"0":{{"next":4,"event_time_max":9}}}},"watermark":8}}}},
            "operators":[{{"id":"window-0","kind":"window","state_version":1,"schema_sha256":"{hash}","watermark":8,
            "segments":[{{"id":3,"pane":-10,"level":1,"section":{section}}}]}}],
            "outputs":{{"q":{{"tail":[],"sealed":{{"recent":[],"indexes":[]}},"intents":[],"next_seal":1,"hot":[]}}}},
            "accounting":{{"rows_in":4,"rows_out":1,"late":2,"dead":0,"filtered":0,"held":0,"far_future":0}}}}"#
        );
        let bytes = [OPENING, &sha256(body.as_bytes()), BETWEEN, &body, CLOSING].concat();
        let (read, _) = Manifest::decode(bytes.as_bytes(), "m").unwrap();
        let operator = &read.operators[0];
        assert_eq!((operator.mark_of(0), operator.mark_of(1), operator.position), (Some(8), None, 0));
        let segment = &operator.segments[0];
        assert_eq!((segment.id, segment.input, segment.shard, segment.pane), (3, 0, 0, -10));
        assert!(read.outputs["q"].watermarks.is_empty() && read.sources["t"].newest.is_empty());
        assert!(read.lineage.is_unknown() && read.outputs["q"].hot_table.is_none());
        assert!(read.sources["t"].topic_id.is_none() && read.sources["t"].files.is_empty());
        assert_eq!((&read.outputs["q"].changes, &read.outputs["q"].early), (&OutputChanges::Append, &None));
        assert_eq!((read.accounting.late, read.accounting.late_partly), (2, 0));
        assert_eq!(read.fingerprint_version, 1);
        // What this version writes of it is read again.
        assert_eq!(Manifest::decode(&read.encode().unwrap().bytes, "m").unwrap().0, read);
    }

    #[test]
    fn a_version_of_a_query_is_known_by_the_way_that_the_manifest_says() {
        let version = QueryVersion { name: "new".to_owned(), former: "old".to_owned() };
        let of = |fingerprint: &str, fingerprint_version| {
            Manifest { fingerprint: fingerprint.to_owned(), fingerprint_version, ..sample() }.is_of(&version)
        };
        for (fingerprint, way, own) in [("old", 1, true), ("new", 1, false), ("new", 2, true), ("old", 2, false)] {
            assert_eq!(of(fingerprint, way).unwrap(), own, "{fingerprint} by way {way}");
        }
        let error = of("new", 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains("upgrade this server"), "{}", error.report());
    }

    #[test]
    fn an_output_says_how_its_rows_change_and_nothing_where_they_only_come() {
        for (changes, said) in [
            (OutputChanges::Append, serde_json::Value::Null),
            (OutputChanges::Upsert(vec!["k".to_owned()]), serde_json::json!({"upsert": ["k"]})),
            (OutputChanges::Retract, serde_json::json!("retract")),
        ] {
            let mut manifest = sample();
            manifest.outputs.entry("momentum".to_owned()).or_default().changes = changes;
            let encoded = manifest.encode().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&encoded.bytes).unwrap();
            let output = &json["manifest"]["outputs"]["momentum"];
            assert_eq!((output.get("changes").is_some(), &output["changes"]), (!said.is_null(), &said));
            assert_eq!(Manifest::decode(&encoded.bytes, "m").unwrap().0, manifest);
        }
    }

    #[test]
    fn an_output_without_early_rows_says_nothing_of_them() {
        let mut manifest = sample();
        let output = manifest.outputs.entry("momentum".to_owned()).or_default();
        output.early = None;
        let json: serde_json::Value = serde_json::from_slice(&manifest.encode().unwrap().bytes).unwrap();
        assert_eq!(json["manifest"]["outputs"]["momentum"].get("early"), None);
    }

    #[test]
    fn changes_of_a_kind_that_is_not_known_are_an_error_that_says_who_wrote_them() {
        let mut manifest = sample();
        manifest.outputs.entry("momentum".to_owned()).or_default().changes = OutputChanges::Retract;
        let body = serde_json::to_string(&manifest).unwrap().replace("\"retract\"", "\"later\"");
        let bytes = [OPENING, &sha256(body.as_bytes()), BETWEEN, &body, CLOSING].concat();
        let error = Manifest::decode(bytes.as_bytes(), "m").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let report = error.report();
        assert!(report.contains("`later`") && report.contains("touchline 0.1.0 wrote it"), "{report}");
    }

    #[test]
    fn any_flipped_or_missing_byte_is_found() {
        let encoded = sample().encode().unwrap();
        for at in 0..encoded.bytes.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut bytes = encoded.bytes.to_vec();
                bytes[at] ^= mask;
                let error = Manifest::decode(&bytes, "ckpt/4.json").expect_err("a flipped bit must be found");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {}", error.report());
                assert!(error.report().contains("ckpt/4.json"));
            }
            let torn = Manifest::decode(&encoded.bytes[..at], "m").expect_err("a torn manifest must be found");
            assert_eq!(torn.kind(), ErrorKind::Corrupt);
        }
        let longer = [&encoded.bytes[..], b"\n"].concat();
        assert_eq!(Manifest::decode(&longer, "m").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_newer_format_is_refused_by_name_even_with_fields_we_do_not_know() {
        let body = r#"{"format_version":9,"engine_version":"7.0.0","novelty":[]}"#;
        let bytes = [OPENING, &sha256(body.as_bytes()), BETWEEN, body, CLOSING].concat();
        let error = Manifest::decode(bytes.as_bytes(), "m").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains("touchline 7.0.0 wrote it"), "{}", error.report());
    }

    #[test]
    fn a_manifest_keeps_its_segments_tail_hot_rows_and_lists() {
        let kept: Vec<_> = sample().objects().into_iter().collect();
        assert_eq!(kept, ["both", "early", "hot list", "list", "run", "segment", "tail"]);
    }
}
