//! The command line.
#![expect(clippy::print_stderr, reason = "what commands print is what they are for")]

mod check;
mod explain;
mod key;
mod live;
mod openapi;
mod providers;
mod refreshing;
mod routes;
mod running;
mod store;
mod token;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};

use crate::config::{self, Environment, Load, Loaded, Problems, meant_method};
use crate::credential::live::MayRotate;
use crate::{app, demo};

/// Something went wrong that is no mistake of the command line or the configuration.
const FAILED: u8 = 1;
/// The configuration is invalid. (2 is clap's, for mistakes of the command line.)
const INVALID_CONFIGURATION: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `run`: stopped as asked, after draining
  1  failed: it could not start, no route answers (`explain`), there is no token (`token`), or something
     does not work (`check --live`)
  2  the command line is wrong
  3  the configuration is invalid; every problem of it is on standard error";

/// A reverse proxy that attaches credentials to requests to third-party APIs, and keeps the tokens alive.
///
/// Applications call attache in place of an API. It finds the route, attaches the credential that the upstream wants
/// (fetched, cached and renewed by itself), and streams the answer back: no application holds a third-party secret.
///
/// Begin with `attache demo`, which needs no configuration. Then write a proxy.toml, look at it with `attache check`
/// and `attache explain`, and serve it with `attache run`.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests
    ///
    /// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once. SIGHUP reads the configuration again:
    /// an invalid one is refused, and the last one goes on serving.
    Run {
        #[command(flatten)]
        file: File,
        /// Apply changes of the file without a signal
        ///
        /// Files that replace the old one (by renaming, or behind a symlink) apply at once; a file that is written in
        /// place applies when it was not changed for 2 s. Certificates and secret files are always watched.
        #[arg(long)]
        watch: bool,
    },
    /// Check the configuration, and report every problem of it at once
    ///
    /// Reads secrets and certificates, but opens no port; without --live it also runs no `{ command }` and calls nobody.
    Check {
        #[command(flatten)]
        file: File,
        /// Read no secret and no private key: for CI, where there are none
        #[arg(long, conflicts_with = "live")]
        no_secrets: bool,
        /// Also fetch every token and connect to every upstream
        ///
        /// Says of each whether it works, and if not, what failed and the likely cause. The tokens are thrown away, and
        /// no request is sent to an upstream: whether a fixed key is right, only its API can tell.
        #[arg(long)]
        live: bool,
        /// Also fetch tokens that end the ones in use (`single_active`)
        #[arg(long, requires = "live")]
        may_rotate: bool,
    },
    /// Fetch a token, and tell what the token endpoint said
    ///
    /// Shows every request and answer as they were, step by step, with each secret as its length and the beginning of its
    /// SHA-256; then how the token and its lifetime were read and what it says of itself, or why there is none and the likely
    /// cause. The token is thrown away.
    Token {
        /// The credential's name in proxy.toml
        name: String,
        #[command(flatten)]
        file: File,
        /// Print the bare token and nothing else, for scripts; refused on a terminal
        #[arg(long)]
        print: bool,
        /// Fetch one even if that ends the one in use (`single_active`); without it, a running instance is asked instead
        #[arg(long)]
        may_rotate: bool,
        /// Where tokens are for subjects that come with requests: a file with the subject token of one
        ///
        /// It goes to the token endpoint, and is shown as every secret is.
        #[arg(long, value_name = "FILE")]
        subject_token_file: Option<PathBuf>,
    },
    /// Make API keys for clients
    #[command(subcommand)]
    Key(Key),
    /// Look after the store
    #[command(subcommand)]
    Store(Store),
    /// List the routes: which requests go where, and who may call
    Routes {
        #[command(flatten)]
        file: File,
    },
    /// Say what would happen to a request
    ///
    /// Which route matches, who may call it, and what would be sent upstream, with the credential's name in place of
    /// its value. Reads no secret and sends nothing.
    #[command(after_help = "Example: attache explain GET http://localhost:8080/crm/customers/7")]
    Explain {
        /// The request's method, in capitals as a rule
        method: http::Method,
        /// The URL that an application would ask for, or only its path
        url: explain::Asked,
        #[command(flatten)]
        file: File,
    },
    /// Print the OpenAPI document of the aggregates
    ///
    /// What applications ask for and are answered: paths, parameters, bodies, and the schemas of parts, as far as upstreams have
    /// an `openapi` document.
    Openapi {
        #[command(flatten)]
        file: File,
    },
    /// List the providers that there are presets for
    ///
    /// A credential that says `provider = "NAME"` needs only what is its own: an id, a secret. With NAME, says what to
    /// write, and what that stands for.
    Providers {
        /// The provider to show
        name: Option<String>,
    },
    /// Print the JSON schema of proxy.toml, for editors
    Schema,
    /// See it work: an authorization server, an API and the proxy in one process
    ///
    /// Needs no internet and no configuration, listens on the loopback address only, and prints what to try.
    Demo,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Make a key for a client
    ///
    /// Prints the key, which is kept nowhere, and the table for proxy.toml, which holds only its digest. Applications
    /// present the key as `Authorization: Bearer KEY`, as `X-Api-Key: KEY` or as the password of Basic authentication.
    New {
        /// The client's name: letters, digits, `.`, `_` and `-`
        #[arg(value_parser = key::client_name)]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum Store {
    /// Say what the store has
    ///
    /// A line for each credential whose tokens it keeps, also of those that proxy.toml no longer has. No attache may run on it
    /// meanwhile. Shows no token.
    List {
        #[command(flatten)]
        file: File,
    },
    /// Seal the store with another key
    ///
    /// Reads proxy.toml for the store and its present key. No attache may run on it meanwhile. Whenever this is interrupted,
    /// the store is there whole, with the old key or with the new one. Afterwards, let `key` in proxy.toml name the new key.
    Rekey {
        /// A file with the new key: 32 random bytes as base64 or hex
        ///
        /// `openssl rand -base64 32` prints some.
        #[arg(long, value_name = "KEY")]
        new_key_file: PathBuf,
        #[command(flatten)]
        file: File,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let done = match arguments().command {
        Command::Run { file, watch } => {
            let environment = Environment::of_process();
            return app::run(app::Options { config: file.config, environment, watch });
        }
        Command::Demo => return demo::run(),
        Command::Check { file, live: true, may_rotate, .. } => {
            app::harden();
            live::check(&file.config, permission(may_rotate), &mut std::io::stdout())
        }
        Command::Check { file, no_secrets, .. } => check::check(&file.config, no_secrets),
        Command::Token { name, file, print, may_rotate, subject_token_file } => {
            app::harden();
            let wanted = token::Wanted {
                name: &name,
                may_rotate: permission(may_rotate),
                subject: subject_token_file.as_deref(),
            };
            match print {
                true => token::print(&file.config, &wanted, std::io::stdout().is_terminal()),
                false => token::tell(&file.config, &wanted, &mut std::io::stdout()),
            }
        }
        Command::Key(Key::New { name }) => key::new(&name, &mut std::io::stdout()),
        Command::Store(Store::List { file }) => {
            app::harden();
            store::list(&file.config)
        }
        Command::Store(Store::Rekey { new_key_file, file }) => {
            app::harden();
            store::rekey(&file.config, &new_key_file)
        }
        Command::Routes { file } => file.load_without_secrets().map(|loaded| routes::list(&loaded.config)),
        Command::Explain { method, url, file } => {
            if let Some(meant) = meant_method(method.as_str()) {
                eprintln!("hint: methods are in capitals: `{method}` would be another one than {meant}");
            }
            file.load_without_secrets().and_then(|loaded| explain::explain(&loaded.config, method, url))
        }
        Command::Openapi { file } => file.load_without_secrets().map(|loaded| openapi::document(&loaded.config)),
        Command::Providers { name: None } => Ok(providers::list()),
        Command::Providers { name: Some(name) } => providers::show(&name),
        Command::Schema => Ok(config::json_schema()),
    };
    match done {
        // A reader that went away has seen what it wanted.
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err(Failure::Failed(text)) => {
            eprintln!("{text}");
            ExitCode::from(FAILED)
        }
        Err(Failure::Invalid(problems)) => {
            show(&problems);
            ExitCode::from(INVALID_CONFIGURATION)
        }
    }
}

fn permission(may_rotate: bool) -> MayRotate {
    if may_rotate { MayRotate::Yes } else { MayRotate::No }
}

/// The arguments. Mistakes in them end the process, as `--help` and `--version` do.
fn arguments() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        // It exits with 0 for what was asked for, with 2 for mistakes. Nothing can be done about a closed pipe.
        let _ = error.print();
        if let Some(file) = misplaced_file(&error) {
            eprintln!("hint: write `--config {file}`");
        }
        std::process::exit(error.exit_code())
    })
}

