//! What is read: results, histories, lists, descriptions, blobs.

use std::time::Duration;

use dacapo_core::{
    Command, Failure, MessageBody, Namespace, Payload, RunId, RunKey, RunStatus, StartWorkflow, Timestamp,
    store::{Hint, QueueDepth, RunFilter, RunInfo, StartOutcome},
};
use uuid::Uuid;

use super::{
    filters::{Dice, random_filter, random_order, random_start},
    lab::*,
};

async fn end(lab: &Lab, id: &str, command: Command) -> RunKey {
    let worker = lab.worker().await;
    let mut owner = Owner::start(lab, worker, id).await;
    if let Command::CancelWorkflowExecution { .. } = command {
        let cancel = MessageBody::Cancel { reason: "stop".to_owned(), identity: String::new() };
        owner.write(|turn| turn.message(message(cancel))).await;
    }
    owner.write(task(vec![command])).await;
    owner.key()
}

/// Writes a point in time to the microsecond.
fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).expect("a time of today").to_string()
}

fn filter() -> RunFilter {
    RunFilter::default()
}

pub(crate) async fn results_say_how_runs_ended(lab: Lab) {
    let failure = Failure::application("Expired", "nobody approved");
    let completed = end(&lab, "completed", complete()).await;
    let failed = end(&lab, "failed", Command::FailWorkflowExecution { failure: Box::new(failure.clone()) }).await;
    let details = Some(text("half done"));
    let canceled = end(&lab, "canceled", Command::CancelWorkflowExecution { details: details.clone() }).await;
    let open = lab.open("open").await;
    let mut results = lab.store.results(&[completed, failed, canceled, open]).await.unwrap();
    assert_eq!(results.len(), 3, "an open run has none");
    results.sort_by_key(|(run, _)| [completed, failed, canceled].iter().position(|key| key == run));
    let ends: Vec<_> = results.into_iter().map(|(_, end)| (end.status, end.result, end.failure)).collect();
    assert_eq!(
        ends,
        [
            (RunStatus::Completed, Some(text("done")), None),
            (RunStatus::Failed, None, Some(failure)),
            (RunStatus::Canceled, details, None),
        ]
    );
    lab.store.terminate(open, terminate("enough")).await.unwrap();
    let results = lab.store.results(&[open]).await.unwrap();
    assert_eq!((results[0].1.status, results[0].1.result.clone()), (RunStatus::Terminated, None));
}

pub(crate) async fn a_large_result_is_read_as_it_was_written(lab: Lab) {
    let large = Payload::encode("result", &"grün €\u{1f600} \"\\ ".repeat(60_000)).unwrap();
    let run = end(&lab, "a", Command::CompleteWorkflowExecution { result: large.clone() }).await;
    let results = lab.store.results(&[run]).await.unwrap();
    assert_eq!(results[0].1.result, Some(large));
    let odd = Payload::from_json("odd", "{ \"b\" : 1.00 ,\n \"a\" : \"\\u0000\" }".to_owned()).unwrap();
    let run = end(&lab, "b", Command::CompleteWorkflowExecution { result: odd.clone() }).await;
    assert_eq!(lab.store.results(&[run]).await.unwrap()[0].1.result, Some(odd), "byte for byte");
}

pub(crate) async fn who_waits_hears_of_the_end(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let mut hints = lab.store.hints();
    let run = owner.key();
    assert!(lab.store.results(&[run]).await.unwrap().is_empty());
    owner.write(task(vec![complete()])).await;
    let tells = |hint: &Hint| match hint {
        Hint::Closed(runs) => runs.contains(&run),
        Hint::Ended(ends) => ends.iter().any(|(ended, _)| *ended == run),
        _ => false,
    };
    lab.await_hint(&mut hints, tells).await;
    assert_eq!(lab.store.results(&[run]).await.unwrap().len(), 1);
}

