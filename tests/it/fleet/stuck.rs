//! Workflow code that never comes back.

use std::time::Duration;

use dacapo::runtime::describe::Reason;

use super::{
    code::{sequence, stuck},
    harness::{Fleet, PATIENCE, eventually, within},
};

#[tokio::test]
async fn code_that_never_returns_holds_up_nobody_else_and_is_tried_again() {
    let mut fleet = Fleet::on_shared_server().await;
    let worker = fleet
        .worker(|settings| {
            settings.workflow_threads = Some(1);
            settings.workflow_task_timeout = Some(Duration::from_millis(1_500));
        })
        .await;
    let before = fleet.client.start(sequence, (40, 100)).id("before").await.unwrap();
    let run = fleet.client.start(stuck, ()).id("stuck").await.unwrap();
    eventually("describe names the failing task", PATIENCE, async || {
        let described = run.describe().await.unwrap();
        described.reasons.into_iter().find_map(|reason| match reason {
            Reason::WorkflowTaskFailing { message, .. } => {
                assert!(message.contains("did not come back"), "{message}");
                Some(())
            }
            _ => None,
        })
    })
    .await;
    eventually("the lost thread is counted", PATIENCE, async || {
        (fleet.workers[worker].counted("dacapo_workflow_threads_lost_total") >= 1).then_some(())
    })
    .await;
    let after = fleet.client.start(sequence, (3, 1)).id("after").await.unwrap();
    assert_eq!(within("a run that came later ends", PATIENCE, after.result()).await.unwrap(), 3);
    assert_eq!(within("a run that was under way ends", PATIENCE, before.result()).await.unwrap(), 40);
    assert_eq!(within("the run goes on once its code returns", PATIENCE, run.result()).await.unwrap(), 2);
    fleet.check_effects([&before, &after, &run]).await;
    eventually("nothing is owned any more, by the worker's own count", PATIENCE, async || {
        fleet.member("w1").await.filter(|member| member.owned == 0).map(drop)
    })
    .await;
    fleet.finish().await;
}
