//! The known key that an unknown one was probably meant to be.

use super::keys::{KEYS, LISTENER_KEYS};

/// The message about an unknown key.
pub fn unknown(path: &str) -> String {
    match nearest(path) {
        Some(known) => format!("unknown key {path:?}; did you mean {known:?}?"),
        None => format!("unknown key {path:?}; `sabir config show` lists them all"),
    }
}

fn nearest(path: &str) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let listener = path.strip_prefix("listeners.").and_then(|rest| rest.split_once('.'));
    let known: Vec<String> = match listener {
        Some((name, _)) => {
            LISTENER_KEYS.iter().map(|key| format!("listeners.{name}.{}", key.path)).collect()
        }
        None => KEYS.iter().map(|key| key.path.to_owned()).collect(),
    };
    // A key in the wrong table, or without its unit, is as near as a slip of a letter.
    let near = |known: &str| {
        last(known) == last(path)
            || known.strip_prefix(path).is_some_and(|unit| unit.starts_with('_'))
    };
    let distance = |known: &str| match near(known) {
        true => 1,
        false => distance(known, path),
    };
    let best = known.into_iter().min_by_key(|known| distance(known))?;
    (distance(&best) <= (path.len() / 4).max(2)).then_some(best)
}

/// Letters to insert, delete, change or swap.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
