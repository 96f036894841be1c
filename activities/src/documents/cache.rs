//! Documents already read in this process, found again by digest.
//!
//! A worker runs some twenty activities of a task over the same documents; reading them is the dearest part of each. The cache is
//! bounded by the bytes of text it holds and drops what came first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::corpus::Corpus;
use super::document::{Document, DocumentError, digest};
use super::media::MediaType;
use crate::model::DocumentRef;

/// Text kept by default: 64 MiB hold the documents of hundreds of ordinary tasks.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

type Key = (String, MediaType);

/// A bounded, shared memory of documents by digest and media type.
#[derive(Debug)]
pub struct DocumentCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<Key, Arc<Document>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Default for DocumentCache {
    fn default() -> Self {
        Self::with_capacity(CACHE_BYTES_MAX)
    }
}

impl DocumentCache {
    /// Makes a cache that holds at most `bytes_max` bytes of text.
    #[must_use]
    pub fn with_capacity(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Gives the document of a reference if it was read before.
    #[must_use]
    pub fn get(&self, reference: &DocumentRef) -> Option<Arc<Document>> {
        let key = (reference.sha256().to_owned(), reference.media_type());
        self.state.lock().unwrap_or_else(PoisonError::into_inner).documents.get(&key).cloned()
    }

    /// Reads the bytes of a reference and remembers the document.
    ///
    /// # Errors
    /// What makes the file unreadable, or bytes that are not those the reference names.
    pub fn ingest(&self, reference: &DocumentRef, bytes: &[u8]) -> Result<Arc<Document>, DocumentError> {
        let found = digest(bytes);
        if found != reference.sha256() {
            return Err(DocumentError::DigestMismatch { expected: reference.sha256().to_owned(), found });
        }
        let document = Arc::new(Document::ingest(reference.media_type(), bytes)?);
        self.insert((found, reference.media_type()), &document);
        Ok(document)
    }

    /// Gives the corpus of a task; `load` is asked, by digest, for the bytes of what is not remembered.
    ///
    /// # Errors
    /// What `load` gives. A document that cannot be read is no error: the corpus names it.
    pub async fn corpus<E, F: Future<Output = Result<Vec<u8>, E>>>(
        &self,
        references: &[DocumentRef],
        load: impl Fn(DocumentRef) -> F,
    ) -> Result<Corpus, E> {
        let mut items = Vec::with_capacity(references.len());
        for reference in references {
            let document = match self.get(reference) {
                Some(document) => Ok(document),
                None => self.ingest(reference, &load(reference.clone()).await?),
            };
            items.push((reference.doc.clone(), document));
        }
        Ok(Corpus::new(items))
    }

    fn insert(&self, key: Key, document: &Arc<Document>) {
        let size = document.text.len();
        if size > self.bytes_max {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.documents.insert(key.clone(), Arc::clone(document)).is_none() {
            state.order.push_back(key);
            state.bytes += size;
        }
        while state.bytes > self.bytes_max
            && let Some(oldest) = state.order.pop_front()
        {
            if let Some(dropped) = state.documents.remove(&oldest) {
                state.bytes -= dropped.text.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    fn reference(doc: &str, bytes: &[u8]) -> DocumentRef {
        DocumentRef::of(doc, bytes)
    }

    #[test]
    fn bytes_are_loaded_once() {
        let cache = DocumentCache::default();
        let bytes = b"A lease is renewed.".to_vec();
        let refs = [reference("a.md", &bytes), reference("copy.md", &bytes)];
        let loads = Cell::new(0);
        let load = |_: DocumentRef| {
            loads.set(loads.get() + 1);
            std::future::ready(Ok::<_, ()>(bytes.clone()))
        };
        for _ in 0..2 {
            let corpus = cache.corpus(&refs, load).now_or_never().unwrap().unwrap();
            assert_eq!(corpus.entries().len(), 1);
        }
        assert_eq!(loads.get(), 1);
    }

    #[test]
    fn what_came_first_is_dropped_first() {
        let cache = DocumentCache::with_capacity(40);
        let texts = ["The first text is here.", "The second text is."];
        let refs: Vec<_> = texts.iter().map(|t| reference("a.md", t.as_bytes())).collect();
        for (r, t) in refs.iter().zip(texts) {
            cache.ingest(r, t.as_bytes()).unwrap();
        }
        assert!(cache.get(&refs[0]).is_none() && cache.get(&refs[1]).is_some());
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let error = DocumentCache::default().ingest(&reference("a.md", b"right"), b"wrong").unwrap_err();
        assert!(matches!(error, DocumentError::DigestMismatch { .. }));
    }
}
