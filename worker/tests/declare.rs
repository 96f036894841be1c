//! Workflows and activities as users declare them: what the macros make can be named, registered, run and replaced by hand.

extern crate dacapo_worker as dacapo;

use std::{future::Future, sync::Arc, time::Duration};

use dacapo::{
    ActivityContext, ActivityError, WorkflowContext, WorkflowError, activities, data,
    define::{
        Activity, ActivityFn, ActivityMeta, ActivityTable, HasTimeout, Meta, NamedActivity, NamedWorkflow, NoTimeout,
        RegistrationError, Run, TimeoutSet, Workflow, WorkflowMeta, WorkflowTable,
    },
    workflow,
};
use dacapo_core::Payload;
use futures_util::FutureExt as _;

/// What a customer wants.
#[data]
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    id: u32,
    #[serde(default)]
    note: String,
}

fn order(id: u32) -> Order {
    Order { id, note: String::new() }
}

/// Takes an order.
#[workflow]
pub async fn checkout(_ctx: WorkflowContext, Order { id, .. }: Order) -> Result<u32, WorkflowError> {
    if id == 0 {
        return Err(WorkflowError::failed("NoOrder", "an order has a number"));
    }
    Ok(id + 1)
}

#[workflow(name = "nightly-report")]
async fn report(ctx: WorkflowContext) -> Result<Option<String>, WorkflowError> {
    let inner = checkout(ctx, order(4)).await?;
    Ok(Some(inner.to_string()))
}

/// What is declared in a module with another path to the library.
mod elsewhere {
    use super::*;

    #[data(crate = "dacapo_worker")]
    pub(super) struct Line {
        pub(super) text: String,
    }

    pub(super) struct Lines;

    #[activities(crate = "dacapo_worker")]
    impl Lines {
        #[activity(schedule_to_close = "1h30m")]
        pub(super) async fn length(&self, _ctx: &ActivityContext, Line { text }: Line) -> Result<usize, String> {
            if text.is_empty() { Err("an empty line".to_owned()) } else { Ok(text.len()) }
        }
    }

    #[workflow]
    pub(super) async fn r#match(_ctx: WorkflowContext, mut count: u64) -> Result<u64, WorkflowError> {
        count += 1;
        Ok(count)
    }

    #[workflow(crate = "::dacapo_worker")]
    pub(super) async fn checkout(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
        Err(WorkflowError::Cancelled)
    }
}

struct ByHand;

impl WorkflowMeta for ByHand {
    const NAME: &'static str = "by-hand";
}

fn by_hand(_ctx: WorkflowContext, input: u8) -> Run<ByHand, Result<u8, WorkflowError>> {
    Run::new(async move { Ok(input) })
}

struct Payments {
    fee: u32,
}

#[activities]
impl Payments {
    const LIMIT: u32 = { 1_000 };

    fn new(fee: u32) -> Self {
        Self { fee }
    }

    /// Charges the card.
    #[activity(start_to_close = "30s", heartbeat = "5s", max_attempts = 3, non_retryable = ["TooMuch"])]
    async fn charge(&self, _ctx: &ActivityContext, order: Order) -> Result<u32, ActivityError> {
        if order.id > Self::LIMIT {
            return Err(ActivityError::new("TooMuch", "above the limit"));
        }
        let parsed: u32 = order.note.parse()?;
        Ok(parsed + self.fee)
    }

    #[activity(name = "list-fees")]
    pub async fn fees(&self, _: &ActivityContext) -> anyhow::Result<Vec<u32>> {
        tokio::task::yield_now().await;
        Ok(vec![self.fee])
    }

    #[activity]
    #[cfg(any())]
    pub async fn absent(&self, ctx: &ActivityContext, input: Missing) -> Result<(), ActivityError> {}
}

const REMOTE: Activity<Order, u32> = Activity::new("remote");
const REMOTE_TIMED: Activity<Order, u32, HasTimeout> = Activity::new("timed").schedule_to_close(Duration::from_secs(1));
const REMOTE_WORKFLOW: Workflow<Order, u32> = Workflow::new("elsewhere");

fn workflow_name<M, W: NamedWorkflow<M>>(workflow: &W, _input: W::Input) -> &'static str {
    workflow.name()
}

fn activity_meta<M, A: NamedActivity<M>>(activity: &A, _input: A::Input) -> Meta {
    activity.meta()
}

fn callable<M, A: NamedActivity<M, Timeout: TimeoutSet>>(_activity: &A) {}

fn without_timeout<M, A: NamedActivity<M, Timeout = NoTimeout>>(_activity: &A) {}

fn json(text: &str) -> Payload {
    Payload::from_json("a test's input", text.to_owned()).expect("tests write JSON")
}

fn ready<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("nothing to wait for")
}

