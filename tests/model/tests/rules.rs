//! Every promise holds with all the rules, in every scenario; and every rule, left out, breaks the promise that it was made for.

#![allow(
    clippy::print_stdout,
    reason = "`--nocapture` shows the size of every scenario and where each removal is caught"
)]

use dacapo_model::{Removal, Scenario, explore, removal_breaks, scenarios};

/// What the two searches of one test thread may cost: a scenario that outgrows this wants to be split.
const STATES_MAX: usize = 1_000_000;

/// Explores scenarios with all the rules.
fn hold(scenarios: Vec<Scenario>) {
    for scenario in scenarios {
        let verdict = explore(&scenario);
        println!("{:24} {:>8} states, depth {:>2}", scenario.name(), verdict.states, verdict.depth);
        if let Some(breach) = verdict.breach {
            panic!("{}: {breach}", scenario.name());
        }
        assert!(verdict.states < STATES_MAX, "{} has {} states", scenario.name(), verdict.states);
    }
}

#[test]
fn all_rules_keep_all_promises() {
    hold(scenarios::all());
}

const ACKNOWLEDGED: &str = "an acknowledged message is recorded once or waits for an open run";
const REJECTED: &str = "a rejected message is never recorded";
const TWICE: &str = "nothing is recorded twice";
const DENSE: &str = "history is dense and agrees with its run";
const EPOCHS: &str = "owner epochs never decrease along a history";
const OWNER_WRITES: &str = "only the owner writes";
const UNWRITTEN: &str = "what was concluded to be unwritten stays unwritten";
const COLLIDES: &str = "no statement fails on a key of history";
const OPEN: &str = "nothing points at a run that is not open";
const CONSERVED: &str = "an open run is owned, or ready, or has nothing to do";
const REPLACED: &str = "a replacement opens when what it replaces closes";
const CIRCLE: &str = "no statements wait for each other in a circle";
const BEGINS: &str = "an activity begins at most as often as it may";
const BEGINS_LATE: &str = "an activity begins after its scheduling is recorded";
const GIVEN_UP: &str = "only an attempt that may have begun is given up";
const CLAIMER: &str = "a result is accepted from the claimer alone";
const TOLD: &str = "a dead worker is told so";
const DONE: &str = "when nothing is left to do, everything is done";

