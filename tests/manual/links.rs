//! Links between pages lead somewhere, and the table of contents has every page.

use std::path::Path;

use crate::blocks::{below, pages, root};

/// The targets of inline links outside fenced blocks and code spans.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        }
        if is_block {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for rest in prose.split("](").skip(1) {
            found.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    found
}

/// As GitHub and mdBook make them of headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

fn check(page: &Path, target: &str) -> Result<(), String> {
    if target.starts_with("https://") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => page.to_owned(),
        file => page.parent().ok_or("no folder")?.join(file),
    };
    if file.is_dir() && anchor.is_empty() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    match anchor.is_empty() || anchors(&text).iter().any(|one| one == anchor) {
        true => Ok(()),
        false => Err(format!("no heading #{anchor}")),
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        for target in links(&std::fs::read_to_string(&page).unwrap()) {
            count += 1;
            check(&page, &target)
                .unwrap_or_else(|why| panic!("{}: {target}: {why}", page.display()));
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn the_table_of_contents_has_every_page() {
    let src = root().join("deploy/docs/src");
    let summary = std::fs::read_to_string(src.join("SUMMARY.md")).unwrap();
    let mut listed = links(&summary);
    for page in &listed {
        assert!(src.join(page).exists(), "SUMMARY.md: there is no {page}");
    }
    let manual = below(&src)
        .into_iter()
        .map(|page| page.strip_prefix(&src).unwrap().to_owned());
    let runbooks = below(&root().join("deploy/runbooks")).into_iter();
    let runbooks = runbooks.map(|page| Path::new("runbooks").join(page.file_name().unwrap()));
    let mut there: Vec<String> = manual
        .chain(runbooks)
        .map(|page| page.display().to_string())
        .collect();
    there.retain(|page| page != "SUMMARY.md");
    there.sort();
    listed.sort();
    assert_eq!(there, listed);
}
