//! What the program is packaged with.

use std::path::Path;

use crate::sources::file;

/// A path that was moved would break the image, which no other test builds.
#[test]
fn the_dockerfile_copies_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = file("Dockerfile");
    let copies = dockerfile.text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let mut paths: Vec<&str> = Vec::new();
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let (copied, _) = copy.rsplit_once(' ').expect("COPY names what and whereto");
        paths.extend(copied.split(' '));
    }
    assert!(paths.len() > 5, "{paths:?}");
    let missing: Vec<_> = paths.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Whatever file the manifest names has to be among them, or cargo refuses the manifest.
    let manifest = file("Cargo.toml");
    for named in manifest.text.lines().filter_map(|line| line.strip_prefix("path = ")) {
        let named = Path::new(named.trim_matches('"'));
        assert!(paths.iter().any(|path| named.starts_with(path)), "{} is not copied", named.display());
    }
}
