//! Holds the private Postgres for a script: prints its URL and keeps it in use until standard input ends.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use dacapo_devpg::{Cluster, ClusterOptions, DevPostgresError};

fn main() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
            eprintln!("error: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

fn hold() -> Result<(), DevPostgresError> {
    let cluster = Cluster::start(ClusterOptions::default())?;
    if let Some(notice) = cluster.notice() {
        eprintln!("{notice}");
    }
    let mut stdout = io::stdout();
    let printed = writeln!(stdout, "{}", cluster.url()).and_then(|()| stdout.flush());
    // A reader that is gone has ended the script that we hold it for, as the end of our input does.
    if printed.is_ok() {
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }
    cluster.stop().map(drop)
}
