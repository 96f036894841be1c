//! The lease of a worker process, by the clock of the database.

/// How long a lease lasts after its last renewal, in milliseconds.
pub const LEASE_MS: u64 = 8_000;

/// A promise that nobody else touches what this worker owns.
pub struct Lease {
    until_ms: u64,
}

impl Lease {
    /// Renews the lease; a lease that has lapsed is lost and is not renewed.
    pub fn renew(&mut self, now_ms: u64) -> bool {
        if now_ms > self.until_ms {
            return false;
        }
        self.until_ms = now_ms + LEASE_MS;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapsed_lease_is_not_renewed() {
        let mut lease = Lease { until_ms: 5 };
        assert!(!lease.renew(6));
    }
}
