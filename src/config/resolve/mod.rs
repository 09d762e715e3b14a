//! From the file to [`Config`]: defaults, references, secrets. Collects every problem.

mod aggregate;
mod answer;
mod api_key;
mod attach;
mod base_url;
mod certificates;
mod client;
mod client_proof;
mod command;
mod credential;
mod disk;
mod dpop;
mod duration;
mod fields;
mod fields_grant;
mod fresh;
mod github_app;
mod headers;
mod jwt_bearer;
mod key_file;
mod known;
mod login;
mod metadata;
mod named;
mod preset;
mod process;
mod route;
mod secrets;
mod seeds;
mod signature;
mod store;
mod subject;
mod unused;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use self::fields::{Fields, Text};
pub use self::fresh::{FreshSecret, Unread};
pub use self::named::is_name;
pub(super) use self::preset::expansion;
pub use self::route::meant_method;
pub(crate) use self::secrets::is_cookie_value;
pub use self::store::store_key_of;
use super::file::{ROOT, Value, check, leaves, mask, mask_unparsed};
use super::problem::Severity;
use super::{Config, HttpUrl, Log, LogFormat, Problem, Problems, UrlFlaw};

/// A file larger than this is none of ours.
const CONFIG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The environment as `{ env = "NAME" }` sees it. An argument, so that the demo and tests set none.
#[derive(Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The process's own. Variables that are no UTF-8 are left out.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment(std::env::vars_os().filter_map(utf8).collect())
    }
}

/// How far loading goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Everything, secret commands included.
    Full,
    /// Secret commands are not run (`attache check`).
    WithoutCommands,
    /// No secret is read at all (`attache check --no-secrets`).
    WithoutSecrets,
}

/// A configuration with what was noticed on the way.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// What works but deserves a look (a world-readable secret file, a secret too short to be masked in bodies).
    pub warnings: Problems,
    /// Files whose change means a reload: proxy.toml itself excluded; certificates, keys and secret files.
    pub watched: Vec<PathBuf>,
    /// The variables that `{ env }` names.
    pub variables: BTreeSet<String>,
    /// What was resolved, so that changed secrets can be read again without applying an edit of the file (SEC-44).
    pub text: Arc<str>,
}

/// Reads and resolves a file. Blocking: it reads files and may run commands, each for at most 10 s.
pub fn load(file: &Path, environment: &Environment, how: Load) -> Result<Loaded, Problems> {
    let text = match read_text(file) {
        Ok(text) => text,
        Err(problem) => return Err(problems(file, "", Severity::Error, LogFormat::Text, vec![problem])),
    };
    load_text(file, &text, environment, how)
}

/// Resolves the text of a file; paths in it are relative to the folder that `file` is in.
pub fn load_text(file: &Path, text: &str, environment: &Environment, how: Load) -> Result<Loaded, Problems> {
    let mut tree = match DeTable::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            let problem = Problem::new(format!("this is no TOML: {}", error.message()), error.span())
                .hint("until this is right, nothing else of the file can be checked");
            return Err(problems(file, &mask_unparsed(text), Severity::Error, LogFormat::Text, vec![problem]));
        }
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut reading = Reading::new(folder, environment, how);
    let mut presets = preset::expand(&mut reading, text, tree.get_mut());
    let found_before = reading.problems.len();
    let checked = check(text, tree.get_ref());
    reading.problems.extend(checked.problems);
    reading.literals.extend(checked.literals);
    let root = Fields::new(&ROOT, tree.get_ref(), 0..0);
    let log = process::log(&mut reading, &root);
    let format = log.format;
    let config = config(&mut reading, &root, log, std::mem::take(&mut presets.failed));
    presets.name_in(&mut reading.problems[found_before..]);
    presets.name_in(&mut reading.warnings);
    let resolved = Arc::from(text);
    let text = mask(text, &reading.literals);
    match config {
        Some(config) if reading.problems.is_empty() => Ok(Loaded {
            config,
            warnings: problems(file, &text, Severity::Warning, format, reading.warnings),
            watched: reading.watched.into_iter().collect(),
            variables: reading.variables,
            text: resolved,
        }),
        _ => {
            debug_assert!(!reading.problems.is_empty(), "what could not be resolved has a problem that says why");
            Err(problems(file, &text, Severity::Error, format, reading.problems))
        }
    }
}

