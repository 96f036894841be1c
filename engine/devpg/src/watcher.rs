//! The watcher of a server that is to stop by itself.
//!
//! A small shell process beside the server. Now and then it tries to take `users` exclusively without waiting: a user
//! keeps it from acting, and a newcomer waits until it has acted, so nobody is ever given a server that is about to stop.
//! It needs `flock` and `/proc`; where they are missing (macOS) nothing is watched, and the next user joins the server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::child;
use crate::error::DevPostgresError;
use crate::layout::Layout;

/// Arguments: the data directory, the file `users`, seconds between two looks, the signal that stops. The process is checked to be the server,
/// because after a crash its number may belong to another program.
const SCRIPT: &str = r#"
while sleep "$3" && [ -s "$1/postmaster.pid" ]; do
    flock -n "$2" sh -c '
        pid=$(head -n 1 "$1/postmaster.pid") && grep -qaF -e "$1" "/proc/$pid/cmdline" || exit 0
        kill -"$2" "$pid"
        for _ in $(seq 300); do [ -s "$1/postmaster.pid" ] || exit 0; sleep 0.1; done' sh "$1" "$4"
done"#;

/// Starts a watcher that stops the server when nobody has used it for a while, however its users ended;
/// without letting it write anything where the data is `disposable`.
pub(crate) fn watch(layout: &Layout, idle: Duration, disposable: bool) -> Result<(), DevPostgresError> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let shell = Path::new("/bin/sh");
    let mut command = layout.account.for_ourselves().command(shell);
    command.args(["-c", SCRIPT, "sh"]).arg(layout.data()).arg(layout.users()).arg(idle.as_secs_f64().to_string());
    command.arg(if disposable { "QUIT" } else { "INT" });
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let watcher = command.spawn().map_err(DevPostgresError::io("run", shell))?;
    child::reap(watcher).map_err(DevPostgresError::io("wait for", shell))
}
