//! `dacapo bench`: what an engine carries, measured as its users will meet it.
//!
//! Client and workers are separate processes unless told otherwise. A flow of workflows (`load`) is a closed loop, so many
//! in flight, or an open one, so many a second; what completes in the window after the warm-up counts. The other
//! scenarios are a file each, and count something definite: a backlog, signals, timers. Processor time and memory come
//! from the operating system, commits, rows and WAL from Postgres, so that whatever the machine spends is seen.
//!
//! Every scenario has an engine, a queue and workers of its own (`stage`), leaves no run open, and is followed by the
//! checks of `db verify`. None can hang: `stage` gives up when nothing completes.
//!
//! What Postgres counts (commits, statements, rows, WAL) is of the whole scenario, warm-up and start of the workers
//! included, by all its workflows: its connections tell their last counts only when they close. Processor time is of the
//! window.

mod backlog;
mod cpu;
mod floor;
mod history;
mod idle;
mod load;
mod options;
mod postgres;
mod progress;
mod report;
mod samples;
mod scenario;
mod signals;
mod stage;
mod tally;
mod timers;
mod waiting;
mod workers;
mod workflows;

use std::{sync::Arc, time::Instant};

use anyhow::anyhow;
use dacapo_core::Namespace;
use dacapo_runtime::Engine;
use dacapo_store::{PgStore, PgStoreOptions};
use tokio_util::sync::CancellationToken;

use self::{
    floor::Floor,
    options::Plan,
    postgres::{HistorySample, Observer},
    progress::Lasts,
    report::{Afterwards, Figures, Verify},
    scenario::Scenario,
    stage::Stage,
};
pub(crate) use self::{options::BenchOptions, progress::Progress, report::Report, workers::start_inside};

/// Where to measure.
pub(crate) struct Database {
    /// How it is reached.
    pub(crate) options: PgStoreOptions,
    /// A store on it, for the checks.
    pub(crate) store: Arc<PgStore>,
    /// The namespace of the measured runs.
    pub(crate) namespace: Namespace,
    /// The server's process, when it is known.
    pub(crate) server_pid: Option<u32>,
    /// What the workers are to log.
    pub(crate) log: Option<String>,
    /// Cancelled when the user wants no more.
    pub(crate) interrupted: CancellationToken,
}

/// Measures every scenario of a plan, one after the other, and hands over each report; stops after one that left
/// violations.
///
/// # Errors
/// What went wrong with the first scenario that could not be measured; those before it have been handed over.
pub(crate) async fn run(
    database: &Database,
    options: &BenchOptions,
    plans: Vec<Plan>,
    progress: &Arc<Progress>,
    reports: &mut Vec<Report>,
) -> anyhow::Result<()> {
    for plan in plans {
        let observer = Observer::connect(database).await?;
        let measured = Box::pin(measure(database, options, plan, &observer, progress));
        // A flow ends its window when it is interrupted, and is measured all the same.
        let report = match plan.scenario.flows() {
            true => measured.await,
            false => tokio::select! {
                report = measured => report,
                () = database.interrupted.cancelled() => Err(anyhow!(
                    "{} was interrupted; runs of it that are open stay so", plan.scenario.name()
                )),
            },
        };
        observer.close().await;
        let report = report?;
        let is_clean = report.violations().is_empty();
        reports.push(report);
        if !is_clean || database.interrupted.is_cancelled() {
            break;
        }
    }
    Ok(())
}

async fn measure(
    database: &Database,
    options: &BenchOptions,
    plan: Plan,
    observer: &Observer,
    progress: &Arc<Progress>,
) -> anyhow::Result<Report> {
    cpu::forget_peak();
    let counted = observer.settled().await?;
    let mut store_options = database.options.clone();
    store_options.application_name = format!("dacapo bench {}", uuid::Uuid::now_v7().simple());
    store_options.neighbours = !options.apart;
    if plan.scenario == Scenario::Backlog {
        store_options.url = observer.timed_url(&store_options.url);
    }
    let mut applications = vec![store_options.application_name.clone()];
    let url = store_options.url.clone();
    let engine = Engine::new(Arc::new(PgStore::connect(store_options).await?)).await?;
    let stage = Stage::new((plan, options), (database, url, engine), (observer, progress));
    let server = observer.server().await?;
    stage.warn_of_connections(&server);
    // After an error nothing is waited for: dropping the stage ends the workers.
    let figures = Box::pin(figures(&stage)).await?;
    applications.extend(stage.worker_applications());
    stage.stop_workers().await?;
    stage.engine.store().close().await;
    stage.phase("reading the counters of Postgres", Lasts::Sometime);
    observer.gone(&applications).await?;
    let counters = observer.settled().await?.since(counted);
    let floor = floor_of(database, &stage).await?;
    stage.phase("verifying everything that is stored", Lasts::Sometime);
    let began = Instant::now();
    let found = database.store.verify().await?;
    let verify = Verify::new(&found, began.elapsed());
    Ok(Report::new(&plan, options, figures, Afterwards { counters, floor, verify, server }))
}

async fn figures(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    match stage.plan.scenario {
        Scenario::Signals => signals::measure(stage).await,
        Scenario::Timers => timers::measure(stage).await,
        Scenario::Backlog => backlog::measure(stage).await,
        Scenario::Waiting => waiting::measure(stage).await,
        Scenario::History => history::measure(stage).await,
        Scenario::Idle => idle::measure(stage).await,
        _ => load::measure(stage).await,
    }
}

/// The floor for histories like those that were just written; nothing where this user may not make a schema.
async fn floor_of(database: &Database, stage: &Stage<'_>) -> anyhow::Result<Option<Floor>> {
    let Some(sample) = stage.observer.histories(&stage.queue).await? else { return Ok(None) };
    stage.phase("measuring the database alone", Lasts::Sometime);
    let sample = HistorySample { rows_per_run: sample.rows_per_run * stage.plan.scenario.runs() as f64, ..sample };
    match floor::measure(database, sample, stage.plan.duration).await {
        Ok(floor) => Ok(Some(floor)),
        Err(error) => {
            stage.progress.line(&format!("the database alone cannot be measured: {error:#}"));
            Ok(None)
        }
    }
}
