//! Flows: workflows from start to result, as many at once as the options say, or as many a second.
//!
//! A closed loop follows each workflow by the next, so that what is measured decides how fast it is asked. An open loop
//! starts each workflow at its own instant, however long the ones before take, and counts its latency from that instant:
//! a stall of a second shows in every workflow that should have been started meanwhile. What belongs to the window of an
//! open loop is what is due in it, however late it is started and completed; throughput is of what completed in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dacapo_core::Payload;
use dacapo_runtime::Client;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    progress::{Lasts, Progress},
    report::{Figures, Latency},
    samples::Sampler,
    scenario::Scenario,
    stage::{Stage, completed, start},
    tally::Tally,
    workers::Until,
    workflows::{self, SIGNAL, Steps, text},
};

/// The workflows that an open loop may have under way; those beyond wait, and their latency goes on.
const OPEN_MAX: usize = 50_000;

/// The share of the rate asked for below which it is said that it was not reached.
const RATE_REACHED: f64 = 0.95;

/// The instants that may lie ready before they are taken up.
const INSTANTS_AHEAD: usize = 1_000;

/// The sizes of the payloads of `mixed`, in bytes.
const MIXED_PAYLOADS: std::ops::RangeInclusive<u64> = 1_024..=10_240;

/// Different payloads of `mixed`; each is a piece of memory of its own.
const MIXED_INPUTS: u64 = 64;

/// A workflow of the flow: how it is started and what it is given.
struct Flow {
    client: Client,
    scenario: Scenario,
    queue: String,
    inputs: Vec<Payload>,
    started: AtomicU64,
    /// How many are to be started in all; nothing when time decides.
    limit: Option<u64>,
    stop: AtomicBool,
    tally: Tally,
    progress: Arc<Progress>,
}

/// Measures a flow.
pub(super) async fn measure(stage: &Stage<'_>) -> anyhow::Result<Figures> {
    stage.start_workers(Until::TakingStarts).await?;
    let plan = stage.plan;
    let flow = Arc::new(Flow {
        client: stage.client(),
        scenario: plan.scenario,
        queue: stage.queue.clone(),
        inputs: inputs(plan.scenario, &stage.body())?,
        started: AtomicU64::new(0),
        limit: plan.count,
        stop: AtomicBool::new(false),
        tally: Tally::new(),
        progress: Arc::clone(stage.progress),
    });
    let mut load = JoinSet::new();
    match stage.options.rate {
        Some(rate) => drop(load.spawn(open_loop(Arc::clone(&flow), rate))),
        None => (0..plan.in_flight).for_each(|_| drop(load.spawn(Arc::clone(&flow).closed_loop()))),
    }
    let applied = stage.guarded(window(stage, &flow, &mut load)).await;
    flow.stop.store(true, Ordering::Relaxed);
    applied
}

/// Measures what happens in the window while the load runs, and sees the load to its end.
async fn window(
    stage: &Stage<'_>,
    flow: &Arc<Flow>,
    load: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Figures> {
    let plan = stage.plan;
    let seconds = plan.duration.as_secs_f64();
    match plan.count {
        Some(count) => stage.phase(&format!("{count} workflows"), Lasts::Completions(count)),
        None => {
            stage.phase(&format!("{} s of warm-up", plan.warm_up.as_secs_f64()), Lasts::Time(plan.warm_up));
            working(load, stage.or_interrupted(tokio::time::sleep(plan.warm_up))).await?;
            stage.phase(&format!("{seconds} s that count"), Lasts::Time(plan.duration));
        }
    }
    let before = stage.spent();
    let counted_from = flow.tally.done();
    flow.tally.open(plan.count.is_none().then_some(plan.duration));
    let mut sampler = Sampler::new(stage, counted_from);
    match plan.count {
        Some(_) => {
            let sampled = sampler.run(stage, &flow.tally);
            tokio::select! {
                worked = finish(load) => worked?,
                failed = sampled => failed?,
                () = stage.interrupted.cancelled() => {}
            }
        }
        None => {
            let end = stage.or_interrupted(tokio::time::sleep(plan.duration));
            let sampled = async {
                tokio::select! {
                    () = end => Ok(()),
                    failed = sampler.run(stage, &flow.tally) => failed,
                }
            };
            working(load, sampled).await??;
        }
    }
    let workflows = flow.tally.done() - counted_from;
    let after = stage.spent();
    let memory = stage.peak_memory();
    flow.stop.store(true, Ordering::Relaxed);
    if stage.interrupted.is_cancelled() {
        flow.tally.close();
        stage.progress.line("interrupted: what was measured is checked and shown; once more stops at once");
    }
    stage.phase("finishing what is under way", Lasts::Sometime);
    finish(load).await?;
    let mut figures = Figures::new(workflows, after.since(&before), after.at - before.at);
    figures.activities = workflows * plan.scenario.activities();
    figures.latency = Latency::of(&flow.tally.window());
    figures.all_workflows = flow.tally.done();
    figures.samples = sampler.samples;
    figures.peak_memory = memory;
    let (name, length) = (plan.scenario.name(), figures.elapsed.as_secs_f64());
    if workflows == 0 {
        stage.progress.line(&format!("{name}: nothing completed in a window of {length:.2} s; give more (--duration)"));
    } else if let Some(rate) = stage.options.rate
        && figures.workflows_per_s() < rate * RATE_REACHED
    {
        stage.progress.line(&format!(
            "{name}: {:.1} workflows/s completed of the {rate} that were asked for; the latencies tell how long they waited",
            figures.workflows_per_s()
        ));
    }
    Ok(figures)
}

/// Awaits something while the load works; the load ending with an error ends the wait.
async fn working<T>(load: &mut JoinSet<anyhow::Result<()>>, wait: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut wait = Box::pin(wait);
    loop {
        tokio::select! {
            done = &mut wait => return Ok(done),
            Some(ended) = load.join_next() => ended??,
        }
    }
}

async fn finish(load: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    Ok(())
}

impl Flow {
    /// Takes the number of the next workflow, if there is to be one.
    fn next(&self) -> Option<u64> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.limit.is_none_or(|limit| number < limit).then_some(number)
    }

    async fn closed_loop(self: Arc<Self>) -> anyhow::Result<()> {
        while !self.stop.load(Ordering::Relaxed)
            && let Some(number) = self.next()
        {
            let began = Instant::now();
            self.one(number).await?;
            self.tally.take(Instant::now(), began.elapsed());
        }
        Ok(())
    }

    /// Sees one workflow through.
    async fn one(&self, number: u64) -> anyhow::Result<()> {
        let input = self.inputs[number as usize % self.inputs.len()].clone();
        let workflow_type = match self.scenario {
            Scenario::Sequence => "bench.sequence",
            Scenario::Fanout => "bench.fanout",
            Scenario::Children => "bench.children",
            Scenario::Mixed => "bench.mixed",
            _ => "bench.noop",
        };
        let (run, execution) = start(&self.client, workflow_type, &self.queue, input).await?;
        if self.scenario == Scenario::Mixed {
            self.client.signal(&execution, SIGNAL, Payload::encode("approval", "approved")?).await?;
        }
        completed(self.client.result_of(run).await?)?;
        self.progress.complete(1);
        Ok(())
    }
}

