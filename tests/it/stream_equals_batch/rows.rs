//! The tables that random queries read, and random rows for them: NULLs, NaN, ties, times before 1970, disorder within the delay and
//! beyond it, nights in which clocks change.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use libtest_mimic::Failed;
use serde_json::{Map, Value, json};

use super::choices::Choices;

/// `a` and `b` differ in the unit of their times and in their delay. `d` is static.
pub(super) const TABLES: &str = "\
CREATE TABLE a (id BIGINT, k VARCHAR, g INT, n BIGINT, x DOUBLE, ok BOOLEAN, o STRUCT<p VARCHAR, q BIGINT>, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH ('connector' = 'kafka', 'topic' = 'a', 'format' = 'json');
CREATE TABLE b (id BIGINT, k VARCHAR, g INT, n BIGINT, x DOUBLE, ok BOOLEAN, o STRUCT<p VARCHAR, q BIGINT>, ts TIMESTAMP(6),
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds') WITH ('connector' = 'kafka', 'topic' = 'b', 'format' = 'json');
CREATE TABLE d (k VARCHAR, g INT, label VARCHAR, w BIGINT)
WITH ('connector' = 'filesystem', 'path' = 'd.ndjson', 'format' = 'json');
";

/// The stream tables: name, microseconds of one tick of their times, microseconds of their delay.
pub(super) const STREAMS: [(&str, i64, i64); 2] = [("a", 1_000, 5_000_000), ("b", 1, 2_000_000)];

pub(super) const PARTITIONS_MAX: usize = 3;
const ROWS_MAX: u32 = 40;
const STATIC_ROWS_MAX: u32 = 6;

const TEXTS: [&str; 5] = ["a", "b", "B c", "", "longer than a view holds inline"];

#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    id: i64,
    k: Option<String>,
    g: Option<i32>,
    n: Option<i64>,
    x: Option<f64>,
    ok: Option<bool>,
    o: Option<(Option<String>, Option<i64>)>,
    /// Microseconds.
    pub(super) ts: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct StaticRow {
    k: Option<String>,
    g: Option<i32>,
    label: Option<String>,
    w: Option<i64>,
}

/// What a query asks of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// How far beyond the delay of a table its rows may be out of order and are in time.
    pub(super) lateness_us: i64,
    /// How far beyond that some are: too late for windows that have closed.
    pub(super) late_us: i64,
    /// They reach over days.
    pub(super) days: bool,
}

/// Stream, partition and number of a row.
pub(super) type Place = (usize, usize, usize);

/// Where rows begin, and steps from one to the next.
const BEGINS: [i64; 3] = [0, -30_000_000, 1_700_000_000_000_000];
const STEPS: [i64; 7] = [1_000_000, 0, 250_000, 3_000_000, 9_999_000, 1_001, 20_000_000];
/// The same where they reach over days. In Berlin an evening in 1969, and those before clocks are put forward and back in 2024.
const EVENINGS: [i64; 3] = [-7_200_000_000, 1_711_836_000_000_000, 1_729_976_400_000_000];
const HOURS: [i64; 7] = [3_600_000_000, 0, 1_800_000_000, 7_199_999_000, 43_200_000_000, 1_001, 86_400_000_000];

/// All rows of a case.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    /// Of each stream table, its partitions in the order of offsets.
    pub(super) streams: Vec<Vec<Vec<Row>>>,
    pub(super) statics: Vec<StaticRow>,
}

impl Rows {
    pub(super) fn draw(choices: &mut Choices, wanted: Wanted) -> Self {
        let Wanted { lateness_us, late_us, days } = wanted;
        let (begins, steps) = if days { (EVENINGS, HOURS) } else { (BEGINS, STEPS) };
        let begin = choices.of(&begins);
        let mut id = 0;
        let streams = STREAMS.map(|(_, tick, delay)| {
            let mut partitions = vec![Vec::new(); 1 + choices.below(PARTITIONS_MAX as u32) as usize];
            // Of each partition, the latest time so far.
            let mut latest = vec![begin; partitions.len()];
            for _ in 0..ROWS_MAX {
                if choices.below(30) == 0 {
                    break;
                }
                let at = choices.below(PARTITIONS_MAX as u32) as usize % partitions.len();
                let ahead = choices.of(&steps);
                let in_time = delay + lateness_us;
                let behind = match choices.below(4) {
                    3 => choices.of(&[0, 1_000, 999_999, delay, in_time, in_time + late_us / 2, in_time + late_us]),
                    _ => 0,
                };
                latest[at] = match choices.below(16) {
                    // At the very time of another partition's newest row.
                    15 => latest.iter().copied().max().unwrap_or(begin),
                    _ => latest[at] + ahead / tick * tick,
                };
                let ts = latest[at] - behind / tick * tick;
                id += 1;
                partitions[at].push(row(choices, id, ts));
            }
            partitions
        });
        let mut statics = Vec::new();
        while statics.len() < STATIC_ROWS_MAX as usize && choices.below(6) != 0 {
            statics.push(StaticRow {
                k: text(choices),
                g: nullable(choices, |choices| choices.of(&[0, 1, 2])),
                label: text(choices),
                w: whole(choices),
            });
        }
        Rows { streams: streams.to_vec(), statics }
    }

