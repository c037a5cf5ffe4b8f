//! The second stage: what all files say together, before anything of it is judged.
//!
//! In: documents. Out: an [`Input`], with conflicts between files in the report. The first of two that conflict is
//! kept, so that its own problems are found as well.

use std::collections::HashMap;

use super::field::{Field, Table};
use super::report::{At, Report};
use super::source::Document;

/// The keys of a file.
const SECTIONS: &[&str] = &["mail", "defaults", "checks", "listen"];

/// The sections of all files, merged.
#[derive(Debug, Default)]
pub(super) struct Input<'t> {
    pub mail: Option<Field<'t>>,
    pub defaults: Option<Field<'t>>,
    pub checks: Vec<(&'t str, Field<'t>)>,
    pub listen: Option<Field<'t>>,
}

/// Merges the documents, in their order.
pub(super) fn merge<'t>(documents: &'t [Document], report: &mut Report) -> Input<'t> {
    let mut input = Input::default();
    let mut seen: HashMap<&str, At> = HashMap::new();
    for (file, document) in documents.iter().enumerate() {
        let Some(root) = Field::root(file, document).filter(|root| !root.is_null()) else { continue };
        let Some(sections) = sections(&root, report) else { continue };
        once(&mut input.mail, sections.get("mail"), report);
        once(&mut input.defaults, sections.get("defaults"), report);
        once(&mut input.listen, sections.get("listen"), report);
        let Some(checks) = sections.get("checks").filter(|checks| !checks.is_null()) else { continue };
        let Some(checks) = checks.open_table("a mapping from names to checks", report) else { continue };
        for (name, field) in checks.into_fields() {
            if let Some(first) = seen.get(name) {
                report.duplicate(&field.at, first);
            } else {
                seen.insert(name, field.at.clone());
                input.checks.push((name, field));
            }
        }
    }
    input
}

fn sections<'t>(root: &Field<'t>, report: &mut Report) -> Option<Table<'t>> {
    if !root.is_map() {
        return root.expected("sections (`mail:`, `defaults:`, `checks:`)", report);
    }
    root.table(SECTIONS, report)
}

/// A section that may stand in one file only. One with nothing in it is as good as none.
fn once<'t>(section: &mut Option<Field<'t>>, found: Option<&Field<'t>>, report: &mut Report) {
    match (&section, found.filter(|found| !found.is_null())) {
        (Some(first), Some(second)) => report.duplicate(&second.at, &first.at),
        (None, Some(found)) => *section = Some(found.clone()),
        (_, None) => {}
    }
}
