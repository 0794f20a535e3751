//! What the values of a field have in common: the shape of a sample of records, and the column that holds all of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::name::quoted;
use crate::catalog::TimestampFormat;
use crate::decode::time::{self, plausible};
use arrow::datatypes::TimeUnit;

/// Fields of an object that are looked at; one with more is taken for a map, whose names are values.
const FIELDS_MAX: usize = 500;
/// Lists and objects inside one another; what is deeper is kept as raw text.
const DEPTH_MAX: usize = 8;
/// Digits of the widest decimal.
const DECIMAL_DIGITS_MAX: usize = 38;

/// Values that were found in one place, by their kinds.
#[derive(Debug, Default)]
pub(super) struct Shape {
    booleans: u64,
    numbers: Numbers,
    texts: Texts,
    lists: u64,
    items: Option<Box<Shape>>,
    objects: u64,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Numbers {
    count: u64,
    least: Option<i128>,
    most: Option<i128>,
    /// One has a fraction, or is beyond all integers.
    real: bool,
}

#[derive(Debug, Default)]
struct Texts {
    count: u64,
    stamps: u64,
    dates: u64,
    clocks: u64,
    /// Digits of the finest fraction of a second.
    digits: usize,
}

/// Fields in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Fields {
    names: HashMap<String, usize>,
    pub(super) list: Vec<(String, Shape)>,
    /// There are more than are kept.
    pub(super) more: bool,
}

/// A column for all values of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) sql_type: String,
    /// Of a text column: some values are numbers.
    pub(super) numbers_as_text: bool,
    pub(super) timestamps: TimestampFormat,
    pub(super) is_timestamp: bool,
}

impl Fit {
    pub(super) fn new(sql_type: impl Into<String>) -> Self {
        let (sql_type, timestamps) = (sql_type.into(), TimestampFormat::default());
        let is_timestamp = sql_type.starts_with("TIMESTAMP");
        Fit { sql_type, numbers_as_text: false, timestamps, is_timestamp }
    }

    /// Text takes every value but a boolean.
    pub(super) fn text(numbers_as_text: bool) -> Self {
        Fit { numbers_as_text, ..Fit::new("VARCHAR") }
    }
}

impl Shape {
    /// Takes one record in; `false` where it is no JSON object.
    pub(super) fn add_record(&mut self, record: &[u8]) -> bool {
        let is_object = record.trim_ascii_start().starts_with(b"{");
        // Looked through first: half of a record is to leave no trace.
        if !is_object || serde_json::from_slice::<IgnoredAny>(record).is_err() {
            return false;
        }
        self.deserialize(&mut serde_json::Deserializer::from_slice(record)).is_ok()
    }

    /// Takes the cell of a text file in.
    pub(super) fn add_cell(&mut self, cell: &str) {
        match cell {
            cell if cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false") => self.booleans += 1,
            cell if is_whole(cell) => match cell.parse::<i128>() {
                Ok(whole) => self.numbers.whole(whole),
                Err(_) => self.texts.add(cell),
            },
            cell if is_decimal(cell) => self.numbers.real(cell.parse().unwrap_or(0.0)),
            cell => self.texts.add(cell),
        }
    }

    pub(super) fn into_fields(self) -> Fields {
        self.fields
    }

    /// The column `name` of JSON records.
    pub(super) fn json_column(&self, name: &str) -> Fit {
        let kinds = self.kinds();
        match kinds.as_slice() {
            [] => Fit::text(false),
            [Kind::Number] => self.numbers.column(name),
            [Kind::Text] => self.texts.column(),
            [Kind::Boolean] => Fit::new("BOOLEAN"),
            // Raw text takes whatever stands in it.
            [Kind::List | Kind::Object] => self.nested(0).map_or_else(|| Fit::text(false), Fit::new),
            [Kind::Number, Kind::Text] if self.texts.are_stamps() && self.numbers.are_millis() => self.texts.column(),
            kinds if !kinds.contains(&Kind::Boolean) => Fit::text(kinds.contains(&Kind::Number)),
            _ => Fit::new("JSON"),
        }
    }

    /// The column `name` of a text file, where every value is a text.
    pub(super) fn csv_column(&self, name: &str) -> Fit {
        match self.kinds().as_slice() {
            [Kind::Number] => self.numbers.column(name),
            [Kind::Boolean] => Fit::new("BOOLEAN"),
            [Kind::Text] => self.texts.column(),
            _ => Fit::text(false),
        }
    }

