//! Arguments that several verbs share.

use std::{
    fs,
    io::{self, Read},
};

use clap::{Args, ValueEnum};
use dacapo_core::{
    Namespace, Payload, RunId,
    filter::Condition,
    store::{RunFilter, RunInfo},
};
use dacapo_runtime::{Client, ClientError, WorkflowExecution};

use super::exit::{Exit, Stop};

/// When stdout is colored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The Postgres to use; without one, `dev`, `demo` and `bench` start a private one in this folder, and the other
    /// verbs use that
    #[arg(long, env = "DATABASE_URL", global = true, value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// The space in which workflow ids are unique
    #[arg(long, env = "DACAPO_NAMESPACE", global = true, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Print JSON on stdout: one value, with `ls` and `workers` an array
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Color stdout
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorWhen::Auto)]
    pub(crate) color: ColorWhen,
    /// What to log on stderr, such as `info` or `warn,dacapo_runtime=debug`; RUST_LOG does the same
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

impl Global {
    /// Gives the namespace.
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::new(self.namespace.as_str())
    }

    /// Gives the URL, if one is set and not empty.
    pub(crate) fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }
}

/// Which run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The workflow id
    #[arg(value_name = "ID")]
    pub(crate) workflow_id: String,
    /// One run of it instead of the newest
    #[arg(long, value_name = "RUN_ID")]
    pub(crate) run_id: Option<RunId>,
}

impl Target {
    /// Gives the workflow id and run as the client takes them.
    pub(crate) fn execution(&self) -> WorkflowExecution {
        WorkflowExecution { run_id: self.run_id, ..WorkflowExecution::newest(self.workflow_id.as_str()) }
    }
}

/// Finds the run that a text names: the newest of a workflow id, or else the run of that run id.
pub(crate) async fn named_run(client: &Client, name: &str) -> Result<RunInfo, Stop> {
    let not_found = match client.resolve(&WorkflowExecution::newest(name)).await {
        Err(error @ ClientError::NotFound { .. }) => error,
        found => return Ok(found?),
    };
    let Ok(run_id) = name.parse::<RunId>() else { return Err(not_found.into()) };
    let filter = RunFilter { condition: Some(Condition::RunId(vec![run_id])), ..RunFilter::default() };
    client.list(filter, 1).await?.pop().ok_or_else(|| not_found.into())
}

/// Reads JSON from an argument: the JSON itself, `@file`, or `-` for stdin; without one it is `null`.
pub(crate) fn read_payload(what: &str, argument: Option<&str>) -> Result<Payload, Stop> {
    let refused = |source: &str, error: io::Error| {
        Stop::new(Exit::Invalid, format!("{what} cannot be read from {source}: {error}; give JSON, `@file` or `-`"))
    };
    let json = match argument {
        None => return Ok(Payload::null()),
        Some("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| refused("stdin", error))?;
            text
        }
        Some(argument) => match argument.strip_prefix('@') {
            Some(file) => fs::read_to_string(file).map_err(|error| refused(&format!("`{file}`"), error))?,
            None => argument.to_owned(),
        },
    };
    Payload::from_json(what, json.trim().to_owned()).map_err(|error| {
        let hint = if error.to_string().contains("cannot be read as JSON") {
            " (a text needs quotes of its own: '\"text\"')"
        } else {
            ""
        };
        Stop::new(Exit::Invalid, format!("{error}{hint}"))
    })
}

/// Reads `name=value`, where the value is JSON, or else a text.
pub(crate) fn parse_attribute(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("is no `name=value`")?;
    if name.is_empty() {
        return Err("has no name before the `=`".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    if value_is_scalar(&value) {
        Ok((name.to_owned(), value))
    } else {
        Err("must be a text, number or boolean".to_owned())
    }
}

fn value_is_scalar(value: &serde_json::Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_json_or_comes_from_a_file() {
        assert_eq!(read_payload("input", Some("{\"a\": 1}")).unwrap().as_json(), "{\"a\": 1}");
        assert_eq!(read_payload("input", None).unwrap().as_json(), "null");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "[1, 2]\n").unwrap();
        let named = format!("@{}", file.path().display());
        assert_eq!(read_payload("input", Some(&named)).unwrap().as_json(), "[1, 2]");
    }

    #[test]
    fn input_that_cannot_be_read_says_how_to_give_it() {
        let text = read_payload("input", Some("hello")).unwrap_err();
        assert_eq!(text.exit, Exit::Invalid);
        assert!(text.message.unwrap().contains("a text needs quotes"));
        let missing = read_payload("input", Some("@/no/such/file")).unwrap_err().message.unwrap();
        assert!(missing.contains("`/no/such/file`"), "{missing}");
        let large = format!("\"{}\"", "x".repeat(dacapo_core::limits::PAYLOAD_BYTES_MAX));
        let large = read_payload("input", Some(&large)).unwrap_err().message.unwrap();
        assert!(large.contains("the limit is 2097152"), "{large}");
    }

    #[test]
    fn attributes_are_scalars() {
        assert_eq!(parse_attribute("tier=gold"), Ok(("tier".to_owned(), "gold".into())));
        assert_eq!(parse_attribute("n=3"), Ok(("n".to_owned(), 3.into())));
        assert_eq!(parse_attribute("n=\"3\""), Ok(("n".to_owned(), "3".into())));
        assert!(parse_attribute("n").is_err() && parse_attribute("=1").is_err() && parse_attribute("n=[1]").is_err());
    }
}
