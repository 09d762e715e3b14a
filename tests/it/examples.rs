//! Every proxy.toml that the documentation shows is one that attache takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use attache::config::{Environment, Load, load};

use crate::sources::below;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub const SECRET: &str = "a-secret-of-the-examples";

/// What stands in a text between each of these and the next quote.
fn quoted<'t>(text: &'t str, behind: &str) -> Vec<&'t str> {
    text.split(behind).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect()
}

/// The environment of whoever follows the documentation: every variable that the text names.
pub fn environment(text: &str) -> Environment {
    let value = |name: &str| match name.ends_with("_URI") {
        true => "http://169.254.170.23/v1/credentials".to_owned(),
        false => SECRET.to_owned(),
    };
    Environment(quoted(text, "env = \"").into_iter().map(|name| (name.to_owned(), value(name))).collect())
}

/// What the documentation keeps in a file of this name.
fn content(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, "json")) => serde_json::json!({
            "type": "service_account",
            "client_email": "robot@example.iam.gserviceaccount.com",
            "private_key_id": "7",
            "private_key": fs::read_to_string(format!("{ROOT}/src/jws/keys/rsa.pem")).unwrap(),
            "token_uri": "https://oauth2.googleapis.com/token",
        })
        .to_string(),
        _ if name == "store-key" => "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n".to_owned(),
        Some(("github" | "github-app", "pem")) => fs::read_to_string(format!("{ROOT}/src/jws/keys/rsa.pem")).unwrap(),
        Some((_, "pem" | "p8")) => fs::read_to_string(format!("{ROOT}/src/jws/keys/p256.pem")).unwrap(),
        _ => format!("{SECRET}\n"),
    }
}

/// The `toml` blocks of a page, with the line each begins at. What is not a whole proxy.toml is written as plain text.
pub fn blocks(page: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() == "```toml" {
            let block = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            blocks.push((number + 2, block.collect::<Vec<_>>().join("\n")));
        }
    }
    blocks
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = below("docs", "md").iter().map(|page| Path::new(ROOT).join(&page.path)).collect();
    pages.extend(["README.md", "ARCHITECTURE.md"].map(|name| Path::new(ROOT).join(name)));
    pages
}

/// A folder with the certificates that examples name, made as they say.
fn folder_with_certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made =
        Command::new("sh").arg(format!("{ROOT}/certs/make.sh")).arg(folder.path().join("certs")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

/// Writes the secrets that a text names into this folder, and has the text name them there: examples keep their files in
/// /run/secrets.
pub fn with_secrets_in(folder: &Path, text: &str) -> String {
    for name in [quoted(text, "/run/secrets/"), quoted(text, "{ credential = \"")].concat() {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content(name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file, mode).unwrap();
    }
    let in_folder = format!("\"{}/", folder.display());
    let text = text.replace("\"/var/run/secrets/", &in_folder).replace("\"/run/secrets/", &in_folder);
    text.replace("\"certs/", &format!("\"{}/certs/", folder.display()))
}

/// Loads a text as proxy.toml in this folder.
fn problems(folder: &Path, text: &str) -> Option<String> {
    let file = folder.join("proxy.toml");
    fs::write(&file, with_secrets_in(folder, text)).unwrap();
    let mut environment = environment(text);
    environment.0.insert("CREDENTIALS_DIRECTORY".to_owned(), folder.display().to_string());
    load(&file, &environment, Load::WithoutCommands).err().map(|problems| problems.to_string())
}

#[test]
fn every_example_in_the_documentation_loads() {
    let folder = folder_with_certificates();
    let mut count = BTreeMap::new();
    for page in pages() {
        for (line, block) in blocks(&page) {
            if let Some(problems) = problems(folder.path(), &block) {
                panic!("{}:{line}: {problems}", page.display());
            }
            *count.entry(page.file_name().unwrap().to_string_lossy().into_owned()).or_insert(0) += 1;
        }
    }
    assert!(count.contains_key("README.md") && count.contains_key("configuration.md"), "{count:?}");
    assert_eq!(count.get("login.md"), Some(&3), "{count:?}");
    assert_eq!(count.get("aggregates.md"), Some(&5), "{count:?}");
}

#[test]
fn the_demos_proxy_toml_loads_without_a_warning() {
    let text = fs::read_to_string(format!("{ROOT}/proxy.toml")).unwrap();
    let loaded = load(Path::new(ROOT).join("proxy.toml").as_path(), &environment(&text), Load::Full);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.problems.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.routes.len(), 3);
}

/// The script must also be harmless when it runs again: keys that are in use stay.
#[test]
fn development_certificates_are_made_once() {
    let folder = folder_with_certificates();
    let key = folder.path().join("certs/proxy.key");
    let before = fs::read(&key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again =
        Command::new("sh").arg(format!("{ROOT}/certs/make.sh")).arg(folder.path().join("certs")).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    assert!(fs::read(&key).unwrap() == before);
}
