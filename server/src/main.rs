use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider for all TLS of the process; a second one cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = touchline::cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return touchline::cli::fail(&error.into()),
    };
    let code = runtime.block_on(command.run()).unwrap_or_else(|error| touchline::cli::fail(&error));
    // Whatever still runs may be dropped: what counts has been stopped in order, or was told to end at once.
    runtime.shutdown_background();
    code
}
