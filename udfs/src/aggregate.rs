//! Aggregates whose states merge in any order: said once for one group, used for one and for many.
//!
//! A [`Fold`] knows one group's state. From it come DataFusion's two kinds of accumulator, the second of which keeps all groups
//! side by side.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, EmitTo, Expr, GroupsAccumulator,
    Signature,
};

use crate::Function;
use crate::describe::Description;

/// How rows become a group's state, and states one state. Neither may depend on the order.
pub(crate) trait Fold: Debug + Clone + Send + Sync + 'static {
    /// Of one group; the default is that of no row.
    type State: Default + Clone + Debug + Send + Sync + 'static;
    /// The arguments of a batch, as they are read.
    type Rows;

    fn rows(&self, arguments: &[ArrayRef]) -> Result<Self::Rows>;

    /// Returns by how many bytes the state's own allocations have grown.
    fn add(&self, state: &mut Self::State, rows: &Self::Rows, row: usize) -> Result<usize>;

    /// `columns`: what [`Fold::state`] made. Returns as [`Fold::add`].
    fn merge(&self, state: &mut Self::State, columns: &[ArrayRef], row: usize) -> Result<usize>;

    /// One row for each state.
    fn state(&self, states: &[Self::State]) -> Result<Vec<ArrayRef>>;

    /// The result of each state.
    fn values(&self, states: &[Self::State]) -> Result<ArrayRef>;
}

/// What an aggregate is beside its [`Fold`].
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) returns: DataType,
    /// Name and type of each state column.
    pub(crate) state: Vec<(&'static str, DataType)>,
    /// Places of the arguments that are the same for all rows; they come last.
    pub(crate) constants: &'static [usize],
    /// The result over no rows at all.
    pub(crate) empty: ScalarValue,
}

/// A fold for these constants and types of arguments; an error for constants that make no sense.
type Make<F> = fn(&[ScalarValue], &[DataType]) -> Result<F>;

pub(crate) fn aggregate<F: Fold>(description: &'static Description, shape: Shape, make: Make<F>) -> Function {
    let signature = description.planning_signature();
    let documentation = description.documentation();
    let aggregate = Aggregate { description, signature, documentation, shape: Arc::new(shape), make };
    Function::Aggregate(description, AggregateUDF::from(aggregate))
}

struct Aggregate<F> {
    description: &'static Description,
    signature: Signature,
    documentation: Documentation,
    shape: Arc<Shape>,
    make: Make<F>,
}

impl<F> Debug for Aggregate<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description.name)
    }
}

// Two functions of one name are the same function.
impl<F> PartialEq for Aggregate<F> {
    fn eq(&self, other: &Self) -> bool {
        self.description.name == other.description.name
    }
}

impl<F> Eq for Aggregate<F> {}

impl<F> Hash for Aggregate<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.description.name.hash(state);
    }
}

impl<F: Fold> Aggregate<F> {
    fn fold(&self, arguments: &AccumulatorArgs<'_>) -> Result<F> {
        let name = self.description.name;
        if arguments.is_distinct {
            return not_distinct(name);
        }
        // A literal, or one that is still under a cast, needs no columns.
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let constant = |at: &usize| match arguments.exprs.get(*at).map(|expr| expr.evaluate(&nothing)) {
            Some(Ok(ColumnarValue::Scalar(value))) => Ok(value),
            _ => not_constant(self.description, *at),
        };
        let constants = self.shape.constants.iter().map(constant).collect::<Result<Vec<_>>>()?;
        let types: Vec<DataType> = arguments.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        (self.make)(&constants, &types)
    }
}

fn not_constant<T>(description: &Description, at: usize) -> Result<T> {
    plan_err!("{}: {} is a constant, the same for all rows", description.name, description.arguments[at].name)
}

fn not_distinct<T>(name: &str) -> Result<T> {
    plan_err!("{name} has no DISTINCT form: it counts every row")
}

