//! For every function of the registry: no input panics, a row gives the same alone and among others, and partial results merge
//! in any order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, EmitTo, ScalarFunctionArgs};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use proptest::prelude::*;

use crate::describe::Kind;
use crate::{AggregateUDF, Function, ScalarUDF, functions};

const ROWS_MAX: usize = 24;
const ARGUMENTS_MAX: usize = 16;

/// Material for one argument: which type, whether constant, and choices for its values.
#[derive(Debug, Clone)]
struct Material {
    data_type: usize,
    constant: bool,
    values: Vec<(u8, f64, i64)>,
    word: String,
}

fn material() -> impl Strategy<Value = Material> {
    let values = proptest::collection::vec((any::<u8>(), proptest::num::f64::ANY, any::<i64>()), ROWS_MAX);
    (0..16_usize, any::<bool>(), values, ".{0,12}").prop_map(|(data_type, constant, values, word)| Material {
        data_type,
        constant,
        values,
        word,
    })
}

fn arguments() -> impl Strategy<Value = Vec<Material>> {
    proptest::collection::vec(material(), ARGUMENTS_MAX)
}

/// All types that an argument of this kind is documented to take.
fn accepted(kind: Kind) -> Vec<DataType> {
    let mut types = match kind {
        Kind::Double => vec![
            DataType::Float64,
            DataType::Float32,
            DataType::Int64,
            DataType::Int16,
            DataType::UInt64,
            DataType::Decimal128(12, 2),
        ],
        Kind::BigInt => vec![DataType::Int64, DataType::Int32, DataType::Int8, DataType::UInt64],
        Kind::Varchar => vec![
            DataType::Utf8View,
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ],
        Kind::Boolean => vec![DataType::Boolean],
        Kind::Timestamp => [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]
            .into_iter()
            .flat_map(|unit| [DataType::Timestamp(unit, None), DataType::Timestamp(unit, Some("+01:00".into()))])
            .collect(),
    };
    types.push(DataType::Null);
    types
}

impl Material {
    /// The argument over `rows` rows, as a caller would give it.
    fn array(&self, kind: Kind, rows: usize) -> ArrayRef {
        let chosen = self.values[..rows].iter();
        let base: ArrayRef = match kind {
            Kind::Double => Arc::new(chosen.map(|(at, any, _)| double(*at, *any)).collect::<Float64Array>()),
            Kind::BigInt | Kind::Timestamp => {
                Arc::new(chosen.map(|(at, _, any)| whole(*at, *any)).collect::<Int64Array>())
            }
            Kind::Boolean => {
                let flag = |at: u8| [None, Some(true), Some(false)][usize::from(at) % 3];
                Arc::new(chosen.map(|(at, ..)| flag(*at)).collect::<BooleanArray>())
            }
            Kind::Varchar => Arc::new(chosen.map(|(at, ..)| self.word(*at)).collect::<StringArray>()),
        };
        let types = accepted(kind);
        // What does not fit becomes NULL.
        let options = CastOptions { safe: true, ..CastOptions::default() };
        match &types[self.data_type % types.len()] {
            DataType::Null => arrow::array::new_null_array(&DataType::Null, rows),
            DataType::Timestamp(unit, zone) => {
                let naive = cast_with_options(&base, &DataType::Timestamp(*unit, None), &options).unwrap();
                // Only the type is of interest: the same instants, or NULL where they cannot be shifted.
                cast_with_options(&naive, &DataType::Timestamp(*unit, zone.clone()), &options).unwrap()
            }
            data_type => cast_with_options(&base, data_type, &options).unwrap(),
        }
    }

    fn word(&self, at: u8) -> Option<String> {
        const WORDS: [&str; 12] =
            ["", "goal", "PENALTY", "free_kick", "Head", "gk", "DEF", "fwd", "❤\u{fe0f}", "\u{fe0f}", "🔥", "ПЕНАЛЬТИ"];
        match usize::from(at) % (WORDS.len() + 4) {
            0 => None,
            1 => Some("x".repeat(100_000)),
            2 | 3 => Some(self.word.clone()),
            other => Some(WORDS[other - 4].to_owned()),
        }
    }
}

