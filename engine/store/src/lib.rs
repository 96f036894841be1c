//! Dacapo's store on Postgres: the only SQL.
