//! Four parts of rules whose absence breaks no promise here: second lines of defence, each with the first one that holds.

use dacapo_model::{Removal, Scenario, explore_without, scenarios};

fn harmless(removal: Removal, scenarios: Vec<Scenario>) {
    for scenario in scenarios {
        if let Some(breach) = explore_without(&scenario, removal).breach {
            panic!("{removal:?} has become a rule that {:?} needs: {breach}", scenario.name());
        }
    }
}

/// Worker ids are never used twice and every unknown answer is fenced, so an old owner never meets a row that fits it.
#[test]
fn epoch_kept_at_a_change_of_owner_is_harmless() {
    harmless(Removal::EpochKept, vec![scenarios::zombie(), scenarios::lost_release(), scenarios::worker_epoch()]);
}

/// Only `dead` lets others take what a worker has, and marking waits for the heartbeat's row.
#[test]
fn heartbeat_after_a_lapse_is_harmless() {
    harmless(
        Removal::HeartbeatAfterLapse,
        vec![scenarios::only_worker(), scenarios::late_start(), scenarios::zombie()],
    );
}

/// A run that was handed over is its worker's for as long as its epoch is the first, so the epoch says all that the owner does.
#[test]
fn a_take_that_does_not_look_at_the_owner_is_harmless() {
    harmless(
        Removal::TakeWithoutOwner,
        vec![scenarios::handed(), scenarios::handed_lost(), scenarios::late_hand(), scenarios::untaken()],
    );
}

/// A run that was handed over is owned like any other: its worker finds it by comparing, and if it dies, take-over does.
#[test]
fn to_take_nothing_is_harmless() {
    harmless(
        Removal::NeverTake,
        vec![scenarios::handed(), scenarios::handed_lost(), scenarios::late_hand(), scenarios::late_take()],
    );
}
