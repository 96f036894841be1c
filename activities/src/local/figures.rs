//! Figures from tables: fixed templates, computed from cells that are all cited.
//!
//! A figure is never made over cells of different units, nor over more cells than can be cited one by one: a number that cannot be
//! checked from its citations is not said. The reviewer computes every figure again.

use std::collections::{BTreeMap, BTreeSet};

use super::index::Index;
use super::number::{Quantity, show};
use crate::documents::{Cell, Document, Entry, Table, stem, words};
use crate::model::{Citation, Requirement};

/// A figure over more cells is not made: each is cited, and a hundred citations are as many as anyone will check.
const CELLS_CITED_MAX: usize = 100;

/// Text cells that name a row.
const LABELS_MAX: usize = 3;

/// Columns of one table that one requirement gets figures of.
const COLUMNS_MAX: usize = 4;

/// Headers of columns that say what the value of another column means.
const MEANING: &[&str] = &["unit", "units", "metric", "measure", "kind"];

/// Headers of numeric columns that number rows instead of measuring something.
const ORDINAL: &[&str] =
    &["id", "index", "no", "number", "row", "run", "year", "month", "day", "date", "time", "version", "seed"];

/// A computed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    /// The statement.
    pub(crate) text: String,
    /// Everything it was computed from.
    pub(crate) citations: Vec<Citation>,
}

/// Computes what the tables of the index say to a requirement; gives also what was left out and why.
pub(crate) fn figures(index: &Index, requirement: &Requirement) -> (Vec<Figure>, Vec<String>) {
    let asked: BTreeSet<&str> = requirement.terms.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    let mut left_out = Vec::new();
    for entry in &index.entries {
        if let Some(table) = entry.document.table.as_ref().filter(|t| !t.records.is_empty()) {
            Reader::new(entry, table).read(&asked, &mut found, &mut left_out);
        }
    }
    (found, left_out)
}

/// Gives the words beyond its own that a figure answers to: what people call a range and a mean, and its units.
pub(crate) fn meant_words(figure: &str) -> Vec<&'static str> {
    let mut meant = Vec::new();
    if figure.contains(RANGE) {
        meant.extend([
            "average", "mean", "minimum", "maximum", "lowest", "highest", "smallest", "largest", "range", "trend",
            "figures", "values",
        ]);
    }
    if figure.contains("/s") {
        meant.push("second");
    }
    if words(figure).any(|(_, w)| w == "ms") {
        meant.extend(["millisecond", "latency"]);
    }
    meant
}

/// What the template of a figure over several values has after their number.
const RANGE: &str = " values, minimum ";

