//! `touchline status`: how the queries of a running server are doing.

use clap::Args;

use super::output::OutputFormat;
use super::sql::{self, ServerArgs, SqlArgs};
use crate::error::Result;

/// The first line of a reason says what has happened.
const STATEMENT: &str =
    "SELECT name, state, arguments, split_part(reason, chr(10), 1) AS reason FROM touchline.queries ORDER BY name";

/// Asks a running server how its queries are doing.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "States: STARTING, CATCHING_UP, RUNNING, IDLE, LAGGING, DEGRADED, BLOCKED, DATA_LOSS, STALLED, STOPPING, FENCED, \
    FAILED, FINISHED, REJECTED.\ntouchline.queries has the whole of each reason, and the counters."
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

/// # Errors
/// Those of `touchline sql`.
pub(super) async fn run(args: StatusArgs) -> Result<()> {
    sql::run(SqlArgs { command: Some(STATEMENT.to_owned()), server: args.server, output: args.output }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::QueryState;

    #[test]
    fn the_help_names_every_state() {
        let command = StatusArgs::augment_args(clap::Command::new("status"));
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for state in QueryState::ALL {
            assert!(help.contains(state.name()), "{} is not in {help}", state.name());
        }
    }
}
