//! JSON: small objects are records, other members are fields, long strings are prose; offsets are those of the file.
//!
//! The value is validated first, so the scanner below may rely on its form. It keeps its own stack: depth costs no native stack.

use super::block::{Block, BlockKind};
use super::sentence::{SentenceKind, split};

/// A larger object is read member by member: 600 bytes are about as much as reads as one record.
const RECORD_BYTES_MAX: usize = 600;

/// A shorter string is a field even if it has two sentences.
const PROSE_BYTES_MIN: usize = 120;

/// An object or array being read.
struct Frame {
    start: usize,
    is_object: bool,
    has_containers: bool,
    /// Where the pending member's key begins.
    key: Option<usize>,
    blocks: Vec<Block>,
}

/// Finds the records, fields and prose of a JSON text from byte `from` on.
///
/// # Errors
/// The line and column of the first thing that is not JSON.
pub(crate) fn blocks(text: &str, from: usize) -> Result<Vec<Block>, serde_json::Error> {
    for value in serde_json::Deserializer::from_str(&text[from..]).into_iter::<serde::de::IgnoredAny>() {
        value?;
    }
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut stack: Vec<Frame> = Vec::new();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            open @ (b'{' | b'[') => {
                if let Some(parent) = stack.last_mut() {
                    parent.has_containers = true;
                    parent.key = None;
                }
                stack.push(Frame {
                    start: at,
                    is_object: open == b'{',
                    has_containers: false,
                    key: None,
                    blocks: Vec::new(),
                });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if let Some(frame) = stack.pop() {
                    let sink = stack.last_mut().map_or(&mut found, |parent| &mut parent.blocks);
                    close(text, frame, at, sink);
                }
            }
            b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' => at += 1,
            _ => {
                let end = scalar_end(bytes, at);
                scalar(text, at, end, &mut stack, &mut found);
                at = end;
            }
        }
    }
    Ok(found)
}

/// Hands the blocks of a closed container to its parent, as one record where the container is small and flat.
fn close(text: &str, frame: Frame, end: usize, sink: &mut Vec<Block>) {
    let flat = frame.is_object && !frame.has_containers && frame.blocks.len() > 1;
    let short = end - frame.start <= RECORD_BYTES_MAX;
    if flat && short && frame.blocks.iter().all(|b| matches!(b.kind, BlockKind::Whole(_))) {
        sink.push(Block::new(text, frame.start, end, BlockKind::Whole(SentenceKind::Field)));
    } else {
        sink.extend(frame.blocks);
    }
}

/// Takes a string, number or literal: a key, a member's value, or an element.
fn scalar(text: &str, start: usize, end: usize, stack: &mut [Frame], found: &mut Vec<Block>) {
    let (key, sink) = match stack.last_mut() {
        Some(frame) if frame.is_object && frame.key.is_none() => {
            frame.key = Some(start);
            return;
        }
        Some(frame) => (frame.key.take(), &mut frame.blocks),
        None => (None, found),
    };
    let is_string = text[start..].starts_with('"');
    if is_string && end - start >= PROSE_BYTES_MIN {
        let folded = blank_escapes(&text[start + 1..end - 1]);
        if split(&folded).len() > 1 {
            sink.push(Block { start: start + 1, folded, kind: BlockKind::Text(SentenceKind::Field) });
            return;
        }
    }
    let begin = key.unwrap_or(if is_string { start + 1 } else { start });
    let finish = if key.is_none() && is_string { end - 1 } else { end };
    if begin < finish {
        sink.push(Block::new(text, begin, finish, BlockKind::Whole(SentenceKind::Field)));
    }
}

fn scalar_end(bytes: &[u8], start: usize) -> usize {
    if bytes[start] != b'"' {
        let rest = bytes[start..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
        return rest.map_or(bytes.len(), |n| start + n);
    }
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Overwrites escapes by spaces, except an escaped quotation mark, whose backslash alone goes.
fn blank_escapes(inner: &str) -> String {
    let mut folded = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            folded.push(c);
            continue;
        }
        folded.push(' ');
        match chars.next() {
            Some('"') => folded.push('"'),
            Some('u') => {
                folded.push_str("     ");
                chars.nth(3);
            }
            _ => folded.push(' '),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        blocks(text, 0).unwrap().iter().map(|b| text[b.start..b.start + b.folded.len()].to_owned()).collect()
    }

    #[test]
    fn records_fields_and_prose_keep_their_bytes() {
        let long = "A lease is renewed every two seconds.\\nA worker that misses it \\\"stops\\\" \\u00e9 at once. Its runs go to another worker of the fleet.";
        let text = format!(
            r#"{{"a": {{"name": "lease", "ms": 2000}}, "list": ["x \" y", 5, {{}}], "empty": "", "note": "{long}"}}"#
        );
        assert_eq!(shown(&text), [r#"{"name": "lease", "ms": 2000}"#, r#"x \" y"#, "5", r#""empty": """#, long]);
        assert_eq!(shown("{\"a\":1}\n{\"a\":2,\"b\":3}\n"), ["\"a\":1", "{\"a\":2,\"b\":3}"]);
    }

    #[test]
    fn what_is_not_json_is_an_error_with_its_place() {
        let error = blocks("{\"a\": 1,\n \"b\" 2}", 0).unwrap_err();
        assert_eq!(error.line(), 2);
        assert!(blocks(&"[".repeat(100_000), 0).is_err());
    }
}
