//! Hashing of runs, for maps that hot paths look into.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes hashers for maps whose keys are or begin with a [`RunKey`](crate::RunKey) or a [`RunId`](crate::RunId). Unlike
/// the default they do not protect from keys that somebody chooses to collide; run ids are made by the engine.
pub type BuildRunHasher = BuildHasherDefault<RunHasher>;

/// Hashes run keys: their uuids differ in random bits already, so that mixing the words is enough.
#[derive(Debug, Default)]
pub struct RunHasher(u64);

impl Hasher for RunHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // An odd constant near 2^64 / the golden ratio spreads what the rotation leaves in the low bits.
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use uuid::{NoContext, Timestamp, Uuid};

    use super::*;
    use crate::{RunId, RunKey, Shard};

    #[test]
    fn runs_of_one_moment_and_their_activities_spread_over_the_low_and_the_high_bits() {
        let hashes = |activity_id: u64| {
            (0..4_096_u32).map(move |number| {
                let run_id = RunId(Uuid::new_v7(Timestamp::from_unix(NoContext, 1_795_000_000, number)));
                BuildRunHasher::default().hash_one((RunKey { shard: Shard(0), run_id }, activity_id))
            })
        };
        for activity_id in [1, 2] {
            let low: HashSet<u64> = hashes(activity_id).map(|hash| hash & 0xfff).collect();
            let high: HashSet<u64> = hashes(activity_id).map(|hash| hash >> 57).collect();
            // Of 4,096 random numbers below 4,096, 2,589 are different on average.
            assert!(low.len() > 2_400, "{} different low bits", low.len());
            assert_eq!(high.len(), 128);
        }
    }
}
