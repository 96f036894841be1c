//! Integration tests of the whole: one binary, so that everything is linked once.

mod bad_input;
mod contract;
mod database;
mod fleet;
mod main_job;
mod programs;
