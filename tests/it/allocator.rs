//! The allocator of the binary.

use std::process::Command;

#[test]
fn the_option_that_keeps_memory_is_where_the_binary_sets_it() {
    // It prints its options, in the order of their numbers, before the program begins.
    let output =
        Command::new(env!("CARGO_BIN_EXE_dacapo")).arg("--version").env("MIMALLOC_VERBOSE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let mut options =
        said.lines().filter_map(|line| line.split_once("option '")?.1.split_once('\'').map(|(name, _)| name));
    assert_eq!(options.position(|name| name == "purge_delay"), Some(15), "{said}");
}