fn double(at: u8, any: f64) -> Option<f64> {
    const VALUES: [f64; 18] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -0.0,
        0.0,
        -1.0,
        1.0,
        2.5,
        45.0,
        80.0,
        100.0,
        120.0,
        1e9,
        1e300,
    ];
    match usize::from(at) % (VALUES.len() + 4) {
        0 | 1 => None,
        2 | 3 => Some(any),
        other => Some(VALUES[other - 4]),
    }
}

fn whole(at: u8, any: i64) -> Option<i64> {
    const VALUES: [i64; 11] = [0, 1, 2, 3, 11, 45, 90, -1, i64::MIN, i64::MAX, 1_700_000_000_000];
    match usize::from(at) % (VALUES.len() + 3) {
        0 => None,
        1 | 2 => Some(any),
        other => Some(VALUES[other - 3]),
    }
}

/// The arguments with the types in which planning hands them over; constants as one value.
fn planned(kinds: &[Kind], given: &[ArrayRef], coerced: &[DataType], constant: &[bool]) -> Vec<ColumnarValue> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = given.iter().zip(coerced).map(|(array, to)| cast_with_options(array, to, &options).unwrap());
    assert_eq!(kinds.len(), coerced.len());
    cast.zip(constant)
        .map(|(array, constant)| match *constant && !array.is_empty() {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0).unwrap()),
            false => ColumnarValue::Array(array),
        })
        .collect()
}

fn invoke(function: &ScalarUDF, arguments: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
    let types: Vec<DataType> = arguments.iter().map(ColumnarValue::data_type).collect();
    let returns = function.return_type(&types)?;
    invoke_unplanned(function, arguments, rows, returns)
}

fn invoke_unplanned(
    function: &ScalarUDF,
    arguments: Vec<ColumnarValue>,
    rows: usize,
    returns: DataType,
) -> Result<ColumnarValue> {
    let field = |argument: &ColumnarValue| Arc::new(Field::new("a", argument.data_type(), true));
    // Past DataFusion's own check of the result, which panics in tests.
    function.inner().invoke_with_args(ScalarFunctionArgs {
        arg_fields: arguments.iter().map(field).collect(),
        args: arguments,
        number_rows: rows,
        return_field: Arc::new(Field::new("r", returns, true)),
        config_options: Arc::default(),
    })
}

fn scalar_holds(function: &ScalarUDF, kinds: &[Kind], materials: &[Material], rows: usize) {
    let name = function.name();
    let given: Vec<ArrayRef> =
        kinds.iter().zip(materials).map(|(kind, material)| material.array(*kind, rows)).collect();
    let types: Vec<DataType> = given.iter().map(|array| array.data_type().clone()).collect();
    let coerced = function.coerce_types(&types).unwrap();
    let constant: Vec<bool> = materials.iter().map(|material| material.constant).collect();
    let arguments = planned(kinds, &given, &coerced, &constant);
    let alone = |row: usize| {
        let values = arguments.iter().map(|argument| match argument {
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.clone()),
            ColumnarValue::Array(array) => ColumnarValue::Scalar(ScalarValue::try_from_array(array, row).unwrap()),
        });
        invoke(function, values.collect(), 1)
    };
    let together = invoke(function, arguments.clone(), rows);
    let each: Vec<Result<ColumnarValue>> = (0..rows).map(alone).collect();
    let Ok(together) = together else {
        assert!(each.iter().any(Result::is_err), "{name} fails over {arguments:?} and not over any row of it");
        return;
    };
    let together = together.into_array(rows).unwrap();
    assert_eq!(together.len(), rows, "{name}");
    assert_eq!(together.data_type(), &function.return_type(&coerced).unwrap(), "{name}");
    for (row, alone) in each.into_iter().enumerate() {
        let alone = match alone {
            Ok(alone) => alone.into_array(1).unwrap(),
            Err(error) => panic!("{name} fails over row {row} of {arguments:?} alone: {error}"),
        };
        assert_eq!(together.slice(row, 1).to_data(), alone.to_data(), "{name}, row {row} of {arguments:?}");
    }
}

