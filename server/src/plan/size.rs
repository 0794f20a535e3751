//! How large a plan may be: everything that walks one does so in steps upon steps, and a file must not end the process.

use std::collections::HashMap;

use datafusion::logical_expr::LogicalPlan;

use crate::error::{Error, Result};

/// Nodes upon one another: some fifty windows. Planning and running go as deep, on stacks of [`crate::cli::WORKER_STACK_BYTES`].
const DEPTH_MAX: usize = 300;
/// Nodes in all, each counted as often as it is read: a part of a WITH clause that is read twice stands in the plan twice.
const NODES_MAX: usize = 10_000;

/// Refuses a plan that is too deep or too large to be optimized and run. Walks no shared part twice, and none in recursion.
///
/// It comes after DataFusion has planned the text, which by itself takes as long as the plan is large: see
/// [`crate::sql::refuse_reads`].
///
/// # Errors
/// `Invalid` with the limit that it passes.
pub fn refuse_size(plan: &LogicalPlan) -> Result<()> {
    let Size { depth, nodes } = size(plan);
    let refused = |what: String| {
        Err(Error::invalid(what)
            .hint("split it: write parts of it as materialized views, or drop parts that are read twice"))
    };
    if depth > DEPTH_MAX {
        return refused(format!("the query has {depth} steps upon one another, at most {DEPTH_MAX} are possible"));
    }
    if nodes > NODES_MAX {
        return refused(format!("the query has over {NODES_MAX} steps, with those counted twice that are read twice"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    depth: usize,
    nodes: usize,
}

fn size(plan: &LogicalPlan) -> Size {
    let key = |plan: &LogicalPlan| std::ptr::from_ref(plan) as usize;
    let mut sizes: HashMap<usize, Size> = HashMap::new();
    let mut open = vec![plan];
    while let Some(node) = open.last().copied() {
        if sizes.contains_key(&key(node)) {
            open.pop();
            continue;
        }
        let inputs = node.inputs();
        let before = open.len();
        open.extend(inputs.iter().copied().filter(|input| !sizes.contains_key(&key(input))));
        if open.len() > before {
            continue;
        }
        let below = inputs.iter().filter_map(|input| sizes.get(&key(input)));
        let own = below.fold(Size { depth: 1, nodes: 1 }, |own, input| Size {
            depth: own.depth.max(input.depth.saturating_add(1)),
            nodes: own.nodes.saturating_add(input.nodes),
        });
        sizes.insert(key(node), own);
        open.pop();
    }
    sizes.get(&key(plan)).copied().unwrap_or_default()
}
