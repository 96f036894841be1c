//! Columns of text for a terminal.

use super::output::Tone;

/// The widest that a column but the last may get; longer cells are cut in the middle, where ids differ least.
const CELL_CHARS_MAX: usize = 48;

/// A table that is printed when all rows are known.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A text with its color.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

impl Cell {
    /// Colors the cell.
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }
}

impl Table {
    /// Makes a table with these columns.
    pub(crate) fn new<const N: usize>(headers: [&'static str; N]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headers.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// Writes header and rows, two blanks between columns.
    pub(crate) fn render(&self, color: bool) -> String {
        let last = self.headers.len().saturating_sub(1);
        let shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                row.iter()
                    .enumerate()
                    .map(|(column, cell)| if column == last { one_line(&cell.text) } else { shorten(&cell.text) })
                    .collect()
            })
            .collect();
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|column| {
                let cells = shown.iter().map(|row| row[column].chars().count());
                cells.chain([self.headers[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        let header = self.headers.iter().map(|header| (*header, Some(Tone::Faint)));
        push_line(&mut out, header, &widths, color);
        for (row, texts) in self.rows.iter().zip(&shown) {
            let cells = row.iter().zip(texts).map(|(cell, text)| (text.as_str(), cell.tone));
            push_line(&mut out, cells, &widths, color);
        }
        out
    }
}

fn push_line<'a>(
    out: &mut String,
    cells: impl Iterator<Item = (&'a str, Option<Tone>)>,
    widths: &[usize],
    color: bool,
) {
    let mut pending_blanks = 0;
    for ((text, tone), width) in cells.zip(widths) {
        out.extend(std::iter::repeat_n(' ', pending_blanks));
        match tone.filter(|_| color && !text.is_empty()) {
            Some(tone) => out.push_str(&tone.paint(text)),
            None => out.push_str(text),
        }
        pending_blanks = width - text.chars().count() + 2;
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shorten(text: &str) -> String {
    let text = one_line(text);
    let chars = text.chars().count();
    if chars <= CELL_CHARS_MAX {
        return text;
    }
    let half = (CELL_CHARS_MAX - 1) / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(chars - half).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["STATUS", "ID", "NOTE"]);
        table.row([Cell::from("Running").tone(Tone::Active), "order-42".into(), "waits\nfor ever".into()]);
        table.row(["Completed".into(), "x".repeat(60).into(), "".into()]);
        expect![[r#"
            STATUS     ID                                               NOTE
            Running    order-42                                         waits for ever
            Completed  xxxxxxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxx
        "#]]
        .assert_eq(&table.render(false));
    }

    #[test]
    fn colors_do_not_count_as_width() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::from("x").tone(Tone::Good), "y".into()]);
        assert_eq!(table.render(true), "\u{1b}[2mA\u{1b}[0m  \u{1b}[2mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m  y\n");
    }
}
