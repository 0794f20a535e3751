use std::process::ExitCode;

/// Also what librdkafka calls: see docs/decisions/0012-one-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    touchline::cli::main()
}
