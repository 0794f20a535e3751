//! What a function is, said once: the doc comment, names and types from which come the check of a call, the error of a wrong
//! one, DataFusion's description and `udfs/README.md`.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{DocSection, Documentation, Signature, Volatility};

/// Type of an argument, as a caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DOUBLE; any type of number is taken.
    Double,
    /// BIGINT; any type of whole number is taken.
    BigInt,
    /// VARCHAR.
    Varchar,
    /// BOOLEAN.
    Boolean,
    /// TIMESTAMP of any unit, with or without a time zone.
    Timestamp,
}

impl Kind {
    /// The type in which the function gets an argument of this type; `None` where it does not take it.
    fn coerced(self, given: &DataType) -> Option<DataType> {
        use DataType::{
            Boolean, Decimal32, Decimal64, Decimal128, Decimal256, Dictionary, Float16, Float32, Float64, Int8, Int16,
            Int32, Int64, LargeUtf8, Null, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
        };
        let whole = matches!(given, Null | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64);
        match (self, given) {
            (_, Dictionary(_, value)) => self.coerced(value),
            (Kind::Double, _) if whole => Some(Float64),
            (Kind::Double, Float16 | Float32 | Float64) => Some(Float64),
            (Kind::Double, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..)) => Some(Float64),
            (Kind::BigInt, _) if whole => Some(Int64),
            (Kind::Varchar, Null | Utf8 | LargeUtf8 | Utf8View) => Some(Utf8View),
            (Kind::Boolean, Null | Boolean) => Some(Boolean),
            (Kind::Timestamp, Timestamp(..)) => Some(given.clone()),
            (Kind::Timestamp, Null) => Some(Timestamp(arrow::datatypes::TimeUnit::Microsecond, None)),
            _ => None,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Kind::Double => "DOUBLE",
            Kind::BigInt => "BIGINT",
            Kind::Varchar => "VARCHAR",
            Kind::Boolean => "BOOLEAN",
            Kind::Timestamp => "TIMESTAMP",
        }
    }
}

#[derive(Debug)]
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
}

/// Made by [`describe`](crate::describe::describe) from a function's doc comment.
#[derive(Debug)]
pub struct Description {
    pub name: &'static str,
    pub arguments: &'static [Argument],
    /// So many must be given; the others may be left out from the right.
    pub required: usize,
    /// SQL type of the result.
    pub returns: &'static str,
    /// The doc comment: lines with the space that follows `///`.
    pub text: &'static str,
}

/// A function's description from its doc comment and signature: `NAME = name(a: Double; optional: Varchar) -> "DOUBLE"`.
macro_rules! describe {
    ($(#[doc = $line:literal])+ $id:ident = $name:ident(
        $($argument:ident: $kind:ident),* $(; $($optional:ident: $optional_kind:ident),*)?
    ) -> $returns:literal) => {
        $(#[doc = $line])+
        const $id: $crate::describe::Description = $crate::describe::Description {
            name: stringify!($name),
            arguments: &[
                $($crate::describe::Argument {
                    name: stringify!($argument),
                    kind: $crate::describe::Kind::$kind,
                },)*
                $($($crate::describe::Argument {
                    name: stringify!($optional),
                    kind: $crate::describe::Kind::$optional_kind,
                },)*)?
            ],
            required: [$(stringify!($argument)),*].len(),
            returns: $returns,
            text: concat!($($line, "\n"),+),
        };
    };
}
pub(crate) use describe;

impl Description {
    /// `xg(x DOUBLE, y DOUBLE [, body_part VARCHAR [, shot_type VARCHAR]]) → DOUBLE`.
    pub fn signature(&self) -> String {
        format!("{}{} → {}", self.name, self.parameters(), self.returns)
    }

    fn parameters(&self) -> String {
        let mut text = String::from("(");
        for (at, argument) in self.arguments.iter().enumerate() {
            let before = match (at, at >= self.required) {
                (0, _) => "",
                (_, false) => ", ",
                (_, true) => " [, ",
            };
            text.push_str(&format!("{before}{} {}", argument.name, argument.kind.sql()));
        }
        text.push_str(&"]".repeat(self.arguments.len() - self.required));
        text.push(')');
        text
    }

    /// The doc comment as Markdown.
    pub fn markdown(&self) -> String {
        let lines: Vec<&str> = self.text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        lines.join("\n").trim().to_owned()
    }

    /// What an argument list is turned into. A wrong one stays as it is: [`Description::check`] says so, in words that
    /// DataFusion does not wrap in others.
    pub(crate) fn coerced(&self, given: &[DataType]) -> Vec<DataType> {
        let coerced = self.arguments.iter().zip(given).map(|(argument, given)| argument.kind.coerced(given));
        match self.takes(given.len()).then(|| coerced.collect::<Option<Vec<_>>>()) {
            Some(Some(types)) => types,
            _ => given.to_vec(),
        }
    }

    /// # Errors
    /// Names the function, what it got, and what it takes.
    pub(crate) fn check(&self, given: &[DataType]) -> Result<()> {
        let fits = |(argument, given): (&Argument, &DataType)| argument.kind.coerced(given).is_some();
        if self.takes(given.len()) && self.arguments.iter().zip(given).all(fits) {
            return Ok(());
        }
        let given: Vec<String> = given.iter().map(sql_type).collect();
        plan_err!("{} takes {}, not ({})", self.name, self.parameters(), given.join(", "))
    }

    fn takes(&self, count: usize) -> bool {
        (self.required..=self.arguments.len()).contains(&count)
    }

    pub(crate) fn planning_signature(&self) -> Signature {
        Signature::user_defined(Volatility::Immutable)
            .with_parameter_names(self.arguments.iter().map(|argument| argument.name).collect())
            .expect("the arguments of a function have different names")
    }

    pub(crate) fn documentation(&self) -> Documentation {
        Documentation::builder(DocSection::default(), self.markdown(), self.signature()).build()
    }
}

/// A type as it is written in SQL.
pub fn sql_type(given: &DataType) -> String {
    match given {
        DataType::Null => "NULL".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) => format!("{}[]", sql_type(item.data_type())),
        DataType::Struct(_) => "STRUCT".to_owned(),
        DataType::Map(..) => "MAP".to_owned(),
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string(),
    }
}