/// Says where a removal is caught, and which promise it breaks there; none if nothing here can break.
fn caught(removal: Removal) -> Option<(Scenario, &'static str)> {
    use scenarios as s;
    Some(match removal {
        Removal::SendWithoutKeyShare => (s::send_and_close(), ACKNOWLEDGED),
        Removal::ClosedWithoutSearch => (s::lost_answers(), REJECTED),
        Removal::CompleteTaskFirst => (s::remote_close(), CIRCLE),
        Removal::CloseInOneStatement => (s::send_and_close(), ACKNOWLEDGED),
        Removal::CloseWithoutInboxCheck => (s::send_and_close(), OPEN),
        Removal::ReleaseInOneStatement => (s::send_and_release(), CONSERVED),
        Removal::ReleaseWithoutInboxCheck => (s::send_and_release(), CONSERVED),
        Removal::ReleaseWithoutNextEventId => (s::release_beside_flush(), CONSERVED),
        Removal::ReleaseWithoutEpoch => (s::zombie(), OWNER_WRITES),
        Removal::ReleaseWithLocalActivity => (s::release_beside_flush(), CONSERVED),
        Removal::AppendWithoutOwner => (s::zombie(), OWNER_WRITES),
        Removal::AppendWithoutEpoch => (s::lost_answers(), UNWRITTEN),
        Removal::WriteBeforeAnswer => (s::pipeline(), DENSE),
        Removal::DeleteInboxByRun => (s::send_and_release(), ACKNOWLEDGED),
        Removal::DeleteInboxUnfenced => (s::zombie(), ACKNOWLEDGED),
        Removal::RetryRowUnfenced => (s::zombie_attempt(), BEGINS),
        Removal::EpochOfWorker => (s::worker_epoch(), EPOCHS),
        Removal::ClaimWithoutWorkerCheck => (s::late_claim(), CONSERVED),
        Removal::ClaimWithoutWorkerLock => (s::late_claim(), CONSERVED),
        Removal::ClaimOnSnapshotOwner => (s::stale_ready(), CONSERVED),
        Removal::StartWithoutWorkerCheck => (s::late_start(), CONSERVED),
        Removal::MarkDeadWithoutLock => (s::late_claim(), CONSERVED),
        Removal::HeartbeatOfTheDead => (s::only_worker(), TOLD),
        Removal::TakeOverWithoutReady => (s::zombie(), DONE),
        Removal::TakeOverInOneStatement => (s::zombie(), DENSE),
        Removal::EmptyBatchEndsTakeOver => (s::zombie_batch(), CONSERVED),
        Removal::GiveBackWithOldToken => (s::remote_activity(), CLAIMER),
        Removal::ReReadInsteadOfFence => (s::lost_answers(), UNWRITTEN),
        Removal::LostMeansRejected => (s::lost_answers(), REJECTED),
        Removal::NeverCompare => (s::lost_claim(), DONE),
        Removal::CompareByRun => (s::late_take(), DONE),
        Removal::FoldWithoutIds => (s::lost_answers(), TWICE),
        Removal::LoadOnClaimSnapshot => (s::stale_load(), COLLIDES),
        Removal::LoadInTwoReads => (s::load_and_result(), ACKNOWLEDGED),
        Removal::SecondAttemptWithoutRow | Removal::AttemptsUncounted => (s::attempts(), BEGINS),
        Removal::MoverWaits => (s::timer(), CIRCLE),
        Removal::MoverWithoutKeyShare => (s::timer(), OPEN),
        Removal::FireTwice => (s::timer(), TWICE),
        Removal::TerminateInOneStatement => (s::terminate(), ACKNOWLEDGED),
        Removal::TerminateOwned => (s::terminate(), OWNER_WRITES),
        Removal::FlushLocksOtherRun => (s::crosswise(), CIRCLE),
        Removal::SendFromMemory => (s::outbox(), DONE),
        Removal::ReplaceUnjoined => (s::replacement(), REPLACED),
        Removal::UnsortedLocks => (s::lock_order(), CIRCLE),
        Removal::UnknownCountsAsBegun => (s::unknown_scheduling(), GIVEN_UP),
        Removal::BeginBeforeCommit => (s::unknown_scheduling(), BEGINS_LATE),
        Removal::HandWithoutWorkerCheck | Removal::HandWithoutWorkerLock => (s::late_hand(), CONSERVED),
        Removal::HandWithoutHistory => (s::handed_lost(), DENSE),
        Removal::TakeWithoutEpoch => (s::late_take(), GIVEN_UP),
        Removal::TakeReplacesNewer => (s::late_take(), BEGINS),
        Removal::GiveUntakenWithoutOwner => (s::late_hand(), OWNER_WRITES),
        Removal::GiveUntakenWithoutNextEventId => (s::untaken(), GIVEN_UP),
        Removal::GiveUntakenWithoutReady => (s::handed(), DONE),
        Removal::GiveUntakenInOneStatement => (s::untaken(), GIVEN_UP),
        Removal::EpochKept | Removal::HeartbeatAfterLapse | Removal::TakeWithoutOwner | Removal::NeverTake => {
            return None;
        }
    })
}

/// Checks one half of the removals, so that the two halves run beside each other.
fn check_removals(half: usize) {
    let mut missed = Vec::new();
    for removal in Removal::ALL.into_iter().skip(half).step_by(2) {
        let Some((scenario, promise)) = caught(removal) else { continue };
        let verdict = removal_breaks(&scenario, removal, promise);
        match verdict.breach {
            Some(breach) => {
                println!("{removal:?}: {} steps of {:?} break {promise:?}", breach.steps.len(), scenario.name());
                assert_eq!(breach.promise, promise);
            }
            None => missed.push(format!("{removal:?} in {:?}: {} states", scenario.name(), verdict.states)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

#[test]
fn each_removal_breaks_its_promise_first_half() {
    check_removals(0);
}

#[test]
fn each_removal_breaks_its_promise_second_half() {
    check_removals(1);
}
