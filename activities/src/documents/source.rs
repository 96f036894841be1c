//! Programs: comments as prose, declarations as statements, and the places a reviewer counts.
//!
//! No language is parsed. A comment is a line that begins with a comment mark, so that a mark inside a string is never taken for one;
//! a declaration is a line that begins with a declaring word.

use std::ops::Range;

use serde::Serialize;

use super::block::{Block, BlockKind, Line, blank, fold, lines};
use super::sentence::SentenceKind;

const MODIFIERS: &[&str] = &[
    "pub",
    "pub(crate)",
    "pub(super)",
    "export",
    "default",
    "async",
    "unsafe",
    "extern",
    "public",
    "private",
    "protected",
    "abstract",
    "final",
    "static",
];

const DECLARES: &[&str] = &[
    "fn",
    "struct",
    "enum",
    "trait",
    "impl",
    "mod",
    "type",
    "class",
    "def",
    "func",
    "function",
    "interface",
    "const",
    "record",
    "CREATE",
];

const FUNCTIONS: &[&str] = &["fn", "def", "func", "function"];

/// What can be counted in a program, each as the bytes that show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CodeFacts {
    /// The declarations of functions, tests included.
    pub functions: Vec<Range<usize>>,
    /// The marks of tests.
    pub tests: Vec<Range<usize>>,
    /// The calls that panic on an absent value or an error.
    pub unwraps: Vec<Range<usize>>,
    /// The notes of work left to do.
    pub todos: Vec<Range<usize>>,
}

/// Finds the comments and declarations of a program from byte `from` on, and what can be counted.
pub(crate) fn read(text: &str, from: usize) -> (Vec<Block>, CodeFacts) {
    let mut found = Vec::new();
    let mut facts = CodeFacts::default();
    let mut comment: Option<(usize, usize)> = None;
    let mut in_block_comment = false;
    for line in lines(text, from) {
        count(line, &mut facts);
        let trimmed = line.text.trim_start();
        let opens = trimmed.starts_with("/*");
        let is_comment = in_block_comment || opens || mark(trimmed) > 0;
        if (in_block_comment || opens) && trimmed.contains("*/") {
            in_block_comment = false;
        } else if opens {
            in_block_comment = true;
        }
        // An empty comment line divides paragraphs as an empty line does.
        let spoken = trimmed.chars().any(char::is_alphanumeric);
        if is_comment && spoken {
            comment = Some((comment.map_or(line.start, |(start, _)| start), line.end()));
            continue;
        }
        if let Some((start, end)) = comment.take() {
            found.push(comment_block(text, start, end));
        }
        if !is_comment && let Some(range) = declaration(line) {
            found.push(Block::new(text, range.start, range.end, BlockKind::Whole(SentenceKind::Declaration)));
        }
    }
    if let Some((start, end)) = comment {
        found.push(comment_block(text, start, end));
    }
    (found, facts)
}

fn comment_block(text: &str, start: usize, end: usize) -> Block {
    let raw = &text[start..end];
    let mut folded = fold(raw);
    for line in lines(raw, 0) {
        let lead = line.text.len() - line.text.trim_start().len();
        let marked = lead + mark(line.text.trim_start());
        blank(&mut folded, line.start..line.start + marked);
        if let Some(close) = line.text.rfind("*/").filter(|n| *n >= marked) {
            blank(&mut folded, line.start + close..line.start + close + 2);
        }
    }
    Block { start, folded, kind: BlockKind::Text(SentenceKind::Comment) }
}

/// Gives the length of the comment mark at the start of a line, 0 where there is none.
fn mark(trimmed: &str) -> usize {
    for prefix in ["///", "//!", "//", "/**", "/*", "*/", "\"\"\""] {
        if trimmed.starts_with(prefix) {
            return prefix.len();
        }
    }
    for prefix in ["# ", "## ", "-- ", "* "] {
        if trimmed.starts_with(prefix) {
            return prefix.len();
        }
    }
    0
}

fn declaration(line: Line<'_>) -> Option<Range<usize>> {
    let lead = line.text.len() - line.text.trim_start().len();
    let declares = line.text.split_whitespace().find(|w| !MODIFIERS.contains(w))?;
    if !DECLARES.contains(&declares) {
        return None;
    }
    let end = line.text.find('{').unwrap_or(line.text.len());
    let body = line.text[..end].trim_end();
    (body.len() > lead).then(|| line.start + lead..line.start + body.len())
}

fn count(line: Line<'_>, facts: &mut CodeFacts) {
    let trimmed = line.text.trim();
    if let Some(range) = declaration(line)
        && line.text.split_whitespace().find(|w| !MODIFIERS.contains(w)).is_some_and(|w| FUNCTIONS.contains(&w))
    {
        facts.functions.push(range);
    }
    let test = trimmed.ends_with("test]")
        || trimmed.starts_with("def test_")
        || trimmed.starts_with("func Test")
        || trimmed == "@Test";
    if test {
        let lead = line.text.len() - line.text.trim_start().len();
        facts.tests.push(line.start + lead..line.start + lead + trimmed.len());
    }
    for (needles, found) in
        [(&[".unwrap()", ".expect("][..], &mut facts.unwraps), (&["TODO", "FIXME"][..], &mut facts.todos)]
    {
        for needle in needles {
            found.extend(line.text.match_indices(needle).map(|(n, hit)| line.start + n..line.start + n + hit.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! Leases are renewed here,\n//! every two seconds.\n\n#[derive(Debug)]\npub struct Lease {\n    // TODO: say who holds it\n    until: u64,\n}\n\n/* A lease that\n * lapsed is lost. */\npub async fn renew(lease: &Lease) -> u64 {\n    lease.next().unwrap()\n}\n#[test]\nfn renewal_moves_the_end() {}\n";

    #[test]
    fn comments_are_prose_and_declarations_are_statements() {
        let (blocks, _) = read(TEXT, 0);
        let shown: Vec<String> =
            blocks.iter().map(|b| b.folded.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            shown,
            [
                "Leases are renewed here, every two seconds.",
                "pub struct Lease",
                "TODO: say who holds it",
                "A lease that lapsed is lost.",
                "pub async fn renew(lease: &Lease) -> u64",
                "fn renewal_moves_the_end()",
            ]
        );
    }

    #[test]
    fn what_is_counted_shows_its_bytes() {
        let (_, facts) = read(TEXT, 0);
        let texts = |ranges: &[Range<usize>]| ranges.iter().map(|r| TEXT[r.clone()].to_owned()).collect::<Vec<_>>();
        assert_eq!(texts(&facts.functions), ["pub async fn renew(lease: &Lease) -> u64", "fn renewal_moves_the_end()"]);
        assert_eq!(texts(&facts.tests), ["#[test]"]);
        assert_eq!(texts(&facts.unwraps), [".unwrap()"]);
        assert_eq!(texts(&facts.todos), ["TODO"]);
    }
}
