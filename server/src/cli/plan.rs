//! `touchline plan`: what a server would do with schemas and queries as they stand, and what would become of each query's state.
//!
//! It asks the store with the checkpoints and nothing else, and writes nothing: so it says the same whether a server runs or not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Args;

use super::check::{catalog, plan_settings, read_all, snapshots};
use super::output::{OutputFormat, StandardOutput, write_rows};
use super::state::{Place, Stores};
use super::{fail_all, tell};
use crate::error::{ErrorKind, Result};
use crate::registry::{Preview, previews};

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 also where something would change, with 64 when something is wrong.")]
pub(super) struct PlanArgs {
    /// Folders that hold schemas/ and queries/, or single files, which see each other's tables
    #[arg(value_name = "DIR", default_value = ".")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

/// # Errors
/// `Invalid` for a place or folder that is not there; `Unavailable`.
pub(super) async fn run(args: &PlanArgs) -> Result<ExitCode> {
    let stores = match Stores::of(&args.place) {
        Ok(stores) => stores,
        Err(errors) => return Ok(fail_all(errors)),
    };
    let private = match stores.private().await {
        Ok(private) => Some(private),
        Err(error) if error.kind() == ErrorKind::Invalid && error.primary().starts_with("there is no directory") => {
            tell("nothing has run here: all queries are new");
            None
        }
        Err(error) => return Err(error),
    };
    let (checked, mut errors) = read_all(&args.paths)?;
    let (catalog, mistakes) = catalog(&checked);
    errors.extend(mistakes);
    let on_change = stores.config.engine.on_change;
    let found = previews(&Arc::new(catalog), private.as_ref(), on_change, &snapshots(), plan_settings()).await?;
    let rows = rows(&found)?;
    write_rows(&mut StandardOutput::lock(), args.output, rows.schema(), std::slice::from_ref(&rows))?;
    Ok(fail_all(errors))
}

fn rows(previews: &[Preview]) -> Result<RecordBatch> {
    let column =
        |of: fn(&Preview) -> String| Arc::new(StringArray::from_iter_values(previews.iter().map(of))) as ArrayRef;
    Ok(RecordBatch::try_from_iter([
        ("query", column(|preview| preview.query.clone())),
        ("outcome", column(|preview| preview.outcome.name().to_owned())),
        ("verdict", column(|preview| preview.verdict.join("; "))),
    ])?)
}
