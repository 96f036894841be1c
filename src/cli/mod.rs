//! The command line, as a library: [`cli`] gives a worker binary every verb.
//!
//! One file per verb (small relatives share one), each a set of arguments and what is done with them. A verb prints its
//! data on stdout, as a table or with `--json` as one value, and says everything else on stderr. Exit codes are in
//! [`exit`]; only this layer turns errors into them.

mod activity;
mod args;
mod bench;
mod branch;
mod connect;
mod db;
mod dead;
#[cfg(feature = "builtin")]
mod demo;
mod describe;
mod dev;
mod diff;
mod exit;
mod export;
mod json;
mod list;
mod message;
mod outcome;
mod output;
mod process;
mod replay;
mod result;
mod run;
mod selection;
mod show;
mod span;
mod stack;
mod start;
mod table;
mod telemetry;
mod time;
mod trace;
mod update;
mod worker;
mod workers;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use dacapo_runtime::Engine;
use dacapo_worker::Registry;

use self::{
    args::Global,
    connect::{Connection, Database, Patience},
    exit::{EXIT_CODES, Exit, Stop},
    output::Output,
};
use crate::logging;

/// Durable workflows on nothing but Postgres
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dev(dev::Dev),
    #[cfg(feature = "builtin")]
    Demo(demo::Demo),
    Worker(worker::Worker),
    Start(start::Start),
    Run(run::Run),
    Result(result::ResultOf),
    Ls(list::Ls),
    Count(list::Count),
    Show(show::Show),
    Describe(describe::Describe),
    Export(export::Export),
    Replay(replay::Replay),
    Trace(trace::Trace),
    Stack(stack::Stack),
    Diff(diff::Diff),
    Signal(message::Signal),
    Query(message::Query),
    Update(update::Update),
    Cancel(message::Cancel),
    Terminate(message::Terminate),
    Pause(message::Pause),
    Unpause(message::Unpause),
    Activity(activity::Activity),
    Reset(branch::Reset),
    Fork(branch::Fork),
    Dead(dead::Dead),
    Workers(workers::Workers),
    Db(db::Db),
    Bench(bench::Bench),
    #[command(hide = true)]
    BenchWorker(bench::BenchWorker),
}

type BuildRegistry = Box<dyn FnOnce(&Engine) -> Registry + Send>;

/// What every verb gets.
pub(crate) struct Context {
    /// The options of every verb.
    pub(crate) global: Global,
    /// Where to print.
    pub(crate) output: Output,
    /// Makes the workflows and activities of this binary, once.
    registry: Mutex<Option<BuildRegistry>>,
    /// The name under which the program was called, for hints.
    pub(crate) program: String,
}

impl Context {
    /// Makes the workflows and activities that this binary's worker serves.
    fn registry(&self, engine: &Engine) -> Result<Registry, Stop> {
        let build = self.registry.lock().unwrap_or_else(PoisonError::into_inner).take();
        match build {
            Some(build) => Ok(build(engine)),
            None => Err(Stop::new(Exit::Internal, "the registry is taken: a process runs one worker")),
        }
    }

    /// Connects to the database, which must be there.
    async fn connect(&self) -> Result<Connection, Stop> {
        let database = Database::find(self, false).await?;
        Connection::open(self, database, Patience::Short).await
    }
}

/// Runs the command line of a worker binary: every verb of `dacapo`, with the workflows and activities of `registry`.
///
/// ```no_run
/// # use dacapo::prelude::*;
/// fn main() -> std::process::ExitCode {
///     dacapo::cli(Registry::new())
/// }
/// ```
pub fn cli(registry: Registry) -> ExitCode {
    cli_with(move |_| registry)
}

/// Does what [`cli`] does, for activities that need the engine: `build` is called once, when a worker starts.
pub fn cli_with<F>(build: F) -> ExitCode
where
    F: FnOnce(&Engine) -> Registry + Send + 'static,
{
    let called = std::env::args_os().next();
    let program = called.as_deref().and_then(|path| Path::new(path).file_name()?.to_str());
    let program = program.unwrap_or("dacapo").to_owned();
    let matches = Cli::command().bin_name(program.clone()).get_matches();
    let Cli { global, verb } = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(global.json, global.color);
    let context = Context { global, output, registry: Mutex::new(Some(Box::new(build))), program };
    match run(&context, verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if let Some(message) = &stop.message {
                output.note(&format!("error: {message}"));
            }
            stop.code()
        }
    }
}

