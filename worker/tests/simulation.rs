//! Random programs under random histories: whatever the code does with durable futures and whatever happens to it, it
//! replays equal at every prefix, and an eviction anywhere changes nothing. A failure prints its seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

extern crate dacapo_worker as dacapo;

mod harness;

use std::time::Duration;

use dacapo::{
    WorkflowContext, WorkflowError, data,
    define::{Activity, HasTimeout, SearchAttribute, Signal, Update, Workflow},
    select, workflow,
};
use dacapo_core::{
    CancellationType, ChildCancellationType, RunStatus, child::ChildOutcome, marker::LocalActivityOutcome,
    outbox::OutboxAnswer,
};
use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, join_all, select_all},
};
use harness::{Env, Input, child_completed, child_started, completed, failed, json, signal, update};

const WORK: Activity<u64, u64, HasTimeout> = Activity::new("work").start_to_close(Duration::from_secs(10));
const GO: Signal<u64> = Signal::new("go");
const ASK: Update<u64, u64> = Update::new("ask");
const CHILD: Workflow<u64, u64> = Workflow::new("child");
const AMOUNT: SearchAttribute<u64> = SearchAttribute::new("Amount");

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
    /// A child, with a cancellation type; by a handle when its number is odd.
    Child(u64, u8),
    /// A signal to another run, or a request that it cancel itself when its number is odd.
    Tell(u64),
    Local(u64),
    /// A side effect, a patch and attributes.
    Note(u64),
    /// Takes the next request on and answers it, or drops it when its argument is odd.
    Serve,
    /// In a scope that is cancelled when a signal comes first.
    Scope(Vec<Op>),
    /// Spawns it and waits for it at the end.
    Spawn(Vec<Op>),
}

fn run(ctx: WorkflowContext, program: Vec<Op>) -> LocalBoxFuture<'static, Result<u64, WorkflowError>> {
    async move {
        let mut kept = Vec::new();
        let mut sum = ctx.random().range(0..7);
        for op in program {
            sum += step(&ctx, op, &mut kept).await?;
        }
        if sum.is_multiple_of(3) {
            sum += join_all(kept).await.into_iter().map(Result::unwrap_or_default).sum::<u64>();
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
        Op::Child(..) | Op::Tell(_) => with_others(ctx, op).await,
        Op::Local(input) => Ok(ctx.local_activity(WORK, input).await?),
        Op::Note(number) => {
            let patched = ctx.patched(["one", "two", "three"][(number % 3) as usize]);
            ctx.upsert(&AMOUNT, number);
            ctx.set_memo("number", &number);
            Ok(ctx.side_effect(|| number + 1) + u64::from(patched))
        }
        Op::Serve => {
            let mut requests = ctx
                .requests(&ASK)
                .validate(|n| if n % 5 == 4 { Err(WorkflowError::failed("Four", "no")) } else { Ok(()) });
            let request = requests.next().await.ok_or(WorkflowError::Cancelled)?;
            let argument = *request.argument();
            if argument % 2 == 0 {
                request.reply(argument);
            }
            Ok(argument)
        }
        Op::Scope(program) => {
            let token = ctx.cancellation();
            let scoped = token.run(run(ctx.clone(), program));
            let mut scoped = std::pin::pin!(scoped);
            select! {
                sum = &mut scoped => return Ok(sum.unwrap_or(5)),
                _ = ctx.receive(&GO) => token.cancel(),
            }
            Ok(scoped.await.unwrap_or(7))
        }
        Op::Spawn(program) => {
            let handle = ctx.spawn(run(ctx.clone(), program));
            kept.push(handle.boxed_local());
            Ok(2)
        }
    }
}

