//! A user's function as DataFusion calls it: planned once, evaluated or put in place of the call.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use touchline_udfs::describe::sql_type;

use super::body::{Body, converts};
use crate::catalog::{FunctionDef, Parameter};
use crate::error::Error;

/// A user's function as DataFusion calls it.
pub(super) struct Call {
    name: String,
    signature: Signature,
    parameters: Vec<Parameter>,
    returns: DataType,
    body: Body,
    meaning: String,
}

impl Call {
    pub(super) fn new(definition: &FunctionDef, body: Body, meaning: String) -> Self {
        let names: Vec<&str> = definition.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let signature = Signature::user_defined(Volatility::Immutable)
            .with_parameter_names(names)
            .expect("the parser refuses a name given twice");
        Call {
            name: definition.name.clone(),
            signature,
            parameters: definition.parameters.clone(),
            returns: definition.returns.clone(),
            body,
            meaning,
        }
    }

    fn fits(&self, given: &[DataType]) -> bool {
        given.len() == self.parameters.len()
            && self.parameters.iter().zip(given).all(|(parameter, given)| converts(given, &parameter.data_type))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.meaning)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.meaning.hash(state);
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Wrong types stay as they are: `return_type` says so, in words that DataFusion does not wrap in others.
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(match self.fits(given) {
            true => self.parameters.iter().map(|parameter| parameter.data_type.clone()).collect(),
            false => given.to_vec(),
        })
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        if self.fits(given) {
            return Ok(self.returns.clone());
        }
        let wanted = |parameter: &Parameter| format!("{} {}", parameter.name, sql_type(&parameter.data_type));
        let wanted: Vec<String> = self.parameters.iter().map(wanted).collect();
        let given: Vec<String> = given.iter().map(sql_type).collect();
        plan_err!("{} takes ({}), not ({})", self.name, wanted.join(", "), given.join(", "))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { call.number_rows };
        let columns = call.args.into_iter().map(|argument| argument.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.body.schema), columns, &options)?;
        match (self.body.physical.evaluate(&batch)?, constant) {
            (ColumnarValue::Array(array), true) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            (value, _) => Ok(value),
        }
    }

    fn simplify(&self, arguments: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let cheap = |argument: &Expr| matches!(argument, Expr::Column(_) | Expr::Literal(..));
        let once = arguments.iter().zip(&self.body.uses).all(|(argument, uses)| cheap(argument) || *uses <= 1);
        if !once || arguments.len() != self.parameters.len() {
            return Ok(ExprSimplifyResult::Original(arguments));
        }
        // From below, so that what has been put in is not looked at again.
        let replaced = self.body.expr.clone().transform_up(|part| match &part {
            Expr::Column(column) => Ok(Transformed::yes(arguments[self.body.schema.index_of(&column.name)?].clone())),
            _ => Ok(Transformed::no(part)),
        })?;
        Ok(ExprSimplifyResult::Simplified(replaced.data))
    }
}

/// A function whose definition has a mistake: whoever calls it is told which.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Broken {
    signature: Signature,
    name: String,
    what: String,
}

impl Broken {
    pub(super) fn new(name: String, what: String) -> Self {
        Broken { signature: Signature::user_defined(Volatility::Immutable), name, what }
    }
}

impl ScalarUDFImpl for Broken {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(Error::invalid(format!("function \"{}\" has a mistake in its definition", self.name))
            .detail(self.what.clone())
            .into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.return_type(&[]).map(|_| ColumnarValue::Scalar(ScalarValue::Null))
    }
}
