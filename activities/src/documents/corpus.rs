//! The documents of one task, in an order that does not depend on how they were given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::document::{Document, DocumentError, digest};
use super::media::MediaType;

/// A document under its file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file name, as cited.
    pub doc: String,
    /// What was read.
    pub document: Arc<Document>,
}

/// A document that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unreadable {
    /// The file name.
    pub doc: String,
    /// The reason, with the way out.
    pub reason: String,
}

/// The documents a task is solved over.
///
/// Sorted by file name; the same content under several names is kept once, under the first name, because two copies are not two
/// sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    entries: Vec<Entry>,
    unreadable: Vec<Unreadable>,
}

impl Corpus {
    /// Gathers documents and failures to read them.
    #[must_use]
    pub fn new(items: impl IntoIterator<Item = (String, Result<Arc<Document>, DocumentError>)>) -> Self {
        let mut by_name = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (doc, read) in items {
            match read {
                Ok(document) => drop(by_name.insert(doc, document)),
                Err(error) => unreadable.push(Unreadable { doc, reason: error.to_string() }),
            }
        }
        let mut seen = BTreeSet::new();
        let entries = by_name
            .into_iter()
            .filter(|(_, document)| seen.insert((document.sha256.clone(), document.media_type)))
            .map(|(doc, document)| Entry { doc, document })
            .collect();
        unreadable.sort();
        Self { entries, unreadable }
    }

    /// Reads files given as names and bytes.
    #[must_use]
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self::new(
            files
                .into_iter()
                .map(|(name, bytes)| (name.to_owned(), Document::ingest(MediaType::of(name), bytes).map(Arc::new))),
        )
    }

    /// Gives the documents, sorted by file name.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the files that could not be read, sorted by name.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Gives the document of a file name.
    #[must_use]
    pub fn get(&self, doc: &str) -> Option<&Arc<Document>> {
        self.entries.binary_search_by(|e| e.doc.as_str().cmp(doc)).ok().map(|n| &self.entries[n].document)
    }

    /// Gives a digest of names and contents, equal for equal corpora.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut all = String::new();
        for entry in &self.entries {
            for part in [&entry.doc, "\0", &entry.document.sha256, "\n"] {
                all.push_str(part);
            }
        }
        digest(all.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_copies_do_not_matter() {
        let a = Corpus::read([
            ("b.md", &b"Some text here."[..]),
            ("a.md", b"Other text here."),
            ("c.md", b"Some text here."),
        ]);
        let b = Corpus::read([
            ("c.md", &b"Some text here."[..]),
            ("b.md", b"Some text here."),
            ("a.md", b"Other text here."),
        ]);
        assert_eq!(a, b);
        assert_eq!(a.digest(), b.digest());
        assert_eq!(a.entries().iter().map(|e| e.doc.as_str()).collect::<Vec<_>>(), ["a.md", "b.md"]);
        assert!(a.get("b.md").is_some() && a.get("c.md").is_none());
    }

    #[test]
    fn an_unreadable_file_is_named_and_the_others_are_kept() {
        let corpus = Corpus::read([("a.md", &b"Some text here."[..]), ("b.bin", b"\0")]);
        assert_eq!(corpus.entries().len(), 1);
        assert_eq!(corpus.unreadable()[0].doc, "b.bin");
    }
}
