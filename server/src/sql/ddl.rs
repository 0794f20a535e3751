//! `CREATE TABLE`: columns, watermark, primary key and options → a [`TableDef`].
//!
//! Reading comes first and stops at the first thing it does not understand; what was read is then checked as a whole, and
//! all its mistakes are reported together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::planner::{ContextProvider, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharLengthUnits, CharacterLength, ColumnDef, DataType as SqlType, Ident,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::check::CheckText;
use super::column_default::DefaultText;
use super::column_options::{
    add_aliases, set_on_null, set_paths, set_timestamp_format, set_timestamp_formats, take_numbers_as_text,
};
use super::computed::{ComputedText, add_computed};
use super::options::{self, Options, nearest};
use super::parser::{StatementParser, alone, normalize};
use super::types::{ColumnTypes, json_places};
use super::watermark::{WatermarkText, check_watermark};
use crate::catalog::{
    Check, Column, ColumnKind, Connector, Format, MetadataKey, Reading, TableDef, TimestampFormat, WatermarkDef,
};
use crate::error::{Error, Location, Result};

const COLUMNS_MAX: usize = 1_000;
const METADATA_KEYS: &[&str] = &["topic", "partition", "offset", "timestamp", "key", "headers"];
pub(crate) const TYPES_HINT: &str = "use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), VARCHAR, UUID, JSON, BYTEA, DATE, \
     TIME, TIMESTAMP(3), STRUCT<name type, …>, MAP<VARCHAR, type> or type[]";

pub(super) struct ColumnText {
    pub(super) name: String,
    pub(super) at: Location,
    /// `Unspecified` of a computed column without one.
    pub(super) sql_type: SqlType,
    pub(super) type_at: Location,
    pub(super) nullable: bool,
    pub(super) comment: Option<String>,
    pub(super) default: Option<DefaultText>,
    pub(super) metadata: Option<MetadataText>,
    pub(super) computed: Option<ComputedText>,
}

pub(super) struct MetadataText {
    pub(super) key: String,
    pub(super) at: Location,
}

#[derive(Default)]
pub(super) struct TableText {
    pub(super) columns: Vec<ColumnText>,
    checks: Vec<CheckText>,
    watermark: Option<WatermarkText>,
    primary_key: Option<Vec<(String, Location)>>,
}

