//! Dacapo.