    /// Where a few values alone make a text of it: what the others are.
    pub(super) fn nearly(&self) -> Option<String> {
        let all = self.texts.count + self.numbers.count + self.booleans + self.lists + self.objects;
        let nearly = |count: u64| count < all && count * 10 >= all * 9;
        let kinds = [(self.texts.stamps, "times"), (self.texts.dates, "dates"), (self.numbers.count, "numbers")];
        let (count, kind) = kinds.into_iter().find(|(count, _)| nearly(*count))?;
        Some(format!("{count} of {all} values are {kind}; declared as that, the others would be bad records"))
    }

    /// In the order of [`Kind`].
    fn kinds(&self) -> Vec<Kind> {
        let counts = [
            (Kind::Boolean, self.booleans),
            (Kind::Number, self.numbers.count),
            (Kind::Text, self.texts.count),
            (Kind::List, self.lists),
            (Kind::Object, self.objects),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(kind, _)| kind).collect()
    }

    /// Whether all values are lists, and objects stand in them: what may be rows of their own.
    pub(super) fn is_list_of_objects(&self) -> bool {
        self.kinds().as_slice() == [Kind::List]
            && self.items.as_ref().is_some_and(|items| items.kinds() == [Kind::Object])
    }

    /// The type of a value inside a list or an object; `None` where only its raw text has one.
    fn nested(&self, depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.kinds().as_slice() {
            [] => Some("VARCHAR".to_owned()),
            [Kind::Boolean] => Some("BOOLEAN".to_owned()),
            // No name says there that a number is a time.
            [Kind::Number] => Some(self.numbers.column("").sql_type),
            [Kind::Text] => Some(self.texts.column().sql_type),
            [Kind::List] => {
                let items = self.items.as_ref().map_or(Some("VARCHAR".to_owned()), |items| items.nested(depth + 1))?;
                Some(format!("{items}[]"))
            }
            [Kind::Object] if !self.fields.more && !self.fields.list.is_empty() => {
                let mut folded: Vec<String> = self.fields.list.iter().map(|(name, _)| name.to_lowercase()).collect();
                folded.sort_unstable();
                folded.dedup();
                let alike = folded.len() < self.fields.list.len() || folded[0].is_empty();
                let fields = self
                    .fields
                    .list
                    .iter()
                    .map(|(name, shape)| Some(format!("{} {}", quoted(name), shape.nested(depth + 1)?)));
                let fields = fields.collect::<Option<Vec<String>>>().filter(|_| !alike)?;
                Some(format!("STRUCT<{}>", fields.join(", ")))
            }
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl Numbers {
    fn whole(&mut self, value: i128) {
        self.count += 1;
        self.least = Some(self.least.map_or(value, |least| least.min(value)));
        self.most = Some(self.most.map_or(value, |most| most.max(value)));
    }

    fn real(&mut self, value: f64) {
        let whole = value.fract() == 0.0 && value.abs() < 1e37;
        self.real |= !whole;
        self.whole(value.floor() as i128);
    }

    fn column(&self, name: &str) -> Fit {
        if let Some(format) = self.epoch().filter(|_| sounds_like_a_time(name)) {
            let sql_type = match format {
                TimestampFormat::Epoch(TimeUnit::Nanosecond) => "TIMESTAMP(9)",
                TimestampFormat::Epoch(TimeUnit::Microsecond) => "TIMESTAMP(6)",
                _ if self.real => "TIMESTAMP(6)",
                _ => "TIMESTAMP(3)",
            };
            // Whole milliseconds are what a number is where nothing is declared.
            let plain = format == TimestampFormat::Epoch(TimeUnit::Millisecond) && !self.real;
            let timestamps = if plain { TimestampFormat::default() } else { format };
            return Fit { timestamps, ..Fit::new(sql_type) };
        }
        let (least, most) = (self.least.unwrap_or(0), self.most.unwrap_or(0));
        let fits = i128::from(i64::MIN) <= least && most <= i128::from(i64::MAX);
        let digits = least.unsigned_abs().max(most.unsigned_abs()).to_string().len();
        match (self.real, fits) {
            (false, true) => Fit::new("BIGINT"),
            (false, false) if digits <= DECIMAL_DIGITS_MAX => Fit::new(format!("DECIMAL({DECIMAL_DIGITS_MAX}, 0)")),
            _ => Fit::new("DOUBLE"),
        }
    }

    /// The one unit in which all of them are times of our days.
    fn epoch(&self) -> Option<TimestampFormat> {
        // Asked as a column that takes no number at all: then every unit is another one.
        let unit = |value: Option<i128>| Some(plausible(value?, TimestampFormat::Iso8601)?.0);
        unit(self.least).filter(|least| unit(self.most) == Some(*least))
    }

    fn are_millis(&self) -> bool {
        !self.real && self.epoch() == Some(TimestampFormat::Epoch(TimeUnit::Millisecond))
    }
}

impl Texts {
    fn add(&mut self, text: &str) {
        self.count += 1;
        let bytes = text.as_bytes();
        if time::timestamp(bytes, TimeUnit::Microsecond).is_ok() {
            self.stamps += 1;
            self.digits = self.digits.max(fraction_digits(text));
        } else if time::date(bytes).is_some() {
            self.dates += 1;
        } else if time::time_of_day(bytes, TimeUnit::Nanosecond).is_some() {
            self.clocks += 1;
        }
    }

    fn are_stamps(&self) -> bool {
        self.stamps == self.count
    }

    fn column(&self) -> Fit {
        Fit::new(match self.count {
            count if count == self.stamps => match self.digits {
                0..=3 => "TIMESTAMP(3)",
                4..=6 => "TIMESTAMP(6)",
                _ => "TIMESTAMP(9)",
            },
            count if count == self.dates => "DATE",
            count if count == self.clocks => "TIME",
            _ => "VARCHAR",
        })
    }
}

fn fraction_digits(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).count()
}

/// Whether a text is a whole number as programs write it: no sign but a minus, and no zero before it, as codes have.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || !digits.starts_with('0');
    plain && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole(whole) && digits(fraction) && digits(exponent.trim_start_matches(['+', '-']))
}

/// Whether a field's name says that its numbers are times.
fn sounds_like_a_time(name: &str) -> bool {
    const WORDS: [&str; 24] = [
        "at",
        "created",
        "date",
        "datetime",
        "end",
        "ended",
        "epoch",
        "millis",
        "modified",
        "ms",
        "ns",
        "occurred",
        "received",
        "sent",
        "since",
        "start",
        "started",
        "time",
        "timestamp",
        "ts",
        "until",
        "updated",
        "us",
        "when",
    ];
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if (c.is_uppercase() && before.is_lowercase()) || !c.is_alphanumeric() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
        before = c;
    }
    let mut words = words.split(|c: char| !c.is_alphanumeric());
    words.any(|word| WORDS.contains(&word) || word.ends_with("time") || word.ends_with("timestamp"))
}

