//! `ls` and `count`: the runs of a namespace.

use clap::Args;
use dacapo_core::{
    RunStatus, Timestamp,
    filter::Expression,
    store::{RunFilter, RunInfo},
};
use serde_json::{Value, json};

use super::{
    Context,
    args::parse_attribute,
    exit::Stop,
    json as shown,
    output::Tone,
    table::{Cell, Table},
    time::{length, parse_point, relative},
};

const LS_EXAMPLE: &str = "Example:\n  dacapo ls -f \"Status = 'Failed' AND Customer = 'acme' ORDER BY CloseTime DESC\"";

const COUNT_EXAMPLE: &str = "Example:\n  dacapo count -f \"Status = 'Running' AND StartTime < '2026-01-31'\"";

/// Which runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Filter {
    /// Only runs with this status: running, completed, failed, timedout, canceled, terminated
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<RunStatus>,
    /// Only runs of this workflow type
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,
    /// Only runs on this queue
    #[arg(short, long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only runs with this workflow id; `order-*` for those that begin with `order-`
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only runs with this search attribute; may be repeated
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, Value)>,
    /// Only runs started since: RFC 3339, or a time before now such as `2h`
    #[arg(long, value_name = "TIME", value_parser = parse_point)]
    since: Option<Timestamp>,
    /// Only runs started before: RFC 3339, or a time before now
    #[arg(long, value_name = "TIME", value_parser = parse_point)]
    before: Option<Timestamp>,
    /// Only runs for which this holds, such as "Status = 'Running' AND Customer = 'acme' ORDER BY StartTime"; see
    /// docs/list-filters.md
    #[arg(short, long, value_name = "EXPRESSION", value_parser = parse_expression)]
    filter: Option<Expression>,
}

impl Filter {
    /// Whether it lets every run through.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { status, workflow_type, queue, id, attributes, since, before, filter } = self;
        let texts = [workflow_type, queue, id];
        let times = [since, before];
        status.is_none()
            && attributes.is_empty()
            && filter.is_none()
            && texts.into_iter().all(Option::is_none)
            && times.into_iter().all(Option::is_none)
    }

    /// Makes the filter of a list.
    pub(crate) fn into_filter(self) -> RunFilter {
        let (condition, order) = self.filter.map_or((None, None), |it| (Some(it.condition), it.order));
        let prefix = self.id.as_deref().and_then(|id| id.strip_suffix('*')).map(str::to_owned);
        RunFilter {
            namespace: None,
            status: self.status,
            workflow_type: self.workflow_type.map(Into::into),
            task_queue: self.queue.map(Into::into),
            workflow_id: self.id.filter(|_| prefix.is_none()).map(Into::into),
            workflow_id_prefix: prefix,
            started_after: self.since,
            started_before: self.before,
            attributes: self.attributes,
            condition,
            order: order.unwrap_or_default(),
            after: None,
        }
    }
}

fn parse_expression(text: &str) -> Result<Expression, String> {
    dacapo_core::filter::parse(text)
        .map_err(|error| format!("at column {}, {}\n\n{}", error.column, error.problem, error.pointer()))
}

fn parse_status(text: &str) -> Result<RunStatus, String> {
    RunStatus::parse(text).ok_or_else(|| {
        let known: Vec<String> = RunStatus::ALL.iter().map(|status| status.as_str().to_lowercase()).collect();
        format!("is none of {}", known.join(", "))
    })
}

/// Lists runs, newest first unless the filter says otherwise
#[derive(Debug, Clone, Args)]
#[command(visible_alias = "list", after_help = LS_EXAMPLE)]
pub(crate) struct Ls {
    #[command(flatten)]
    filter: Filter,
    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

impl Ls {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        // One more than is shown, to know whether there are more.
        let mut runs = connection.client().list(self.filter.into_filter(), self.limit + 1).await?;
        let more = i64::try_from(runs.len()).is_ok_and(|found| found > self.limit);
        runs.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        if context.output.json {
            context.output.value(&runs.iter().map(shown::run).collect())?;
        } else {
            let (now, _) = connection.client().store().clock().await?;
            context.output.table(&table(&runs, now))?;
            if more {
                context.output.note(&format!("there are more than {}: see them with `--limit`, or filter", self.limit));
            }
        }
        connection.close().await
    }
}

