//! Tables for people: aligned columns, with nothing in them that a terminal would obey.

use std::fmt;

/// Which side of a column its cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table; shown with its headers, two blanks between columns, no blanks at the ends of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headers and no rows yet; every column keeps to the left.
    pub fn new(headers: &[&str]) -> Self {
        let columns = headers.iter().map(|_| Align::Left).collect();
        Self { columns, rows: vec![headers.iter().map(|header| plain(header)).collect()] }
    }

    /// Makes the columns with these headers keep to the right.
    #[must_use]
    pub fn right(mut self, headers: &[&str]) -> Self {
        let names = self.rows.first().map(Vec::as_slice).unwrap_or_default();
        for (column, name) in self.columns.iter_mut().zip(names) {
            if headers.contains(&name.as_str()) {
                *column = Align::Right;
            }
        }
        self
    }

    /// Adds a row; missing cells are empty, cells beyond the headers are dropped.
    #[must_use]
    pub fn row(mut self, cells: Vec<String>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row, like [`Table::row`].
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().take(self.columns.len()).map(|cell| plain(cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |row: &'_ [String], n: usize| row.get(n).cloned().unwrap_or_default();
        let width = |n| self.rows.iter().map(|row| cell(row, n).chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (n, (align, width)) in self.columns.iter().zip(&widths).enumerate() {
                let text = cell(row, n);
                let gap = " ".repeat(width - text.chars().count().min(*width));
                if n > 0 {
                    line.push_str("  ");
                }
                match align {
                    Align::Left => line.extend([text, gap]),
                    Align::Right => line.extend([gap, text]),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Text that stays on its line and commands no terminal: control characters, line and direction marks are escaped.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        let mark = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || mark { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let table = Table::new(&["NAME", "SIZE", "NOTE"])
            .right(&["SIZE"])
            .row(vec!["é".into(), "7".into(), String::new()])
            .row(vec!["longer".into(), "12345".into(), "x".into(), "dropped".into()])
            .row(vec!["short".into()]);
        let expected = "NAME     SIZE  NOTE\né           7\nlonger  12345  x\nshort\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn nothing_in_a_cell_reaches_the_terminal() {
        let table = Table::new(&["A"]).row(vec!["\x1b[2J\n\u{202e}ok\u{9b}".into()]);
        assert_eq!(table.to_string(), "A\n\\u{1b}[2J\\n\\u{202e}ok\\u{9b}\n");
    }
}