struct Reader<'a> {
    entry: &'a Entry,
    table: &'a Table,
    /// The parsed cells of every column that has only numbers, by record.
    numeric: BTreeMap<usize, BTreeMap<usize, Quantity>>,
    text: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(entry: &'a Entry, table: &'a Table) -> Self {
        let mut numeric = BTreeMap::new();
        let mut text = Vec::new();
        for column in 0..table.header.len() {
            match numbers(table, column) {
                Some(cells) => drop(numeric.insert(column, cells)),
                None => text.push(column),
            }
        }
        Self { entry, table, numeric, text }
    }

    fn read(&self, asked: &BTreeSet<&str>, found: &mut Vec<Figure>, left_out: &mut Vec<String>) {
        let (rows, named) = self.rows(asked);
        let mut columns: Vec<usize> =
            self.numeric.keys().copied().filter(|c| shares(&self.table.header[*c].value, asked)).collect();
        if columns.is_empty() && named {
            columns =
                self.numeric.keys().copied().filter(|c| !is_one_of(&self.table.header[*c].value, ORDINAL)).collect();
        }
        for column in columns.into_iter().take(COLUMNS_MAX) {
            for (meaning, rows) in self.groups(column, &rows) {
                if rows.len() > CELLS_CITED_MAX {
                    let header = &self.table.header[column].value;
                    left_out.push(format!(
                        "{}: column {header} has {} values, too many to cite each; not summarised",
                        self.entry.doc,
                        rows.len()
                    ));
                } else if let Some(figure) = self.figure(column, &meaning, &rows) {
                    found.push(figure);
                }
            }
        }
    }

    /// Gives the rows that name most of what is asked, and whether any does; every row where none does.
    fn rows(&self, asked: &BTreeSet<&str>) -> (Vec<usize>, bool) {
        let hits = |row: usize| -> usize {
            let named: BTreeSet<String> =
                self.text.iter().filter_map(|c| self.cell(row, *c)).flat_map(|cell| stems(&cell.value)).collect();
            named.iter().filter(|s| asked.contains(s.as_str())).count()
        };
        let all: Vec<(usize, usize)> = (0..self.table.records.len()).map(|row| (row, hits(row))).collect();
        let best = all.iter().map(|(_, n)| *n).max().unwrap_or(0);
        (all.into_iter().filter(|(_, n)| *n == best).map(|(row, _)| row).collect(), best > 0)
    }

    /// Divides rows by what their value means: the cells of unit and metric columns, and the unit in the cell itself.
    fn groups(&self, column: usize, rows: &[usize]) -> BTreeMap<Vec<String>, Vec<usize>> {
        let mut groups: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
        let meaning = self.meaning_columns();
        for row in rows {
            if let Some(quantity) = self.numeric[&column].get(row) {
                let mut key: Vec<String> = meaning
                    .iter()
                    .filter_map(|c| self.cell(*row, *c))
                    .map(|c| c.value.clone())
                    .filter(|v| !v.is_empty())
                    .collect();
                key.push(quantity.unit.clone());
                groups.entry(key).or_default().push(*row);
            }
        }
        groups
    }

    fn meaning_columns(&self) -> Vec<usize> {
        self.text.iter().copied().filter(|c| is_one_of(&self.table.header[*c].value, MEANING)).collect()
    }

    fn figure(&self, column: usize, meaning: &[String], rows: &[usize]) -> Option<Figure> {
        let cells = &self.numeric[&column];
        let header = &self.table.header[column];
        let shown_meaning = meaning[..meaning.len() - 1].join(", ");
        let of =
            if shown_meaning.is_empty() { header.value.clone() } else { format!("{} ({shown_meaning})", header.value) };
        let first = *rows.first()?;
        if rows.len() == 1 {
            let label = self.label(first);
            let text =
                format!("{}: {of} is {}{}.", self.entry.doc, self.cell(first, column)?.value, spaced(" for ", &label));
            return Some(Figure { text, citations: self.citations(column, rows) });
        }
        let low = *rows.iter().min_by_key(|r| (cells[*r].micro, **r))?;
        let high = *rows.iter().min_by_key(|r| (-cells[*r].micro, **r))?;
        let sum: i128 = rows.iter().map(|r| cells[r].micro).sum();
        let decimals = rows.iter().map(|r| cells[r].decimals).max().unwrap_or(0) + 2;
        let unit = &cells[&first].unit;
        let mean = show(sum / i128::try_from(rows.len()).ok()?, decimals);
        let text = format!(
            "{}: {of} has {}{RANGE}{}{}, maximum {}{}, mean {mean}{}{}.",
            self.entry.doc,
            rows.len(),
            self.cell(low, column)?.value,
            bracketed(&self.label(low)),
            self.cell(high, column)?.value,
            bracketed(&self.label(high)),
            spaced(" ", unit),
            self.trend(column, rows),
        );
        Some(Figure { text, citations: self.citations(column, rows) })
    }

    /// Says how values move where the rows have an order in time.
    fn trend(&self, column: usize, rows: &[usize]) -> &'static str {
        let ordered =
            self.table.header.iter().any(|h| is_one_of(&h.value, &["date", "day", "month", "year", "time", "version"]));
        if !ordered || rows.len() < 3 {
            return "";
        }
        let values: Vec<i128> = rows.iter().map(|r| self.numeric[&column][r].micro).collect();
        if values.windows(2).all(|w| w[0] < w[1]) {
            ", rising throughout"
        } else if values.windows(2).all(|w| w[0] > w[1]) {
            ", falling throughout"
        } else {
            ", neither rising nor falling throughout"
        }
    }

    /// Cites the header, and of every row the value and the cells that name it.
    fn citations(&self, column: usize, rows: &[usize]) -> Vec<Citation> {
        let document = &self.entry.document;
        let headers = std::iter::once(column).chain(self.label_columns());
        let mut cited: Vec<Citation> = headers
            .map(|c| &self.table.header[c])
            .filter(|h| h.end > h.start)
            .map(|h| cite(&self.entry.doc, document, h))
            .collect();
        for row in rows {
            let value = self.cell(*row, column);
            let names =
                self.label_columns().into_iter().chain(self.meaning_columns()).filter_map(|c| self.cell(*row, c));
            cited.extend(
                value.into_iter().chain(names).filter(|c| c.end > c.start).map(|c| cite(&self.entry.doc, document, c)),
            );
        }
        cited
    }

    fn label_columns(&self) -> Vec<usize> {
        let meaning = self.meaning_columns();
        self.text.iter().copied().filter(|c| !meaning.contains(c)).take(LABELS_MAX).collect()
    }

    /// Names a row by its text cells, each after its header.
    fn label(&self, row: usize) -> String {
        let named = self.label_columns().into_iter().filter_map(|c| {
            let cell = self.cell(row, c).filter(|cell| !cell.value.is_empty())?;
            Some(format!("{} \"{}\"", self.table.header[c].value, cell.value).trim_start().to_owned())
        });
        named.collect::<Vec<_>>().join(", ")
    }

    fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        self.table.records[row].get(column)
    }
}

