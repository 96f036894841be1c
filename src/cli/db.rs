//! `db`: the schema, and the invariants of what is stored.

use clap::{Args, Subcommand};
use dacapo_store::{SchemaStatus, Violation};
use serde_json::json;

use super::{
    Context,
    connect::{Connection, Database, Patience, redact},
    exit::{Exit, Stop},
};

/// Looks after the database
#[derive(Debug, Clone, Args)]
pub(crate) struct Db {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Verb {
    /// Brings the schema up to the version of this program
    Migrate,
    /// Shows the version of the schema
    Status,
    /// Checks the invariants of everything that is stored, and names each violation; exit code 6 if there are any
    Verify,
}

impl Db {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let database = Database::find(context, false).await?;
        let options = database.options();
        match self.verb {
            Verb::Migrate => {
                let status = database.reach(Patience::Short, || dacapo_store::migrate(&options)).await?;
                show_status(context, &database, &status)?;
                database.leave().await
            }
            Verb::Status => {
                let status = database.reach(Patience::Short, || dacapo_store::schema_status(&options)).await?;
                show_status(context, &database, &status)?;
                database.leave().await
            }
            Verb::Verify => verify(context, database).await,
        }
    }
}

fn show_status(context: &Context, database: &Database, status: &SchemaStatus) -> Result<(), Stop> {
    let SchemaStatus { version, binary_version, pending } = status;
    if context.output.json {
        let value = json!({"version": version, "program_version": binary_version, "pending": pending});
        return context.output.value(&value);
    }
    let state = match (pending.is_empty(), version > binary_version) {
        (true, false) => "up to date".to_owned(),
        (true, true) => format!("newer than this program, which knows version {binary_version}: use a newer one"),
        (false, _) => format!("pending: {} (apply them with `dacapo db migrate`)", pending.join(", ")),
    };
    context.output.line(&format!("{}: schema version {version}, {state}", redact(&database.url)))
}

async fn verify(context: &Context, database: Database) -> Result<(), Stop> {
    let connection = Connection::open(context, database, Patience::Short).await?;
    let violations = connection.store().verify().await?;
    if context.output.json {
        let list = violations.iter().map(|found| {
            json!({
                "invariant": found.invariant,
                "name": found.name,
                "detail": found.detail,
            })
        });
        context.output.value(&list.collect())?;
    } else {
        for Violation { invariant, name, detail } in &violations {
            context.output.line(&format!("invariant {invariant}, {name}: {detail}"))?;
        }
        context.output.note(&match violations.len() {
            0 => "all invariants hold".to_owned(),
            found => format!("{found} violations"),
        });
    }
    connection.close().await?;
    if violations.is_empty() { Ok(()) } else { Err(Stop::said(Exit::Violations)) }
}
