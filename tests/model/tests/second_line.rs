//! Two parts of rules whose absence breaks no promise here: second lines of defence, each with the first one that holds.

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