/// A file that stands where no argument is wanted.
fn misplaced_file(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(word) if word.ends_with(".toml") && !word.starts_with('-') => Some(word),
        _ => None,
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
enum Failure {
    Failed(String),
    Invalid(Problems),
}

impl File {
    fn load_without_secrets(&self) -> Result<Loaded, Failure> {
        load(&self.config, Load::WithoutSecrets)
    }
}

/// Loads a configuration; what is warned of is shown.
fn load(file: &std::path::Path, how: Load) -> Result<Loaded, Failure> {
    let loaded = config::load(file, &Environment::of_process(), how).map_err(Failure::Invalid)?;
    show(&loaded.warnings);
    Ok(loaded)
}

fn show(problems: &Problems) {
    let styled = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let report = problems.report(styled);
    if !report.is_empty() {
        eprintln!("{report}\n");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_how_it_ends() {
        let mut command = Cli::command();
        assert!(command.render_long_help().to_string().contains("3  the configuration is invalid"));
        command.build();
        let names: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
        let all = "run check token key store routes explain openapi providers schema demo help";
        assert_eq!(names.join(" "), all);
        assert!(command.get_subcommands().all(|command| command.get_about().is_some()));
    }

    #[test]
    fn a_file_without_its_option_is_told_where_to_stand() {
        let hint = |words: [&str; 3]| misplaced_file(&Cli::try_parse_from(words).unwrap_err()).map(str::to_owned);
        assert_eq!(hint(["attache", "check", "proxy.toml"]).as_deref(), Some("proxy.toml"));
        assert_eq!(hint(["attache", "check", "now"]), None);
    }

    #[test]
    fn what_cannot_be_asked_for_is_a_mistake_of_the_command_line() {
        for (method, url) in [("G T", "/a"), ("GET", "a/b"), ("GET", "ftp://a/b"), ("GET", "http://a b/")] {
            let refused = Cli::try_parse_from(["attache", "explain", method, url]).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{method} {url}");
        }
    }

    #[test]
    fn a_live_check_needs_the_secrets() {
        let refused = Cli::try_parse_from(["attache", "check", "--live", "--no-secrets"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(Cli::try_parse_from(["attache", "check", "--live", "--config", "p.toml"]).is_ok());
    }

    #[test]
    fn what_is_no_name_of_a_client_is_a_mistake_of_the_command_line() {
        assert!(Cli::try_parse_from(["attache", "key", "new", "billing"]).is_ok());
        for name in ["", "a b", "anyone", "a\"]"] {
            assert_eq!(Cli::try_parse_from(["attache", "key", "new", name]).unwrap_err().exit_code(), 2, "{name}");
        }
    }
}
