//! JSON decoding beside arrow-json: `cargo bench -p touchline --bench decode`.
//!
//! 65,536 seeded engagement events of 11 fields, decoded record by record into batches of 8,192 rows, flush included,
//! on one thread. Both decoders run in turn, and the medians of their rounds are compared, so that a busy machine
//! slows both. Column types are the same; arrow-json reads `event_time`, an integer, in the column's unit, which here
//! is milliseconds for both.
//!
//! What was tried, by `perf` on all 11 columns, where no single place stands out any more:
//! * predicting the next field name and comparing it in four masked words: every name is one compare, which the
//!   compiler turns into vector code;
//! * copying values of up to 16 and 48 bytes with a fixed length, then cutting: no call of `memcpy` for most;
//! * text columns as offsets, checked as UTF-8 once a batch, and made into views by Arrow's conversion. Views built row
//!   by row would be checked value by value again by every safe constructor;
//! * a list of null rows instead of Arrow's `NullBufferBuilder`, whose methods are calls across crates: 7 % less;
//! * faults in a box, so that results travel in registers, and plain strings scanned in line: within the noise on all
//!   columns.
//!
//! The second column is the same decoder with a CHECK on `engagement_type`, a list of eight texts of which the records
//! hold four. A column without a check costs one comparison with zero a value.
//!
//! About a quarter of the time for all columns is the flush, and a tenth the operating system clearing fresh pages.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use touchline::catalog::{Check, Constants, Relation};
use touchline::decode::json::{JsonColumn, JsonDecoder};

const RECORDS: usize = 65_536;
const BATCH_ROWS: usize = 8_192;
const ROUNDS: usize = 15;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let records = records();
    let bytes: usize = records.iter().map(Vec::len).sum();
    let size = bytes as f64 / RECORDS as f64;
    println!("{RECORDS} records of {size:.0} bytes, median of {ROUNDS} rounds\n");
    println!("columns     touchline             with a check          arrow-json            ratio");
    let all = fields();
    let four = ["match_id", "engagement_type", "watch_ms", "event_time"];
    let three = ["match_id", "engagement_type", "event_time"];
    for (label, names) in [("11 of 11", None), ("4 of 11", Some(&four[..])), ("3 of 11", Some(&three[..]))] {
        let fields: Vec<Field> = all
            .iter()
            .filter(|field| names.is_none_or(|names| names.contains(&field.name().as_str())))
            .cloned()
            .collect();
        let [ours, checked, theirs] = side_by_side(&records, &fields);
        let shown = |ns: f64| format!("{ns:>5.0} ns {:>6.0} MB/s", size / ns * 1e3);
        println!("{label:<10} {}   {}   {}   {:>5.2}", shown(ours), shown(checked), shown(theirs), theirs / ours);
    }
}

/// Nanoseconds a record: of our decoder, of ours with a check, of theirs.
fn side_by_side(records: &[Vec<u8>], fields: &[Field]) -> [f64; 3] {
    let columns = |check: Option<Check>| -> Vec<JsonColumn> {
        let checks = |field: &Field| match field.name().as_str() {
            "engagement_type" => check.iter().cloned().collect(),
            _ => vec![],
        };
        fields.iter().map(|field| JsonColumn { checks: checks(field), ..field.clone().into() }).collect()
    };
    let mut ours = JsonDecoder::try_new(&columns(None)).expect("the bench's own schema");
    let mut checked = JsonDecoder::try_new(&columns(Some(eight_types()))).expect("the bench's own schema");
    let mut theirs = arrow_json::ReaderBuilder::new(Arc::new(Schema::new(fields.to_vec())))
        .with_batch_size(BATCH_ROWS)
        .build_decoder()
        .expect("the bench's own schema");
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (decoder, times) in [&mut ours, &mut checked].into_iter().zip(&mut times) {
            let start = Instant::now();
            for batch in records.chunks(BATCH_ROWS) {
                for record in batch {
                    decoder.decode(record).expect("a valid record");
                }
                black_box(decoder.flush().expect("a batch"));
            }
            times.push(start.elapsed());
        }
        let start = Instant::now();
        for batch in records.chunks(BATCH_ROWS) {
            for record in batch {
                theirs.decode(record).expect("a valid record");
            }
            black_box(theirs.flush().expect("a batch"));
        }
        times[2].push(start.elapsed());
    }
    times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2].as_nanos() as f64 / records.len() as f64
    })
}

fn eight_types() -> Check {
    let types = ["click", "comment", "follow", "poll_vote", "reaction", "share", "view", "watch"];
    let shown: Vec<String> = types.iter().map(|one| format!("'{one}'")).collect();
    Check::of_value(Relation::OneOf, Constants::Text(types.iter().map(|one| one.as_bytes().into()).collect()), &shown)
}

fn fields() -> Vec<Field> {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    vec![
        text("event_id"),
        text("match_id"),
        text("user_id"),
        text("session_id"),
        text("engagement_type"),
        text("engagement_subtype"),
        Field::new("game_minute", DataType::Int32, false),
        text("device_type"),
        text("country_code"),
        Field::new("watch_ms", DataType::Int64, false),
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
    ]
}

fn records() -> Vec<Vec<u8>> {
    let mut state = 42u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pick = |from: [&'static str; 4], draw: u64| from[(draw % 4) as usize];
    (0..RECORDS)
        .map(|at| {
            let (a, b, c) = (next(), next(), next());
            format!(
                concat!(
                    r#"{{"event_id":"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}","match_id":"m-{:04}","user_id":"u-{:06}","#,
                    r#""session_id":"s-{:07}","engagement_type":"{}","engagement_subtype":"{}","game_minute":{},"#,
                    r#""device_type":"{}","country_code":"{}","watch_ms":{},"event_time":{}}}"#
                ),
                a as u32,
                (a >> 32) as u16,
                (a >> 48) & 0xfff,
                b & 0xfff,
                (b >> 12) & 0xffff_ffff_ffff,
                c % 380,
                (c >> 10) % 1_000_000,
                (c >> 30) % 10_000_000,
                pick(["reaction", "comment", "share", "poll_vote"], a),
                pick(["emoji_goal", "emoji_clap", "text", "link"], b),
                1 + c % 94,
                pick(["mobile", "desktop", "tv", "tablet"], c),
                pick(["DE", "GB", "ES", "FR"], b >> 60),
                1_000 + a % 90_000,
                1_764_170_000_000 + at as u64,
            )
            .into_bytes()
        })
        .collect()
}