impl<F: Fold> AggregateUDFImpl for Aggregate<F> {
    fn name(&self) -> &str {
        self.description.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.description.coerced(given))
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.description.check(given)?;
        Ok(self.shape.returns.clone())
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |(name, data_type): &(&str, DataType)| {
            Arc::new(Field::new(format_state_name(arguments.name, name), data_type.clone(), true))
        };
        Ok(self.shape.state.iter().map(field).collect())
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One { fold: self.fold(&arguments)?, state: F::State::default(), heap: 0 }))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { fold: self.fold(&arguments)?, states: Vec::new(), heap: 0 }))
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(self.shape.empty.clone())
    }

    /// Simplifies nothing: planning is the time to say what is wrong with a constant.
    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let (description, shape, make) = (self.description, Arc::clone(&self.shape), self.make);
        Some(Box::new(move |call, context| {
            if call.params.distinct {
                return not_distinct(description.name);
            }
            let constant = |at: &usize| match call.params.args.get(*at) {
                Some(Expr::Literal(value, _)) => Ok(Some(value.clone())),
                // Its value comes with the execution, which checks again.
                Some(Expr::Placeholder(_)) => Ok(None),
                _ => not_constant(description, *at),
            };
            let constants = shape.constants.iter().map(constant).collect::<Result<Option<Vec<_>>>>()?;
            let types = call.params.args.iter().map(|argument| context.get_data_type(argument));
            if let (Some(constants), Ok(types)) = (constants, types.collect::<Result<Vec<_>>>()) {
                make(&constants, &types)?;
            }
            Ok(Expr::AggregateFunction(call))
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Without GROUP BY, and in window functions.
#[derive(Debug)]
struct One<F: Fold> {
    fold: F,
    state: F::State,
    heap: usize,
}

impl<F: Fold> Accumulator for One<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.fold.rows(values)?;
        for row in 0..values.first().map_or(0, |values| values.len()) {
            self.heap += self.fold.add(&mut self.state, &rows, row)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states.first().map_or(0, |states| states.len()) {
            self.heap += self.fold.merge(&mut self.state, states, row)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.fold.state(std::slice::from_ref(&self.state))?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.fold.values(std::slice::from_ref(&self.state))?;
        ScalarValue::try_from_array(&values, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.heap
    }
}

/// All groups of an aggregation, by their index.
#[derive(Debug)]
struct Groups<F: Fold> {
    fold: F,
    states: Vec<F::State>,
    /// Bytes allocated by the states themselves.
    heap: usize,
}

impl<F: Fold> Groups<F> {
    fn take(&mut self, emit: EmitTo) -> Vec<F::State> {
        let all = self.states.len().max(1);
        let taken = emit.take_needed(&mut self.states);
        // In proportion: to know it exactly would mean asking every state.
        self.heap -= self.heap / all * taken.len().min(all);
        if self.states.is_empty() {
            self.heap = 0;
        }
        taken
    }
}

impl<F: Fold> GroupsAccumulator for Groups<F> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.states.resize_with(total, F::State::default);
        let rows = self.fold.rows(values)?;
        for (row, group) in groups.iter().enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.heap += self.fold.add(&mut self.states[*group], &rows, row)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.states.resize_with(total, F::State::default);
        for (row, group) in groups.iter().enumerate() {
            self.heap += self.fold.merge(&mut self.states[*group], states, row)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let states = self.take(emit);
        self.fold.values(&states)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = self.take(emit);
        self.fold.state(&states)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let count = values.first().map_or(0, |values| values.len());
        let groups: Vec<usize> = (0..count).collect();
        let mut each = Groups { fold: self.fold.clone(), states: Vec::new(), heap: 0 };
        each.update_batch(values, &groups, filter, count)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.states.capacity() * size_of::<F::State>() + self.heap
    }
}

/// An argument of a batch as the array that planning has promised.
pub(crate) fn typed<A: Array + Clone + 'static>(function: &str, arguments: &[ArrayRef], at: usize) -> Result<A> {
    match arguments.get(at).and_then(|array| array.as_any().downcast_ref::<A>()) {
        Some(array) => Ok(array.clone()),
        None => exec_err!("{function}: argument {} came as another type", at + 1),
    }
}
