//! The documents of a demo: this project's own, which are part of the binary, or those of a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dacapo_activities::{
    documents::{DOCUMENT_BYTES_MAX, Document, DocumentError, MediaType},
    model::DocumentRef,
};
use dacapo_core::Store;

use crate::cli::{
    exit::{Exit, Stop},
    output::Output,
};

/// This project's own documents by file name.
const OWN: &[(&str, &str)] = &[
    ("docs/architecture.md", include_str!("../../../docs/architecture.md")),
    ("docs/behaviour.md", include_str!("../../../docs/behaviour.md")),
    ("docs/cli.md", include_str!("../../../docs/cli.md")),
    ("docs/coming-from.md", include_str!("../../../docs/coming-from.md")),
    ("docs/dead-letters.md", include_str!("../../../docs/dead-letters.md")),
    ("docs/determinism.md", include_str!("../../../docs/determinism.md")),
    ("docs/guide-branches.md", include_str!("../../../docs/guide-branches.md")),
    ("docs/guide-cancellation.md", include_str!("../../../docs/guide-cancellation.md")),
    ("docs/guide-composition.md", include_str!("../../../docs/guide-composition.md")),
    ("docs/guide-errors.md", include_str!("../../../docs/guide-errors.md")),
    ("docs/guide-messages.md", include_str!("../../../docs/guide-messages.md")),
    ("docs/guide-operating.md", include_str!("../../../docs/guide-operating.md")),
    ("docs/guide-versioning.md", include_str!("../../../docs/guide-versioning.md")),
    ("docs/guide-workflows.md", include_str!("../../../docs/guide-workflows.md")),
    ("docs/history-format.md", include_str!("../../../docs/history-format.md")),
    ("docs/list-filters.md", include_str!("../../../docs/list-filters.md")),
    ("docs/ownership-protocol.md", include_str!("../../../docs/ownership-protocol.md")),
    ("docs/performance-history.md", include_str!("../../../docs/performance-history.md")),
    ("docs/performance.md", include_str!("../../../docs/performance.md")),
    ("docs/private-postgres.md", include_str!("../../../docs/private-postgres.md")),
    ("docs/reference.md", include_str!("../../../docs/reference.md")),
    ("docs/runtime.md", include_str!("../../../docs/runtime.md")),
    ("docs/testing.md", include_str!("../../../docs/testing.md")),
    ("docs/transactions.md", include_str!("../../../docs/transactions.md")),
    ("docs/tutorial.md", include_str!("../../../docs/tutorial.md")),
    ("docs/workflow-model.md", include_str!("../../../docs/workflow-model.md")),
    ("docs/write-path.md", include_str!("../../../docs/write-path.md")),
    ("examples/documents/throughput.csv", include_str!("../../../examples/documents/throughput.csv")),
];

/// Documents with their names.
#[derive(Debug)]
pub(super) struct Material {
    files: Vec<(String, Vec<u8>)>,
}

impl Material {
    /// Gives this project's own documents.
    pub(super) fn own() -> Self {
        Self { files: OWN.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect() }
    }

    /// Reads a folder with all folders in it, in the order of names; what is hidden or no text is left out, and said.
    pub(super) fn read(folder: &Path, output: Output) -> Result<Self, Stop> {
        let refused = |error: io::Error| {
            Stop::new(Exit::Invalid, format!("the documents cannot be read from `{}`: {error}", folder.display()))
        };
        let mut files = Vec::new();
        let mut left_out = Vec::new();
        for path in walk(folder).map_err(refused)? {
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            let size = path.metadata().map_err(refused)?.len();
            if size > DOCUMENT_BYTES_MAX as u64 {
                left_out.push(format!("{name}: {size} bytes, at most {DOCUMENT_BYTES_MAX} are read"));
                continue;
            }
            let bytes = fs::read(&path).map_err(refused)?;
            match Document::ingest(MediaType::of(&name), &bytes) {
                Err(error @ (DocumentError::Binary { .. } | DocumentError::NotUtf8 { .. })) => {
                    left_out.push(format!("{name}: {error}"));
                }
                // What is wrong with other files is part of the answer.
                _ => files.push((name, bytes)),
            }
        }
        for file in &left_out {
            output.note(&format!("left out {file}"));
        }
        if files.is_empty() {
            let problem = format!(
                "`{}` holds no documents: give a folder with text, Markdown, HTML, CSV or JSON",
                folder.display()
            );
            return Err(Stop::new(Exit::Invalid, problem));
        }
        Ok(Self { files })
    }

    /// Stores the documents, and beside an HTML file its text, whose bytes citations count.
    pub(super) async fn store(&self, store: &dyn Store) -> Result<Vec<DocumentRef>, Stop> {
        let mut references = Vec::new();
        for (name, bytes) in &self.files {
            let reference = DocumentRef::of(name.as_str(), bytes);
            store.put_blob(reference.sha256(), bytes).await?;
            if reference.media_type().is_extracted()
                && let Ok(document) = Document::ingest(reference.media_type(), bytes)
            {
                store.put_blob(&document.text_sha256, document.text.as_bytes()).await?;
            }
            references.push(reference);
        }
        Ok(references)
    }
}

/// Lists the files of a folder and of the folders in it, sorted, without hidden ones.
fn walk(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link to a folder is not followed, so that the walk ends.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(walk(&entry.path())?);
        } else if entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ColorWhen;

    #[test]
    fn every_page_of_the_project_is_in_the_demo() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages: Vec<String> = walk(&root.join("docs"))
            .unwrap()
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .map(|path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned())
            .collect();
        let own: Vec<&str> = OWN.iter().map(|(name, _)| *name).filter(|name| name.starts_with("docs/")).collect();
        assert_eq!(own, pages, "add the page to OWN in src/cli/demo/documents.rs");
    }

    #[test]
    fn a_folder_is_read_in_order_without_what_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (name, bytes) in
            [("z.md", &b"# Z"[..]), ("b/a.txt", b"text"), ("image.png", b"\x89PNG\0"), (".hidden.md", b"no")]
        {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let output = Output::new(true, ColorWhen::Never);
        let names: Vec<String> =
            Material::read(folder.path(), output).unwrap().files.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b/a.txt", "z.md"]);
        let empty = Material::read(&folder.path().join("none"), output).unwrap_err();
        assert_eq!(empty.exit, Exit::Invalid);
    }
}
