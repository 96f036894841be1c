//! Random programs under random histories: whatever the code does with durable futures and whatever happens to it, it
//! replays equal at every prefix, and an eviction anywhere changes nothing. A failure prints its seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError, data,
    define::{Activity, HasTimeout, Signal},
    workflow,
};
use dacapo_core::{CancellationType, RunStatus};
use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, join_all, select_all},
};
use harness::{Env, Input, completed, failed, signal};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");

/// What a program does next.
#[data]
#[derive(Clone, Debug)]
enum Op {
    Call(u64, u8),
    Sleep(u64),
    Receive,
    /// All of them, to the end.
    All(Vec<Vec<Op>>),
    /// The first of them; the others are dropped.
    First(Vec<Vec<Op>>),
    /// Begins it, goes on, and keeps it until the end of the program.
    Begin(Box<Op>),
    Shield(Vec<Op>),
    /// Goes on after an error.
    Try(Vec<Op>),
}

fn run(ctx: WorkflowContext, program: Vec<Op>) -> LocalBoxFuture<'static, Result<u64, WorkflowError>> {
    async move {
        let mut kept = Vec::new();
        let mut sum = ctx.random() % 7;
        for op in program {
            sum += step(&ctx, op, &mut kept).await?;
        }
        Ok(sum)
    }
    .boxed_local()
}

async fn step(
    ctx: &WorkflowContext,
    op: Op,
    kept: &mut Vec<LocalBoxFuture<'static, Result<u64, WorkflowError>>>,
) -> Result<u64, WorkflowError> {
    let begin = |programs: Vec<Vec<Op>>| programs.into_iter().map(|program| run(ctx.clone(), program));
    match op {
        Op::Call(input, cancellation) => {
            let cancellation =
                [CancellationType::TryCancel, CancellationType::WaitCancellationCompleted, CancellationType::Abandon]
                    [usize::from(cancellation)];
            Ok(ctx.activity(WORK, input).cancellation(cancellation).await?)
        }
        Op::Sleep(seconds) => {
            ctx.sleep(Duration::from_secs(seconds)).await?;
            Ok(ctx.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64)
        }
        Op::Receive => ctx.receive(&GO).await,
        Op::All(programs) => join_all(begin(programs)).await.into_iter().sum(),
        Op::First(programs) => select_all(begin(programs)).await.0,
        Op::Begin(op) => {
            let mut future = run(ctx.clone(), vec![*op]);
            // Its waker is the one of the program, so it goes on when the program does.
            let done = futures_util::poll!(&mut future).is_ready();
            if !done {
                kept.push(future);
            }
            Ok(1)
        }
        Op::Shield(program) => ctx.shielded(run(ctx.clone(), program)).await,
        Op::Try(program) => Ok(run(ctx.clone(), program).await.unwrap_or(3)),
    }
}

#[workflow]
async fn interprets(ctx: WorkflowContext, program: Vec<Op>) -> Result<u64, WorkflowError> {
    run(ctx, program).await
}

/// A splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below
    }

    fn program(&mut self, depth: u64) -> Vec<Op> {
        (0..=self.next(4)).map(|_| self.op(depth)).collect()
    }

    fn programs(&mut self, depth: u64) -> Vec<Vec<Op>> {
        (0..=self.next(3)).map(|_| self.program(depth)).collect()
    }

    fn op(&mut self, depth: u64) -> Op {
        match self.next(if depth == 0 { 3 } else { 9 }) {
            0 => Op::Call(self.next(100), self.next(3) as u8),
            1 => Op::Sleep(1 + self.next(100)),
            2 => Op::Receive,
            3 | 4 => Op::All(self.programs(depth - 1)),
            5 => Op::First(self.programs(depth - 1)),
            6 => Op::Begin(Box::new(self.op(depth - 1))),
            7 => Op::Shield(self.program(depth - 1)),
            _ => Op::Try(self.program(depth - 1)),
        }
    }

    /// Chooses something that can happen to the run.
    fn input(&mut self, env: &Env) -> Input {
        let activity = |chosen: u64| env.run.activities.iter().nth(chosen as usize);
        let (activities, timers) = (env.run.activities.len() as u64, env.run.timers.len() as u64);
        match self.next(8) {
            0..=2 if activities > 0 => {
                let (id, pending) = activity(self.next(activities)).unwrap();
                match self.next(4) {
                    0 => failed(*id, "Unlucky"),
                    1 if pending.cancel_requested => Input::Canceled(*id),
                    _ => completed(*id, self.next(1_000)),
                }
            }
            3..=5 if timers > 0 => Input::TimerDue(*env.run.timers.keys().nth(self.next(timers) as usize).unwrap()),
            6 if self.next(10) == 0 && !env.run.cancel_requested => Input::Cancel,
            _ => signal("go", self.next(1_000)),
        }
    }
}

/// Runs one program to its end, or as far as it gets.
fn simulate(seed: u64) -> (RunStatus, usize) {
    let mut random = Random(seed);
    let program = random.program(3);
    let mut env = Env::start(workflows![interprets], "interprets", &program);
    let mut first = true;
    for _ in 0..60 {
        if env.run.status != RunStatus::Running {
            break;
        }
        let mut inputs: Vec<Input> = Vec::new();
        for _ in 0..random.next(4) + u64::from(!first) {
            let input = random.input(&env);
            // Each outcome comes once.
            let same = |other: &Input| format!("{other:?}").split(',').next() == format!("{input:?}").split(',').next();
            if matches!(input, Input::Signal(..)) || !inputs.iter().any(same) {
                inputs.push(input);
            }
        }
        if inputs.is_empty() && !first {
            continue;
        }
        first = false;
        if random.next(5) == 0 {
            env.evict();
        }
        env.pass(Duration::from_millis(random.next(5_000)));
        env.step(inputs).commands();
    }
    env.replays_at_every_prefix();
    (env.run.status, env.history.len())
}

#[test]
fn random_programs_replay_equal_at_every_prefix() {
    let (mut closed, mut events) = (0, 0);
    for seed in 0..1_500 {
        let simulated = std::panic::catch_unwind(|| simulate(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        closed += u32::from(simulated.0 != RunStatus::Running);
        events += simulated.1;
    }
    assert!(closed > 500 && events > 30_000, "the programs do something: {closed} closed, {events} events");
}
