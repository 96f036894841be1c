//! The `dacapo` binary: the command line with the built-in workflows.

use std::{ffi::c_long, process::ExitCode};

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// Runs live on one thread and their writes on others: with the system's allocator, memory was a quarter of the processor
/// time outside Postgres in a profile (`docs/performance-history.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The place of `purge_delay` among the allocator's options, which its bindings do not name; a test looks it up.
const PURGE_DELAY: mi_option_t = 15;

/// How long the allocator keeps memory that nobody uses, in ms. A worker that shares its cores with others stands still every
/// few ms: by default (10 ms) it gave its memory back each time and had it cleared again, a sixth of its processor time.
const KEEP_MS: c_long = 1_000;

fn main() -> ExitCode {
    keep_memory();
    dacapo::cli_with(dacapo::builtin::registry)
}

/// Sets the allocator's option, unless `MIMALLOC_PURGE_DELAY` says otherwise.
#[expect(unsafe_code, reason = "the allocator has options for C only")]
fn keep_memory() {
    // SAFETY: it sets a number in a table of the allocator's own, by a place that it checks, before there is a second thread.
    unsafe { mi_option_set_default(PURGE_DELAY, KEEP_MS) }
}
