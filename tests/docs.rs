//! Checks that every page of the documents is in the summary, that every link has a target, and
//! that the first pages are short.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Maximum size of README.md and ARCHITECTURE.md.
const MAX_ENTRY_PAGE_BYTES: u64 = 12_288;

/// Maximum size of a picture. Each reader of the README loads it.
const MAX_PICTURE_BYTES: u64 = 250_000;

/// Folders whose paths must exist when a page names them.
const FOLDERS: [&str; 9] =
    ["src/", "tests/", "docs/", "configs/", "systemd/", "packaging/", "benches/", "fuzz/", ".ci/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the path of every Markdown file of the repository, relative to its root.
fn pages() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                // Skips hidden folders, and files that builds and runs leave behind.
                if !name.starts_with('.')
                    && !["target", "client_logs", "state", "run"].contains(&name.as_str())
                {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(""), &mut found);
    found.sort();
    assert!(found.len() > 20, "the pages are not found: {found:?}");
    found
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// Holds the parts of a page that the checks use.
#[derive(Default)]
struct Page {
    /// The text outside of code.
    text: String,
    /// The code spans.
    spans: Vec<String>,
    /// The anchors of the headings.
    anchors: BTreeSet<String>,
    /// The lines at which a fence opens without a language.
    bare_fences: Vec<usize>,
}

impl Page {
    fn parse(source: &str) -> Self {
        let mut page = Self::default();
        let mut prose = String::new();
        let mut fence = None;
        for (index, line) in source.lines().enumerate() {
            let trimmed = line.trim_start();
            if let Some(language) = trimmed.strip_prefix("```") {
                if fence.take().is_none() {
                    fence = Some(());
                    if language.trim().is_empty() {
                        page.bare_fences.push(index + 1);
                    }
                }
            } else if fence.is_none() {
                if let Some(heading) = heading(line) {
                    page.add_anchor(heading);
                }
                prose.push_str(line);
                prose.push('\n');
            }
        }
        for paragraph in prose.split("\n\n") {
            for (index, part) in paragraph.split('`').enumerate() {
                if index % 2 == 0 {
                    page.text.push_str(part);
                } else {
                    page.spans.push(part.to_owned());
                    page.text.push_str("code");
                }
            }
            page.text.push('\n');
        }
        page
    }

    /// Adds the anchor that GitHub and mdBook give to this heading.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|name| !self.anchors.contains(name));
        self.anchors.insert(free.unwrap());
    }

    /// Returns the targets of the links and pictures.
    fn links(&self) -> Vec<&str> {
        let starts = self.text.match_indices("](");
        starts.map(|(at, _)| self.text[at + 2..].split(')').next().unwrap_or_default()).collect()
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let depth = line.len() - text.len();
    ((1..=6).contains(&depth) && text.starts_with(' ')).then(|| text.trim())
}

/// Resolves a link on a page, without leaving the repository.
fn resolve(page: &Path, target: &str) -> Option<PathBuf> {
    let mut path = page.parent().unwrap().to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

#[test]
fn every_page_of_the_book_is_in_the_summary_once() {
    let summary = Page::parse(&read(Path::new("docs/SUMMARY.md")));
    let linked: Vec<PathBuf> = summary.links().into_iter().map(|link| Path::new("docs").join(link)).collect();
    let once: BTreeSet<PathBuf> = linked.iter().cloned().collect();
    assert_eq!(once.len(), linked.len(), "a page stands in the summary twice: {linked:?}");
    let pages: BTreeSet<PathBuf> = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs") && page != Path::new("docs/SUMMARY.md"))
        .collect();
    let missing: Vec<_> = pages.difference(&once).collect();
    let extra: Vec<_> = once.difference(&pages).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not in the summary: {missing:?}; no page: {extra:?}");
}

#[test]
fn every_relative_link_and_anchor_resolves() {
    let pages: BTreeMap<PathBuf, Page> =
        pages().into_iter().map(|path| (path.clone(), Page::parse(&read(&path)))).collect();
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for link in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { Some(path.clone()) } else { resolve(path, file) };
            let exists = target.as_ref().is_some_and(|target| root().join(target).exists());
            // The book and the package hold docs/ only.
            let stays = !path.starts_with("docs") || target.as_ref().is_some_and(|to| to.starts_with("docs"));
            let anchored = anchor.is_none_or(|anchor| {
                target.as_ref().and_then(|to| pages.get(to)).is_some_and(|to| to.anchors.contains(anchor))
            });
            if !exists || !stays || !anchored {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere, or out of docs/: {broken:#?}");
}

#[test]
fn every_path_that_a_page_names_exists() {
    let mut missing = Vec::new();
    for path in pages() {
        for span in Page::parse(&read(&path)).spans {
            let (name, _) = span.split_once(':').unwrap_or((&span, ""));
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder))
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            // NAME and FILE are placeholders.
            let is_pattern = ["NAME", "FILE"].iter().any(|word| name.contains(word));
            if is_path && !is_pattern && !root().join(name).exists() {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "paths that do not exist: {missing:#?}");
}

#[test]
fn every_fence_names_its_language() {
    for path in pages() {
        let bare = Page::parse(&read(&path)).bare_fences;
        assert!(bare.is_empty(), "{}: fences without a language at the lines {bare:?}", path.display());
    }
}

#[test]
fn the_readme_and_the_architecture_are_short() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let bytes = fs::metadata(root().join(page)).unwrap().len();
        assert!(bytes <= MAX_ENTRY_PAGE_BYTES, "{page} has {bytes} bytes, at most {MAX_ENTRY_PAGE_BYTES}");
    }
}

#[test]
fn the_pictures_are_small() {
    for entry in fs::read_dir(root().join("docs/images")).unwrap() {
        let entry = entry.unwrap();
        let bytes = entry.metadata().unwrap().len();
        assert!(bytes <= MAX_PICTURE_BYTES, "{:?} has {bytes} bytes", entry.file_name());
    }
}