#[test]
fn workflows_have_the_name_of_their_function_or_the_one_given() {
    assert_eq!(workflow_name(&checkout, order(1)), "checkout");
    assert_eq!(workflow_name(&report, ()), "nightly-report");
    assert_eq!(workflow_name(&elsewhere::r#match, 1), "match");
    assert_eq!(workflow_name(&by_hand, 1), "by-hand");
    assert_eq!(workflow_name(&REMOTE_WORKFLOW, order(1)), "elsewhere");
}

#[test]
fn activities_carry_their_options_and_whether_a_timeout_is_among_them() {
    let meta = activity_meta(&Payments::charge, order(1));
    let expected = Meta::new("charge")
        .start_to_close(Duration::from_secs(30))
        .heartbeat(Duration::from_secs(5))
        .max_attempts(3)
        .non_retryable(&["TooMuch"]);
    assert_eq!(meta, expected);
    assert_eq!(activity_meta(&Payments::fees, ()), Meta::new("list-fees"));
    assert_eq!(activity_meta(&REMOTE_TIMED, order(1)).schedule_to_close, Some(Duration::from_secs(1)));
    callable(&Payments::charge);
    callable(&REMOTE_TIMED);
    without_timeout(&Payments::fees);
    without_timeout(&REMOTE);
    assert_eq!(<Payments as ActivityMeta<0>>::META, expected);
}

#[test]
fn a_registered_workflow_runs_from_payload_to_payload() {
    let mut table = WorkflowTable::default();
    table.add(checkout).unwrap();
    table.add(report).unwrap();
    table.add(by_hand).unwrap();
    let start = |name: &str, input: &str| table.get(name).unwrap().start(WorkflowContext::default(), &json(input));

    assert_eq!(ready(start("checkout", r#"{"id":7}"#).unwrap()).unwrap().unwrap().as_json(), "8");
    assert_eq!(ready(start("nightly-report", "null").unwrap()).unwrap().unwrap().as_json(), r#""5""#);
    assert_eq!(ready(start("by-hand", "9").unwrap()).unwrap().unwrap().as_json(), "9");
    let failed = ready(start("checkout", r#"{"id":0}"#).unwrap()).unwrap().unwrap_err();
    assert_eq!(failed.to_string(), "NoOrder: an order has a number");
    let undecodable = start("checkout", r#""text""#).err().unwrap().to_string();
    assert!(undecodable.contains("input of workflow `checkout`"), "{undecodable}");
    assert!(table.get("unknown").is_none());
    assert_eq!(
        table.iter().map(|workflow| workflow.name()).collect::<Vec<_>>(),
        ["by-hand", "checkout", "nightly-report"]
    );
}

#[test]
fn two_workflows_of_one_name_are_not_registered() {
    let mut table = WorkflowTable::default();
    table.add(checkout).unwrap();
    assert_eq!(table.add(elsewhere::checkout), Err(RegistrationError::DuplicateWorkflow { name: "checkout" }));
}

#[tokio::test]
async fn a_registered_activity_runs_from_payload_to_payload() {
    let mut table = ActivityTable::default();
    table.add_host(Payments::new(5)).unwrap();
    assert_eq!(table.iter().map(|activity| activity.meta().name).collect::<Vec<_>>(), ["charge", "list-fees"]);
    let attempt = |name: &str, input: &str| table.get(name).unwrap().attempt(ActivityContext::default(), &json(input));

    assert_eq!(attempt("charge", r#"{"id":1,"note":"37"}"#).await.unwrap().as_json(), "42");
    assert_eq!(tokio::spawn(attempt("list-fees", "null")).await.unwrap().unwrap().as_json(), "[5]");
    let failure = attempt("charge", r#"{"id":1,"note":"x"}"#).await.unwrap_err();
    assert_eq!((failure.failure().error_type.as_str(), failure.failure().non_retryable), ("ParseIntError", false));
    let failure = attempt("charge", "[]").await.unwrap_err();
    assert_eq!((failure.failure().error_type.as_str(), failure.failure().non_retryable), ("UndecodableInput", true));
    assert!(failure.to_string().contains("input of activity `charge`"), "{failure}");
}

#[test]
fn an_activity_may_return_any_error_and_take_its_input_apart() {
    assert_eq!(activity_meta(&elsewhere::Lines::length, elsewhere::Line { text: String::new() }).name, "length");
    let mut table = ActivityTable::default();
    table.add_host(elsewhere::Lines).unwrap();
    let attempt = |input| ready(table.get("length").unwrap().attempt(ActivityContext::default(), &json(input)));
    assert_eq!(attempt(r#"{"text":"four"}"#).unwrap().as_json(), "4");
    assert_eq!(attempt(r#"{"text":""}"#).unwrap_err().to_string(), "an empty line");
}

#[test]
fn a_host_may_be_shared_but_not_registered_twice() {
    let host = Arc::new(Payments::new(5));
    let mut table = ActivityTable::default();
    table.add_host(Arc::clone(&host)).unwrap();
    assert_eq!(table.add_host(host), Err(RegistrationError::DuplicateActivity { name: "charge" }));
}

#[test]
fn an_activity_is_called_like_any_method_in_a_unit_test() {
    let payments = Payments::new(1);
    let order = Order { id: 1, note: "1".to_owned() };
    assert_eq!(ready(payments.charge(&ActivityContext::default(), order.clone())).unwrap(), 2);
    let ctx = ActivityContext::default();
    let called = ActivityFn::call(&Payments::charge, &payments, &ctx, order);
    assert_eq!(ready(called).unwrap(), 2);
}
