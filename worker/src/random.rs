//! Random numbers that are the same at every replay.
//!
//! The generator is this crate's own and not one of the `rand` crates: a history holds what the numbers led to, not the
//! numbers, so the algorithm is part of the stored format and must not change with a dependency.

use std::{fmt, ops::Range, rc::Rc};

use crate::state::RunState;

/// Draws random numbers; each draw is the next of one sequence that follows from the run's id. Not for secrets.
#[derive(Clone)]
pub struct Random(Rc<RunState>);

/// The bits of a fraction that an `f64` between 0 and 1 holds exactly.
const FRACTION_BITS: u32 = 53;

impl Random {
    pub(crate) fn new(state: &Rc<RunState>) -> Self {
        Self(Rc::clone(state))
    }

    /// Draws any number.
    pub fn u64(&self) -> u64 {
        self.0.draw()
    }

    /// Draws a number from 0, included, to 1, excluded.
    pub fn f64(&self) -> f64 {
        (self.u64() >> (u64::BITS - FRACTION_BITS)) as f64 / (1_u64 << FRACTION_BITS) as f64
    }

    /// Draws a number of a range, all with equal chances; the start of an empty one.
    pub fn range(&self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        if width == 0 {
            return range.start;
        }
        // Of the numbers at the end of the range of `u64`, fewer than `width` are left over: they would favour some.
        let fair = u64::MAX - u64::MAX % width;
        loop {
            let drawn = self.u64();
            if drawn < fair {
                return range.start + drawn % width;
            }
        }
    }

    /// Draws an element; `None` of an empty slice.
    pub fn choose<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        let place = self.range(0..from.len() as u64);
        from.get(usize::try_from(place).unwrap_or(usize::MAX))
    }

    /// Brings elements into a random order.
    pub fn shuffle<T>(&self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            let place = self.range(0..last as u64 + 1);
            elements.swap(last, usize::try_from(place).unwrap_or(last));
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::WorkflowContext;

    #[test]
    fn draws_stay_within_their_bounds_and_reach_all_of_them() {
        let random = WorkflowContext::default().random();
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[usize::try_from(random.range(10..17)).unwrap() - 10] += 1;
            assert!((0.0..1.0).contains(&random.f64()));
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(random.range(5..5), 5);
        assert_eq!(random.choose::<u8>(&[]), None);
        let mut order: Vec<u32> = (0..100).collect();
        random.shuffle(&mut order);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
