//! A unified difference of two parts of objects in their Go form.

use super::indented;
use crate::Tree;
use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Comparisons of lines beyond which everything between the first and the last
/// difference counts as replaced.
const COMPARISONS_MAX: usize = 4_000_000;

/// The difference of two parts; empty if they show the same.
pub(crate) fn diff(type_name: &str, old: &Tree, new: &Tree) -> String {
    let (old, new) = (indented(type_name, old), indented(type_name, new));
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let mut text = String::new();
    for hunk in hunks(&steps(&old, &new)) {
        render(&hunk, &old, &new, &mut text);
    }
    text
}

/// One line of a difference: an index into the old, the new, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Same(usize, usize),
    Removed(usize),
    Added(usize),
}

/// The shortest way from the old lines to the new ones.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - start;
    let backwards = old.iter().rev().zip(new.iter().rev());
    let end = backwards.take(most).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let mut out: Vec<Step> = (0..start).map(|at| Step::Same(at, at)).collect();
    if a.len().saturating_mul(b.len()) > COMPARISONS_MAX {
        out.extend((0..a.len()).map(|at| Step::Removed(start + at)));
        out.extend((0..b.len()).map(|at| Step::Added(start + at)));
    } else {
        middle(a, b, start, &mut out);
    }
    let (from, to) = (old.len() - end, new.len() - end);
    out.extend((0..end).map(|at| Step::Same(from + at, to + at)));
    out
}

fn middle(a: &[&str], b: &[&str], start: usize, out: &mut Vec<Step>) {
    let width = b.len() + 1;
    // The longest common part of what follows each pair of positions.
    let mut longest = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = if a[i] == b[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(Step::Same(start + i, start + j));
            i += 1;
            j += 1;
        } else if j == b.len()
            || (i < a.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            out.push(Step::Removed(start + i));
            i += 1;
        } else {
            out.push(Step::Added(start + j));
            j += 1;
        }
    }
}

/// Changes that are near each other, with the lines around them.
fn hunks(steps: &[Step]) -> Vec<Vec<Step>> {
    let is_change = |step: &Step| !matches!(step, Step::Same(..));
    let changed: Vec<usize> = (0..steps.len())
        .filter(|at| is_change(&steps[*at]))
        .collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for at in changed {
        let (from, to) = (
            at.saturating_sub(CONTEXT),
            (at + CONTEXT + 1).min(steps.len()),
        );
        match ranges.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => ranges.push((from, to)),
        }
    }
    ranges
        .into_iter()
        .map(|(from, to)| steps[from..to].to_vec())
        .collect()
}

fn range(first: Option<usize>, count: usize) -> String {
    let first = first.unwrap_or_default() + 1;
    match count {
        1 => first.to_string(),
        0 => format!("{},0", first - 1),
        _ => format!("{first},{count}"),
    }
}

fn render(hunk: &[Step], old: &[&str], new: &[&str], text: &mut String) {
    let of_old = |step: &Step| match step {
        Step::Same(at, _) | Step::Removed(at) => Some(*at),
        Step::Added(_) => None,
    };
    let of_new = |step: &Step| match step {
        Step::Same(_, at) | Step::Added(at) => Some(*at),
        Step::Removed(_) => None,
    };
    let olds: Vec<usize> = hunk.iter().filter_map(of_old).collect();
    let news: Vec<usize> = hunk.iter().filter_map(of_new).collect();
    let _ = writeln!(
        text,
        "@@ -{} +{} @@",
        range(olds.first().copied(), olds.len()),
        range(news.first().copied(), news.len())
    );
    for step in hunk {
        let (mark, line) = match step {
            Step::Same(at, _) => (' ', old[*at]),
            Step::Removed(at) => ('-', old[*at]),
            Step::Added(at) => ('+', new[*at]),
        };
        let _ = writeln!(text, "{mark}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_leads_from_the_old_lines_to_the_new_ones() {
        for (old, new) in [
            ("", "a"),
            ("a b c", "a x c"),
            ("a b c d", "b d e"),
            ("a a b", "a b b a"),
            ("a", ""),
        ] {
            let old: Vec<&str> = old.split_whitespace().collect();
            let new: Vec<&str> = new.split_whitespace().collect();
            let steps = steps(&old, &new);
            let rebuilt: Vec<&str> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Same(at, _) => Some(old[*at]),
                    Step::Added(at) => Some(new[*at]),
                    Step::Removed(_) => None,
                })
                .collect();
            assert_eq!(rebuilt, new);
            let kept = steps.iter().filter(|step| !matches!(step, Step::Added(_)));
            assert_eq!(kept.count(), old.len());
        }
    }
}