pub(crate) async fn lists_are_filtered_and_newest_first(lab: Lab) {
    let attributes = |json: &str| Some(Payload::from_json("attributes", json.to_owned()).unwrap());
    let starts = [
        StartWorkflow { workflow_type: "other".into(), ..request("order-1") },
        StartWorkflow {
            task_queue: "other".into(),
            search_attributes: attributes("{\"n\":1,\"x\":\"y\"}"),
            ..request("order-2")
        },
        StartWorkflow {
            search_attributes: attributes("{\"n\":2}"),
            memo: attributes("{\"m\":0}"),
            ..request("task-3")
        },
        StartWorkflow { namespace: "other".into(), ..request("order-4") },
    ];
    let mut times = Vec::new();
    for start in &starts {
        lab.start(start.clone()).await.unwrap();
        times.push(lab.describe(start.key()).await.info.started_at);
        lab.pass(Duration::from_millis(5)).await;
    }
    let done = end(&lab, "order-5", complete()).await;
    let listed = |filter: RunFilter| {
        let store = lab.store.clone();
        async move {
            let runs = store.list(&filter, 100).await.unwrap();
            assert_eq!(store.count(&filter).await.unwrap(), runs.len() as u64, "the count agrees");
            runs.iter().map(|run| run.workflow_id.to_string()).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(filter()).await, ["order-5", "task-3", "order-2", "order-1"]);
    assert_eq!(listed(RunFilter { status: Some(RunStatus::Completed), ..filter() }).await, ["order-5"]);
    assert_eq!(listed(RunFilter { status: Some(RunStatus::Running), ..filter() }).await.len(), 3);
    assert_eq!(listed(RunFilter { status: Some(RunStatus::Failed), ..filter() }).await, [""; 0]);
    assert_eq!(listed(RunFilter { workflow_type: Some("other".into()), ..filter() }).await, ["order-1"]);
    assert_eq!(listed(RunFilter { task_queue: Some("other".into()), ..filter() }).await, ["order-2"]);
    assert_eq!(listed(RunFilter { workflow_id: Some("task-3".into()), ..filter() }).await, ["task-3"]);
    let prefixed = RunFilter { workflow_id_prefix: Some("order-".to_owned()), ..filter() };
    assert_eq!(listed(prefixed).await, ["order-5", "order-2", "order-1"]);
    let wild = RunFilter { workflow_id_prefix: Some("order_".to_owned()), ..filter() };
    assert_eq!(listed(wild).await, [""; 0], "a prefix is text, not a pattern");
    assert_eq!(listed(RunFilter { namespace: Some("other".into()), ..filter() }).await, ["order-4"]);
    let between = RunFilter { started_after: Some(times[1]), started_before: Some(times[2]), ..filter() };
    assert_eq!(listed(between).await, ["order-2"]);
    let by = |attributes: Vec<(&str, serde_json::Value)>| RunFilter {
        attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..filter()
    };
    assert_eq!(listed(by(vec![("n", 1.into())])).await, ["order-2"]);
    assert_eq!(listed(by(vec![("n", 1.into()), ("x", "z".into())])).await, [""; 0]);
    let two = lab.store.list(&filter(), 2).await.unwrap();
    assert_eq!(two.iter().map(|run| run.key.run_id).collect::<Vec<_>>()[0], done.run_id);
    assert_eq!(two.len(), 2);
    let closed = &two[0];
    assert_eq!((closed.events, closed.closed_at.is_some(), closed.status), (5, true, RunStatus::Completed));
    let memo = two[1].memo.as_ref().unwrap().decode::<serde_json::Value>("memo").unwrap();
    assert_eq!((memo, two[1].search_attributes.is_some()), (serde_json::json!({"m": 0}), true));
}

/// Starts runs with random attributes and closes some of them.
async fn random_runs(lab: &Lab, dice: &mut Dice, count: usize) -> Vec<RunInfo> {
    let worker = lab.worker().await;
    for number in 0..count {
        let start = random_start(dice, number);
        match dice.roll(4) {
            0 | 1 => assert_eq!(lab.start(start).await.unwrap(), StartOutcome::Started),
            side => {
                let mut owner = Owner::start_with(lab, worker, start, |_| ()).await;
                lab.pass(Duration::from_millis(dice.roll(7) as u64)).await;
                let failure = Box::new(Failure::application("Odd", "side"));
                let fail = Command::FailWorkflowExecution { failure };
                owner.write(task(vec![if side == 2 { complete() } else { fail }])).await;
            }
        }
        lab.pass(Duration::from_millis(dice.roll(2) as u64)).await;
    }
    let runs = lab.store.list(&filter(), 1_000).await.unwrap();
    assert_eq!(runs.len(), count);
    runs
}

pub(crate) async fn random_filters_are_answered_as_the_runs_say(lab: Lab) {
    let seed = Uuid::now_v7().as_u128() as u64;
    eprintln!("seed {seed}");
    let mut dice = Dice::new(seed);
    let runs = random_runs(&lab, &mut dice, 40).await;
    let times: Vec<String> = runs.iter().map(|run| rfc3339(run.started_at)).collect();
    let mut found = 0;
    for _ in 0..300 {
        let expression = format!("{} {}", random_filter(&mut dice, 3, &times), random_order(&mut dice));
        let filter = RunFilter::parse(&expression).unwrap_or_else(|error| panic!("{error}\n{}", error.pointer()));
        let (condition, order) = (filter.whole_condition(), &filter.order);
        let mut expected: Vec<_> =
            runs.iter().filter(|run| condition.matches(run)).map(|run| order.cursor(run)).collect();
        expected.sort_by(|a, b| order.compare(a, b));
        let listed = lab.store.list(&filter, 1_000).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let listed: Vec<_> = listed.iter().map(|run| order.cursor(run)).collect();
        assert_eq!(listed, expected, "{expression}");
        assert_eq!(lab.store.count(&filter).await.unwrap(), expected.len() as u64, "{expression}");
        let place = dice.roll(expected.len().max(1));
        if let Some(after) = expected.get(place) {
            let rest = RunFilter { after: Some(after.clone()), ..filter.clone() };
            let rest = lab.store.list(&rest, 1_000).await.unwrap();
            let rest: Vec<_> = rest.iter().map(|run| order.cursor(run)).collect();
            assert_eq!(rest, expected[place + 1..], "{expression} after {after:?}");
        }
        found += usize::from(!expected.is_empty() && expected.len() < runs.len());
    }
    assert!(found > 100, "most filters let some runs through and others not: {found}");
}

pub(crate) async fn a_list_goes_on_where_its_page_ended(lab: Lab) {
    let runs = random_runs(&lab, &mut Dice::new(7), 25).await;
    for order in ["", "ORDER BY StartTime", "ORDER BY CloseTime DESC", "ORDER BY WorkflowType", "ORDER BY a"] {
        let whole = RunFilter::parse(&format!("HistoryLength > 0 {order}")).unwrap();
        let all = lab.store.list(&whole, 1_000).await.unwrap();
        let (mut seen, mut filter) = (Vec::new(), whole.clone());
        for size in [1, 4, 9, 20] {
            let page = lab.store.list(&filter, size).await.unwrap();
            filter.after = page.last().map(|run| filter.order.cursor(run)).or(filter.after);
            // A run that comes meanwhile moves no other one.
            lab.open(&format!("late-{order}-{size}")).await;
            seen.extend(page.into_iter().filter(|run| !run.workflow_id.as_str().starts_with("late-")));
        }
        let ids = |list: &[RunInfo]| list.iter().map(|run| run.key.run_id).collect::<Vec<_>>();
        let known = ids(&runs);
        let mut all = ids(&all);
        all.retain(|run_id| known.contains(run_id));
        let mut seen = ids(&seen);
        seen.retain(|run_id| known.contains(run_id));
        let reached = seen.len();
        assert!(reached >= 14, "{order}: {reached}");
        assert_eq!(seen, all[..reached], "{order}");
    }
}

pub(crate) async fn a_workflow_id_leads_to_its_newest_run(lab: Lab) {
    let first = end(&lab, "a", complete()).await;
    lab.pass(Duration::from_millis(5)).await;
    let second = end(&lab, "a", complete()).await;
    let find = |id: &'static str, run_id: Option<RunId>| {
        let store = lab.store.clone();
        async move {
            let namespace = Namespace::default_namespace();
            store.find_run(&namespace, &id.into(), run_id).await.unwrap().map(|run| run.key)
        }
    };
    assert_eq!(find("a", None).await, Some(second));
    assert_eq!(find("a", Some(first.run_id)).await, Some(first));
    let open = lab.open("a").await;
    assert_eq!(find("a", None).await, Some(open), "the open one comes first");
    assert_eq!(find("b", None).await, None);
    assert_eq!(find("a", Some(RunId(Uuid::now_v7()))).await, None);
    assert_eq!(find("b", Some(first.run_id)).await, None, "the run of another workflow id");
    let never = RunKey { run_id: RunId(Uuid::now_v7()), ..first };
    assert!(lab.store.describe(never).await.unwrap().is_none());
    assert!(lab.store.history(never, 1, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_history_is_read_in_pages_of_whole_transitions(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    owner.write(task(vec![schedule(1), schedule(2)])).await;
    for name in ["x", "y", "z"] {
        owner.write(|turn| turn.message(signal(name))).await;
    }
    let firsts = |from, limit| {
        let (store, run) = (lab.store.clone(), owner.key());
        async move {
            let stored = store.history(run, from, limit).await.unwrap();
            stored.iter().map(|it| it.events[0].event_id).collect::<Vec<_>>()
        }
    };
    assert_eq!(firsts(1, 100).await, [1, 3, 7, 8, 9]);
    assert_eq!(firsts(5, 100).await, [3, 7, 8, 9], "the transition that holds event 5");
    assert_eq!(firsts(7, 2).await, [7, 8]);
    assert_eq!(firsts(10, 100).await, [0; 0]);
    let stored = lab.store.history(owner.key(), 1, 100).await.unwrap();
    assert!(stored.is_sorted_by_key(|it| it.written_at));
}

pub(crate) async fn a_description_shows_what_a_run_waits_for(lab: Lab) {
    let worker = lab.worker().await;
    let mut owner = Owner::start(&lab, worker, "a").await;
    let later = Duration::from_secs(3_600);
    owner.write(offering(vec![schedule(1), sleep(7, later), sleep(3, later * 2)])).await;
    lab.send(owner.key(), signal("s")).await;
    let described = lab.describe(owner.key()).await;
    assert_eq!((described.owner, described.owner_identity.as_deref()), (Some(worker), Some("tester")));
    assert_eq!((described.inbox, described.parked, described.result.is_none()), (1, false, true));
    let activity = &described.activities[0];
    assert_eq!((activity.activity_id, activity.activity_type.as_str(), activity.attempt), (1, "act", 1));
    assert_eq!((activity.claimed_by, activity.task_queue.as_str()), (None, QUEUE));
    assert_eq!(described.timers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [7, 3], "by time");
    owner.take_inbox().await;
    owner.write(task(vec![complete()])).await;
    let described = lab.describe(owner.key()).await;
    let end = described.result.expect("it is closed");
    assert_eq!((end.status, end.result), (RunStatus::Completed, Some(text("done"))));
    assert_eq!(described.info.closed_at, Some(end.closed_at));
}

pub(crate) async fn queue_depths_count_what_waits(lab: Lab) {
    let worker = lab.worker().await;
    lab.open("a").await;
    lab.open("b").await;
    lab.start(StartWorkflow { task_queue: "other".into(), ..request("c") }).await.unwrap();
    lab.start(StartWorkflow { start_delay_ms: Some(3_600_000), ..request("d") }).await.unwrap();
    let _owner = Owner::start_with(&lab, worker, request("e"), offering(vec![schedule(1)])).await;
    let mut depths = lab.store.queue_depths().await.unwrap();
    depths.sort_by_key(|depth| depth.task_queue.to_string());
    let depth = |queue: &str, runs, activities| QueueDepth {
        namespace: Namespace::default_namespace(),
        task_queue: queue.into(),
        runs,
        activities,
    };
    assert_eq!(depths, [depth("other", 1, 0), depth(QUEUE, 2, 1)]);
    lab.claim(worker).await;
    lab.claim_activities(worker).await;
    assert_eq!(lab.store.queue_depths().await.unwrap(), [depth("other", 1, 0)]);
}

pub(crate) async fn blobs_are_kept_under_their_digest(lab: Lab) {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(lab.store.get_blob(digest).await.unwrap(), None);
    for _ in 0..2 {
        lab.store.put_blob(digest, b"abc").await.unwrap();
        assert_eq!(lab.store.get_blob(digest).await.unwrap().as_deref(), Some(&b"abc"[..]));
    }
}

pub(crate) async fn a_store_that_is_closed_has_written_everything(lab: Lab) {
    let run = lab.open("a").await;
    let (reply, answer) = reply();
    lab.store.send(dacapo_core::store::SendMessage { run, message: signal("last") }, reply);
    lab.store.close().await;
    assert_eq!(answer.await.unwrap().unwrap(), dacapo_core::store::SendOutcome::Accepted);
}