impl StatementParser<'_> {
    /// What follows `CREATE TABLE`.
    pub(crate) fn create_table(&mut self) -> Result<TableDef, Vec<Error>> {
        let name = self.definition_name("table").map_err(alone)?;
        self.refuse_other_tables().map_err(alone)?;
        let mut table = self.table_elements().map_err(alone)?;
        let options = self.table_clauses(&mut table).map_err(alone)?;
        self.refuse_other_tables().map_err(alone)?;
        self.expect_end().map_err(alone)?;
        self.checked(name, table, options)
    }

    fn table_elements(&mut self) -> Result<TableText> {
        let mut table = TableText::default();
        self.expect_token(&Token::LParen)?;
        loop {
            let at = self.here();
            if self.at_watermark() {
                let watermark = self.watermark()?;
                if table.watermark.replace(watermark).is_some() {
                    return Err(Error::invalid("a table has one watermark").hint("leave the second out").at(at));
                }
            } else if self.at_constraint_name() {
                return Err(no_constraint_names(at));
            } else if self.at_check() {
                table.checks.push(self.check(None)?);
            } else if self.parser.peek_keyword(Keyword::PRIMARY) {
                let columns = self.primary_key()?;
                self.set_primary_key(&mut table, columns, at)?;
            } else {
                let (column, is_key) = self.column(&mut table.checks)?;
                if is_key {
                    self.set_primary_key(&mut table, vec![(column.name.clone(), column.at.clone())], at.clone())?;
                }
                table.columns.push(column);
                if table.columns.len() > COLUMNS_MAX {
                    return Err(Error::invalid(format!("a table has at most {COLUMNS_MAX} columns")).at(at));
                }
            }
            if self.parser.consume_token(&Token::Comma) {
                continue;
            }
            self.expect_token(&Token::RParen)?;
            if let Some(watermark) = &mut table.watermark {
                let column = table.columns.iter().find(|column| column.name == watermark.column);
                let computed = column.and_then(|column| column.computed.as_ref());
                self.read_watermark(watermark, computed.map(|computed| &computed.expr))?;
            }
            return Ok(table);
        }
    }

    fn set_primary_key(&self, table: &mut TableText, columns: Vec<(String, Location)>, at: Location) -> Result<()> {
        match table.primary_key.replace(columns) {
            Some(_) => Err(Error::invalid("a table has one primary key")
                .hint("write PRIMARY KEY (a, b) NOT ENFORCED for a key of several columns")
                .at(at)),
            None => Ok(()),
        }
    }

    /// `CONSTRAINT name CHECK …`, and not a column called so.
    fn at_constraint_name(&self) -> bool {
        let [_, _, third] = self.parser.peek_tokens::<3>();
        self.parser.peek_keyword(Keyword::CONSTRAINT)
            && matches!(third, Token::Word(word) if matches!(word.keyword, Keyword::CHECK | Keyword::PRIMARY))
    }

    /// `PRIMARY KEY (a, b) NOT ENFORCED`.
    fn primary_key(&mut self) -> Result<Vec<(String, Location)>> {
        let at = self.here();
        self.expect_keyword(Keyword::PRIMARY)?;
        self.expect_keyword(Keyword::KEY)?;
        self.expect_token(&Token::LParen)?;
        let mut columns = Vec::new();
        loop {
            let at = self.here();
            columns.push((self.identifier()?, at));
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        self.not_enforced(at)?;
        Ok(columns)
    }

    fn not_enforced(&mut self, at: Location) -> Result<()> {
        match self.parser.parse_keywords(&[Keyword::NOT, Keyword::ENFORCED]) {
            true => Ok(()),
            false => Err(Error::invalid("a primary key of a stream cannot be enforced")
                .hint("write PRIMARY KEY (…) NOT ENFORCED")
                .at(at)),
        }
    }

    /// `name type [NOT NULL] [DEFAULT …] [CHECK (…)] [COMMENT '…'] [METADATA [FROM 'key'] [VIRTUAL]] [PRIMARY KEY NOT ENFORCED]`, or
    /// `AS expression` in the place of a type, or `GENERATED ALWAYS AS (expression)` behind it.
    fn column(&mut self, checks: &mut Vec<CheckText>) -> Result<(ColumnText, bool)> {
        let at = self.here();
        let name = self.identifier()?;
        let type_at = self.here();
        let (sql_type, computed) = match self.parser.peek_keyword(Keyword::AS) {
            true => (SqlType::Unspecified, Some(self.computed()?)),
            false => {
                let sql_type = self.parser.parse_data_type();
                (self.parsed(sql_type)?, None)
            }
        };
        let (nullable, comment, default, metadata) = (true, None, None, None);
        let mut column = ColumnText { name, at, sql_type, type_at, nullable, comment, default, metadata, computed };
        let mut is_key = false;
        loop {
            let at = self.here();
            if self.parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
                column.nullable = false;
            } else if self.parser.parse_keyword(Keyword::NULL) {
                column.nullable = true;
            } else if self.parser.parse_keyword(Keyword::COMMENT) {
                let text = self.parser.parse_literal_string();
                column.comment = Some(self.parsed(text)?);
            } else if self.at_constraint_name() {
                return Err(no_constraint_names(at));
            } else if self.at_check() {
                checks.push(self.check(Some(column.name.clone()))?);
            } else if self.take_word("METADATA") {
                column.metadata = Some(self.metadata(&column.name, at)?);
            } else if column.computed.is_none()
                && (self.parser.peek_keyword(Keyword::GENERATED) || self.parser.peek_keyword(Keyword::AS))
            {
                column.computed = Some(self.generated()?);
            } else if self.parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
                self.not_enforced(at)?;
                is_key = true;
            } else if self.parser.parse_keyword(Keyword::DEFAULT) {
                let default = self.default(at.clone())?;
                if column.default.replace(default).is_some() {
                    return Err(Error::invalid("a column has one default").hint("leave the second out").at(at));
                }
            } else {
                self.refuse_column_option()?;
                return Ok((column, is_key));
            }
        }
    }

    fn metadata(&mut self, column: &str, at: Location) -> Result<MetadataText> {
        let mut text = MetadataText { key: column.to_owned(), at };
        if self.parser.parse_keyword(Keyword::FROM) {
            text.at = self.here();
            let key = self.parser.parse_literal_string();
            text.key = self.parsed(key)?;
        }
        // Says that the column is not written back; nothing writes it.
        self.take_word("VIRTUAL");
        Ok(text)
    }

    pub(crate) fn identifier(&mut self) -> Result<String> {
        let ident = self.parser.parse_identifier();
        self.parsed(ident).map(|ident| normalize(&ident))
    }

    fn checked(&self, name: String, table: TableText, options: Options) -> Result<TableDef, Vec<Error>> {
        let mut errors = Vec::new();
        let location = self.location();
        let options = options::table_options(options, table.watermark.is_some(), &location, &mut errors);
        if table.columns.is_empty() {
            errors.push(Error::invalid("the table has no columns").at(location.clone()));
        }
        let mut columns = columns(&table.columns, &mut errors);
        add_computed(&table.columns, &mut columns, &mut errors);
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        for check in &table.checks {
            if let Err(error) = self.add_check(check, &mut columns, &names) {
                errors.push(error);
            }
        }
        if let Some(watermark) = &table.watermark {
            check_watermark(watermark, &columns, &names, &mut errors);
        }
        let key = table.primary_key.unwrap_or_default();
        for (column, at) in &key {
            if !names.contains(&column.as_str()) {
                errors.push(unknown_column("the primary key", column, &names).at(at.clone()));
            }
        }
        for text in &table.columns {
            // A column that is itself wrong has been reported.
            let (Some(default), Some(column)) = (&text.default, columns.get_mut(&text.name)) else { continue };
            errors.extend(self.set_default(default, column).err());
        }
        let Some(options) = options else { return Err(errors) };
        if options.format == Format::Parquet {
            for default in table.columns.iter().filter_map(|column| column.default.as_ref()) {
                errors.push(
                    Error::invalid("DEFAULT has no effect on format 'parquet', whose rows lack no column")
                        .hint("leave it out, and use coalesce(column, value) in the query")
                        .at(default.at.clone()),
                );
            }
        }
        if let Connector::Postgres(_) = options.connector {
            for metadata in table.columns.iter().filter_map(|column| column.metadata.as_ref()) {
                errors.push(
                    Error::invalid("a row of connector 'postgres' has no METADATA")
                        .hint("leave METADATA out to read a column of the table")
                        .at(metadata.at.clone()),
                );
            }
        }
        add_aliases(&mut columns, options.aliases, &names, &mut errors);
        if let Some(option) = options.numbers_as_text {
            let json = options.format == Format::Json;
            take_numbers_as_text(&mut columns, &option, json, &names, &mut errors);
        }
        if let Some(option) = options.timestamp_format {
            set_timestamp_format(&mut columns, &option, &mut errors);
        }
        set_timestamp_formats(&mut columns, options.timestamp_formats, &names, &mut errors);
        set_paths(&mut columns, options.json_paths, &options.rows, &names, &mut errors);
        if let Some(option) = options.on_null {
            set_on_null(&mut columns, &option, options.format == Format::Json, &mut errors);
        }
        let http = options.http.map(|http| http.checked(&columns, &names, &options.rows, &mut errors));
        if !errors.is_empty() {
            return Err(errors);
        }
        let watermark = table.watermark.map(|watermark| WatermarkDef {
            column: watermark.column,
            steps: watermark.steps,
            idle_timeout: options.idle_timeout,
            max_future: options.max_future,
        });
        Ok(TableDef {
            name,
            columns: names.iter().filter_map(|name| columns.remove(*name)).collect(),
            watermark,
            primary_key: key.into_iter().map(|(column, _)| column).collect(),
            connector: options.connector,
            format: options.format,
            csv_delimiter: options.csv_delimiter,
            rows: options.rows,
            on_bad_row: options.on_bad_row,
            refresh_interval: options.refresh_interval,
            http,
            text: self.text(),
            location,
        })
    }
}

