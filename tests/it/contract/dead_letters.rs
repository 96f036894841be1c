//! Dead letters: what is listed, what is not any more, and what a retry reaches.

use std::time::Duration;

use dacapo_core::{
    ActivityOptions, ActivityResult, Command, Failure, MessageBody, RetryPolicy, RunId, RunStatus, WorkerId,
    branch::{BranchPlan, BranchRun, Reapply, Reset, ResetPoint},
    event::WorkflowTaskFailedCause,
    limits::TAKEOVERS_WITHOUT_PROGRESS_MAX,
    store::{ActivityReport, BranchOutcome, DeadLetter, DeadLetterFilter, DeadLetterKind},
};
use uuid::Uuid;

use super::lab::*;

impl Lab {
    async fn dead(&self) -> Vec<DeadLetter> {
        self.store.dead_letters(&DeadLetterFilter::default(), 100).await.unwrap()
    }

    async fn dead_counts(&self) -> [u64; 3] {
        let counts = self.store.dead_letter_counts().await.unwrap();
        DeadLetterKind::ALL.map(|kind| counts.iter().find(|(of, _)| *of == kind).expect("each kind is there").1)
    }
}

fn once() -> ActivityOptions {
    ActivityOptions {
        start_to_close_ms: Some(60_000),
        retry_policy: RetryPolicy::attempts(1),
        ..ActivityOptions::default()
    }
}

/// A run of a worker's whose one activity has used up its one attempt.
async fn with_dead_activity<'a>(lab: &'a Lab, worker: WorkerId, id: &str) -> Owner<'a> {
    let mut owner = Owner::start(lab, worker, id).await;
    owner.write(offering(vec![schedule_with(1, once())])).await;
    fail_attempt(lab, worker, Failure::application("Io", "broken")).await;
    owner.take_inbox().await;
    owner
}

async fn fail_attempt(lab: &Lab, worker: WorkerId, failure: Failure) {
    let claimed = lab.claim_activities(worker).await.remove(0);
    let outcome = outcome(&claimed, ActivityResult::Failed(failure));
    lab.store.complete_activity(ActivityReport { worker, claim: claimed.claim, outcome }).await.unwrap();
}

fn fails(attempt: u32) -> impl FnOnce(&mut dacapo_core::apply::Turn<'_>) {
    move |turn| {
        assert!(turn.start_task("tester", None));
        let failure = Failure::application("NonDeterministic", "the code does something else");
        turn.fail_task(WorkflowTaskFailedCause::NonDeterministic, failure, attempt);
    }
}

pub(crate) async fn a_run_whose_task_fails_is_listed_until_it_does_not(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    assert_eq!(lab.dead().await, []);
    owner.write(fails(1)).await;
    let first = lab.dead().await.remove(0);
    assert_eq!((first.kind, first.attempts, first.status), (DeadLetterKind::WorkflowTask, 1, RunStatus::Running));
    assert_eq!((first.run(), first.workflow_id.as_str(), first.activity_id), (owner.key(), "a", None));
    assert_eq!(first.failure.message, "the code does something else");
    assert!(first.way_out().contains("deploy"));
    lab.pass(Duration::from_millis(20)).await;
    owner.write(fails(2)).await;
    let second = lab.dead().await.remove(0);
    assert_eq!((second.attempts, second.since), (2, first.since), "it fails since then");
    assert_eq!(lab.dead_counts().await, [1, 0, 0]);

    let before = lab.event_names(owner.key()).await;
    lab.send(owner.key(), message(MessageBody::RetryWorkflowTask)).await;
    owner.take_inbox().await;
    assert_eq!(lab.event_names(owner.key()).await, before, "an order to try again leaves no trace");
    owner.write(task(vec![])).await;
    assert_eq!(lab.dead().await, []);
    owner.write(|turn| turn.message(signal("s"))).await;
    owner.write(fails(1)).await;
    assert_eq!(lab.dead().await.len(), 1);
    owner.write(|turn| turn.message(terminate("enough"))).await;
    assert_eq!(lab.dead().await, []);
    assert_eq!(lab.dead_counts().await, [0, 0, 0]);
}

pub(crate) async fn a_parked_run_is_listed_and_a_retry_brings_it_to_another_worker(lab: Lab) {
    let run = lab.open("a").await;
    for _ in 0..TAKEOVERS_WITHOUT_PROGRESS_MAX {
        let worker = lab.worker().await;
        assert_eq!(lab.claim(worker).await.runs.len(), 1);
        lab.store.deregister(worker).await.unwrap();
        lab.take_over(worker).await;
    }
    let letter = lab.dead().await.remove(0);
    let workers = u32::try_from(TAKEOVERS_WITHOUT_PROGRESS_MAX).unwrap();
    assert_eq!((letter.kind, letter.run(), letter.attempts), (DeadLetterKind::ParkedRun, run, workers));
    assert!(letter.failure.message.contains("died"), "{}", letter.failure.message);
    assert!(letter.since <= lab.now().await && letter.since.0 > 0);
    lab.send(run, message(MessageBody::RetryWorkflowTask)).await;
    let worker = lab.worker().await;
    let mut owner = Owner::claim(&lab, worker).await;
    assert_eq!(lab.dead().await, []);
    owner.take_inbox().await;
    owner.write(task(vec![complete()])).await;
}

