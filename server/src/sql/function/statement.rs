//! The text of a function: `CREATE FUNCTION name(a DOUBLE, …) RETURNS DOUBLE RETURN expression` → [`FunctionDef`].

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::catalog::{FunctionDef, Parameter};
use crate::error::{Error, Result};
use crate::sql::ddl::{TYPES_HINT, arrow_type};
use crate::sql::parser::StatementParser;

const PARAMETERS_MAX: usize = 16;
const FORM: &str = "write CREATE FUNCTION name(a DOUBLE, b VARCHAR) RETURNS DOUBLE RETURN expression";

impl StatementParser<'_> {
    /// What follows `CREATE FUNCTION`.
    pub(crate) fn create_function(&mut self) -> Result<FunctionDef> {
        let name_at = self.here();
        let name = self.definition_name("function")?;
        if is_syntax(&name) {
            return Err(Error::invalid(format!("\"{name}\" is a word of SQL and cannot name a function"))
                .hint("choose another name")
                .at(name_at));
        }
        let parameters = self.parameters()?;
        let here = self.here();
        if !self.parser.parse_keyword(Keyword::RETURNS) {
            return Err(Error::invalid("a function says what it returns").hint(FORM).at(here));
        }
        let returns = self.function_type("the result")?;
        let here = self.here();
        if !self.parser.parse_keyword(Keyword::RETURN) {
            let found = match &self.parser.peek_token_ref().token {
                Token::EOF => "the end of the statement".to_owned(),
                other => format!("`{other}`"),
            };
            return Err(Error::invalid(format!("expected RETURN and an expression, found {found}"))
                .hint(FORM)
                .at(here));
        }
        let body_at = self.here();
        let body = self.parser.parse_expr();
        let mut body = self.parsed(body)?;
        self.respell(&mut body)?;
        self.expect_end()?;
        let location = self.location();
        Ok(FunctionDef { name, parameters, returns, body: Box::new(body), body_at, location })
    }

    fn parameters(&mut self) -> Result<Vec<Parameter>> {
        self.expect_token(&Token::LParen)?;
        let mut parameters: Vec<Parameter> = Vec::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(parameters);
        }
        loop {
            let at = self.here();
            let name = self.identifier()?;
            if parameters.iter().any(|parameter| parameter.name == name) {
                return Err(Error::invalid(format!("parameter \"{name}\" is given twice"))
                    .hint("rename one of them")
                    .at(at));
            }
            let data_type = self.function_type(&format!("parameter \"{name}\""))?;
            parameters.push(Parameter { name, data_type });
            if parameters.len() > PARAMETERS_MAX {
                return Err(Error::invalid(format!("a function has at most {PARAMETERS_MAX} parameters")).at(at));
            }
            let here = self.here();
            if self.parser.peek_keyword(Keyword::DEFAULT) || self.parser.peek_token_ref().token == Token::Eq {
                return Err(Error::invalid("parameters have no default values")
                    .hint("leave it out: give every argument, or use coalesce(parameter, value)")
                    .at(here));
            }
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(parameters)
    }

    fn function_type(&mut self, of: &str) -> Result<DataType> {
        let at = self.here();
        let sql_type = self.parser.parse_data_type();
        let sql_type = self.parsed(sql_type)?;
        arrow_type(&sql_type)
            .ok_or_else(|| Error::invalid(format!("type {sql_type} of {of} is not supported")).hint(TYPES_HINT).at(at))
    }
}

/// Names that are read as something else than a call, whatever is defined.
fn is_syntax(name: &str) -> bool {
    const WORDS: [&str; 22] = [
        "all",
        "and",
        "any",
        "array",
        "between",
        "case",
        "cast",
        "ceil",
        "convert",
        "exists",
        "extract",
        "floor",
        "in",
        "interval",
        "map",
        "not",
        "or",
        "position",
        "safe_cast",
        "struct",
        "try_cast",
        "try_convert",
    ];
    WORDS.contains(&name)
}