/// The aggregate over columns of these types, constants as literals.
fn planned_aggregate(
    function: &AggregateUDF,
    fields: &[Field],
    constants: &[Option<ScalarValue>],
) -> Arc<AggregateFunctionExpr> {
    let expressions = fields.iter().zip(constants).enumerate().map(|(at, (field, constant))| match constant {
        Some(value) => Arc::new(Literal::new(value.clone())) as Arc<dyn PhysicalExpr>,
        None => Arc::new(Column::new(field.name(), at)),
    });
    let built = AggregateExprBuilder::new(Arc::new(function.clone()), expressions.collect())
        .schema(Arc::new(Schema::new(fields.to_vec())))
        .alias("a")
        .build();
    Arc::new(built.unwrap())
}

fn constants_of(function: &AggregateUDF) -> Vec<(usize, ScalarValue)> {
    match function.name() {
        "decayed_sum" => vec![(2, ScalarValue::from(150.0))],
        "heatmap" => vec![(2, ScalarValue::from(12_i64)), (3, ScalarValue::from(8_i64))],
        _ => vec![],
    }
}

fn all_columns(batch: &RecordBatch, from: usize, length: usize) -> Vec<ArrayRef> {
    batch.slice(from, length).columns().to_vec()
}

/// Any input at all: every way through an aggregate returns, with a value or an error.
fn aggregate_returns(function: &AggregateUDF, kinds: &[Kind], materials: &[Material], rows: usize) {
    let given: Vec<ArrayRef> =
        kinds.iter().zip(materials).map(|(kind, material)| material.array(*kind, rows)).collect();
    let types: Vec<DataType> = given.iter().map(|array| array.data_type().clone()).collect();
    let coerced = function.coerce_types(&types).unwrap();
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let arrays: Vec<ArrayRef> =
        given.iter().zip(&coerced).map(|(array, to)| cast_with_options(array, to, &options).unwrap()).collect();
    let fields: Vec<Field> =
        coerced.iter().enumerate().map(|(at, to)| Field::new(format!("c{at}"), to.clone(), true)).collect();
    // Constants of any value, and now and then none where one is needed.
    let mut constants: Vec<Option<ScalarValue>> = vec![None; kinds.len()];
    for (at, usual) in constants_of(function) {
        constants[at] = match materials[at].data_type % 4 {
            0 => None,
            1 if rows > 0 => ScalarValue::try_from_array(&arrays[at], 0).ok(),
            _ => Some(usual),
        };
    }
    let planned = planned_aggregate(function, &fields, &constants);
    let run = || -> Result<()> {
        let mut one = planned.create_accumulator()?;
        one.update_batch(&arrays)?;
        let state = one.state()?;
        one.evaluate()?;
        let state = state.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        one.merge_batch(&state)?;
        one.evaluate()?;
        let mut many = planned.create_groups_accumulator()?;
        let groups: Vec<usize> = (0..rows).map(|row| row % 3).collect();
        many.update_batch(&arrays, &groups, None, 3)?;
        many.state(EmitTo::First(1))?;
        let rest = many.state(EmitTo::All)?;
        many.merge_batch(&rest, &[0, 1], 2)?;
        many.convert_to_state(&arrays, None)?;
        assert!(many.size() > 0);
        many.evaluate(EmitTo::All)?;
        Ok(())
    };
    // An error is an answer, too.
    let _ = run();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics_and_a_row_is_the_same_alone(
        materials in arguments(), rows in 0..ROWS_MAX, left_out in 0..ARGUMENTS_MAX
    ) {
        for function in functions() {
            let description = function.description();
            let optional = description.arguments.len() - description.required;
            let count = description.arguments.len() - left_out % (optional + 1);
            let kinds: Vec<Kind> = description.arguments[..count].iter().map(|argument| argument.kind).collect();
            match function {
                Function::Scalar(_, function) => scalar_holds(&function, &kinds, &materials[..count], rows),
                Function::Aggregate(_, function) => aggregate_returns(&function, &kinds, &materials[..count], rows),
            }
        }
    }

    #[test]
    fn types_that_a_function_does_not_take_are_an_error(materials in arguments(), count in 0..ARGUMENTS_MAX) {
        const KINDS: [Kind; 5] = [Kind::Double, Kind::BigInt, Kind::Varchar, Kind::Boolean, Kind::Timestamp];
        let types: Vec<DataType> = materials[..count]
            .iter()
            .map(|material| material.array(KINDS[usize::from(material.values[0].0) % KINDS.len()], 1).data_type().clone())
            .collect();
        for function in functions() {
            let (coerced, returned) = match &function {
                Function::Scalar(_, function) => {
                    let coerced = function.coerce_types(&types).unwrap();
                    (coerced.clone(), function.return_type(&coerced))
                }
                Function::Aggregate(_, function) => {
                    let coerced = function.coerce_types(&types).unwrap();
                    (coerced.clone(), function.return_type(&coerced))
                }
            };
            let Err(error) = returned else { continue };
            let said = error.strip_backtrace();
            let takes = format!("{} takes (", function.description().name);
            prop_assert!(said.contains(&takes) && said.contains("), not ("), "{said}");
            // A caller that does not ask gets an answer of some kind, too.
            if let Function::Scalar(_, function) = &function {
                let columns = coerced.iter().map(|to| ColumnarValue::Array(arrow::array::new_null_array(to, 1)));
                let _ = invoke_unplanned(function, columns.collect(), 1, DataType::Float64);
            }
        }
    }

    #[test]
    fn states_merge_in_any_order(
        seeds in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, 0..10_000_i64, 0..5_u8), 1..60),
        cuts in proptest::collection::vec(0..60_usize, 0..6),
        order in any::<u64>(),
    ) {
        for function in functions() {
            let Function::Aggregate(description, function) = function else { continue };
            let kinds: Vec<Kind> = description.arguments.iter().map(|argument| argument.kind).collect();
            let batch = tame_batch(&kinds, &seeds);
            let mut constants: Vec<Option<ScalarValue>> = vec![None; kinds.len()];
            for (at, value) in constants_of(&function) {
                constants[at] = Some(value);
            }
            let fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
            let planned = planned_aggregate(&function, &fields, &constants);

            let mut whole = planned.create_accumulator().unwrap();
            whole.update_batch(&all_columns(&batch, 0, batch.num_rows())).unwrap();
            let expected = whole.evaluate().unwrap();

            // The rows in another order, cut into pieces, each piece its own accumulator.
            let shuffled = shuffle(&batch, order);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (batch.num_rows() + 1)).collect();
            ends.extend([0, batch.num_rows()]);
            ends.sort_unstable();
            let mut states: Vec<Vec<ArrayRef>> = ends
                .windows(2)
                .map(|piece| {
                    let mut part = planned.create_accumulator().unwrap();
                    part.update_batch(&all_columns(&shuffled, piece[0], piece[1] - piece[0])).unwrap();
                    part.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect()
                })
                .collect();
            let at = order as usize % states.len();
            states.rotate_left(at);
            let mut merged = planned.create_accumulator().unwrap();
            let mut grouped = planned.create_groups_accumulator().unwrap();
            for state in &states {
                merged.merge_batch(state).unwrap();
                grouped.merge_batch(state, &[1], 2).unwrap();
            }
            close(description.name, &expected, &merged.evaluate().unwrap());
            let of_groups = grouped.evaluate(EmitTo::All).unwrap();
            close(description.name, &expected, &ScalarValue::try_from_array(&of_groups, 1).unwrap());

            // Rows straight into groups, two of them, in two goes, with a filter that lets all but NULLs through.
            let mut direct = planned.create_groups_accumulator().unwrap();
            let half = shuffled.num_rows() / 2;
            for (from, length) in [(0, half), (half, shuffled.num_rows() - half)] {
                let yes = BooleanArray::from(vec![true; length]);
                direct.update_batch(&all_columns(&shuffled, from, length), &vec![1; length], Some(&yes), 2).unwrap();
            }
            let direct = direct.evaluate(EmitTo::All).unwrap();
            close(description.name, &expected, &ScalarValue::try_from_array(&direct, 1).unwrap());

            // Every row a state of its own.
            let each = planned.create_groups_accumulator().unwrap().convert_to_state(shuffled.columns(), None).unwrap();
            let mut from_each = planned.create_accumulator().unwrap();
            from_each.merge_batch(&each).unwrap();
            close(description.name, &expected, &from_each.evaluate().unwrap());
        }
    }
}