fn no_constraint_names(at: Location) -> Error {
    Error::invalid("constraints have no names here").hint("leave CONSTRAINT and the name out").at(at)
}

/// The columns that are right, computed ones apart; a column that is not is left out and its mistake noted.
fn columns(texts: &[ColumnText], errors: &mut Vec<Error>) -> HashMap<String, Column> {
    let (mut columns, mut names) = (HashMap::new(), HashSet::new());
    for text in texts {
        if !names.insert(&text.name) {
            errors.push(
                Error::invalid(format!("column \"{}\" is given twice", text.name))
                    .hint("rename or remove one of them")
                    .at(text.at.clone()),
            );
            continue;
        }
        if text.computed.is_some() {
            if let Some(metadata) = &text.metadata {
                errors.push(
                    Error::invalid(format!("column \"{}\" is computed, and so no metadata", text.name))
                        .hint("leave METADATA out, or give it a column of its own")
                        .at(metadata.at.clone()),
                );
            }
            continue;
        }
        match column(text) {
            Ok(column) => {
                columns.insert(text.name.clone(), column);
            }
            Err(error) => errors.push(error),
        }
    }
    columns
}

fn column(text: &ColumnText) -> Result<Column> {
    let data_type = text.declared_type()?.ok_or_else(|| Error::bug("a column without a type that is not computed"))?;
    let kind = match &text.metadata {
        None => ColumnKind::Physical { aliases: Vec::new(), numbers_as_text: false },
        Some(metadata) => ColumnKind::Metadata(metadata_key(metadata, text, &data_type)?),
    };
    let checks = text.checks_of_type()?;
    if text.metadata.is_some() && !checks.is_empty() {
        return Err(Error::invalid(format!("metadata column \"{}\" has no length of its own", text.name))
            .hint(format!("write {} VARCHAR", text.name))
            .at(text.type_at.clone()));
    }
    Ok(Column {
        name: text.name.clone(),
        data_type,
        nullable: text.nullable,
        kind,
        timestamps: TimestampFormat::default(),
        reading: Reading { json: json_places(&text.sql_type), ..Reading::default() },
        checks,
        comment: text.comment.clone(),
    })
}

