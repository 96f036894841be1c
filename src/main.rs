//! The `dacapo` binary: the command line with the built-in workflows.

use std::process::ExitCode;

fn main() -> ExitCode {
    dacapo::cli_with(dacapo::builtin::registry)
}