    /// All but these.
    pub(super) fn without(&self, left_out: &BTreeSet<Place>) -> Self {
        let mut rows = self.clone();
        // The last one first: those before it keep their numbers.
        for (stream, partition, number) in left_out.iter().rev() {
            rows.streams[*stream][*partition].remove(*number);
        }
        rows
    }
}

fn row(choices: &mut Choices, id: i64, ts: i64) -> Row {
    Row {
        id,
        k: text(choices),
        g: nullable(choices, |choices| choices.of(&[0, 1, 2])),
        n: whole(choices),
        // Fractions of two, so that a sum is the same in any order.
        x: nullable(choices, |choices| choices.of(&[1.0, 0.5, -2.25, 0.0, 1000.125, f64::NAN])),
        ok: nullable(choices, |choices| choices.of(&[true, false])),
        o: nullable(choices, |choices| (text(choices), whole(choices))),
        ts: if choices.below(24) == 23 { None } else { Some(ts) },
    }
}

fn nullable<T>(choices: &mut Choices, value: impl FnOnce(&mut Choices) -> T) -> Option<T> {
    if choices.below(8) == 7 { None } else { Some(value(choices)) }
}

fn text(choices: &mut Choices) -> Option<String> {
    nullable(choices, |choices| choices.of(&TEXTS).to_owned())
}

fn whole(choices: &mut Choices) -> Option<i64> {
    nullable(choices, |choices| choices.of(&[1, 0, 2, 5, -3, 10, 100]))
}

/// Rows of a stream table with all its columns.
pub(super) fn stream_batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch, Failed> {
    let of = |value: fn(&Row) -> &Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(row).as_deref()).collect::<StringArray>())
    };
    let inner = |row: &Row| row.o.clone().unwrap_or_default();
    let p: ArrayRef = Arc::new(rows.iter().map(|row| inner(row).0).collect::<StringArray>());
    let q: ArrayRef = Arc::new(rows.iter().map(|row| inner(row).1).collect::<Int64Array>());
    let DataType::Struct(fields) = schema.field(6).data_type() else { return Err("column o is no struct".into()) };
    let parts = [p, q];
    let inner = parts.iter().zip(fields).map(|(column, field)| cast(column, field.data_type()));
    let present = rows.iter().map(|row| row.o.is_some()).collect::<Vec<_>>();
    let o = StructArray::try_new(fields.clone(), inner.collect::<Result<_, _>>()?, Some(present.into()))?;
    let columns: [ArrayRef; 8] = [
        Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
        of(|row| &row.k),
        Arc::new(rows.iter().map(|row| row.g).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.ok).collect::<BooleanArray>()),
        Arc::new(o),
        Arc::new(rows.iter().map(|row| row.ts).collect::<TimestampMicrosecondArray>()),
    ];
    batch(schema, &columns)
}

pub(super) fn static_batch(schema: &SchemaRef, rows: &[StaticRow]) -> Result<RecordBatch, Failed> {
    let columns: [ArrayRef; 4] = [
        Arc::new(rows.iter().map(|row| row.k.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.g).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.label.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.w).collect::<Int64Array>()),
    ];
    batch(schema, &columns)
}

fn batch(schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch, Failed> {
    let columns = columns.iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

impl Row {
    /// As it is printed. What JSON has no number for is a text.
    pub(super) fn shown(&self) -> Value {
        let x = self.x.map(|x| if x.is_finite() { json!(x) } else { json!(x.to_string()) });
        let o = self.o.as_ref().map(|(p, q)| json!({"p": p, "q": q}));
        json!({"id": self.id, "k": self.k, "g": self.g, "n": self.n, "x": x, "ok": self.ok, "o": o, "ts": self.ts})
    }

    /// As it was printed.
    pub(super) fn read(text: &str) -> Result<Self, Failed> {
        let row: Value = serde_json::from_str(text)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let x = &row["x"];
        Ok(Row {
            id: row["id"].as_i64().unwrap_or_default(),
            k: text(&row["k"]),
            g: row["g"].as_i64().and_then(|g| i32::try_from(g).ok()),
            n: row["n"].as_i64(),
            x: x.as_f64().or_else(|| x.as_str()?.parse().ok()),
            ok: row["ok"].as_bool(),
            o: row["o"].as_object().map(|o| {
                let part = |name: &str| o.get(name).cloned().unwrap_or_default();
                (text(&part("p")), part("q").as_i64())
            }),
            ts: row["ts"].as_i64(),
        })
    }
}

impl StaticRow {
    pub(super) fn shown(&self) -> Value {
        json!({"k": self.k, "g": self.g, "label": self.label, "w": self.w})
    }

    pub(super) fn read(text: &str) -> Result<Self, Failed> {
        let row: Map<String, Value> = serde_json::from_str(text)?;
        let of = |name: &str| row.get(name).cloned().unwrap_or_default();
        Ok(StaticRow {
            k: of("k").as_str().map(str::to_owned),
            g: of("g").as_i64().and_then(|g| i32::try_from(g).ok()),
            label: of("label").as_str().map(str::to_owned),
            w: of("w").as_i64(),
        })
    }
}
