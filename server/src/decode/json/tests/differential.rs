//! Random schemas and random rows: the same arrays as arrow-json's decoder makes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{decoder, without_views};

/// Types on whose reading the two agree; the golden rows test tells of the others (numbers as timestamps, base64).
pub(super) fn any_type() -> impl Strategy<Value = DataType> {
    let scalar = prop_oneof![
        Just(DataType::Boolean),
        Just(DataType::Int8),
        Just(DataType::Int16),
        Just(DataType::Int32),
        Just(DataType::Int64),
        Just(DataType::UInt8),
        Just(DataType::UInt16),
        Just(DataType::UInt32),
        Just(DataType::UInt64),
        Just(DataType::Float32),
        Just(DataType::Float64),
        (1u8..=38).prop_flat_map(|precision| {
            (0..=precision as i8).prop_map(move |scale| DataType::Decimal128(precision, scale))
        }),
        Just(DataType::Date32),
        Just(DataType::Time32(TimeUnit::Second)),
        Just(DataType::Time32(TimeUnit::Millisecond)),
        Just(DataType::Time64(TimeUnit::Microsecond)),
        Just(DataType::Time64(TimeUnit::Nanosecond)),
        prop_oneof![
            Just(TimeUnit::Second),
            Just(TimeUnit::Millisecond),
            Just(TimeUnit::Microsecond),
            Just(TimeUnit::Nanosecond)
        ]
        .prop_flat_map(|unit| {
            prop_oneof![Just(None), Just(Some("UTC".into()))].prop_map(move |zone| DataType::Timestamp(unit, zone))
        }),
        Just(DataType::Utf8),
        Just(DataType::LargeUtf8),
        Just(DataType::Utf8View),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| DataType::List(Arc::new(Field::new_list_field(item, true)))),
            inner.clone().prop_map(|item| DataType::LargeList(Arc::new(Field::new_list_field(item, true)))),
            proptest::collection::vec((inner, any::<bool>()), 1..4).prop_map(|types| DataType::Struct(fields(types))),
        ]
    })
}

pub(super) fn fields(types: Vec<(DataType, bool)>) -> Fields {
    types
        .into_iter()
        .enumerate()
        .map(|(at, (data_type, nullable))| Field::new(format!("field_{at}"), data_type, nullable))
        .collect()
}

