//! What is told at once, what when it has settled: neither waits for the next look without an event.

use std::fs::{create_dir_all, rename, write};
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::config::Environment;

/// A secret that is watched, in a folder of the test's own.
struct Rig {
    folder: TempDir,
    secret: PathBuf,
    watcher: Watcher,
}

impl Rig {
    /// `links`: each a target, and the path of the link to it.
    async fn start(files: &[&str], links: &[(&str, &str)], secret: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, file).unwrap();
        }
        for (target, link) in links {
            let link = folder.path().join(link);
            create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        let secret = folder.path().join(secret);
        let config = folder.path().join("proxy.toml");
        let options = Options { config, environment: Environment::default(), watch: false };
        let watcher = Watcher::new(&options, vec![secret.clone()]).await;
        let mut rig = Rig { folder, secret, watcher };
        rig.is_quiet().await;
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn swap(&self, target: &str, link: &str) {
        symlink(target, self.path("the new link")).unwrap();
        rename(self.path("the new link"), self.path(link)).unwrap();
    }

    /// Nothing is told, and nothing is left that would have been looked at without an event.
    async fn is_quiet(&mut self) {
        let told = tokio::time::timeout(Duration::from_millis(300), self.watcher.changed()).await;
        assert!(told.is_err(), "nothing has changed");
    }

    /// Waits for a change, and for the reload that follows.
    async fn is_told(&mut self, times: std::ops::Range<Duration>) {
        let begun = timer_now();
        self.watcher.changed().await;
        let took = begun.elapsed();
        assert!(times.contains(&took), "{took:?}");
        self.watcher.loading().await;
        self.watcher.watch(vec![self.secret.clone()]).await;
        self.is_quiet().await;
    }
}

const AT_ONCE: std::ops::Range<Duration> = Duration::ZERO..SETTLED;
const WHEN_SETTLED: std::ops::Range<Duration> = SETTLED..Duration::from_secs(6);

/// SEC-44: a file behind a symlink to another directory is watched, also behind the one that took its place.
#[tokio::test]
async fn a_file_in_another_directory_than_its_link_is_watched() {
    let mut rig = Rig::start(&["store/1/key", "store/2/key"], &[("../store/1/key", "live/key")], "live/key").await;
    write(rig.path("store/1/key"), "in place").unwrap();
    rig.is_told(WHEN_SETTLED).await;
    rig.swap("../store/2/key", "live/key");
    rig.is_told(AT_ONCE).await;
    write(rig.path("store/2/key"), "in place").unwrap();
    rig.is_told(WHEN_SETTLED).await;
    write(rig.path("store/1/key"), "nobody's any more").unwrap();
    rig.is_quiet().await;
}

/// SEC-44: a directory may be the link, and may be reached by another one.
#[tokio::test]
async fn a_link_to_a_directory_is_watched() {
    let files = ["releases/1/key", "releases/2/key", "releases/3/key"];
    let links = [("releases/1", "current"), ("current", "live")];
    let mut rig = Rig::start(&files, &links, "live/key").await;
    rig.swap("releases/2", "current");
    rig.is_told(AT_ONCE).await;
    rig.swap("releases/3", "live");
    rig.is_told(AT_ONCE).await;
    write(rig.path("releases/3/key"), "in place").unwrap();
    rig.is_told(WHEN_SETTLED).await;
}

/// SEC-44: a directory that takes the place of another one is watched instead of it.
#[tokio::test]
async fn a_directory_in_the_place_of_another_is_watched() {
    let mut rig = Rig::start(&["live/key", "new/key", "key"], &[], "live/key").await;
    rename(rig.path("live"), rig.path("old")).unwrap();
    rename(rig.path("new"), rig.path("live")).unwrap();
    rig.is_told(AT_ONCE).await;
    rename(rig.path("key"), rig.path("live/key")).unwrap();
    rig.is_told(AT_ONCE).await;
}

/// SEC-44: where a file is missing, its place is watched.
#[tokio::test]
async fn a_file_that_comes_back_is_told() {
    let mut rig = Rig::start(&["live/key", "new/key"], &[], "live/key").await;
    rename(rig.path("live"), rig.path("old")).unwrap();
    rig.is_told(WHEN_SETTLED).await;
    rename(rig.path("new"), rig.path("live")).unwrap();
    rig.is_told(AT_ONCE).await;
}
