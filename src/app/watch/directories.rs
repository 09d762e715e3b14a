//! The directories in which something has to happen for a path to lead elsewhere, or to change what it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// As many symlinks are followed as Linux follows.
const LINKS_MAX: usize = 40;

/// Which directory it is, whatever it is called. With when it was made, since a new one may get the number of an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    created: Option<SystemTime>,
}

/// Each directory once: a second watch under another name would end with the first.
pub(super) type Directories = BTreeMap<Identity, PathBuf>;

/// All that decide what these paths lead to. What cannot be looked at is left out.
pub(super) fn deciding<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Directories {
    let found: BTreeSet<_> = paths.into_iter().flat_map(|path| on_the_way(path)).collect();
    found.into_iter().filter_map(|path| Some((identity(&path)?, path))).collect()
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Identity { device: metadata.dev(), inode: metadata.ino(), created: metadata.created().ok() })
}

/// The directories that hold a symlink on the way, and the one that holds its end, or where the way breaks off. Absolute and
/// free of symlinks.
fn on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(mut ahead) = std::path::absolute(path) else { return found };
    let mut at = PathBuf::from("/");
    let mut links = 0;
    loop {
        let mut components = ahead.components();
        let Some(step) = components.next() else { return found };
        let behind = components.as_path().to_owned();
        match step {
            Component::RootDir => at = PathBuf::from("/"),
            // No symlink led here, so what is above is what the path says.
            Component::ParentDir => drop(at.pop()),
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                let next = at.join(name);
                if let Ok(target) = std::fs::read_link(&next) {
                    found.insert(at.clone());
                    links += 1;
                    if links > LINKS_MAX {
                        return found;
                    }
                    ahead = target.join(behind);
                    continue;
                }
                if behind.as_os_str().is_empty() || !next.is_dir() {
                    found.insert(at);
                    return found;
                }
                at = next;
            }
        }
        ahead = behind;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder, by its name without symlinks.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn found(path: impl AsRef<Path>, folder: &Path) -> Vec<String> {
        let found = on_the_way(path.as_ref());
        let inside = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.to_str().unwrap().to_owned());
        found.iter().filter_map(inside).collect()
    }

    #[test]
    fn every_link_on_the_way_counts_and_the_end() {
        let (_folder, root) = folder();
        for name in ["store", "live", "r1", "r1/keys"] {
            create_dir(root.join(name)).unwrap();
        }
        write(root.join("store/real"), "").unwrap();
        write(root.join("r1/keys/key"), "").unwrap();
        symlink("../store/real", root.join("live/relative")).unwrap();
        symlink(root.join("live/relative"), root.join("absolute")).unwrap();
        symlink("r1", root.join("current")).unwrap();
        symlink("current/keys", root.join("keys")).unwrap();
        assert_eq!(found(root.join("store/real"), &root), ["store"]);
        assert_eq!(found(root.join("live/../store/./real"), &root), ["store"]);
        assert_eq!(found(root.join("live/relative"), &root), ["live", "store"]);
        assert_eq!(found(root.join("absolute"), &root), ["", "live", "store"]);
        assert_eq!(found(root.join("current/keys/key"), &root), ["", "r1/keys"]);
        assert_eq!(found(root.join("keys/key"), &root), ["", "r1/keys"]);
        assert_eq!(
            found(root.join("keys/../keys/key"), &root),
            ["", "r1/keys"],
            "`..` is above what the link leads to"
        );
    }

    #[test]
    fn a_way_that_breaks_off_counts_to_where_it_does() {
        let (_folder, root) = folder();
        write(root.join("file"), "").unwrap();
        symlink("nothing/here", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for path in ["missing", "missing/file", "file/below", "dangling", "loop", "loop/file"] {
            assert_eq!(found(root.join(path), &root), [""], "{path}");
        }
        assert_eq!(on_the_way(Path::new("Cargo.toml")), BTreeSet::from([std::env::current_dir().unwrap()]));
        assert_eq!(on_the_way(Path::new("")), BTreeSet::new());
    }

    #[test]
    fn a_directory_counts_once_and_is_another_when_it_is_made_anew() {
        let (_folder, root) = folder();
        let file = root.join("d/file");
        create_dir(root.join("d")).unwrap();
        symlink("d", root.join("link")).unwrap();
        let before = deciding([&file, &root.join("d/other"), &root.join("link/file")]);
        assert_eq!(before.values().collect::<BTreeSet<_>>(), BTreeSet::from([&root, &root.join("d")]));
        std::fs::rename(root.join("d"), root.join("old")).unwrap();
        create_dir(root.join("d")).unwrap();
        let after = deciding([&file]);
        assert_eq!(after.values().collect::<Vec<_>>(), [&root.join("d")]);
        assert!(after.keys().all(|identity| !before.contains_key(identity)));
    }
}