/// A value that fits the type, drawn from `draw`; NULL and absent where that is allowed.
pub(super) fn value(field: &Field, draw: &mut impl FnMut(u64) -> u64) -> Option<Value> {
    if field.is_nullable() && draw(5) == 0 {
        return (draw(2) == 0).then_some(Value::Null);
    }
    let number = |text: String| serde_json::from_str(&text).unwrap();
    Some(match field.data_type() {
        DataType::Boolean => json!(draw(2) == 1),
        DataType::Int8 => json!(bits(8, draw) as i8),
        DataType::Int16 => json!(bits(16, draw) as i16),
        DataType::Int32 => json!(bits(32, draw) as i32),
        DataType::Int64 => json!(bits(64, draw) as i64),
        DataType::UInt8 => json!(bits(8, draw)),
        DataType::UInt16 => json!(bits(16, draw)),
        DataType::UInt32 => json!(bits(32, draw)),
        DataType::UInt64 => json!(bits(64, draw)),
        DataType::Float32 => {
            let float = f32::from_bits(bits(32, draw) as u32);
            if float.is_finite() { number(format!("{float:e}")) } else { json!(0.5) }
        }
        DataType::Float64 => match draw(3) {
            0 => json!(bits(40, draw) as f64 / 1000.0),
            1 => json!(bits(50, draw) as i64),
            _ => {
                let float = f64::from_bits(draw(u64::MAX));
                if float.is_finite() { number(format!("{float:e}")) } else { json!(-0.0) }
            }
        },
        DataType::Decimal128(precision, scale) => {
            let digits: String = (0..*precision).map(|_| char::from(b'0' + draw(10) as u8)).collect();
            let (whole, fraction) = digits.split_at(usize::from(*precision) - *scale as usize);
            let whole = whole.trim_start_matches('0');
            let sign = if draw(2) == 0 { "-" } else { "" };
            let whole = if whole.is_empty() { "0" } else { whole };
            json!(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        }
        DataType::Date32 => json!(date(draw)),
        DataType::Time32(_) | DataType::Time64(_) => json!(clock(draw)),
        DataType::Timestamp(..) => {
            let zone = ["Z", "+01:30", "-11:00", ""][draw(4) as usize];
            let separator = ["T", " "][draw(2) as usize];
            json!(format!("{}{separator}{}{zone}", date(draw), clock(draw)))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let length = draw(60);
            let alphabet = ["a", "Z", " ", "\"", "\\", "/", "\n", "\u{1}", "ü", "⚽", "😀", "0", "-", "x", "y", "z"];
            let plain = draw(2) == 0;
            json!((0..length)
                .map(|_| if plain { "abcdefgh" } else { alphabet[draw(alphabet.len() as u64) as usize] })
                .collect::<String>())
        }
        DataType::List(item) | DataType::LargeList(item) => {
            Value::Array((0..draw(4)).map(|_| value(item, draw).unwrap_or(Value::Null)).collect())
        }
        DataType::Struct(fields) => Value::Object(object(fields, draw)),
        other => unreachable!("not among any_type: {other}"),
    })
}

pub(super) fn object(fields: &Fields, draw: &mut impl FnMut(u64) -> u64) -> Map<String, Value> {
    let mut members = Map::new();
    for field in fields {
        if draw(8) == 0 {
            members.insert(format!("stranger_{}", draw(3)), json!({"a": [1, "two", null, {}], "b": -0.5e-3}));
        }
        if let Some(value) = value(field, draw) {
            members.insert(field.name().clone(), value);
        }
    }
    members
}

/// Of random size too, so that small numbers are as frequent as large ones.
fn bits(bits: u32, draw: &mut impl FnMut(u64) -> u64) -> u64 {
    draw(u64::MAX) >> (64 - bits) >> draw(u64::from(bits))
}

fn date(draw: &mut impl FnMut(u64) -> u64) -> String {
    // Years that nanoseconds can hold.
    format!("{:04}-{:02}-{:02}", 1700 + draw(500), 1 + draw(12), 1 + draw(28))
}

fn clock(draw: &mut impl FnMut(u64) -> u64) -> String {
    let fraction = match draw(4) {
        0 => String::new(),
        1 => format!(".{:03}", draw(1000)),
        2 => format!(".{:06}", draw(1_000_000)),
        _ => format!(".{:09}", draw(1_000_000_000)),
    };
    format!("{:02}:{:02}:{:02}{fraction}", draw(24), draw(60), draw(60))
}

/// A stream of numbers below a bound, made of one seed (xorshift64*).
pub(super) fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |below| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_rows_decode_as_arrow_json_decodes_them(
        types in proptest::collection::vec((any_type(), any::<bool>()), 1..7),
        seed in any::<u64>(),
        pretty in any::<bool>(),
    ) {
        let fields = fields(types);
        let mut draw = draws(seed);
        let mut ours = decoder(&fields.iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>());
        let mut theirs =
            arrow_json::ReaderBuilder::new(Arc::new(Schema::new(fields.clone()))).with_batch_size(64).build_decoder().unwrap();
        for _ in 0..30 {
            let record = Value::Object(object(&fields, &mut draw));
            let record = if pretty { serde_json::to_vec_pretty(&record) } else { serde_json::to_vec(&record) }.unwrap();
            if let Err(error) = ours.decode(&record) {
                panic!("{error}: {}", String::from_utf8_lossy(&record));
            }
            prop_assert_eq!(theirs.decode(&record).unwrap(), record.len());
        }
        let ours = ours.flush().unwrap();
        let theirs = theirs.flush().unwrap().unwrap();
        prop_assert_eq!(ours.schema(), theirs.schema());
        prop_assert_eq!(without_views(&ours), without_views(&theirs));
    }
}
