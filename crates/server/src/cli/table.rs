//! Tables for people: columns as wide as their widest cell, numbers to the right.

/// Lines of a table under its head.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_uppercase);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    });
    let right: [bool; N] = std::array::from_fn(|column| {
        let mut cells = rows.iter().map(|row| &row[column]);
        !rows.is_empty() && cells.all(|cell| cell == "-" || cell.parse::<i64>().is_ok())
    });
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = (0..N)
            .map(|column| {
                let (cell, width) = (&row[column], widths[column]);
                if right[column] { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A cell of something that may be unknown.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_text_left_and_numbers_right() {
        let rows = [
            ["orders".to_owned(), "12".to_owned(), "-".to_owned()],
            ["p".to_owned(), "3".to_owned(), "4000".to_owned()],
        ];
        let want = "NAME    COUNT   LAG\norders     12     -\np           3  4000\n";
        assert_eq!(table(["name", "count", "lag"], &rows), want);
        assert_eq!(table(["name", "count"], &[]), "NAME  COUNT\n");
    }
}