impl Fields {
    fn get(&mut self, name: &str) -> Option<&mut Shape> {
        if let Some(at) = self.names.get(name) {
            return self.list.get_mut(*at).map(|(_, shape)| shape);
        }
        if self.list.len() == FIELDS_MAX {
            self.more = true;
            return None;
        }
        self.names.insert(name.to_owned(), self.list.len());
        self.list.push((name.to_owned(), Shape::default()));
        self.list.last_mut().map(|(_, shape)| shape)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Shape {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Shape {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.booleans += 1;
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.numbers.whole(value.into());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.numbers.whole(value.into());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.numbers.real(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.texts.add(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.lists += 1;
        let shape = self.items.get_or_insert_default();
        while items.next_element_seed(&mut **shape)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.objects += 1;
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            match self.fields.get(&name) {
                Some(shape) => fields.next_value_seed(shape)?,
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, values: &[&str]) -> Fit {
        let mut shape = Shape::default();
        for value in values {
            assert!(shape.add_record(format!("{{\"x\":{value}}}").as_bytes()), "{value}");
        }
        shape.into_fields().list[0].1.json_column(name)
    }

    fn json(name: &str, values: &[&str]) -> String {
        let fit = column(name, values);
        let format = fit.timestamps.name().map(|name| format!(" as {name}")).unwrap_or_default();
        let numbers = if fit.numbers_as_text { " with numbers" } else { "" };
        format!("{}{format}{numbers}", fit.sql_type)
    }

    #[test]
    fn a_column_takes_all_values_of_the_sample() {
        for (name, values, fits) in [
            ("n", &["1", "-9223372036854775808", "null"][..], "BIGINT"),
            ("n", &["1", "2.5"], "DOUBLE"),
            ("n", &["1", "1e3"], "BIGINT"),
            ("n", &["9223372036854775808"], "DECIMAL(38, 0)"),
            ("n", &["123456789012345678901234567890"], "DECIMAL(38, 0)"),
            ("n", &["1e300"], "DOUBLE"),
            ("n", &["null"], "VARCHAR"),
            ("n", &["true", "false"], "BOOLEAN"),
            ("n", &["true", "\"true\""], "JSON"),
            ("n", &["1", "\"a\""], "VARCHAR with numbers"),
            ("n", &["1", "{\"a\":1}"], "VARCHAR with numbers"),
            ("n", &["\"a\"", "[1]"], "VARCHAR"),
            ("n", &["[1, 2.5]", "[]"], "DOUBLE[]"),
            ("n", &["[]"], "VARCHAR[]"),
            ("n", &["[[1], [null]]"], "BIGINT[][]"),
            ("n", &["[1, \"a\"]"], "VARCHAR"),
            (
                "n",
                &["{\"a\":1,\"B c\":[{\"d\":\"x\"}]}", "{\"e\":true}"],
                "STRUCT<a BIGINT, \"B c\" STRUCT<d VARCHAR>[], e BOOLEAN>",
            ),
            ("n", &["{}"], "VARCHAR"),
            ("n", &["[[[[[[[[[[1]]]]]]]]]]"], "VARCHAR"),
            ("n", &["{\"a\":1,\"A\":2}"], "VARCHAR"),
            ("n", &["{\"a\":[1,\"x\"]}"], "VARCHAR"),
            ("day", &["\"2026-01-02\""], "DATE"),
            ("day", &["\"2026-01-02\"", "\"soon\""], "VARCHAR"),
            ("clock", &["\"12:30\"", "\"12:30:15.5\""], "TIME"),
            ("ts", &["\"2026-01-02T12:00:00Z\"", "\"2026-01-02 12:00:00.5+02:00\""], "TIMESTAMP(3)"),
            ("ts", &["\"2026-01-02T12:00:00.1234567Z\""], "TIMESTAMP(9)"),
            ("ts", &["\"2026-01-02T12:00:00.1234Z\"", "1767355200000"], "TIMESTAMP(6)"),
            ("ts", &["1767355200000"], "TIMESTAMP(3)"),
            ("createdAt", &["1767355200", "1767355201"], "TIMESTAMP(3) as epoch-s"),
            ("event_time", &["1767355200.25", "1767355201"], "TIMESTAMP(6) as epoch-s"),
            ("received_us", &["1767355200000000"], "TIMESTAMP(6) as epoch-us"),
            ("starttime", &["1767355200000000000"], "TIMESTAMP(9) as epoch-ns"),
            // Not by guess: a name has to say it, and the values have to agree.
            ("user_id", &["1767355200"], "BIGINT"),
            ("format", &["1767355200"], "BIGINT"),
            ("ts", &["1767355200", "1767355200000"], "BIGINT"),
            ("duration_ms", &["1500"], "BIGINT"),
        ] {
            assert_eq!(json(name, values), fits, "{values:?}");
        }
    }

    #[test]
    fn what_only_a_few_values_prevent_is_said() {
        let nearly = |values: &[String]| {
            let mut shape = Shape::default();
            values.iter().for_each(|value| assert!(shape.add_record(format!("{{\"x\":{value}}}").as_bytes())));
            shape.into_fields().list[0].1.nearly()
        };
        let mut values = vec!["\"2026-01-02T12:00:00Z\"".to_owned(); 19];
        assert_eq!(nearly(&values), None);
        values.push("\"soon\"".to_owned());
        let said = "19 of 20 values are times; declared as that, the others would be bad records";
        assert_eq!(nearly(&values).as_deref(), Some(said));
        assert_eq!(nearly(&values[17..]), None);
    }

    #[test]
    fn a_cell_is_what_a_program_would_have_written_so() {
        let csv = |cells: &[&str]| {
            let mut shape = Shape::default();
            cells.iter().for_each(|cell| shape.add_cell(cell));
            shape.csv_column("at")
        };
        for (cells, fits) in [
            (&["1", "-2", "0"][..], "BIGINT"),
            (&["007"], "VARCHAR"),
            (&["+49"], "VARCHAR"),
            (&["1.5", "2e-3", "1"], "DOUBLE"),
            (&["1.", "2"], "VARCHAR"),
            (&["true", "FALSE"], "BOOLEAN"),
            (&["true", "1"], "VARCHAR"),
            (&[], "VARCHAR"),
            (&["2026-01-02"], "DATE"),
            (&["2026-01-02T12:00Z"], "TIMESTAMP(3)"),
            (&["1767355200"], "TIMESTAMP(3)"),
            (&["99999999999999999999999999999999999999999999"], "VARCHAR"),
        ] {
            assert_eq!(csv(cells).sql_type, fits, "{cells:?}");
        }
    }

    #[test]
    fn what_is_no_object_leaves_no_trace_and_a_map_has_too_many_names() {
        let mut shape = Shape::default();
        for record in ["", "[1]", "{\"a\":1", "{\"b\":1} x", "\"x\"", "{'a':1}", "{\"c\":01}"] {
            assert!(!shape.add_record(record.as_bytes()), "{record}");
        }
        assert!(shape.fields.list.is_empty());
        let map: Vec<String> = (0..1_000).map(|at| format!("\"k{at}\":{at}")).collect();
        assert!(shape.add_record(format!("{{\"map\":{{{}}}}}", map.join(",")).as_bytes()));
        assert_eq!(shape.into_fields().list[0].1.json_column("map").sql_type, "VARCHAR");
    }
}
