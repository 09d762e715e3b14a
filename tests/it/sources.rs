//! The repository's own files, for the tests that read them.

use std::fs;
use std::path::Path;

/// A file of the repository: its path from the root, with slashes, and its text.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// One file.
pub fn file(path: &str) -> Source {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("reading {path}: {error}"));
    Source { path: path.to_owned(), text }
}

/// All files below a directory with this extension, by path.
pub fn below(directory: &str, extension: &str) -> Vec<Source> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
        .unwrap_or_else(|error| panic!("reading the directory {directory}: {error}"));
    let mut sources = Vec::new();
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("reading the directory {directory}: {error}"));
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources.extend(below(&path, extension));
        } else if entry.path().extension().is_some_and(|own| own == extension) {
            sources.push(file(&path));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}
