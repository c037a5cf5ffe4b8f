//! A table that fits the terminal: columns shrink and go in a fixed order of what can best be missed. Pure.

use super::text::{Paint, fit, paint, width};

/// Between a column and the next. The first is a mark, which stands close to what it marks.
fn gap(column: usize) -> usize {
    if column == 0 { 1 } else { 2 }
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub text: String,
    pub paint: Option<Paint>,
}

impl Cell {
    pub fn plain(text: String) -> Self {
        Self { text, paint: None }
    }

    pub fn painted(text: String, paint: Paint) -> Self {
        Self { text, paint: Some(paint) }
    }
}

/// One thing that can be done to make a table narrower; columns by their number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Cut a column down to so many characters, as far as it is needed.
    Shrink(usize, usize),
    /// Leave a column out.
    Drop(usize),
}

/// Draws `rows` under `heads`. Where they are too wide, `steps` are taken one after the other until they fit.
pub(super) fn draw(
    heads: &[&str],
    rows: &[Vec<Cell>],
    steps: &[Step],
    room: Option<usize>,
    (colour, unicode): (bool, bool),
) -> String {
    let widths = shrink_columns(natural(heads, rows), steps, room);
    let mut out = String::new();
    let heads: Vec<Cell> = heads.iter().map(|h| Cell::painted((*h).to_owned(), Paint::Strong)).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut owed = 0; // spaces before the next text, so that no line ends in any
        for (column, (cell, width_)) in row.iter().zip(&widths).enumerate() {
            let Some(room) = *width_ else { continue };
            let text = fit(&cell.text, room, unicode);
            let taken = width(&text);
            if taken > 0 {
                out.extend(std::iter::repeat_n(' ', owed));
                owed = 0;
                match cell.paint {
                    Some(with) => out.push_str(&paint(&text, with, colour)),
                    None => out.push_str(&text),
                }
            }
            owed += room.saturating_sub(taken) + gap(column);
        }
        out.push('\n');
    }
    out
}

fn natural(heads: &[&str], rows: &[Vec<Cell>]) -> Vec<Option<usize>> {
    let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(&cell.text));
        }
    }
    widths.into_iter().map(Some).collect()
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().enumerate().filter_map(|(column, width)| width.map(|width| (column, width)));
    let (sum, last) =
        shown.fold((0, 0), |(sum, _), (column, width)| (sum + width + gap(column), gap(column)));
    sum - last
}

fn shrink_columns(natural: Vec<Option<usize>>, steps: &[Step], room: Option<usize>) -> Vec<Option<usize>> {
    let Some(room) = room else { return natural };
    let mut widths = natural.clone();
    for step in steps {
        let over = total(&widths).saturating_sub(room);
        if over == 0 {
            break;
        }
        match *step {
            Step::Shrink(column, least) => {
                if let Some(Some(width)) = widths.get_mut(column) {
                    *width = width.saturating_sub(over).max(least.min(*width));
                }
            }
            Step::Drop(column) => {
                if let Some(width) = widths.get_mut(column) {
                    *width = None;
                }
            }
        }
    }
    // A column that went may have left more than was needed: the shrunk ones have it, the first to shrink first.
    for step in steps {
        if let Step::Shrink(column, _) = *step
            && let (Some(Some(full)), Some(Some(now))) = (natural.get(column), widths.get(column))
        {
            let more = room.saturating_sub(total(&widths)).min(full.saturating_sub(*now));
            widths[column] = Some(now + more);
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(room: Option<usize>) -> String {
        let cells = |texts: [&str; 4]| texts.iter().map(|text| Cell::plain((*text).to_owned())).collect();
        let rows = [cells(["*", "alpha", "a long text", "x"]), cells([".", "b", "", "yy"])];
        let steps = [Step::Shrink(2, 6), Step::Drop(3), Step::Drop(2)];
        draw(&["", "A", "B", "C"], &rows, &steps, room, (false, true))
    }

    #[test]
    fn columns_shrink_and_then_go() {
        let all = "  A      B            C\n* alpha  a long text  x\n. b                   yy\n";
        assert_eq!(table(None), all, "nothing is padded at the end of a line");
        assert_eq!(table(Some(24)), all, "what fits exactly stays");
        assert_eq!(table(Some(20)), "  A      B        C\n* alpha  a long…  x\n. b               yy\n");
        assert_eq!(
            table(Some(17)),
            "  A      B\n* alpha  a long…\n. b\n",
            "what a dropped column leaves is used"
        );
        assert_eq!(table(Some(7)), "  A\n* alpha\n. b\n");
    }
}