impl ColumnText {
    /// `None` where none is written, as of a computed column.
    pub(super) fn declared_type(&self) -> Result<Option<DataType>> {
        let data_type = match self.sql_type {
            SqlType::Unspecified => return Ok(None),
            SqlType::Uuid => Some(DataType::Utf8View),
            _ => arrow_type(&self.sql_type),
        };
        match data_type {
            Some(data_type) => Ok(Some(data_type)),
            None => Err(Error::invalid(format!("type {} of column \"{}\" is not supported", self.sql_type, self.name))
                .hint(TYPES_HINT)
                .at(self.type_at.clone())),
        }
    }

    /// What the type says beyond its Arrow type.
    pub(super) fn checks_of_type(&self) -> Result<Vec<Check>> {
        let uuid = (self.sql_type == SqlType::Uuid).then(Check::uuid);
        let json = json_places(&self.sql_type).is_whole().then(Check::json);
        let longest = longest(&self.sql_type).map_err(|error| error.at(self.type_at.clone()))?;
        Ok(uuid.into_iter().chain(json).chain(longest).collect())
    }
}

/// The check that the length of a text type stands for.
fn longest(sql_type: &SqlType) -> Result<Option<Check>> {
    let length = match sql_type {
        SqlType::Varchar(length) | SqlType::Char(length) => *length,
        SqlType::String(Some(length)) => Some(CharacterLength::IntegerLength { length: *length, unit: None }),
        other if has_length_inside(other) => {
            return Err(Error::invalid(format!("a length inside {other} is not available")).hint(
                "write VARCHAR without a length inside lists and structs; a length can be that of a whole column",
            ));
        }
        _ => None,
    };
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength {
            length: characters @ 1..,
            unit: None | Some(CharLengthUnits::Characters),
        }) => Ok(Some(Check::longest(characters, sql_type.to_string().to_lowercase()))),
        Some(_) => Err(Error::invalid(format!("type {sql_type} is not available"))
            .hint("a length is a number of characters from 1, as in VARCHAR(5); VARCHAR alone has no limit")),
    }
}

fn has_length_inside(sql_type: &SqlType) -> bool {
    let has_length = |inner: &SqlType| !matches!(longest(inner), Ok(None));
    match sql_type {
        SqlType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => has_length(item),
        SqlType::Struct(fields, _) => fields.iter().any(|field| has_length(&field.field_type)),
        SqlType::Map(key, value) => has_length(key) || has_length(value),
        _ => false,
    }
}

