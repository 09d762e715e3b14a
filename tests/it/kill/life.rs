//! The life of a process that is killed: it opens its store, uses the token that is there, rotates, and uses the new one.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use attache::clock::SystemClock;
use attache::config::{self, Environment, Load};
use attache::credential::{Credential, Declared};
use attache::snapshot::{Living, Snapshot};
use attache::token::Rejected;
use attache::token::store::{FileStore, OpenDatabase};
use redb::Database;
use redb::backends::FileBackend;

use super::disk::{Disk, Fate};

/// How long a life may take that nobody ends.
const LIFE_MAX: Duration = Duration::from_secs(20);

#[test]
#[ignore = "it is what another test runs and kills"]
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn a_life() {
    if std::env::var_os("LIFE").is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).ok();
    let death = variable("DEATH").map(|death| {
        let at = variable("DEATH_AT").and_then(|at| at.parse().ok()).expect("a death has its time");
        (death.parse().expect("a death"), at)
    });
    static FATE: OnceLock<Mutex<Fate>> = OnceLock::new();
    let fate = FATE.get_or_init(|| Mutex::new(Fate::new(death)));
    let loaded = config::load(Path::new("proxy.toml"), &Environment::of_process(), Load::Full).expect("it is valid");
    let config::Store::File { path, key } = &loaded.config.store else { panic!("there is a store") };
    let open: OpenDatabase = Box::new({
        let path = path.clone();
        move || {
            let file = FileBackend::new(OpenOptions::new().read(true).write(true).open(&path)?)?;
            Database::builder().set_check_integrity_on_open(true).create_with_backend(Disk { file, fate })
        }
    });
    let store = Arc::new(FileStore::open_by(path, key, open).unwrap_or_else(|error| panic!("{error}")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are runtimes");
    let clock = Arc::new(SystemClock);
    let living = Living::with_store(&loaded.config, clock, runtime.handle().clone(), store);
    let life = async { tokio::time::timeout(LIFE_MAX, rotate(&loaded.config, &living)).await };
    runtime.block_on(life).expect("a life is short");
    println!("writes {}", fate.lock().unwrap().writes());
}

#[expect(clippy::print_stdout, reason = "its parent reads it")]
async fn rotate(config: &config::Config, living: &Living) {
    let snapshot = Snapshot::compile(config, living);
    let Declared::Shared(credential) = &snapshot.credentials[0] else { panic!("it is for all requests") };
    let Credential::Token(token) = &**credential else { panic!("it has a token") };
    let first = token.cell.take(LIFE_MAX).await.unwrap_or_else(|error| panic!("{error:?}"));
    println!("used {}", first.value.expose());
    // The secret is another one than in the last life, so taking the token has begun its renewal. Who says that it was rejected
    // is given the new one in the moment that it can be used.
    if let Rejected::Replay(second) = token.cell.rejected(first.generation, true, LIFE_MAX).await {
        println!("used {}", second.value.expose());
    }
    living.tokens.drained().await;
    assert_ne!(token.cell.status().state, "needs_reauthorization", "the refresh token is lost");
}
