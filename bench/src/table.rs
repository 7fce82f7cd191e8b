//! Markdown tables, aligned so that they read well as text too.

use std::fmt::Write;

/// A table under construction. The first column is text, the others are figures.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|&head| head.to_owned()).collect()] }
    }

    /// Adds a row with as many cells as there are heads.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for each head");
        self.rows.push(cells);
    }

    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|at| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(3))
            .collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let line = match at {
                    0 => write!(text, "| {cell:<width$} "),
                    _ => write!(text, "| {cell:>width$} "),
                };
                line.expect("memory does not fail");
            }
            text.push_str("|\n");
            if number == 0 {
                for (at, width) in widths.iter().enumerate() {
                    let end = if at == 0 { '-' } else { ':' };
                    write!(text, "|{}{end}", "-".repeat(width + 1)).expect("memory does not fail");
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// A figure with about three digits that say something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2e}"),
    }
}

/// A figure, or that there is none.
pub fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), figure)
}

/// The value in the middle, the upper one of two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// None where there are no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["case", "µs"]);
        table.row(["a".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), "12,345".to_owned()]);
        let text = "| case   |     µs |\n|--------|-------:|\n\
                    | a      |      1 |\n| longer | 12,345 |\n";
        assert_eq!(table.text(), text);
    }

    #[test]
    fn figures() {
        let check = |value: f64, text: &str| assert_eq!(figure(value), text);
        check(1_234_567.8, "1,234,568");
        check(123_456.0, "123,456");
        check(9999.4, "9999");
        check(12.34, "12.3");
        check(1.234, "1.23");
        check(0.0123, "0.012");
        check(0.000_012, "1.20e-5");
        check(0.0, "0");
        assert_eq!((maybe(None), maybe(Some(2.0))), ("–".to_owned(), "2.00".to_owned()));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!((median(Vec::new()), mean(&[])), (None, None));
        assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
    }
}
