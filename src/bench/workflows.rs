//! The workflows that are measured, and the hidden worker that runs them.

use std::time::{Duration, UNIX_EPOCH};

use dacapo_worker::{ActivityContext, ActivityError, Registry, WorkflowContext, WorkflowError, define::Signal};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

/// Activities of one `sequence` workflow.
pub(super) const SEQUENCE: u64 = 10;

/// Activities of one `fanout` workflow.
pub(super) const FANOUT: u64 = 100;

/// Children of one `children` workflow, each a `noop`.
pub(super) const CHILDREN: u64 = 10;

/// Activities that a `mixed` workflow runs at once.
pub(super) const MIXED_FANOUT: u64 = 5;

/// Activities that a `mixed` workflow runs one after the other.
pub(super) const MIXED_SEQUENCE: u64 = 3;

/// The timer of a `mixed` workflow: short, so that it is its firing that is measured and not the wait.
const MIXED_TIMER: Duration = Duration::from_millis(20);

/// The signal that every measured workflow hears.
pub(super) const SIGNAL: &str = "bench.signal";

const HEARD: Signal<String> = Signal::new(SIGNAL);

/// What a workflow of many steps is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Steps {
    /// How many.
    pub(super) steps: u64,
    /// The payload of each.
    pub(super) body: String,
}

/// Letters and digits, as many as five bits tell apart.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";

/// Letters that one step of the generator gives.
const LETTERS_A_STEP: usize = 12;

/// Makes a text of so many bytes that does not compress better than what people send, the same for the same number and
/// another for another: activities that are given one text would make histories that compress to a tenth.
pub(super) fn text(bytes: usize, number: u64) -> String {
    // Xorshift: any sequence without repetitions will do.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * number + 1);
    let mut text = Vec::with_capacity(bytes + LETTERS_A_STEP);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend((0..LETTERS_A_STEP).map(|place| LETTERS[(state >> (5 * place)) as usize % LETTERS.len()]));
    }
    text.truncate(bytes);
    text.into_iter().map(char::from).collect()
}

struct Bench;

#[dacapo_worker::activities]
impl Bench {
    #[activity(name = "bench.echo", start_to_close = "60s")]
    async fn echo(&self, _ctx: &ActivityContext, body: String) -> Result<String, ActivityError> {
        Ok(body)
    }
}

#[dacapo_worker::workflow(name = "bench.noop")]
async fn noop(ctx: WorkflowContext, body: String) -> Result<String, WorkflowError> {
    Ok(ctx.activity(Bench::echo, body).await?)
}

#[dacapo_worker::workflow(name = "bench.sequence")]
async fn sequence(ctx: WorkflowContext, input: Steps) -> Result<String, WorkflowError> {
    let mut body = input.body;
    for _ in 0..input.steps {
        body = ctx.activity(Bench::echo, body).await?;
    }
    Ok(body)
}

#[dacapo_worker::workflow(name = "bench.fanout")]
async fn fanout(ctx: WorkflowContext, input: Steps) -> Result<usize, WorkflowError> {
    let body = |number| text(input.body.len(), number);
    let all = try_join_all((0..input.steps).map(|number| ctx.activity(Bench::echo, body(number)))).await?;
    Ok(all.len())
}

/// A manager: hands a part to each of several runs, and joins what they say.
#[dacapo_worker::workflow(name = "bench.children")]
async fn children(ctx: WorkflowContext, body: String) -> Result<usize, WorkflowError> {
    let all = try_join_all((0..CHILDREN).map(|_| ctx.child(noop, body.clone()))).await?;
    Ok(all.len())
}

/// What an agent does: looks at several things at once, works step by step, asks a person, waits a little.
#[dacapo_worker::workflow(name = "bench.mixed")]
async fn mixed(ctx: WorkflowContext, body: String) -> Result<String, WorkflowError> {
    let looks = (0..MIXED_FANOUT).map(|number| ctx.activity(Bench::echo, text(body.len(), number)));
    try_join_all(looks).await?;
    for number in 0..MIXED_SEQUENCE {
        ctx.activity(Bench::echo, text(body.len(), MIXED_FANOUT + number)).await?;
    }
    let approval = ctx.receive(&HEARD).await?;
    ctx.sleep(MIXED_TIMER).await?;
    Ok(approval)
}

/// Hears so many signals, and says how many it heard.
#[dacapo_worker::workflow(name = "bench.signals")]
async fn signals(ctx: WorkflowContext, input: Steps) -> Result<u64, WorkflowError> {
    for _ in 0..input.steps {
        ctx.receive(&HEARD).await?;
    }
    Ok(input.steps)
}

/// Sleeps until a moment in microseconds since 1970, and says how many microseconds late it woke.
#[dacapo_worker::workflow(name = "bench.timer")]
async fn timer(ctx: WorkflowContext, due_us: u64) -> Result<u64, WorkflowError> {
    wait_until(&ctx, due_us).await
}

/// The same, by another name: those that are not measured.
#[dacapo_worker::workflow(name = "bench.later_timer")]
async fn later_timer(ctx: WorkflowContext, due_us: u64) -> Result<u64, WorkflowError> {
    wait_until(&ctx, due_us).await
}

async fn wait_until(ctx: &WorkflowContext, due_us: u64) -> Result<u64, WorkflowError> {
    let due = UNIX_EPOCH + Duration::from_micros(due_us);
    ctx.sleep_until(due).await?;
    let late = ctx.now().duration_since(due).map_or(0, |late| late.as_micros());
    Ok(u64::try_from(late).unwrap_or(u64::MAX))
}

/// The registry of a worker that is measured.
pub(super) fn registry() -> Registry {
    Registry::new()
        .workflow(noop)
        .workflow(sequence)
        .workflow(fanout)
        .workflow(children)
        .workflow(mixed)
        .workflow(signals)
        .workflow(timer)
        .workflow(later_timer)
        .activities(Bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_long_as_they_should_be_and_have_nothing_in_common() {
        assert_eq!((text(0, 1).len(), text(13, 1).len(), text(200, 7).len()), (0, 13, 200));
        assert_eq!(text(200, 7), text(200, 7), "workflow code is given the same again");
        let (one, other) = (text(2_000, 1), text(2_000, 2));
        assert!((0..one.len() - 8).all(|at| !other.contains(&one[at..at + 8])));
    }
}