fn table(runs: &[RunInfo], now: Timestamp) -> Table {
    let mut table = Table::new(["STATUS", "WORKFLOW ID", "TYPE", "QUEUE", "STARTED", "TOOK", "EVENTS", "RUN ID"]);
    for run in runs {
        table.row([
            status_cell(run.status),
            run.workflow_id.to_string().into(),
            run.workflow_type.to_string().into(),
            run.task_queue.to_string().into(),
            relative(run.started_at, now).into(),
            length(run.closed_at.unwrap_or(now).since(run.started_at)).into(),
            run.events.to_string().into(),
            run.key.run_id.to_string().into(),
        ]);
    }
    table
}

/// Writes a status in its color.
pub(crate) fn status_cell(status: RunStatus) -> Cell {
    Cell::from(status.as_str()).tone(status_tone(status))
}

/// Gives the color of a status.
pub(crate) fn status_tone(status: RunStatus) -> Tone {
    match status {
        RunStatus::Running | RunStatus::ContinuedAsNew => Tone::Active,
        RunStatus::Completed => Tone::Good,
        RunStatus::Failed | RunStatus::TimedOut => Tone::Bad,
        RunStatus::Canceled | RunStatus::Terminated => Tone::Odd,
    }
}

/// Counts runs
#[derive(Debug, Clone, Args)]
#[command(after_help = COUNT_EXAMPLE)]
pub(crate) struct Count {
    #[command(flatten)]
    filter: Filter,
}

impl Count {
    /// Runs the verb.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Stop> {
        let connection = context.connect().await?;
        let count = connection.client().count(self.filter.into_filter()).await?;
        if context.output.json {
            context.output.value(&json!({"count": count}))?;
        } else {
            context.output.line(&count.to_string())?;
        }
        connection.close().await
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{Namespace, RunKey, Shard};
    use expect_test::expect;

    use super::*;

    #[test]
    fn runs_are_listed_with_age_and_length() {
        let run_id = "0199d5f2-0000-7000-8000-000000000001".parse().unwrap();
        let run = RunInfo {
            key: RunKey { shard: Shard(1), run_id },
            namespace: Namespace::default_namespace(),
            workflow_id: "order-42".into(),
            workflow_type: "checkout".into(),
            task_queue: "default".into(),
            status: RunStatus::Completed,
            started_at: Timestamp(10_000_000),
            closed_at: Some(Timestamp(10_250_000)),
            events: 11,
            memo: None,
            search_attributes: None,
        };
        expect![[r#"
            STATUS     WORKFLOW ID  TYPE      QUEUE    STARTED    TOOK   EVENTS  RUN ID
            Completed  order-42     checkout  default  1m30s ago  250ms  11      0199d5f2-0000-7000-8000-000000000001
        "#]]
        .assert_eq(&table(&[run], Timestamp(100_000_000)).render(false));
    }

    #[test]
    fn a_star_makes_a_prefix() {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            filter: Filter,
        }
        let parse = |id: &str| <Only as clap::Parser>::parse_from(["x", "--id", id]).filter.into_filter();
        assert_eq!(parse("order-*").workflow_id_prefix.as_deref(), Some("order-"));
        assert_eq!(parse("order-*").workflow_id, None);
        assert_eq!(parse("order-1").workflow_id, Some("order-1".into()));
        assert!(parse_status("complete").unwrap_err().contains("completed"));
        assert_eq!(parse_status("TIMEDOUT"), Ok(RunStatus::TimedOut));
    }

    #[test]
    fn a_slip_in_an_expression_is_marked() {
        expect![[r#"
            at column 10, it is compared with one of 'Running', 'Completed', 'Failed', 'TimedOut', 'Canceled', 'Terminated', 'ContinuedAsNew'

            Status = 'Runing'
                     ^"#]]
        .assert_eq(&parse_expression("Status = 'Runing'").unwrap_err());
    }
}
