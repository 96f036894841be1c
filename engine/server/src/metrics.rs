//! The metrics of every process, and the recorder that keeps them.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size, with these upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// A metric with everything that describes it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with the unit or `total` as its last word.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// Its labels; the number of values of each is bounded by code or configuration.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// From a quarter of a millisecond (a flush on a fast disk) to 10 s (the longest workflow task), for the engine's own work.
const ENGINE_SECONDS: &[f64] =
    &[0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From a millisecond to an hour: activities and runs take whatever users let them take.
const USER_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

/// Up to the most items that a flush takes.
const FLUSH_ITEMS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: Unit::Count, labels, help }
}

const fn seconds(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), unit: Unit::Seconds, labels, help }
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    counter("dacapo_workflow_starts_total", &[], "Runs that this process started."),
    counter("dacapo_workflow_closes_total", &["status"], "Runs that this process closed."),
    counter("dacapo_workflow_branches_total", &[], "Resets and forks that this process asked for."),
    seconds("dacapo_workflow_task_seconds", ENGINE_SECONDS, &[], "Time in workflow code, one workflow task each."),
    counter("dacapo_workflow_task_failures_total", &["cause"], "Workflow tasks that failed and are tried again."),
    seconds(
        "dacapo_activity_seconds",
        USER_SECONDS,
        &["activity_type", "outcome"],
        "Time of one attempt of an activity.",
    ),
    seconds(
        "dacapo_local_activity_seconds",
        USER_SECONDS,
        &["activity_type", "outcome"],
        "Time of one attempt of a local activity, its wait for a slot included.",
    ),
    seconds("dacapo_flush_seconds", ENGINE_SECONDS, &["lane"], "Time of one flush, commit included."),
    Metric {
        name: "dacapo_flush_items",
        kind: Kind::Histogram(FLUSH_ITEMS),
        unit: Unit::Count,
        labels: &["lane"],
        help: "Transitions, starts or messages that went into one flush.",
    },
    counter("dacapo_flushes_total", &["lane"], "Flushes that were committed."),
    counter("dacapo_flush_repeats_total", &["lane"], "Flushes repeated because transactions got in each other's way."),
    counter("dacapo_flush_unknown_outcomes_total", &["lane"], "Items of flushes whose answer was lost."),
    gauge("dacapo_lane_backlog_items", &["lane"], "Items that wait for the next flush of a lane."),
    counter(
        "dacapo_outbox_deliveries_total",
        &[],
        "Rows of the outbox that were carried out: what runs want of others.",
    ),
    counter(
        "dacapo_outbox_refusals_total",
        &[],
        "Rows of the outbox that the database refused; they are tried again a minute later.",
    ),
    counter(
        "dacapo_outbox_undelivered_total",
        &[],
        "What committed transactions of users asked for and could not have: the table dacapo.undelivered says why.",
    ),
    counter("dacapo_handed_runs_total", &[], "Runs that were started for this process by others, and that it took."),
    counter(
        "dacapo_handed_back_runs_total",
        &[],
        "Runs that this process gave to everybody because the worker for which they were started did not take them.",
    ),
    counter("dacapo_hints_sent_total", &[], "Hints that were sent to other processes through the server."),
    counter(
        "dacapo_hints_direct_total",
        &[],
        "Hints that were sent to other processes of the same machine by themselves.",
    ),
    counter("dacapo_hints_lost_total", &[], "Hints that could not be sent; renewals of leases make up for them."),
    counter(
        "dacapo_fenced_writes_total",
        &[],
        "Writes that were refused because the run has another owner; above 0 after a pause longer than the lease.",
    ),
    counter("dacapo_unknown_writes_total", &[], "Writes whose answer was lost, so that a fencing write had to decide."),
    counter(
        "dacapo_corrupt_runs_total",
        &[],
        "Runs that were set aside because their history is corrupt; alert above 0.",
    ),
    counter(
        "dacapo_workflow_threads_lost_total",
        &[],
        "Threads lost to workflow code that does not return; alert above 0.",
    ),
    counter(
        "dacapo_sweep_repairs_total",
        &["kind"],
        "Rows that the protocol makes impossible, found and repaired; alert above 0.",
    ),
    counter("dacapo_taken_over_runs_total", &[], "Runs taken over from workers that are gone."),
    counter("dacapo_taken_over_activities_total", &[], "Attempts taken over from workers that are gone."),
    counter(
        "dacapo_parked_runs_total",
        &[],
        "Runs parked because they were taken over too often without progress; alert above 0.",
    ),
    counter("dacapo_timers_moved_total", &[], "Timers that came due without an owner watching them."),
    counter(
        "dacapo_vacuums_total",
        &["table"],
        "Vacuums of tables that are queues, after some ten thousand removed rows.",
    ),
    counter("dacapo_activities_expired_total", &[], "Attempts that nobody watched and whose time passed."),
    gauge("dacapo_owned_runs", &[], "Runs that this process owns."),
    gauge(
        "dacapo_dead_letters",
        &["kind"],
        "Runs and activities of the database that wait for somebody, as this process counted them within the last minute.",
    ),
    gauge("dacapo_activities_busy", &[], "Activity attempts that this process runs."),
    gauge(
        "dacapo_queue_depth",
        &["task_queue", "kind"],
        "Runs or activities that wait on a queue of this process to be claimed by any worker.",
    ),
];

/// Why the metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The buckets of a histogram are not accepted.
    #[error("the buckets of `{metric}` are not accepted")]
    Buckets {
        /// The histogram.
        metric: &'static str,
        /// What the exporter said.
        source: BuildError,
    },
    /// The process records its metrics elsewhere already.
    #[error("this process has a metrics recorder already; install it once, and before anything is counted")]
    Installed,
}

/// Keeps the values of all metrics of this process. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Recorder(PrometheusHandle);

impl Recorder {
    /// Makes the recorder and installs it for the whole process.
    ///
    /// # Errors
    /// [`RecorderError::Installed`] the second time.
    pub fn install() -> Result<Self, RecorderError> {
        let recorder = builder()?.build_recorder();
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|_| RecorderError::Installed)?;
        describe();
        Ok(Self(handle))
    }

    /// Writes all values in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

fn builder() -> Result<PrometheusBuilder, RecorderError> {
    METRICS.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
            .map_err(|source| RecorderError::Buckets { metric: metric.name, source }),
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

/// Describes every metric, and shows those without labels as 0 before they first change.
fn describe() {
    for Metric { name, kind, unit, labels, help } in METRICS.iter().copied() {
        match kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram(_) => describe_histogram!(name, unit, help),
        }
        match kind {
            Kind::Counter if labels.is_empty() => ::metrics::counter!(name).absolute(0),
            Kind::Gauge if labels.is_empty() => ::metrics::gauge!(name).set(0.0),
            Kind::Counter | Kind::Gauge | Kind::Histogram(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_what_they_count_and_labels_are_never_ids() {
        for metric in METRICS {
            let suffix = match (metric.kind, metric.unit) {
                (Kind::Counter, _) => "_total",
                (_, Unit::Seconds) => "_seconds",
                _ => "",
            };
            assert!(metric.name.starts_with("dacapo_") && metric.name.ends_with(suffix), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| !label.ends_with("id")), "{}", metric.name);
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted() && !buckets.is_empty(), "{}", metric.name);
            }
        }
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
