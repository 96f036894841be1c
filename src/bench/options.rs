//! How to measure: the options, and what is refused before anything starts.

use std::{fmt::Display, time::Duration};

use clap::Args;
use dacapo_core::limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, PAYLOAD_BYTES_MAX};
use dacapo_runtime::WorkerOptions;

use super::scenario::Scenario;

/// The most workflows that an open loop starts in a second: one in ten microseconds, far above what an engine takes.
const RATE_MAX: f64 = 100_000.0;

/// The most seconds of any option: thirty days.
const SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// The largest `--payload`: two quotes make the text of it a JSON value.
const PAYLOAD_MAX: usize = PAYLOAD_BYTES_MAX - 2;

/// The least events of the history that is measured: fewer have no tenths to compare.
const HISTORY_EVENTS_MIN: u64 = 100;

/// The most worker processes. Each keeps up to nine connections while it is busy, and Postgres has 100 unless told
/// otherwise.
const WORKERS_MAX: usize = 64;

/// The most threads for workflow code: more than any machine has cores to run them.
const WORKFLOW_THREADS_MAX: usize = 256;

/// The most workflows in flight: each is a task with its input.
const IN_FLIGHT_MAX: usize = 1_000_000;

/// The most of what a scenario counts: some hundred gigabytes of histories.
const COUNT_MAX: u64 = 100_000_000;

/// The shortest time between two samples: each reads the sizes of all tables.
const SAMPLE_MIN: f64 = 0.01;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// What to measure; all of it without a name
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Run the workers inside the client's process
    #[arg(long)]
    pub(super) in_process: bool,
    /// Worker processes; 1 unless told otherwise, 10 for `idle`
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = workers, conflicts_with = "in_process")]
    workers: Option<usize>,
    /// As on machines of their own: processes tell each other what has changed through the server only
    #[arg(long)]
    pub(super) apart: bool,
    /// Threads for workflow code in each worker process; when absent, those of any worker: half of the cores, 1 to 4
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = workflow_threads)]
    workflow_threads: Option<usize>,
    /// Workflows in flight, in `backlog` starts, in `signals` runs: 2,000 unless told otherwise, 1,000 for `sequence`,
    /// 500 for `mixed`, 200 for `children`, 50 for `fanout`, 20 for `signals`, 1 for `latency`
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = in_flight)]
    in_flight: Option<usize>,
    /// Bytes of each input, activity input and result: 200 unless told otherwise; `mixed` and `timers` have their own
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = payload)]
    payload: Option<usize>,
    /// Seconds that count: 5 unless told otherwise, 10 for `idle`
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds_above_zero)]
    duration: Option<f64>,
    /// Seconds before that
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(super) warm_up: f64,
    /// Start so many workflows a second, each at its instant, however long the ones before take; latency counts from
    /// that instant
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true, value_parser = rate, conflicts_with = "in_flight")]
    pub(super) rate: Option<f64>,
    /// The size: workflows of a flow in place of a time, runs, timers or events elsewhere
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    count: Option<u64>,
    /// Take a sample every so many seconds: throughput, latency, sizes of tables and indexes, dead rows, memory
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = sample)]
    sample: Option<f64>,
    /// Give up after so many seconds in which nothing completed, and say what is stuck
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds_above_zero)]
    stall: f64,
}

/// The bytes of payloads unless told otherwise.
const PAYLOAD: usize = 200;

impl BenchOptions {
    /// The bytes of each payload.
    pub(super) fn payload(&self) -> usize {
        self.payload.unwrap_or(PAYLOAD)
    }

    /// The threads for workflow code in each worker process.
    pub(super) fn workflow_threads(&self) -> usize {
        self.workflow_threads.unwrap_or_else(|| WorkerOptions::default().workflow_threads)
    }

    /// The scenarios that were asked for, each with its size.
    ///
    /// # Errors
    /// What cannot be measured together, and what to do.
    pub(crate) fn plan(&self) -> Result<Vec<Plan>, String> {
        let all = self.scenarios.is_empty() || self.scenarios.contains(&Scenario::All);
        let scenarios: &[Scenario] = if all { &Scenario::EACH } else { &self.scenarios };
        let plans: Result<Vec<Plan>, String> = scenarios.iter().map(|scenario| self.plan_one(*scenario, all)).collect();
        let named =
            if all { "; this is of `all`, name the scenarios that are meant to measure those alone" } else { "" };
        plans.map_err(|problem| format!("{problem}{named}"))
    }