async fn with_others(ctx: &WorkflowContext, op: Op) -> Result<u64, WorkflowError> {
    match op {
        Op::Child(input, cancellation) => {
            let cancellation = [
                ChildCancellationType::WaitCancellationCompleted,
                ChildCancellationType::TryCancel,
                ChildCancellationType::Abandon,
                ChildCancellationType::WaitCancellationRequested,
            ][usize::from(cancellation)];
            let child = ctx.child(CHILD, input).cancellation(cancellation);
            if input % 2 == 0 {
                return Ok(child.await?);
            }
            let mut child = child.start().await?;
            if input % 3 == 0 {
                child.signal(&GO, input).await?;
            } else if input % 5 == 0 {
                child.cancel("odd");
            }
            Ok(child.result().await?)
        }
        Op::Tell(number) if number % 2 == 0 => Ok(ctx.external("other").signal(&GO, number).await.map(|()| number)?),
        _ => Ok(ctx.external("other").cancel("odd").await.map(|()| 1)?),
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
        match self.next(if depth == 0 { 8 } else { 16 }) {
            0 => Op::Call(self.next(100), self.next(3) as u8),
            1 => Op::Sleep(1 + self.next(100)),
            2 => Op::Receive,
            3 => Op::Child(self.next(100), self.next(4) as u8),
            4 => Op::Tell(self.next(100)),
            5 => Op::Local(self.next(100)),
            6 => Op::Note(self.next(100)),
            7 => Op::Serve,
            8 | 9 => Op::All(self.programs(depth - 1)),
            10 => Op::First(self.programs(depth - 1)),
            11 => Op::Begin(Box::new(self.op(depth - 1))),
            12 => Op::Shield(self.program(depth - 1)),
            13 => Op::Scope(self.program(depth - 1)),
            14 => Op::Spawn(self.program(depth - 1)),
            _ => Op::Try(self.program(depth - 1)),
        }
    }

    /// Chooses something that can happen to the run.
    fn input(&mut self, env: &Env) -> Input {
        let activity = |chosen: u64| env.run.activities.iter().nth(chosen as usize);
        let (activities, timers) = (env.run.activities.len() as u64, env.run.timers.len() as u64);
        if self.next(2) == 0
            && let Some(input) = self.input_of_others(env)
        {
            return input;
        }
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

impl Random {
    /// Chooses something that other runs, callers and the process itself do.
    fn input_of_others(&mut self, env: &Env) -> Option<Input> {
        const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let mut any = |of: Vec<u64>| (!of.is_empty()).then(|| of[self.next(of.len() as u64) as usize]);
        let rare = env.run.rare.as_deref();
        let child = any(rare.iter().flat_map(|rare| rare.children.keys().copied()).collect());
        let signal = any(rare.iter().flat_map(|rare| rare.external_signals.keys().copied()).collect());
        let cancel = any(rare.iter().flat_map(|rare| rare.external_cancels.keys().copied()).collect());
        let local = any(env.local.iter().copied().collect());
        match self.next(6) {
            0 => child.map(|id| match self.next(4) {
                0 => Input::ChildClosed(id, ChildOutcome::Canceled(None)),
                1 => Input::ChildClosed(id, ChildOutcome::Terminated { reason: String::new() }),
                _ => child_completed(id, self.next(1_000)),
            }),
            1 => {
                child.filter(|id| env.run.child(*id).is_some_and(|it| it.started_event_id.is_none())).map(child_started)
            }
            2 => signal.map(|id| Input::Answer(id, |signal_id| OutboxAnswer::Signaled { signal_id })),
            3 => cancel.map(|id| Input::Answer(id, |cancel_id| OutboxAnswer::CancelRequested { cancel_id })),
            4 => local.map(|id| Input::LocalEnded(id, LocalActivityOutcome::Completed(json(self.next(1_000))))),
            _ => Some(update("ask", IDS[self.next(6) as usize], self.next(10))),
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
            let what = |input: &Input| format!("{input:?}").split(',').next().map(str::to_owned);
            let number = |input: &Input| what(input).and_then(|what| what.split_once('(').map(|(_, id)| id.to_owned()));
            let child = |input: &Input| matches!(input, Input::Answer(..) | Input::ChildClosed(..));
            // One thing of each kind, and one about each child, in a step.
            let same = |other: &Input| {
                what(other) == what(&input) || (child(other) && child(&input) && number(other) == number(&input))
            };
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
        // A request that was answered before is no task.
        if let Some(task) = env.try_step(inputs) {
            task.commands();
        }
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
