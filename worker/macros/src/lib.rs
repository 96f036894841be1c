//! Attribute macros of Dacapo.