    fn plan_one(&self, scenario: Scenario, part_of_all: bool) -> Result<Plan, String> {
        let name = scenario.name();
        for (option, given) in [("--rate", self.rate.is_some()), ("--sample", self.sample.is_some())] {
            if given && !scenario.flows() {
                return Err(format!(
                    "{option} is for flows of workflows and does not fit `{name}`: leave it away, or name noop, \
                     sequence, fanout, children, latency or mixed"
                ));
            }
        }
        // As a part of `all`, each takes what is meant for it.
        for (option, given, fits) in [
            ("--in-flight", self.in_flight.is_some(), scenario.takes_in_flight()),
            ("--payload", self.payload.is_some(), scenario.takes_payload()),
            ("--duration", self.duration.is_some(), scenario.takes_time()),
        ] {
            if given && !fits && !part_of_all {
                return Err(format!("{option} does not change `{name}`: leave it away, or name other scenarios"));
            }
        }
        let count = self.count.or_else(|| scenario.count(part_of_all));
        if let (Scenario::History, Some(events)) = (scenario, count) {
            let max = HISTORY_EVENTS_MAX.unsigned_abs();
            if !(HISTORY_EVENTS_MIN..=max).contains(&events) {
                return Err(format!(
                    "--count {events} does not fit `history`: a run has at most {max} events, and with fewer than \
                     {HISTORY_EVENTS_MIN} there is nothing to compare; choose a number between them"
                ));
            }
        }
        let payloads = scenario.payloads(count.unwrap_or(1));
        let largest = payloads.saturating_mul(self.payload() as u64);
        let limit = HISTORY_BYTES_MAX;
        if scenario != Scenario::Mixed && largest > limit {
            return Err(format!(
                "--payload {} makes histories of {largest} bytes in `{name}`, a run has at most {limit}: choose at most \
                 {}",
                self.payload(),
                limit / payloads
            ));
        }
        Ok(Plan {
            scenario,
            count,
            workers: if self.in_process { 1 } else { self.workers.unwrap_or_else(|| scenario.workers()) },
            in_flight: self.in_flight.unwrap_or_else(|| scenario.in_flight()),
            duration: Duration::from_secs_f64(self.duration.unwrap_or(if scenario == Scenario::Idle {
                10.0
            } else {
                5.0
            })),
            warm_up: Duration::from_secs_f64(self.warm_up),
            sample: self.sample.map(Duration::from_secs_f64),
            // Between two that are due nothing completes either.
            stall: Duration::from_secs_f64(self.stall + self.rate.map_or(0.0, |rate| (1.0 / rate).min(SECONDS_MAX))),
        })
    }
}

/// A scenario with its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(super) scenario: Scenario,
    /// How many of what it counts; absent for a flow that takes a time.
    pub(super) count: Option<u64>,
    pub(super) workers: usize,
    pub(super) in_flight: usize,
    pub(super) duration: Duration,
    pub(super) warm_up: Duration,
    pub(super) sample: Option<Duration>,
    pub(super) stall: Duration,
}

impl Plan {
    /// Whether it takes a time, and not as long as what it counts takes.
    pub(super) fn takes_time(&self) -> bool {
        self.scenario.takes_time() && !(self.scenario.flows() && self.count.is_some())
    }

    /// The size of a scenario that is no flow.
    pub(super) fn size(&self) -> u64 {
        self.count.unwrap_or(1)
    }
}

/// Reads a whole number within limits.
fn within<T: std::str::FromStr + PartialOrd + Display>(text: &str, least: T, most: T) -> Result<T, String> {
    match text.parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("give a whole number from {least} to {most}")),
    }
}

fn in_flight(text: &str) -> Result<usize, String> {
    within(text, 1, IN_FLIGHT_MAX)
}

fn workflow_threads(text: &str) -> Result<usize, String> {
    within(text, 1, WORKFLOW_THREADS_MAX)
}

fn count(text: &str) -> Result<u64, String> {
    within(text, 1, COUNT_MAX)
}

fn workers(text: &str) -> Result<usize, String> {
    within(text, 1, WORKERS_MAX).map_err(|limits| {
        format!("{limits}; for more, start `dacapo bench` on several machines against the same database")
    })
}

