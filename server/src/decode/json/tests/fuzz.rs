//! Broken records: no panic, no trace of them in the rows around, and the same verdict as serde_json.

use arrow::datatypes::{DataType, Field, Fields};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::differential::{any_type, draws, fields, object};
use super::{JsonDecoder, decoder, without_views};

fn owned(fields: &Fields) -> Vec<Field> {
    fields.iter().map(|field| field.as_ref().clone()).collect()
}

/// Flips, cuts, doubles or inserts a few bytes, often those that mean something to JSON.
fn mutate(record: &mut Vec<u8>, draw: &mut impl FnMut(u64) -> u64) {
    const BYTES: &[u8] = b"\"\\{}[]:,0123456789.-+eEnulltrefas \n\t\0\x1f\x7f\x80\xc3\xed\xff";
    for _ in 0..1 + draw(3) {
        let at = draw(record.len() as u64 + 1) as usize;
        let byte = BYTES[draw(BYTES.len() as u64) as usize];
        match draw(6) {
            0 => record.truncate(at),
            1 => record.insert(at, byte),
            2 if at < record.len() => {
                record.remove(at);
            }
            3 if at < record.len() => record[at] ^= 1 << draw(8),
            4 => {
                let end = (at + draw(20) as usize).min(record.len());
                let piece = record[at..end].to_vec();
                record.splice(at..at, piece);
            }
            _ if at < record.len() => record[at] = byte,
            _ => record.push(byte),
        }
    }
}

/// serde_json's verdict, save for what it knows to be a limit of its own: numbers beyond a double.
fn is_json_object(record: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(record) {
        Ok(value) => Some(value.is_object()),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

#[test]
fn broken_records_neither_panic_nor_leave_a_trace_nor_pass() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let schemas = proptest::collection::vec((any_type(), proptest::bool::ANY), 1..7);
    let mut mutants = 0u32;
    let mut refused = 0u32;
    for schema in 0..150 {
        let fields = fields(schemas.new_tree(&mut runner).unwrap().current());
        let mut draw = draws(0x9e37_79b9_7f4a_7c15 ^ schema);
        let mut alone = decoder(&owned(&fields));
        let mut among = decoder(&owned(&fields));
        let mut unread = JsonDecoder::try_new(&[]).unwrap();
        for _ in 0..50 {
            let good = serde_json::to_vec(&Value::Object(object(&fields, &mut draw))).unwrap();
            for _ in 0..16 {
                let mut mutant = good.clone();
                mutate(&mut mutant, &mut draw);
                mutants += 1;
                let rows = among.len();
                let is_json = is_json_object(&mutant);
                let text = String::from_utf8_lossy(&mutant).into_owned();
                if let Some(is_json) = is_json {
                    assert_eq!(unread.decode(&mutant).is_ok(), is_json, "as JSON: {text}");
                }
                match among.decode(&mutant) {
                    Ok(()) => {
                        assert_ne!(is_json, Some(false), "not JSON, but decoded: {text}");
                        // Still a row: both get it.
                        alone.decode(&mutant).unwrap();
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(among.len(), rows);
                        assert!(!error.reason.is_empty());
                        // A complaint about JSON as such is one about JSON.
                        if error.reason.starts_with("the record is not valid JSON") {
                            assert_ne!(is_json, Some(true), "{error}: {text}");
                        }
                    }
                }
            }
            among.decode(&good).unwrap();
            alone.decode(&good).unwrap();
        }
        let (alone, among) = (alone.flush().unwrap(), among.flush().unwrap());
        for column in among.columns() {
            column.to_data().validate_full().unwrap();
        }
        assert_eq!(without_views(&among), without_views(&alone), "schema {schema}");
    }
    assert_eq!(mutants, 120_000);
    assert!((20_000..120_000).contains(&refused), "{refused} of {mutants} refused");
}

#[test]
fn every_prefix_of_a_record_is_refused() {
    let fields = [
        Field::new("text", DataType::Utf8View, true),
        Field::new("number", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
    ];
    let record = r#"{"text":"ü\u00fc and \"so on\" ⚽","number":-12.50e-1,"flag":true,"more":[{"deep":[null]}]}"#;
    let mut decoder = decoder(&fields);
    decoder.decode(record.as_bytes()).unwrap();
    for end in 0..record.len() {
        decoder.decode(&record.as_bytes()[..end]).unwrap_err();
    }
    decoder.decode(record.as_bytes()).unwrap();
    let batch = decoder.flush().unwrap();
    assert_eq!(batch.slice(0, 1), batch.slice(1, 1));
    assert_eq!(batch.num_rows(), 2);
}
