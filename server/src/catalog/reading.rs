//! How a table's rows and a column's values are found in a record, where that is more than a field of the column's name.

use std::fmt;

use datafusion::common::ScalarValue;

/// How many rows a record is: `'json.rows'`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecordRows {
    /// One: the record itself.
    #[default]
    One,
    /// `'$.events[*]'`: each element of the list at this place.
    Elements(FieldPath),
    /// `'lines'`: each of the objects that stand one behind the other.
    Lines,
}

/// `$.a.b`: names of fields, from the record inwards. Empty it is the record itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldPath(pub Vec<String>);

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|name| {
            let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-'));
            match plain {
                true => write!(f, ".{name}"),
                false => write!(f, "['{}']", name.replace('\\', r"\\").replace('\'', r"\'")),
            }
        })
    }
}

/// What is declared of a column's values beside their type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// From `DEFAULT …`.
    pub default: Option<DefaultValue>,
    /// From `'on-null' = 'default'`: an explicit null stands for the default, too.
    pub null_is_default: bool,
    /// Where values are JSON of any kind and kept as its text.
    pub json: JsonPlaces,
    /// From `'json.path.<column>'`: where in the record the value is, of a table whose records have several rows. `None`: in the
    /// element that is the row.
    pub path: Option<FieldPath>,
}

impl Reading {
    /// What changes rows, as a text that stays the same; empty where nothing is declared.
    pub fn version(&self) -> String {
        let Reading { default, null_is_default, json, path } = self;
        let default = default.as_ref().map(|default| format!("default {}\n", default.json));
        let on_null = null_is_default.then(|| "null is default\n".to_owned());
        let json = (!json.is_empty()).then(|| format!("json {:?}\n", json.0));
        let path = path.as_ref().map(|path| format!("path {path}\n"));
        [default, on_null, json, path].into_iter().flatten().collect()
    }
}

/// What a record that lacks a field has in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultValue {
    /// As a record would have it; a time as text.
    pub json: String,
    /// Of the column's type.
    pub value: ScalarValue,
}

/// Where in a column's values the type JSON was declared: each place a way through the parts of its type, which is the column
/// itself where it is empty. The parts of a STRUCT are its fields; a list and a MAP have one, their items and their values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPlaces(pub Vec<Vec<usize>>);

impl JsonPlaces {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value as a whole is JSON.
    pub fn is_whole(&self) -> bool {
        self.0.iter().any(Vec::is_empty)
    }

    /// Those within one part.
    pub fn inside(&self, part: usize) -> JsonPlaces {
        let within = self.0.iter().filter(|place| place.first() == Some(&part));
        JsonPlaces(within.map(|place| place[1..].to_vec()).collect())
    }

    /// As seen from around: these places are those of part `part`.
    pub fn under(mut self, part: usize) -> JsonPlaces {
        self.0.iter_mut().for_each(|place| place.insert(0, part));
        self
    }
}