fn payload(text: &str) -> Result<usize, String> {
    within(text, 0, PAYLOAD_MAX).map_err(|limits| format!("{limits}, in bytes"))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("give a number above 0 and up to {RATE_MAX}, or leave --rate away for a closed loop")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    seconds_that(text, |seconds| seconds >= 0.0, "from 0 to")
}

fn seconds_above_zero(text: &str) -> Result<f64, String> {
    seconds_that(text, |seconds| seconds > 0.0, "above 0 and up to")
}

fn sample(text: &str) -> Result<f64, String> {
    seconds_that(text, |seconds| seconds >= SAMPLE_MIN, &format!("from {SAMPLE_MIN} to"))
}

/// Reads a time of which a condition holds; `range` says which, as far as the most.
fn seconds_that(text: &str, holds: impl Fn(f64) -> bool, range: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if holds(seconds) && seconds <= SECONDS_MAX => Ok(seconds),
        _ => Err(format!("give a number of seconds {range} {SECONDS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn plan(line: &str) -> Result<Vec<Plan>, String> {
        let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        line.options.plan()
    }

    #[test]
    fn without_a_name_all_is_measured_in_small() {
        let all = plan("bench").unwrap();
        assert_eq!(all.len(), Scenario::EACH.len());
        let backlog = all.iter().find(|plan| plan.scenario == Scenario::Backlog).unwrap();
        assert_eq!(backlog.count, Some(50_000));
        assert_eq!(plan("bench backlog").unwrap()[0].count, Some(1_000_000));
        let refused = plan("bench all --count 7").unwrap_err();
        assert!(refused.contains("`history`") && refused.contains("name the scenarios"), "{refused}");
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_option_limit_and_way_out() {
        let refused = [
            ("bench noop --rate 0", ["--rate", "above 0", "100000"]),
            ("bench noop --rate NaN", ["--rate", "above 0", "closed loop"]),
            ("bench noop --rate -1", ["--rate", "above 0", "closed loop"]),
            ("bench noop --count 0", ["--count", "'0'", "from 1 to 100000000"]),
            ("bench noop --count -1", ["--count", "'-1'", "from 1 to 100000000"]),
            ("bench noop --count 99999999999999999999", ["--count", "99999999999999999999", "from 1 to 100000000"]),
            ("bench noop --in-flight -1", ["--in-flight", "'-1'", "from 1 to 1000000"]),
            ("bench noop --in-flight 1000000000", ["--in-flight", "1000000000", "from 1 to 1000000"]),
            ("bench noop --workflow-threads 257", ["--workflow-threads", "'257'", "from 1 to 256"]),
            ("bench noop --payload -1", ["--payload", "'-1'", "from 0 to 2097150"]),
            ("bench noop --payload 2097151", ["--payload", "2097151", "from 0 to 2097150"]),
            ("bench fanout --payload 2097150", ["--payload", "52428800", "at most 262144"]),
            ("bench signals --payload 60000", ["--payload", "52428800", "at most 52428"]),
            ("bench history --payload 4000", ["--payload", "52428800", "at most "]),
            ("bench noop --workers -1", ["--workers", "'-1'", "from 1 to 64"]),
            ("bench noop --workers 65", ["--workers", "from 1 to 64", "several machines"]),
            ("bench noop --duration -1", ["--duration", "'-1'", "above 0"]),
            ("bench noop --sample 0.001", ["--sample", "'0.001'", "from 0.01"]),
            ("bench noop --duration 0", ["--duration", "seconds", "above 0"]),
            ("bench timers --rate 5", ["--rate", "`timers`", "noop"]),
            ("bench idle --sample 5", ["--sample", "`idle`", "noop"]),
            ("bench timers --in-flight 5", ["--in-flight", "`timers`", "other scenarios"]),
            ("bench mixed --payload 5000", ["--payload", "`mixed`", "leave it away"]),
            ("bench signals --duration 5", ["--duration", "`signals`", "leave it away"]),
            ("bench history --count 51201", ["--count 51201", "51200", "100"]),
            ("bench noop --in-process --workers 2", ["--workers", "--in-process", "cannot"]),
        ];
        for (line, said) in refused {
            let problem = plan(line).expect_err(line);
            assert!(said.iter().all(|word| problem.contains(word)), "{line}: {problem}");
        }
    }
}