fn metadata_key(metadata: &MetadataText, column: &ColumnText, data_type: &DataType) -> Result<MetadataKey> {
    let (key, sql) = match metadata.key.as_str() {
        "topic" => (MetadataKey::Topic, "VARCHAR"),
        "partition" => (MetadataKey::Partition, "INT"),
        // The second is Arroyo's.
        "offset" | "offset_id" => (MetadataKey::Offset, "BIGINT"),
        "timestamp" => (MetadataKey::Timestamp, "TIMESTAMP(3)"),
        "key" => (MetadataKey::Key, "BYTEA"),
        "headers" => (MetadataKey::Headers, "STRUCT<key VARCHAR, value BYTEA>[]"),
        other => {
            let near = nearest(other, METADATA_KEYS).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            return Err(Error::invalid(format!("metadata \"{other}\" is not known"))
                .hint(format!("known are {}{near}", METADATA_KEYS.join(", ")))
                .at(metadata.at.clone()));
        }
    };
    let fits = match (key, data_type) {
        // Flink has both so.
        (MetadataKey::Partition, DataType::Int64) => true,
        (MetadataKey::Timestamp, DataType::Timestamp(TimeUnit::Millisecond, _)) => true,
        (key, data_type) => *data_type == metadata_type(key),
    };
    if !fits || matches!(column.sql_type, SqlType::Uuid | SqlType::JSON) {
        return Err(Error::invalid(format!(
            "column \"{}\" has the wrong type for metadata \"{}\"",
            column.name, metadata.key
        ))
        .hint(format!("write {} {sql} METADATA FROM '{}'", column.name, metadata.key))
        .at(column.type_at.clone()));
    }
    Ok(key)
}

/// The Arrow type of a metadata column.
pub fn metadata_type(key: MetadataKey) -> DataType {
    match key {
        MetadataKey::Topic => DataType::Utf8View,
        MetadataKey::Partition => DataType::Int32,
        MetadataKey::Offset => DataType::Int64,
        MetadataKey::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        MetadataKey::Key => DataType::Binary,
        MetadataKey::Headers => {
            let header = Fields::from(vec![
                Field::new("key", DataType::Utf8View, true),
                Field::new("value", DataType::Binary, true),
            ]);
            DataType::List(Arc::new(Field::new_list_field(DataType::Struct(header), true)))
        }
    }
}

pub(super) fn unknown_column(what: &str, column: &str, names: &[&str]) -> Error {
    let error = Error::invalid(format!("{what} names column \"{column}\", which the table does not have"));
    match nearest(column, names) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error.hint(format!("its columns are {}", names.join(", "))),
    }
}

/// DataFusion's own reading of a SQL type, so that a column and a CAST to its type agree. `None`: not a type we store.
pub(crate) fn arrow_type(sql_type: &SqlType) -> Option<DataType> {
    let provider = TypesOnly::default();
    let options = ParserOptions::new().with_map_string_types_to_utf8view(true);
    let planner = SqlToRel::new_with_options(&provider, options);
    let column = ColumnDef { name: Ident::new("c"), data_type: sql_type.clone(), options: Vec::new() };
    let schema = planner.build_schema(vec![column]).ok()?;
    let data_type = schema.field(0).data_type().clone();
    can_be_stored(&data_type).then_some(data_type)
}

pub(super) fn can_be_stored(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) | DataType::FixedSizeList(..) | DataType::Null => false,
        DataType::List(item) => can_be_stored(item.data_type()),
        DataType::Map(entries, _) => can_be_stored(entries.data_type()),
        DataType::Struct(fields) => {
            let mut names = HashSet::new();
            !fields.is_empty()
                && fields.iter().all(|field| names.insert(field.name()) && can_be_stored(field.data_type()))
        }
        _ => true,
    }
}

/// A context in which nothing exists but types.
#[derive(Default)]
struct TypesOnly {
    options: ConfigOptions,
}

impl ContextProvider for TypesOnly {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        plan_err!("table '{name}' not found")
    }

    fn get_function_meta(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(ColumnTypes))
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
