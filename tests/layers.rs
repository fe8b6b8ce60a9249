//! Compares the imports of `src/` with the layers in `ARCHITECTURE.md`. No import points up, and no
//! two files import each other, directly or through others. Test code is exempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// Holds the parsed sources. A file is named by its path below `src/` without `.rs`, and maps to
/// its imports.
struct Sources {
    files: BTreeMap<String, BTreeSet<String>>,
}

/// Holds one block of layers, as entries with the numbers of their lines.
type Block = Vec<(usize, String)>;

#[test]
fn no_import_points_up() {
    let architecture = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let blocks = layers(&architecture);
    let sources = Sources::read();
    let mut wrong = Vec::new();
    for (file, imports) in &sources.files {
        for import in imports {
            let (Some(from), Some(to)) = (place(&blocks, file, import), place(&blocks, import, file)) else {
                wrong.push(format!("{file} or {import} has no entry in the layers"));
                continue;
            };
            if from != to && to.0 >= from.0 {
                wrong.push(format!("{file} ({}) imports {import} ({})", from.1, to.1));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn no_two_files_import_each_other() {
    let sources = Sources::read();
    let circles = circles(&sources.files);
    assert!(circles.is_empty(), "import circles:\n{}", circles.join("\n"));
}

#[test]
fn folders_and_files_stay_small() {
    let sources = Sources::read();
    let mut in_folder: BTreeMap<&str, usize> = BTreeMap::new();
    for file in sources.files.keys() {
        *in_folder.entry(file.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default() += 1;
        let lines = fs::read_to_string(format!("src/{file}.rs")).unwrap().lines().count();
        assert!(lines <= 500, "src/{file}.rs has {lines} lines");
    }
    for (folder, count) in in_folder {
        assert!(count <= 20, "src/{folder} has {count} files");
    }
}

#[test]
fn each_test_named_in_the_architecture_exists() {
    let architecture = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let (_, table) = architecture.split_once("| promise | tests |").expect("the table of promises");
    let names = Regex::new("`([^`]+)`").unwrap();
    let tests = table
        .lines()
        .filter_map(|line| line.rsplit_once(" | "))
        .flat_map(|(_, tests)| names.captures_iter(tests));
    let mut count = 0;
    for name in tests.map(|name| name[1].to_owned()) {
        let module = format!("src/{}", name.replace("::", "/"));
        let found =
            [name.clone(), format!("tests/{name}"), format!("{module}.rs"), format!("{module}/mod.rs")];
        assert!(found.iter().any(|path| Path::new(path).exists()), "{name} is no test");
        count += 1;
    }
    assert!(count > 50, "the table names {count} tests");
}

/// CONTRIBUTING.md promises that a new engine changes two files beside its own.
#[test]
fn engines_are_named_in_their_folder_and_two_files_only() {
    let mut texts = BTreeMap::new();
    collect(Path::new("src"), &mut texts);
    let opens_a_log = |file: &str| texts[file].contains("fn open(log: &LogEntry");
    let folder = |file: &str| Some(file.strip_prefix("store/")?.strip_suffix("/mod")?.to_owned());
    let engines: Vec<String> =
        texts.keys().filter(|file| opens_a_log(file)).filter_map(|file| folder(file)).collect();
    assert_eq!(engines, ["file", "memory"]);
    let mut wrong = Vec::new();
    for (file, text) in &texts {
        for engine in &engines {
            let is_own = file.starts_with(&format!("store/{engine}/"));
            let is_one_of_two = ["store/mod", "store/model_tests"].contains(&file.as_str());
            let module = format!("store::{engine}");
            let names = imports_of(file, text).into_iter().any(|path| path.starts_with(&module));
            if names && !is_own && !is_one_of_two {
                wrong.push(format!("{file} names {module}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checks above must find imports in every form that the code uses.
#[test]
fn imports_are_found_in_every_form() {
    let found = |text: &str| imports_of("http/pipeline", text);
    let expected = |paths: &[&str]| -> Vec<String> { paths.iter().map(|path| (*path).to_owned()).collect() };
    assert_eq!(
        found("use crate::store::{self, file::{Log, Disk}};"),
        expected(&["store", "store::file::Log", "store::file::Disk"])
    );
    assert_eq!(
        found("use super::request::body;\nfn f() { crate::guard::explain(); }"),
        expected(&["http::request::body", "guard::explain"])
    );
    assert_eq!(found("// crate::store\n#[cfg(test)]\nmod tests {\n use crate::store::X;\n}"), expected(&[]));
    assert_eq!(found("let text = \"crate::store\";"), expected(&[]));
}

/// Reads the block of `ARCHITECTURE.md` that is fenced as `layers`.
fn layers(text: &str) -> Vec<Block> {
    let (_, fenced) = text.split_once("```layers\n").expect("ARCHITECTURE.md has a block of layers");
    let (fenced, _) = fenced.split_once("```").expect("the block ends");
    let block = |block: &str| {
        let entries = block.lines().enumerate();
        entries
            .flat_map(|(line, names)| names.split_whitespace().map(move |name| (line, name.to_owned())))
            .collect()
    };
    fenced.split("\n\n").map(block).collect()
}

/// Returns the line and the entry of `file` for a comparison with `other`. They come from the first
/// block when the two lie in different folders of `src/`, else from the block of their folder.
fn place(blocks: &[Block], file: &str, other: &str) -> Option<(usize, String)> {
    let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let same_folder = top(file) == top(other);
    let block = if same_folder {
        let folder = top(file);
        let inside = |block: &&Block| block.iter().all(|(_, entry)| top(entry) == folder);
        match blocks.iter().skip(1).find(inside) {
            Some(block) => block,
            // In a folder without a block, only circles are forbidden.
            None => return Some((0, folder)),
        }
    } else {
        blocks.first()?
    };
    let matching = block.iter().filter_map(|(line, entry)| {
        let name = match entry.strip_suffix("/*") {
            Some(parent) => {
                let child = file.strip_prefix(parent)?.strip_prefix('/')?.split('/').next()?;
                format!("{parent}/{child}")
            }
            None => entry.clone(),
        };
        let rest = file.strip_prefix(name.as_str())?;
        // An entry that names the file wins over one with a star.
        let strength = name.len() * 2 - usize::from(entry.ends_with('*'));
        (rest.is_empty() || rest.starts_with('/')).then_some((strength, *line, name))
    });
    matching.max().map(|(_, line, name)| (line, name))
}

impl Sources {
    fn read() -> Self {
        let mut texts = BTreeMap::new();
        collect(Path::new("src"), &mut texts);
        let reexports = reexports(&texts);
        let tests = test_files(&texts);
        let files = texts
            .iter()
            .filter(|(file, _)| !tests.contains(*file))
            .map(|(file, text)| {
                let imports =
                    imports_of(file, text).into_iter().filter_map(|path| target(&path, &texts, &reexports));
                let imports = imports.filter(|import| import != file && !tests.contains(import));
                // A module that declares and re-exports its children does not import them.
                (file.clone(), imports.collect())
            })
            .collect();
        Self { files }
    }
}

fn collect(folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // The programs are the top layer and import the library by its name.
            if path != Path::new("src/bin") {
                collect(&path, texts);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix("src").unwrap().with_extension("");
            texts.insert(name.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}

/// Returns the files whose module is declared under `#[cfg(test)]`. They hold only tests or helpers
/// of tests.
fn test_files(texts: &BTreeMap<String, String>) -> BTreeSet<String> {
    let declaration = Regex::new(
        r#"#\[cfg\(test\)\]\s*(?:#\[path = "([^"]+)\.rs"\]\s*)?(?:pub(?:\([^)]*\))? )?mod (\w+);"#,
    )
    .unwrap();
    let mut modules = Vec::new();
    for (file, text) in texts {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for found in declaration.captures_iter(text) {
            let in_own_folder = file.ends_with("/mod") || file == "lib" || found.get(1).is_some();
            let parent = if in_own_folder { folder } else { file.as_str() };
            let name = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
            modules.push(format!("{parent}/{name}").trim_start_matches('/').to_owned());
        }
    }
    let is_test = |file: &&String| {
        modules.iter().any(|module| *file == module || file.starts_with(&format!("{module}/")))
    };
    texts.keys().filter(is_test).cloned().collect()
}

/// Returns the paths that `text` names below `crate::` and `super::`, as paths from the root of the
/// crate.
fn imports_of(file: &str, text: &str) -> Vec<String> {
    let text = without_tests(&without_comments(text));
    let module: Vec<&str> = file.split('/').filter(|part| *part != "mod" && *part != "lib").collect();
    let absolute = |path: &str| -> Option<String> {
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut base: Vec<&str> = Vec::new();
        match parts[0] {
            "crate" => drop(parts.remove(0)),
            "super" | "self" => {
                base.clone_from(&module);
                while parts.first().is_some_and(|part| *part == "super") {
                    parts.remove(0);
                    base.pop();
                }
                parts.retain(|part| *part != "self");
            }
            _ => return None,
        }
        base.extend(parts.into_iter().filter(|part| *part != "self" && *part != "*"));
        Some(base.join("::"))
    };
    static USES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap());
    static INLINE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap());
    let mut found = Vec::new();
    for import in USES.captures_iter(&text) {
        let (public, tree) = (import.get(1).is_some(), &import[2]);
        for path in expand(tree) {
            // `pub use child::Item` in a `mod.rs` does not count as an import.
            if !public || path.starts_with("crate::") {
                found.extend(absolute(&path));
            }
        }
    }
    let rest = USES.replace_all(&text, "");
    found.extend(INLINE.find_iter(&rest).filter_map(|path| absolute(path.as_str())));
    found
}

/// Expands the braces of a `use`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![path.to_owned()];
    };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let nested = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(expand);
    nested.map(|path| format!("{prefix}{path}")).collect()
}

/// Removes comments and the contents of strings.
fn without_comments(text: &str) -> String {
    let tokens =
        Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|r#".*?"#|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.[^']*)'"##).unwrap();
    tokens.replace_all(text, "").into_owned()
}

/// Removes items under `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(begin) = text.find("#[cfg(test)]") {
        let (mut depth, mut end) = (0, text.len());
        for (at, character) in text[begin..].char_indices().skip("#[cfg(test)]".len()) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(character, '}' | ';') {
                end = begin + at + 1;
                break;
            }
        }
        text.replace_range(begin..end, "");
    }
    text
}

/// Returns the re-exports of each `mod.rs`, as the path of the name and the path of the item.
fn reexports(texts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let uses = Regex::new(r"(?m)^pub(?:\([^)]*\))?\s+use\s+([^;]+);").unwrap();
    let mut found = BTreeMap::new();
    for (file, text) in texts.iter().filter(|(file, _)| file.ends_with("mod")) {
        let module = file.trim_end_matches("mod").trim_end_matches('/').replace('/', "::");
        for import in uses.captures_iter(&without_comments(text)) {
            for path in expand(&import[1]) {
                let item = match path.strip_prefix("crate::") {
                    Some(path) => path.to_owned(),
                    None => format!("{module}::{}", path.trim_start_matches("self::")),
                };
                let name = path.rsplit("::").next().unwrap_or_default();
                found.insert(format!("{module}::{name}"), item);
            }
        }
    }
    found
}

/// Returns the file that holds the item at `path`.
fn target(
    path: &str,
    texts: &BTreeMap<String, String>,
    reexports: &BTreeMap<String, String>,
) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..4 {
        let parts: Vec<&str> = path.split("::").collect();
        let prefixes = (1..=parts.len()).rev().map(|len| (len, parts[..len].join("::")));
        let mut moved = prefixes.filter_map(|(len, prefix)| {
            let item = reexports.get(&prefix)?;
            Some(
                std::iter::once(item.as_str())
                    .chain(parts[len..].iter().copied())
                    .collect::<Vec<_>>()
                    .join("::"),
            )
        });
        match moved.next() {
            Some(item) if item != path => path = item,
            _ => break,
        }
    }
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len()).rev().find_map(|len| {
        let file = parts[..len].join("/");
        let folder = format!("{file}/mod");
        if texts.contains_key(&file) { Some(file) } else { texts.contains_key(&folder).then_some(folder) }
    })
}

/// Returns the circles of the graph. Each is a text that lists its files.
fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in graph.get(file).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, all) in &reached {
        if all.contains(file) {
            let circle: Vec<&str> = all
                .iter()
                .copied()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(file)))
                .collect();
            found.insert(circle.join(" <-> "));
        }
    }
    found.into_iter().collect()
}
