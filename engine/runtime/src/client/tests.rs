//! What the client does when answers are lost, or a local starter gives up.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{Engine, memory::MemoryStore};

async fn client(patience: Duration) -> Client {
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    engine.client().with_patience(patience)
}

fn unavailable<T>() -> StoreResult<T> {
    Err(StoreError::Unavailable { problem: "connection reset".to_owned() })
}

#[tokio::test]
async fn a_call_is_repeated_until_its_answer_is_definite() {
    let calls = AtomicU32::new(0);
    let answer = client(PATIENCE)
        .await
        .persist(|| async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => unavailable(),
                call => Ok(call),
            }
        })
        .await;
    assert_eq!(answer.unwrap(), 2);
}

#[tokio::test]
async fn a_call_gives_up_when_patience_ends_and_says_what_is_unknown() {
    let error = client(Duration::ZERO).await.persist(|| async { unavailable::<()>() }).await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }));
    assert!(error.to_string().contains("whether the call took effect is not known"), "{error}");
}

#[tokio::test]
async fn what_a_local_starter_gives_up_goes_through_the_store() {
    struct GivesUp;
    impl LocalStarter for GivesUp {
        fn try_start(
            &self,
            _request: Box<StartWorkflow>,
        ) -> Result<oneshot::Receiver<StoreResult<StartOutcome>>, Box<StartWorkflow>> {
            // The sender is dropped, as by a worker that stops.
            Ok(oneshot::channel().1)
        }
    }
    let engine = Engine::new(Arc::new(MemoryStore::new())).await.unwrap();
    let starter: Arc<dyn LocalStarter> = Arc::new(GivesUp);
    engine.starters().add(starter);
    let request = StartWorkflow::new(Client::new_run_id(), "a".into(), "w".into(), "q".into(), Payload::null());
    let started = engine.client().start(request.clone()).await.unwrap();
    assert_eq!(started, Started { run: request.key(), new: true });
}