pub(crate) async fn an_activity_without_attempts_left_is_listed_while_its_run_is_open_or_failed(lab: Lab) {
    let worker = lab.worker().await;
    let mut completes = with_dead_activity(&lab, worker, "completes").await;
    let mut dies = with_dead_activity(&lab, worker, "fails").await;
    let letters = lab.dead().await;
    assert_eq!(letters.iter().map(|it| it.workflow_id.as_str()).collect::<Vec<_>>(), ["completes", "fails"]);
    let letter = &letters[0];
    assert_eq!((letter.kind, letter.status, letter.attempts), (DeadLetterKind::Activity, RunStatus::Running, 1));
    assert_eq!((letter.activity_id, letter.activity_type.as_deref()), (Some(1), Some("act")));
    assert_eq!(letter.failure.message, "broken");
    completes.write(task(vec![complete()])).await;
    let failure = Failure::application("Io", "broken");
    dies.write(task(vec![Command::FailWorkflowExecution { failure: Box::new(failure) }])).await;
    let letters = lab.dead().await;
    assert_eq!(letters.iter().map(|it| it.workflow_id.as_str()).collect::<Vec<_>>(), ["fails"]);
    assert_eq!(letters[0].status, RunStatus::Failed);
    lab.store.sweep().await.unwrap();
    assert_eq!(lab.dead().await, letters, "what failed stays");

    let plan = Reset {
        point: ResetPoint::BeforeFailure(1),
        run_id: RunId(Uuid::now_v7()),
        reason: "by hand".to_owned(),
        reapply: Reapply::Messages,
    };
    let (source, plan) = (letters[0].run(), BranchPlan::Reset(plan));
    let branch = BranchRun { source, plan, request_id: "by hand".to_owned(), identity: String::new() };
    let BranchOutcome::Branched { run, .. } = lab.store.branch(&branch).await.unwrap() else {
        panic!("it is branched")
    };
    assert_eq!(lab.dead().await, [], "it has another attempt");
    let claimed = lab.claim_activities(worker).await.remove(0);
    assert_eq!((claimed.claim.run, claimed.claim.attempt), (run, 1));
}

pub(crate) async fn a_failure_that_no_attempt_would_mend_is_no_dead_letter(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let policy = RetryPolicy::attempts(5);
    let options = ActivityOptions { retry_policy: policy, ..once() };
    owner.write(offering(vec![schedule_with(1, options)])).await;
    fail_attempt(&lab, worker, Failure { non_retryable: true, ..Failure::application("Card", "declined") }).await;
    owner.take_inbox().await;
    assert_eq!(lab.event_names(owner.key()).await.last(), Some(&"ActivityTaskFailed"));
    assert_eq!(lab.dead().await, []);
}

pub(crate) async fn a_write_that_is_fenced_buries_nothing(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(offering(vec![schedule_with(1, once())])).await;
    fail_attempt(&lab, worker, Failure::application("Io", "broken")).await;
    let messages = owner.inbox().await;
    owner.epoch += 1;
    let fenced = owner.try_write(|turn| messages.into_iter().for_each(|it| turn.message(it))).await;
    assert!(is_fenced(&fenced));
    assert_eq!(lab.dead().await, []);
}

pub(crate) async fn dead_letters_are_filtered_and_come_in_pages(lab: Lab) {
    let worker = lab.worker().await;
    for number in 0..5 {
        with_dead_activity(&lab, worker, &format!("a-{number}")).await;
    }
    let mut owner = Owner::start(&lab, worker, "task").await;
    owner.write(fails(1)).await;
    let all = lab.dead().await;
    assert_eq!((all.len(), lab.dead_counts().await), (6, [1, 0, 5]));
    let mut filter = DeadLetterFilter::default();
    let mut paged = Vec::new();
    loop {
        let page = lab.store.dead_letters(&filter, 4).await.unwrap();
        filter.after = page.last().map(DeadLetter::place);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let only = async |filter: DeadLetterFilter| lab.store.dead_letters(&filter, 100).await.unwrap().len();
    let none = DeadLetterFilter::default;
    assert_eq!(only(DeadLetterFilter { kind: Some(DeadLetterKind::WorkflowTask), ..none() }).await, 1);
    assert_eq!(only(DeadLetterFilter { workflow_id: Some("a-3".into()), ..none() }).await, 1);
    assert_eq!(only(DeadLetterFilter { workflow_type: Some("other".into()), ..none() }).await, 0);
    assert_eq!(only(DeadLetterFilter { task_queue: Some(QUEUE.into()), ..none() }).await, 6);
    assert_eq!(only(DeadLetterFilter { namespace: Some("other".into()), ..none() }).await, 0);
}
