//! Columns that line up, and colour where it helps.

use std::io::IsTerminal;

/// Whether colour may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// A person looks at a terminal.
    On,
    /// A file, a pipe, or someone who said no.
    Off,
}

impl Colour {
    /// For standard output: on a terminal, unless NO_COLOR is set or the terminal is a dumb one (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        if std::io::stdout().is_terminal() && !refused { Self::On } else { Self::Off }
    }
}

/// How a cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Fair,
    /// Wrong.
    Bad,
    /// Nothing of these.
    Plain,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What stands in it.
    pub text: String,
    /// How it is meant.
    pub mood: Mood,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), mood: Mood::Plain }
    }
}

impl Cell {
    /// `text`, painted if colour is on.
    pub fn painted(&self, colour: Colour) -> String {
        let code = match (colour, self.mood) {
            (Colour::Off, _) | (Colour::On, Mood::Plain) => return self.text.clone(),
            (Colour::On, Mood::Good) => 32,
            (Colour::On, Mood::Fair) => 33,
            (Colour::On, Mood::Bad) => 31,
        };
        format!("\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// Lines of cells in columns three spaces apart, as kubectl prints them; nothing is padded at a line's end.
pub fn render(rows: &[Vec<Cell>], colour: Colour) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let width = cell.text.chars().count();
            match widths.get_mut(i) {
                Some(w) => *w = width.max(*w),
                None => widths.push(width),
            }
        }
    }
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(&cell.painted(colour));
                if i + 1 < row.len() {
                    let padding = width.saturating_sub(cell.text.chars().count()) + 3;
                    line.push_str(&" ".repeat(padding));
                }
            }
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_paint_takes_no_room() {
        let rows = [
            vec![Cell::from("A"), Cell { text: "STATUS".into(), mood: Mood::Plain }, "X".into()],
            vec![Cell::from("äöü"), Cell { text: "Bad".into(), mood: Mood::Bad }, "y".into()],
        ];
        assert_eq!(render(&rows, Colour::Off), ["A     STATUS   X", "äöü   Bad      y"]);
        let second = render(&rows, Colour::On).remove(1);
        assert_eq!(second, "äöü   \x1b[31mBad\x1b[0m      y");
    }
}