fn run(context: &Context, verb: Verb) -> Result<(), Stop> {
    logging::install(context.global.log.as_deref(), verb.default_log()).map_err(Stop::because(Exit::Invalid))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(Box::pin(verb.run(context)));
    // A read of stdin or a stuck activity must not keep the process.
    runtime.shutdown_background();
    ended
}

impl Verb {
    /// What is logged unless somebody says otherwise: a verb that looks says nothing, a process says what it does.
    fn default_log(&self) -> &'static str {
        match self {
            Self::Dev(_) | Self::Worker(_) => "info,sqlx=warn",
            _ => "error",
        }
    }

    async fn run(self, context: &Context) -> Result<(), Stop> {
        match self {
            Self::Dev(verb) => verb.run(context).await,
            #[cfg(feature = "builtin")]
            Self::Demo(verb) => verb.run(context).await,
            Self::Worker(verb) => verb.run(context).await,
            Self::Start(verb) => verb.run(context).await,
            Self::Run(verb) => verb.run(context).await,
            Self::Result(verb) => verb.run(context).await,
            Self::Ls(verb) => verb.run(context).await,
            Self::Count(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Describe(verb) => verb.run(context).await,
            Self::Export(verb) => verb.run(context).await,
            Self::Replay(verb) => verb.run(context).await,
            Self::Signal(verb) => verb.run(context).await,
            Self::Trace(verb) => verb.run(context).await,
            Self::Stack(verb) => verb.run(context).await,
            Self::Diff(verb) => verb.run(context).await,
            Self::Query(verb) => verb.run(context).await,
            Self::Update(verb) => verb.run(context).await,
            Self::Pause(verb) => verb.run(context).await,
            Self::Unpause(verb) => verb.run(context).await,
            Self::Activity(verb) => verb.run(context).await,
            Self::Reset(verb) => verb.run(context).await,
            Self::Fork(verb) => verb.run(context).await,
            Self::Dead(verb) => verb.run(context).await,
            Self::Cancel(verb) => verb.run(context).await,
            Self::Terminate(verb) => verb.run(context).await,
            Self::Workers(verb) => verb.run(context).await,
            Self::Db(verb) => verb.run(context).await,
            Self::Bench(verb) => verb.run(context).await,
            Self::BenchWorker(verb) => verb.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use expect_test::expect;

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = parse("dacapo ls --json --namespace a --limit 3").unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.namespace().as_str(), "a");
        assert!(parse("dacapo --json ls").unwrap().global.json);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = [
            ("dacapo", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("dacapo fly", ErrorKind::InvalidSubcommand),
            ("dacapo start", ErrorKind::MissingRequiredArgument),
            ("dacapo start t --delay soon", ErrorKind::ValueValidation),
            ("dacapo start t --signal-input 1", ErrorKind::MissingRequiredArgument),
            ("dacapo ls --status done", ErrorKind::ValueValidation),
            ("dacapo ls --limit 0", ErrorKind::ValueValidation),
            ("dacapo show id --run-id 7", ErrorKind::ValueValidation),
            ("dacapo worker --metrics-addr 9464", ErrorKind::ValueValidation),
        ];
        for (line, kind) in refused {
            assert_eq!(parse(line).map(|_| ()), Err(kind), "{line}");
        }
    }

    #[test]
    #[cfg(feature = "builtin")]
    fn the_verbs_are_these() {
        let command = Cli::command();
        let names: Vec<&str> =
            command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name).collect();
        expect![
            "dev demo worker start run result ls count show describe export replay trace stack diff signal query update cancel terminate pause unpause activity reset fork dead workers db bench"
        ]
        .assert_eq(&names.join(" "));
    }
}
