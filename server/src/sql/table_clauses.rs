//! What stands around the columns of a `CREATE TABLE`: its options, and the clauses that Flink and RisingWave have there.
//!
//! `INCLUDE offset AS o` is a metadata column, `FORMAT PLAIN ENCODE JSON` the option 'format'; `COMMENT '…'` and `APPEND ONLY` say
//! nothing that would be done.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ddl::{ColumnText, MetadataText, TableText};
use super::dialect::StreamDialect;
use super::options::{GivenOption, Options};
use super::parser::StatementParser;
use super::peers;
use crate::error::{Error, Result};

/// Metadata by RisingWave's names, ours, and the type of the column.
const INCLUDED: [(&str, &str, &str); 5] = [
    ("key", "key", "BYTEA"),
    ("header", "headers", "STRUCT<key VARCHAR, value BYTEA>[]"),
    ("partition", "partition", "INT"),
    ("offset", "offset", "BIGINT"),
    ("timestamp", "timestamp", "TIMESTAMP(3) WITH TIME ZONE"),
];

impl StatementParser<'_> {
    /// What follows the columns, in any order.
    pub(super) fn table_clauses(&mut self, table: &mut TableText) -> Result<Options> {
        let mut options = Options::default();
        let mut given = false;
        loop {
            let at = self.here();
            if self.parser.parse_keyword(Keyword::WITH) {
                if std::mem::replace(&mut given, true) {
                    return Err(Error::invalid("WITH (…) is given twice").hint("put the options into one").at(at));
                }
                options = options.joined(Options::parse(self)?)?;
            } else if self.take_word("INCLUDE") {
                table.columns.push(self.included()?);
            } else if self.take_word("FORMAT") {
                let format = self.encoding()?;
                options = options.joined(Options::of(format))?;
            } else if self.parser.parse_keyword(Keyword::COMMENT) {
                let _ = self.parser.consume_token(&Token::Eq);
                let text = self.parser.parse_literal_string();
                self.parsed(text)?;
            } else if self.take_word("APPEND") {
                self.expect_keyword(Keyword::ONLY)?;
            } else if self.parser.peek_keyword(Keyword::PARTITIONED) || self.at_word("DISTRIBUTED") {
                return Err(Error::invalid("a table is not partitioned by its statement")
                    .hint("leave it out: a topic has its partitions, and the files of a view are laid out by day")
                    .at(at));
            } else {
                return Ok(options);
            }
        }
    }

    /// `INCLUDE what AS name`, the first word taken.
    fn included(&mut self) -> Result<ColumnText> {
        let at = self.here();
        let what = self.identifier()?;
        let Some((_, key, sql_type)) = INCLUDED.into_iter().find(|(name, ..)| *name == what) else {
            return Err(Error::invalid(format!("INCLUDE {what} is not available"))
                .hint("there are key, header, partition, offset and timestamp")
                .at(at));
        };
        if !self.parser.parse_keyword(Keyword::AS) {
            return Err(Error::invalid("a column of metadata has a name here")
                .hint(format!("write INCLUDE {what} AS kafka_{what}"))
                .at(at));
        }
        let name_at = self.here();
        let name = self.identifier()?;
        let dialect = StreamDialect::default();
        let sql_type = Parser::new(&dialect).try_with_sql(sql_type).and_then(|mut parser| parser.parse_data_type());
        Ok(ColumnText {
            name,
            at: name_at.clone(),
            sql_type: self.parsed(sql_type)?,
            type_at: name_at,
            nullable: true,
            comment: None,
            default: None,
            metadata: Some(MetadataText { key: key.to_owned(), at }),
            computed: None,
        })
    }

    /// `FORMAT PLAIN ENCODE JSON`, the first word taken.
    fn encoding(&mut self) -> Result<GivenOption> {
        let key_at = self.here();
        let kind = self.identifier()?;
        if kind != "plain" {
            return Err(Error::invalid(format!("FORMAT {} is not available", kind.to_uppercase()))
                .hint("write FORMAT PLAIN ENCODE JSON, or 'format' = 'json' in WITH (…)")
                .at(key_at));
        }
        if !self.take_word("ENCODE") {
            let error = Error::invalid("expected ENCODE").hint("write FORMAT PLAIN ENCODE JSON");
            return Err(error.at(self.here()));
        }
        let value_at = self.here();
        let value = self.identifier()?;
        let at = self.here();
        if self.parser.consume_token(&Token::LParen) && !self.parser.consume_token(&Token::RParen) {
            return Err(Error::invalid("an encoding has no options").hint("options stand in WITH (…)").at(at));
        }
        Ok(GivenOption { key: "format".to_owned(), value, key_at, value_at })
    }

    /// What makes a table of something else than its columns.
    pub(super) fn refuse_other_tables(&self) -> Result<()> {
        let at = self.here();
        if self.parser.peek_keyword(Keyword::AS) {
            return Err(Error::invalid("CREATE TABLE … AS is not available")
                .hint("write CREATE MATERIALIZED VIEW … AS SELECT …")
                .at(at));
        }
        if self.parser.peek_keyword(Keyword::LIKE) {
            let error = Error::invalid("CREATE TABLE … LIKE is not available").hint("write the columns out");
            return Err(error.at(at));
        }
        if self.parser.peek_keyword(Keyword::FROM) {
            let error = Error::invalid("CREATE TABLE … FROM is not available");
            return Err(error.hint(peers::FROM_KAFKA).at(at));
        }
        Ok(())
    }

    /// What peers write behind a column's type.
    pub(super) fn refuse_column_option(&self) -> Result<()> {
        let at = self.here();
        if self.at_word("LATENESS") {
            return Err(Error::invalid("a column has no lateness")
                .hint("write WATERMARK FOR ts AS ts - INTERVAL '1' HOUR among the columns")
                .at(at));
        }
        if self.at_word("KEY") {
            return Err(Error::invalid("a column is decoded from the record's value")
                .hint("leave KEY out; the record's key is a column of its own: k BYTEA METADATA FROM 'key'")
                .at(at));
        }
        Ok(())
    }

    fn at_word(&self, word: &str) -> bool {
        super::dialect::is_word(&self.parser.peek_token_ref().token, word)
    }
}

#[cfg(test)]
mod tests;
