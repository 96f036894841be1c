//! Documents as evidence: bytes in, citable sentences and cells out.
//!
//! The invariant: a span `[start, end)` always indexes [`Document::text`], which is the file as given, byte for byte, except for
//! HTML, whose extracted text is kept instead and has its own digest. Whatever is cited can therefore be checked by a program that
//! knows nothing of this crate: read the text, take the bytes, compare.
//!
//! ```text
//! bytes ─ ingest ─► blocks (per media type) ─► sentences ─► terms
//!                        └► sections, table cells
//! ```
//! Deliberately absent: fetching, OCR, PDF. A file that cannot be read is an error that names the file, never a guess.

mod block;
mod cache;
mod corpus;
mod delimited;
mod document;
mod html;
mod json;
mod markdown;
mod media;
mod plain;
mod sentence;
mod source;
mod terms;

pub use cache::DocumentCache;
pub use corpus::{Corpus, Entry, Unreadable};
pub use delimited::{Cell, Table};
pub use document::{DOCUMENT_BYTES_MAX, Document, DocumentError, Section, digest};
pub use media::MediaType;
pub(crate) use sentence::split as split_sentences;
pub use sentence::{Sentence, SentenceKind, collapse};
pub use source::CodeFacts;
pub use terms::{Term, is_stop_word, stem, words};
