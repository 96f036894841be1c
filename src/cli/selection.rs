//! Which runs a verb is about: workflow ids, or what a filter lets through.

use clap::Args;
use dacapo_core::store::RunInfo;
use dacapo_runtime::{Client, WorkflowExecution};

use super::{
    exit::{Exit, Stop},
    list::Filter,
};

/// The runs that one read takes: little to hold, few statements.
const PAGE: i64 = 1_000;

/// Runs by filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selection {
    /// Every run of the namespace that the filters let through; alone, every run
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// How many runs at most, the newest first; more are an error
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    limit: i64,
}

impl Selection {
    /// Whether runs are chosen by more than their ids.
    pub(crate) fn is_wanted(&self) -> bool {
        self.all || !self.filter.is_empty()
    }

    /// Finds the newest run of each workflow id, and the runs that the filter lets through.
    pub(crate) async fn runs(self, client: &Client, ids: &[String]) -> Result<Vec<RunInfo>, Stop> {
        let mut runs = Vec::new();
        for id in ids {
            runs.push(client.resolve(&WorkflowExecution::newest(id.as_str())).await?);
        }
        if self.is_wanted() {
            let mut found = Vec::new();
            let mut next = Some(self.filter.into_filter());
            while let Some(filter) = next {
                let page = client.list_page(filter, PAGE).await?;
                found.extend(page.runs);
                next = page.next;
                if i64::try_from(found.len()).is_ok_and(|found| found > self.limit) {
                    let problem = format!("more than {} runs are chosen: raise `--limit`, or filter", self.limit);
                    return Err(Stop::new(Exit::Invalid, problem));
                }
            }
            if found.is_empty() {
                return Err(Stop::new(Exit::NotFound, "no run is chosen: see what there is with `dacapo ls`"));
            }
            runs.extend(found);
        }
        Ok(runs)
    }
}
