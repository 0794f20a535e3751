//! A lookup join between the optimizer and the physical plan, where it stands in the place of DataFusion's own join.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use tokio::sync::OnceCell;

use super::{Dimension, LookupJoinExec, LookupJoinType, NullKeys};
use crate::error::Error;
use crate::operator::logical::Lowering;
use crate::operator::static_side::{Replace, StaticSide, tables_read};

/// Static rows that a query looks things up in: any plan without a stream, planned once for all that look there.
#[derive(Debug)]
pub struct StaticRows {
    plan: LogicalPlan,
    tables: BTreeSet<String>,
    dimension: OnceCell<Arc<Dimension>>,
}

impl StaticRows {
    /// `plan`: optimized.
    pub fn new(plan: LogicalPlan) -> Self {
        StaticRows { tables: tables_read(&plan), plan, dimension: OnceCell::new() }
    }

    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Planned whole and by itself: what stands above it in the query would leave DataFusion's physical optimizer no way in.
    async fn dimension(&self, context: &Lowering<'_>) -> Result<Arc<Dimension>> {
        let planned = self.dimension.get_or_try_init(|| async {
            let plan = context.planner.create_physical_plan(&self.plan, context.static_session).await?;
            Ok::<_, datafusion::error::DataFusionError>(Arc::new(Dimension::new(plan)))
        });
        Ok(Arc::clone(planned.await?))
    }
}

#[async_trait]
impl StaticSide for StaticRows {
    fn tables(&self) -> &BTreeSet<String> {
        &self.tables
    }

    async fn read(self: Arc<Self>, context: &Arc<TaskContext>) -> crate::error::Result<Replace> {
        let dimension =
            self.dimension.get().ok_or_else(|| Error::bug("static rows are read before they are planned"))?;
        Ok(dimension.read_again(context).await?)
    }
}

/// See the module's first line. Its only input is the stream.
#[derive(Debug, Clone)]
pub struct LookupJoinNode {
    pub stream: LogicalPlan,
    pub table: Arc<StaticRows>,
    /// The table's columns as the expressions name them.
    pub table_schema: DFSchemaRef,
    /// Pairs of expressions, over the stream and over the table.
    pub on: Vec<(Expr, Expr)>,
    pub nulls: NullKeys,
    /// What a pair of rows has to fulfil beside its keys.
    pub filter: Option<Expr>,
    pub join_type: LookupJoinType,
    /// Whether the stream's columns come first.
    pub stream_first: bool,
    pub schema: DFSchemaRef,
}

/// All that tells one node from another.
type Identity<'a> =
    (&'a LogicalPlan, &'a LogicalPlan, &'a [(Expr, Expr)], NullKeys, Option<&'a Expr>, LookupJoinType, bool);

impl LookupJoinNode {
    fn identity(&self) -> Identity<'_> {
        let filter = self.filter.as_ref();
        (&self.stream, &self.table.plan, &self.on, self.nulls, filter, self.join_type, self.stream_first)
    }

    /// Its physical node.
    pub async fn lower(&self, context: &Lowering<'_>) -> crate::error::Result<Arc<dyn ExecutionPlan>> {
        let dimension = self.table.dimension(context).await?;
        let (near, far) = (context.logical[0].schema(), &self.table_schema);
        let on = self.on.iter().map(|(stream, table)| Ok((context.expr(stream, near)?, context.expr(table, far)?)));
        let on = on.collect::<Result<Vec<_>>>()?;
        let filter = self.filter.as_ref().map(|filter| join_filter(filter, near, far, context)).transpose()?;
        let stream = Arc::clone(&context.inputs[0]);
        let join =
            LookupJoinExec::try_new(stream, dimension, on, self.nulls, filter, self.join_type, self.stream_first)?;
        Ok(Arc::new(join))
    }
}

/// The condition over those columns of both sides that it reads, the stream's first.
fn join_filter(filter: &Expr, near: &DFSchema, far: &DFSchema, context: &Lowering<'_>) -> Result<JoinFilter> {
    let columns = filter.column_refs();
    let read = |schema: &DFSchema| {
        let mut read: Vec<usize> = columns.iter().filter_map(|column| schema.maybe_index_of_column(column)).collect();
        read.sort_unstable();
        read
    };
    let (of_near, of_far) = (read(near), read(far));
    let field = |schema: &DFSchema, at: usize| {
        let (qualifier, field) = schema.qualified_field(at);
        (qualifier.cloned(), Arc::clone(field))
    };
    let fields = of_near.iter().map(|at| field(near, *at)).chain(of_far.iter().map(|at| field(far, *at)));
    let both = DFSchema::new_with_metadata(fields.collect(), Default::default())?;
    let expr = context.expr(filter, &both)?;
    let indices = JoinFilter::build_column_indices(of_near, of_far);
    Ok(JoinFilter::new(expr, indices, Arc::clone(both.inner())))
}

impl PartialEq for LookupJoinNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for LookupJoinNode {}

impl Hash for LookupJoinNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for LookupJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl UserDefinedLogicalNodeCore for LookupJoinNode {
    fn name(&self) -> &str {
        "LookupJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.stream]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.on.iter().flat_map(|(stream, table)| [stream.clone(), table.clone()]);
        keys.chain(self.filter.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> = self.on.iter().map(|(stream, table)| format!("{stream} = {table}")).collect();
        write!(f, "LookupJoin: type={:?}, on=[{}]", self.join_type, on.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(stream), keys) = (inputs.pop(), 2 * self.on.len()) else {
            return Err(Error::bug("a lookup join without its stream").into());
        };
        if exprs.len() != keys + usize::from(self.filter.is_some()) {
            return Err(Error::bug(format!("a lookup join of {} expressions", exprs.len())).into());
        }
        let on = exprs[..keys].chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        Ok(LookupJoinNode { stream, on, filter: exprs.get(keys).cloned(), ..self.clone() })
    }
}
