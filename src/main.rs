//! The `dacapo` binary: the command line with the built-in workflows.

use std::process::ExitCode;

/// Runs live on one thread and their writes on others: with the system's allocator, memory was a quarter of the processor
/// time outside Postgres in a profile (`docs/performance-history.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dacapo::cli_with(dacapo::builtin::registry)
}
