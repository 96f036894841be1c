//! Integration tests of the whole: one binary, so that everything is linked once.

mod contract;
mod database;
mod programs;