/// Values of a size at which a sum of doubles means something.
fn tame_batch(kinds: &[Kind], seeds: &[(f64, f64, i64, u8)]) -> RecordBatch {
    let columns = kinds.iter().enumerate().map(|(at, kind)| {
        let column: ArrayRef = match kind {
            Kind::Double => {
                let pick = |seed: &(f64, f64, i64, u8)| if at == 0 { seed.0 } else { seed.1 };
                Arc::new(seeds.iter().map(|seed| (seed.3 > 0).then(|| pick(seed))).collect::<Float64Array>())
            }
            Kind::Timestamp => {
                let millis = seeds.iter().map(|seed| Some(1_700_000_000_000 + seed.2 * 100));
                Arc::new(millis.collect::<arrow::array::TimestampMillisecondArray>())
            }
            _ => Arc::new(seeds.iter().map(|seed| Some(seed.2)).collect::<Int64Array>()),
        };
        (format!("c{at}"), column)
    });
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn shuffle(batch: &RecordBatch, order: u64) -> RecordBatch {
    let mut rows: Vec<usize> = (0..batch.num_rows()).collect();
    rows.sort_by_key(|row| (*row as u64 + 1).wrapping_mul(order | 1).rotate_left(17));
    let pieces: Vec<RecordBatch> = rows.into_iter().map(|row| batch.slice(row, 1)).collect();
    concat_batches(&batch.schema(), &pieces).unwrap()
}

fn close(name: &str, expected: &ScalarValue, found: &ScalarValue) {
    if let (ScalarValue::Float64(Some(expected)), ScalarValue::Float64(Some(found))) = (expected, found) {
        assert!((expected - found).abs() <= 1e-9 * expected.abs().max(1.0), "{name}: {found}, not {expected}");
    } else {
        assert_eq!(expected, found, "{name}");
    }
}

// Longer columns than one chunk, with offsets, agree with short ones.
#[test]
fn a_sliced_column_of_many_rows_gives_what_its_rows_give() {
    let values: Float64Array = (0..2_000).map(|row| (row % 7 > 0).then_some(f64::from(row))).collect();
    let values: ArrayRef = Arc::new(values);
    for function in functions() {
        let Function::Scalar(description, function) = function else { continue };
        if description.arguments.iter().any(|argument| argument.kind != Kind::Double)
            || description.name == "live_rating"
        {
            continue;
        }
        let mut arguments = vec![ColumnarValue::Array(values.slice(3, 1_500)); description.required];
        arguments[0] = ColumnarValue::Array(values.slice(1, 1_500));
        let long = invoke(&function, arguments.clone(), 1_500).unwrap().into_array(1_500).unwrap();
        for row in [0, 1, 511, 512, 513, 1_023, 1_024, 1_499] {
            let one = arguments.iter().map(|argument| match argument {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(row, 1)),
                scalar => scalar.clone(),
            });
            let one = invoke(&function, one.collect(), 1).unwrap().into_array(1).unwrap();
            let (long, one) = (long.as_primitive::<Float64Type>(), one.as_primitive::<Float64Type>());
            assert_eq!(long.is_null(row), one.is_null(0), "{}", description.name);
            assert!(one.is_null(0) || long.value(row) == one.value(0), "{}, row {row}", description.name);
        }
    }
}
