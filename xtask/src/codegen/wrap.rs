//! Breaks generated lines that are too long at their brackets, as rustfmt would; generated files
//! are kept from rustfmt, so that they do not depend on its version.

const COLUMNS: usize = 100;

/// `text` with its long lines broken.
pub fn wrap(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        wrap_line(line, &mut out);
    }
    out
}

fn wrap_line(line: &str, out: &mut String) {
    let is_comment = line.trim_start().starts_with("//");
    let group = if line.len() <= COLUMNS || is_comment { None } else { outer_group(line) };
    let indent = &line[..line.len() - line.trim_start().len()];
    let Some((open, close)) = group else {
        match line.split_once(" && ").filter(|_| line.len() > COLUMNS && !is_comment) {
            Some((left, right)) => out.push_str(&format!("{left}\n{indent}    && {right}\n")),
            None => out.push_str(&format!("{line}\n")),
        }
        return;
    };
    out.push_str(&line[..=open]);
    out.push('\n');
    let comma = if line[open..].starts_with('{') && !line.starts_with("use ") { "" } else { "," };
    for item in items(&line[open + 1..close]) {
        wrap_line(&format!("{indent}    {item}{comma}"), out);
    }
    wrap_line(&format!("{indent}{}", &line[close..]), out);
}

/// Where to break: the first outer bracket with something in it, a block rather than a call, and
/// the bracket that closes it.
fn outer_group(line: &str) -> Option<(usize, usize)> {
    let mut opened = Vec::new();
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (place, letter) in line.char_indices() {
        match letter {
            '(' | '[' | '{' => opened.push(place),
            ')' | ']' | '}' => {
                let open = opened.pop()?;
                groups.retain(|(first, _)| *first < open);
                if !line[open + 1..place].trim().is_empty() {
                    groups.push((open, place));
                }
            }
            _ => {}
        }
    }
    let block = groups.iter().find(|(open, _)| line[*open..].starts_with('{'));
    block.or(groups.first()).copied()
}

/// The parts between the commas that stand in no bracket and in no closure's head.
fn items(inside: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start, mut in_head) = (0_usize, 0, false);
    for (place, letter) in inside.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '|' if depth == 0 => in_head = !in_head,
            ',' if depth == 0 && !in_head => {
                items.push(inside[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    items.push(inside[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn long_lines_break_at_the_outer_bracket() {
        let long = format!("    call({}, |a, b| a.b({}), d)?;", "x".repeat(60), "y".repeat(40));
        let parts = ["x".repeat(60), format!("|a, b| a.b({})", "y".repeat(40)), "d".to_owned()];
        let lines: Vec<String> = parts.iter().map(|part| format!("        {part},\n")).collect();
        assert_eq!(wrap(&long), format!("    call(\n{}    )?;\n", lines.concat()));
        assert_eq!(wrap("short(a, b);"), "short(a, b);\n");
    }
}
