//! What a file is, told from its name alone: the same name gives the same answer on every machine.

use serde::{Deserialize, Serialize};

/// Names the kinds of text this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// Paragraphs divided by empty lines.
    #[serde(rename = "text/plain")]
    Plain,
    /// CommonMark and its usual extensions.
    #[serde(rename = "text/markdown")]
    Markdown,
    /// HTML; cited through its extracted text.
    #[serde(rename = "text/html")]
    Html,
    /// One JSON value, or one per line.
    #[serde(rename = "application/json")]
    Json,
    /// Comma, semicolon or tab separated records under a header line.
    #[serde(rename = "text/csv")]
    Csv,
    /// A program: its comments and declarations are read.
    #[serde(rename = "text/x-source")]
    Source,
}

impl MediaType {
    /// Tells the media type by the extension of a file name; what is unknown is read as plain text.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let extension = file.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "md" | "markdown" | "mdx" => Self::Markdown,
            "html" | "htm" | "xhtml" => Self::Html,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "csv" | "tsv" => Self::Csv,
            "rs" | "py" | "js" | "mjs" | "ts" | "tsx" | "jsx" | "go" | "java" | "kt" | "c" | "h" | "cc" | "cpp"
            | "hpp" | "cs" | "rb" | "sh" | "bash" | "sql" | "swift" | "scala" | "lua" | "php" | "toml" | "yaml"
            | "yml" => Self::Source,
            _ => Self::Plain,
        }
    }

    /// Tells whether citations index a text extracted from the file instead of the file itself.
    #[must_use]
    pub fn is_extracted(self) -> bool {
        self == Self::Html
    }
}

#[cfg(test)]
mod tests {
    use super::MediaType;

    #[test]
    fn the_name_alone_decides() {
        for (name, expected) in [
            ("docs/README.md", MediaType::Markdown),
            ("A.HTM", MediaType::Html),
            ("x.y/results.CSV", MediaType::Csv),
            ("events.jsonl", MediaType::Json),
            ("src/main.rs", MediaType::Source),
            ("LICENSE", MediaType::Plain),
            ("rfc9110.txt", MediaType::Plain),
            ("dir.md/NOTES", MediaType::Plain),
        ] {
            assert_eq!(MediaType::of(name), expected, "{name}");
        }
    }
}
