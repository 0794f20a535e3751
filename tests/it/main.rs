//! All end-to-end tests, in one binary: every further one would link DataFusion again.
//!
//! Each module has `pub(crate) fn tests() -> Vec<Trial>`; tests/README.md shows how to write one. `#[test]` does nothing here.

mod architecture;
mod bad_input;
mod broker_away;
mod broker_line;
mod cases;
mod chained_views;
mod changed;
mod clients;
mod deploy;
mod docs;
mod duels;
mod early;
mod functions;
mod fuzz;
mod golden;
mod hot_history;
mod hot_table;
mod hot_table_upkeep;
mod identity;
mod ingest;
mod judged_alike;
mod kafka_login;
mod known_answers;
mod memory;
mod postgres;
mod process;
mod proofs;
mod public_store;
mod real_input;
mod refreshed;
mod refused_rows;
mod registered;
mod reload;
mod restart;
mod run;
mod services;
mod services_answer;
mod simulate;
mod spellings;
mod state;
mod store_hangs;
mod stream_equals_batch;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut tests = Vec::new();
    tests.extend(registered::tests());
    tests.extend(services_answer::tests());
    tests.extend(deploy::tests());
    tests.extend(architecture::tests());
    tests.extend(bad_input::tests());
    tests.extend(broker_away::tests());
    tests.extend(cases::tests());
    tests.extend(chained_views::tests());
    tests.extend(changed::tests());
    tests.extend(clients::tests());
    tests.extend(docs::tests());
    tests.extend(duels::tests());
    tests.extend(early::tests());
    tests.extend(functions::tests());
    tests.extend(fuzz::tests());
    tests.extend(golden::tests());
    tests.extend(identity::tests());
    tests.extend(ingest::tests());
    tests.extend(judged_alike::tests());
    tests.extend(memory::tests());
    tests.extend(kafka_login::tests());
    tests.extend(proofs::tests());
    tests.extend(public_store::tests());
    tests.extend(refreshed::tests());
    tests.extend(reload::tests());
    tests.extend(restart::tests());
    tests.extend(run::tests());
    tests.extend(simulate::tests());
    tests.extend(spellings::tests());
    tests.extend(state::tests());
    tests.extend(store_hangs::tests());
    tests.extend(stream_equals_batch::tests());
    tests.extend(postgres::tests());
    tests.extend(hot_table::tests());
    tests.extend(hot_table_upkeep::tests());
    tests.extend(refused_rows::tests());
    tests.extend(hot_history::tests());
    tests.extend(real_input::tests());
    tests.extend(known_answers::tests());
    services::announce_skipped(&tests);
    libtest_mimic::run(&arguments, tests).exit_code()
}
