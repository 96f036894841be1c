//! A private Postgres for development and tests, from the binaries installed on the machine.