/// Starts a workflow at each instant before the end of the window, and sees all of them through.
async fn open_loop(flow: Arc<Flow>, rate: f64) -> anyhow::Result<()> {
    let (sender, mut instants) = mpsc::channel(INSTANTS_AHEAD);
    // A thread of its own keeps time to some 60 µs, where the runtime's timers keep it to a millisecond. It ends when
    // nobody takes its instants any more.
    thread::Builder::new().name("bench-pace".to_owned()).spawn(move || pace(rate, &sender))?;
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let mut under_way: JoinSet<anyhow::Result<()>> = JoinSet::new();
    while let Some(due) = instants.recv().await
        && !flow.tally.ended_before(due)
        && let Some(number) = flow.next()
    {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let flow = Arc::clone(&flow);
        under_way.spawn(async move {
            let _room = permit;
            flow.one(number).await?;
            flow.tally.take(due, due.elapsed());
            Ok(())
        });
        while let Some(ended) = under_way.try_join_next() {
            ended??;
        }
    }
    finish(&mut under_way).await
}

fn pace(rate: f64, instants: &mpsc::Sender<Instant>) {
    let began = Instant::now();
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if instants.blocking_send(due).is_err() {
            return;
        }
    }
}

/// The inputs of a flow, taken in turn.
fn inputs(scenario: Scenario, body: &str) -> anyhow::Result<Vec<Payload>> {
    let steps = |steps| Payload::encode("input", &Steps { steps, body: body.to_owned() });
    match scenario {
        Scenario::Sequence => Ok(vec![steps(workflows::SEQUENCE)?]),
        Scenario::Fanout => Ok(vec![steps(workflows::FANOUT)?]),
        Scenario::Mixed => {
            let (least, most) = (*MIXED_PAYLOADS.start(), *MIXED_PAYLOADS.end());
            let sizes = (0..MIXED_INPUTS).map(|number| least + (most - least) * number / (MIXED_INPUTS - 1));
            // Small and large alternate: 37 has no factor in common with the number of inputs.
            let sizes: Vec<u64> = sizes.collect();
            let mixed = (0..MIXED_INPUTS).map(|number| sizes[(number * 37 % MIXED_INPUTS) as usize]);
            mixed.map(|bytes| Ok(Payload::encode("input", &text(bytes as usize, 0))?)).collect()
        }
        _ => Ok(vec![Payload::encode("input", body)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_mixed_are_of_one_to_ten_kilobytes() {
        let sizes: Vec<usize> =
            inputs(Scenario::Mixed, "").unwrap().iter().map(|input| input.as_json().len()).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&1_026), Some(&10_242)));
        assert!(sizes.windows(2).any(|pair| pair[0] > pair[1]), "they alternate");
    }

    #[test]
    fn the_pace_keeps_its_instants_when_nobody_takes_them_up() {
        let (sender, mut instants) = mpsc::channel(1);
        let pace = thread::spawn(move || pace(1_000.0, &sender));
        thread::sleep(Duration::from_millis(50));
        let taken: Vec<Instant> = (0..20).filter_map(|_| instants.blocking_recv()).collect();
        drop(instants);
        pace.join().unwrap();
        let last = taken[19] - taken[0];
        assert_eq!(last.as_millis(), 19, "an instant that was taken up late is still the one that was meant");
    }
}