/// Gives the numbers of a column by record, or nothing where a cell is neither a number nor empty.
fn numbers(table: &Table, column: usize) -> Option<BTreeMap<usize, Quantity>> {
    let mut found = BTreeMap::new();
    for (row, cell) in table.column(column) {
        if matches!(cell.value.as_str(), "" | "-" | "n/a" | "N/A") {
            continue;
        }
        found.insert(row, Quantity::parse(&cell.value)?);
    }
    (!found.is_empty()).then_some(found)
}

/// Cites a span of a document that is known to lie in it.
pub(crate) fn cite_span(doc: &str, document: &Document, start: usize, end: usize) -> Citation {
    let quote = document.quote(start, end).unwrap_or_default().to_owned();
    Citation { doc: doc.to_owned(), start, end, sha256: document.text_sha256.clone(), quote }
}

fn cite(doc: &str, document: &Document, cell: &Cell) -> Citation {
    cite_span(doc, document, cell.start, cell.end)
}

fn stems(text: &str) -> impl Iterator<Item = String> {
    words(text).filter_map(|(_, w)| stem(w))
}

fn shares(text: &str, asked: &BTreeSet<&str>) -> bool {
    stems(text).any(|s| asked.contains(s.as_str()))
}

fn is_one_of(header: &str, names: &[&str]) -> bool {
    words(header).any(|(_, w)| names.contains(&w.to_lowercase().as_str()))
}

fn bracketed(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!(" ({label})") }
}

fn spaced(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Corpus;
    use crate::model::RequirementKind;

    const CSV: &str = "design,workers,throughput,unit\n\"open, fused\",1,\"81,000\",workflows/s\n\"open, unfused\",1,\"47,000\",workflows/s\none row each,1,1304,workflows/s\nidle start,1,0.83,ms\n";

    fn of(csv: &str, text: &str) -> (Vec<Figure>, Vec<String>) {
        let corpus = Corpus::read([("results.csv", csv.as_bytes())]);
        let terms = super::super::requirements::terms(text);
        let requirement = Requirement { id: "r1".into(), text: text.into(), kind: RequirementKind::Question, terms };
        figures(&Index::build(&corpus, std::slice::from_ref(&requirement)), &requirement)
    }

    #[test]
    fn units_are_never_mixed_and_every_cell_is_cited() {
        let (found, _) = of(CSV, "What is the mean throughput?");
        assert_eq!(
            found.iter().map(|f| f.text.as_str()).collect::<Vec<_>>(),
            [
                "results.csv: throughput (ms) is 0.83 for design \"idle start\".",
                "results.csv: throughput (workflows/s) has 3 values, minimum 1304 (design \"one row each\"), maximum 81,000 (design \"open, fused\"), mean 43,101.33.",
            ]
        );
        let quotes: Vec<&str> = found[1].citations.iter().map(|c| c.quote.as_str()).collect();
        assert_eq!(
            quotes,
            [
                "throughput",
                "design",
                "81,000",
                "open, fused",
                "workflows/s",
                "47,000",
                "open, unfused",
                "workflows/s",
                "1304",
                "one row each",
                "workflows/s"
            ]
        );
        assert!(found.iter().flat_map(|f| &f.citations).all(|c| CSV[c.start..c.end] == c.quote));
    }

    #[test]
    fn a_row_that_is_named_is_answered_alone() {
        let (found, _) = of(CSV, "What throughput has the unfused design?");
        assert_eq!(found[0].text, "results.csv: throughput (workflows/s) is 47,000 for design \"open, unfused\".");
    }

    #[test]
    fn a_trend_is_said_only_along_time() {
        let (found, _) = of("year,cost\n2021,3.5\n2022,4\n2023,9\n", "How did the cost develop?");
        assert_eq!(
            found[0].text,
            "results.csv: cost has 3 values, minimum 3.5, maximum 9, mean 5.5, rising throughout."
        );
    }

    #[test]
    fn too_many_cells_give_no_figure_and_say_so() {
        let csv = format!("cost\n{}", "5\n".repeat(101));
        let (found, left_out) = of(&csv, "What is the cost?");
        assert!(found.is_empty());
        assert!(left_out[0].contains("101 values"), "{left_out:?}");
    }
}
