//! Comma separated values with the byte offsets of every cell.
//!
//! RFC 4180 with the usual tolerance: `;` and tab as delimiters, `\n` or `\r\n`, ragged records, empty lines. A cell's span holds
//! what stands between its quotation marks, escapes included; its value is that text unescaped and trimmed.

use serde::Serialize;

use super::block::{Block, BlockKind};
use super::sentence::SentenceKind;

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Byte offset of the first byte of the content.
    pub start: usize,
    /// Byte offset after the last byte of the content.
    pub end: usize,
    /// The content, unescaped and trimmed.
    pub value: String,
}

/// The records of a delimited file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<Cell>,
    /// The records below the header.
    pub records: Vec<Vec<Cell>>,
}

impl Table {
    /// Gives the cells of a column with the index of their record, absent cells left out.
    pub fn column(&self, index: usize) -> impl Iterator<Item = (usize, &Cell)> {
        self.records.iter().enumerate().filter_map(move |(n, record)| record.get(index).map(|cell| (n, cell)))
    }
}

/// Reads the table of a delimited text from byte `from` on, and a block for every record below the header.
///
/// # Errors
/// The offset of a quotation mark that is never closed.
pub(crate) fn read(text: &str, from: usize) -> Result<(Table, Vec<Block>), usize> {
    let delimiter = delimiter(&text[from..]);
    let mut scanner = Scanner { text, at: from, delimiter };
    let mut rows: Vec<Record> = Vec::new();
    while let Some(record) = scanner.record()? {
        rows.push(record);
    }
    let mut rows = rows.into_iter();
    let header = rows.next().map(|(cells, _)| cells).unwrap_or_default();
    let mut blocks = Vec::new();
    let mut records = Vec::new();
    for (cells, span) in rows {
        blocks.push(Block::new(text, span.start, span.end, BlockKind::Whole(SentenceKind::Row)));
        records.push(cells);
    }
    Ok((Table { header, records }, blocks))
}

/// Picks the delimiter that the first line has most of; a comma when in doubt.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
    let count = |d: u8| first.bytes().filter(|b| *b == d).count();
    let mut best = b',';
    for candidate in [b';', b'\t'] {
        if count(candidate) > count(best) {
            best = candidate;
        }
    }
    best
}

/// The cells of a record, and its span.
type Record = (Vec<Cell>, std::ops::Range<usize>);

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    delimiter: u8,
}

impl Scanner<'_> {
    /// Reads the next record that is not an empty line, with its span.
    fn record(&mut self) -> Result<Option<Record>, usize> {
        let bytes = self.text.as_bytes();
        while self.at < bytes.len() && matches!(bytes[self.at], b'\n' | b'\r') {
            self.at += 1;
        }
        if self.at >= bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let mut cells = Vec::new();
        loop {
            cells.push(self.cell()?);
            if self.at < bytes.len() && bytes[self.at] == self.delimiter {
                self.at += 1;
            } else {
                return Ok(Some((cells, start..self.at)));
            }
        }
    }

    fn cell(&mut self) -> Result<Cell, usize> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if bytes.get(start) == Some(&b'"') {
            return self.quoted();
        }
        while self.at < bytes.len() && !matches!(bytes[self.at], b'\n' | b'\r') && bytes[self.at] != self.delimiter {
            self.at += 1;
        }
        let raw = &self.text[start..self.at];
        let lead = raw.len() - raw.trim_start().len();
        let value = raw.trim();
        Ok(Cell { start: start + lead, end: start + lead + value.len(), value: value.to_owned() })
    }

    fn quoted(&mut self) -> Result<Cell, usize> {
        let bytes = self.text.as_bytes();
        let open = self.at;
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                None => return Err(open),
                Some(b'"') if bytes.get(self.at + 1) == Some(&b'"') => self.at += 2,
                Some(b'"') => break,
                Some(_) => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        // Whatever stands between the closing mark and the delimiter is not content; most readers drop it too.
        while self.at < bytes.len() && !matches!(bytes[self.at], b'\n' | b'\r') && bytes[self.at] != self.delimiter {
            self.at += 1;
        }
        let value = self.text[open + 1..end].replace("\"\"", "\"").trim().to_owned();
        Ok(Cell { start: open + 1, end, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_know_their_bytes() {
        let text = "name;value\r\n\"a \"\"b\"\"; c\"; 1.5 \r\n\r\nlast\n";
        let (table, blocks) = read(text, 0).unwrap();
        assert_eq!(table.header.iter().map(|c| c.value.as_str()).collect::<Vec<_>>(), ["name", "value"]);
        assert_eq!(table.records[0][0].value, "a \"b\"; c");
        assert_eq!(&text[table.records[0][0].start..table.records[0][0].end], "a \"\"b\"\"; c");
        assert_eq!(&text[table.records[0][1].start..table.records[0][1].end], "1.5");
        assert_eq!(table.column(1).count(), 1);
        assert_eq!(&text[blocks[1].start..blocks[1].start + blocks[1].folded.len()], "last");
    }

    #[test]
    fn an_open_quotation_mark_is_an_error_at_its_place() {
        assert_eq!(read("a,b\n1,\"x", 0).unwrap_err(), 6);
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_csv_crate(rows in prop::collection::vec(prop::collection::vec("[a-z\",\n é]{0,8}", 2..5), 1..6)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row.iter().map(String::as_bytes)).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let (table, _) = read(&text, 0).unwrap();
            let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect();
            let found: Vec<Vec<String>> =
                std::iter::once(&table.header).chain(&table.records).map(|r| r.iter().map(|c| c.value.clone()).collect()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
