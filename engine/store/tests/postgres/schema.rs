//! Migrations: once, by one of many, and never backwards.

use dacapo_core::store::StoreError;
use dacapo_store::{PgStore, PgStoreOptions, migrate, schema_status};
use sqlx::{Connection, PgConnection};

use crate::common::*;

#[tokio::test]
async fn many_processes_migrate_an_empty_database_once() {
    let (url, _held) = empty_database().await;
    let options = PgStoreOptions::new(&url);
    let before = schema_status(&options).await.unwrap();
    assert!(before.version == 0 && before.pending.len() >= 7, "{before:?}");
    let refused = PgStore::connect(options.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("dacapo db migrate"), "{refused}");
    let all = futures_util::future::join_all((0..8).map(|_| migrate(&options))).await;
    assert!(all.into_iter().all(|status| status.unwrap().pending.is_empty()));
    assert_eq!(schema_status(&options).await.unwrap().version, before.binary_version);
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let (url, _held) = empty_database().await;
    let options = PgStoreOptions::new(&url);
    migrate(&options).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO dacapo.migrations (version, name) VALUES (99, 'future')";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    for refused in [migrate(&options).await.unwrap_err(), PgStore::connect(options.clone()).await.unwrap_err()] {
        let StoreError::Rejected { problem } = refused else { panic!("{refused:?}") };
        assert!(problem.contains("version 99") && problem.contains("use a newer dacapo"), "{problem}");
    }
    assert_eq!(schema_status(&options).await.unwrap().version, 99);
}

#[tokio::test]
async fn an_unusable_url_and_a_dead_server_say_so() {
    let refused = PgStore::connect(PgStoreOptions::new("nonsense")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Rejected { .. }), "{refused:?}");
    let dead = PgStore::connect(PgStoreOptions::new("postgres://nobody@127.0.0.1:1/none")).await.unwrap_err();
    assert!(matches!(dead, StoreError::Unavailable { .. }), "{dead:?}");
}