fn config(reading: &mut Reading<'_>, root: &Fields<'_>, log: Log, failed: Vec<Text>) -> Option<Config> {
    let admin = process::admin(reading, root);
    let server = process::server(reading, root, admin.is_some());
    let listeners = process::listeners(reading, root, admin);
    let egress = process::egress(reading, root);
    let store = store::store(reading, root);
    let clients = client::clients(reading, root);
    let mut credentials = credential::credentials(reading, root);
    subject::check_clients(reading, root, &clients);
    failed.into_iter().for_each(|name| credentials.add(reading, name, None));
    let upstreams = upstream::upstreams(reading, root, &credentials);
    let routes = route::routes(reading, root, &upstreams, &clients, &listeners);
    aggregate::warn_of_memory(reading, root, server.limits.aggregate_memory_bytes_max);
    store::warn_of_forgetting(reading, root);
    unused::warn_of_unused(reading, &clients, &credentials, &upstreams, &routes);
    Some(Config {
        server,
        listeners,
        admin,
        egress: egress?,
        log,
        store: store?,
        clients: clients.into_values(),
        credentials: credentials.into_values(),
        upstreams: upstreams.into_values(),
        routes,
    })
}

/// What is wrong, and what to do.
type Why = (String, String);

/// What is collected while a file is read.
struct Reading<'a> {
    folder: PathBuf,
    environment: &'a Environment,
    how: Load,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    watched: BTreeSet<PathBuf>,
    variables: BTreeSet<String>,
    /// What must not be shown of the file.
    literals: Vec<Range<usize>>,
}

impl<'a> Reading<'a> {
    fn new(folder: &Path, environment: &'a Environment, how: Load) -> Self {
        Reading {
            folder: folder.to_owned(),
            environment,
            how,
            problems: Vec::new(),
            warnings: Vec::new(),
            watched: BTreeSet::new(),
            variables: BTreeSet::new(),
            literals: Vec::new(),
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// What a variable of the environment holds, if it is set.
    fn variable(&mut self, name: &str) -> Option<&'_ String> {
        self.variables.insert(name.to_owned());
        self.environment.0.get(name)
    }

    /// What is behind a relative path.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Keeps a text that may hold a secret out of all reports.
    fn hide(&mut self, text: &Text) {
        if text.in_file {
            self.literals.push(text.span.clone());
        }
    }

    /// The same for a value.
    fn hide_value(&mut self, value: &Value<'_>) {
        leaves(value, &mut self.literals);
    }

    /// A URL of `key`. User info may be a secret, so that it is not shown.
    fn url(&mut self, key: &str, text: &Text) -> Option<HttpUrl> {
        match HttpUrl::parse(&text.value) {
            Ok(url) => Some(url),
            Err(flaws) => {
                if may_hold_secret(&text.value) {
                    self.hide(text);
                }
                for UrlFlaw { message, hint } in flaws {
                    self.problem(Problem::new(format!("`{key}`: {message}"), text.span.clone()).hint(hint));
                }
                None
            }
        }
    }
}

/// Whether a text that is no URL for us has user info, a query with a key in it, or something like it.
fn may_hold_secret(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let colon = authority.split(':').skip(1).any(|after| !after.starts_with(|c: char| c.is_ascii_digit()));
    text.contains(['@', '?']) || colon
}

fn read_text(file: &Path) -> Result<String, Problem> {
    let name = file.display();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "let the user that attache runs as read it, and enter its folder",
            ErrorKind::IsADirectory => "this is a folder: name the file in it with `--config FILE`",
            _ => "say which file with `--config FILE`",
        };
        return Err(Problem::new(format!("cannot read {name}: {error}"), None).hint(hint));
    }
    if bytes.len() as u64 > CONFIG_FILE_BYTES_MAX {
        let problem = Problem::new(format!("{name} is larger than {CONFIG_FILE_BYTES_MAX} bytes"), None);
        return Err(problem.hint("is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(format!("{name} is not UTF-8"), None).hint("TOML is UTF-8"))
}

/// In the order of the file, each said once.
fn problems(file: &Path, text: &str, severity: Severity, format: LogFormat, mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
    problems.dedup();
    Problems { file: file.to_owned(), text: Arc::from(text), problems, severity, format }
}

#[cfg(test)]
mod tests;
