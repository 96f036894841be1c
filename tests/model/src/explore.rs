//! Exploring a scenario: every reachable state, or the shortest way to a broken promise.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::Protocol;
use crate::rule::{Removal, Rules};
use crate::scenario::Scenario;

/// Is a promise that does not hold, and the steps that break it.
#[derive(Clone, Debug)]
pub struct Breach {
    /// The name of the property.
    pub promise: &'static str,
    /// The actions from the beginning to the state that breaks it.
    pub steps: Vec<String>,
}

/// Is the result of an exploration.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How many different states were reached.
    pub states: usize,
    /// The longest way from the beginning.
    pub depth: usize,
    /// The broken promise, if any.
    pub breach: Option<Breach>,
}

/// Explores all interleavings of a scenario with all the rules, up to the first broken promise.
pub fn explore(scenario: &Scenario) -> Verdict {
    search(scenario, Rules(None), HasDiscoveries::Any, None)
}

/// Explores all interleavings of a scenario without one of the rules, up to the first broken promise.
pub fn explore_without(scenario: &Scenario, removal: Removal) -> Verdict {
    search(scenario, Rules(Some(removal)), HasDiscoveries::Any, None)
}

/// Explores a scenario without one of the rules until it breaks the promise.
pub fn removal_breaks(scenario: &Scenario, removal: Removal, promise: &'static str) -> Verdict {
    let only = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    search(scenario, Rules(Some(removal)), only, Some(promise))
}

fn search(scenario: &Scenario, rules: Rules, until: HasDiscoveries, promise: Option<&str>) -> Verdict {
    let model = Protocol { scenario: Arc::new(scenario.clone()), rules };
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    let mut discoveries = checker.discoveries().into_iter();
    let discovery = discoveries.find(|(found, _)| promise.is_none_or(|promise| promise == *found));
    let breach = discovery.map(|(promise, path)| {
        let steps = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        Breach { promise, steps }
    });
    Verdict { states: checker.unique_state_count(), depth: checker.max_depth(), breach }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is broken after {} steps:", self.promise, self.steps.len())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}
