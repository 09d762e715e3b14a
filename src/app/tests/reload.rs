//! Reloading under load.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::process::{child, log_text, said};
use super::rig::breathe;
use super::*;
use crate::config::Environment;

/// Clients that send requests without a pause, on connections that are kept and on new ones.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(rig: &Rig) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = rig.running().addresses()[0];
        let threads = (0..4).map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        client = Client::connect(address);
                    }
                    let answer = client.get("/x");
                    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Load { stop, answered, threads }
    }

    /// Waits until further requests have been answered from start to end.
    fn goes_on(&self) {
        let wanted = self.answered.load(Ordering::Relaxed) + 20;
        while self.answered.load(Ordering::Relaxed) < wanted {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a request failed");
            breathe();
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// SEC-38: an invalid reload under load leaves everything as it is: no request fails, a metric tells.
#[test]
fn an_invalid_reload_changes_nothing() {
    let rig = Rig::start("");
    let load = Load::start(&rig);
    load.goes_on();
    for broken in
        ["this is no TOML", &rig.toml("[upstreams.other]\nurl = \"http://127.0.0.1:1\"\ncredential = \"none\"\n")]
    {
        let error = rig.reload(broken).unwrap_err();
        assert!(error.contains("proxy.toml"), "{error}");
        load.goes_on();
    }
    let metrics = rig.admin("/metrics").body;
    assert!(metrics.contains(r#"attache_config_reloads_total{result="refused"} 2"#), "{metrics}");
    assert!(metrics.contains("attache_config_last_reload_refused 1"), "{metrics}");
    load.stop();
}

/// SEC-39: a valid reload under load, with a listener more and a listener less: no request fails.
#[test]
fn listeners_come_and_go_without_a_failed_request() {
    let rig = Rig::start("");
    let load = Load::start(&rig);
    load.goes_on();
    let more = rig.toml("") + "\n[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    rig.reload(&more).unwrap();
    let addresses = rig.running().addresses();
    assert_eq!(addresses.len(), 2);
    let mut second = Client::connect(addresses[1]);
    assert_eq!(second.get("/x").body, "hello");
    load.goes_on();
    rig.reload(&rig.toml("")).unwrap();
    load.goes_on();
    assert_eq!(rig.running().addresses(), addresses[..1], "the first was never closed");
    assert_eq!(second.rest().unwrap(), "", "what came in by a listener ends with it");
    let refused = loop {
        // The sockets close as soon as the workers have taken what was queued.
        if let Err(error) = std::net::TcpStream::connect(addresses[1]) {
            break error;
        }
        breathe();
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    load.stop();
}

/// SEC-39: what is in flight keeps the configuration that it began with.
#[test]
fn a_stream_goes_on_across_a_reload() {
    let rig = Rig::start("");
    let mut client = rig.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let go_on = rig.upstream.slow.recv().unwrap();
    rig.reload(&rig.toml("").replace("path = \"/{*rest}\"", "path = \"/other/{*rest}\"")).unwrap();
    assert_eq!(rig.client().get("/x").status, 404, "new requests see the new routes");
    go_on.send(()).unwrap();
    client.send("GET /other/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let rest = client.rest().unwrap();
    assert!(rest.starts_with("5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\nHTTP/1.1 200"), "{rest}");
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name() {
    let rig = Rig::start("[server]\nworkers = 2\n");
    let error = rig.reload(&rig.toml("[server]\nworkers = 1\n")).unwrap_err();
    assert!(error.contains("[server] workers") && error.contains("hint"), "{error}");
    let moved = rig.toml("[server]\nworkers = 2\n").replace("[admin]\naddress = \"127.0.0.1:0\"", "");
    let error = rig.reload(&moved).unwrap_err();
    assert!(error.contains("[admin]"), "{error}");
    let more = "[server]\nworkers = 2\nlimits.replay_memory_bytes_max = 1048576\n";
    let error = rig.reload(&rig.toml(more)).unwrap_err();
    assert!(error.contains("limits.replay_memory_bytes_max") && error.contains("restart"), "{error}");
    assert_eq!(rig.client().get("/x").status, 200);
}

#[test]
fn an_address_that_cannot_be_bound_refuses_the_reload_as_a_whole() {
    let rig = Rig::start("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("[[listeners]]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    let error = rig.reload(&rig.toml(&more)).unwrap_err();
    assert!(error.contains("in use"), "{error}");
    assert_eq!(rig.running().addresses().len(), 1);
    assert_eq!(rig.client().get("/x").status, 200);
}

/// Everything that is taken is named at once: every listener, and the admin pages.
#[test]
fn a_second_instance_is_told_of_every_address_that_is_in_use() {
    let rig = Rig::start("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    let (addresses, admin) = (rig.running().addresses(), rig.running().admin_address().unwrap());
    let mut fixed = rig.toml("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    for address in [addresses[0], addresses[1], admin] {
        fixed = fixed.replacen("127.0.0.1:0", &address.to_string(), 1);
    }
    rig.write(&fixed);
    let errors = crate::app::start(rig.options(false)).unwrap_err().0;
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, address) in errors.iter().zip([addresses[0], addresses[1], admin]) {
        assert!(error.contains(&address.to_string()) && error.contains("another instance"), "{error}");
    }
    assert!(errors[2].contains("[admin]"), "{errors:?}");
}

/// SEC-13: the warnings of a reload are logged as those of the start are, each in a line of its own.
#[test]
fn the_warnings_of_a_reload_are_logged() {
    let output = child("app::tests::reload::the_warnings_of_a_reload_are_logged", || {
        log_text();
        let rig = Rig::start("");
        rig.reload(&rig.toml("[upstreams.unused]\nurl = \"https://api.example\"\n")).unwrap();
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    let warned: Vec<_> = said.lines().filter(|line| line.contains("no route goes to the upstream")).collect();
    assert_eq!(warned.len(), 1, "{said}");
    assert!(
        warned[0].contains(" WARN ") && warned[0].contains("proxy.toml:1") && warned[0].contains("hint="),
        "{said}"
    );
}

/// SEC-13: a rotated secret is warned of for what is wrong with it, and nothing else is said again.
#[test]
fn a_rotated_secret_repeats_no_warning() {
    let output = child("app::tests::reload::a_rotated_secret_repeats_no_warning", || {
        log_text();
        let rig = Rig::start("");
        let rotate = |secret: &str, reloads: usize| {
            let new = rig.folder.path().join("secret.new");
            std::fs::write(&new, secret).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(new, rig.folder.path().join("secret")).unwrap();
            let applied = format!("attache_config_reloads_total{{result=\"applied\"}} {reloads}");
            rig.wait_for_admin("/metrics", |page| page.body.contains(&applied));
        };
        rotate("a secret of enough length", 0);
        let more = "[credentials.maps.bearer]\ntoken = { file = \"secret\" }\n\
                    [upstreams.unused]\nurl = \"https://api.example\"\ncredential = \"maps\"\n";
        rig.reload(&rig.toml(more)).unwrap();
        rotate("another of enough length", 2);
        rotate("too short", 3);
        rotate("short, too", 4);
        rig.reload(&rig.toml(more)).unwrap();
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    let warned = |what: &str| said.lines().filter(|line| line.contains(" WARN ") && line.contains(what)).count();
    assert_eq!((warned("no route goes to"), warned("is shorter than 16 bytes")), (2, 2), "{said}");
}

/// More warnings than are logged are no errors.
#[test]
fn too_many_warnings_are_counted_as_warnings() {
    let output = child("app::tests::reload::too_many_warnings_are_counted_as_warnings", || {
        log_text();
        let rig = Rig::start("");
        let unused = |number| format!("[upstreams.unused{number}]\nurl = \"https://api.example\"\n");
        rig.reload(&rig.toml(&(0..102).map(unused).collect::<String>())).unwrap();
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    let line = said.lines().find(|line| line.contains("there are more problems")).expect(&said);
    assert!(line.contains(" WARN ") && line.contains("more=2"), "{line}");
    assert!(!said.contains(" ERROR "), "{said}");
}

/// Whoever has changed a variable and reloads is told that it did not help.
#[test]
fn a_reload_says_that_the_environment_stays_as_it_is() {
    let output = child("app::tests::reload::a_reload_says_that_the_environment_stays_as_it_is", || {
        log_text();
        let mut rig = Rig::start("");
        rig.reload(&rig.toml("")).unwrap();
        crate::app::log::flush();
        tracing::info!("now with variables");
        rig.take().shutdown();
        let credential = |name| format!("[credentials.{name}.bearer]\ntoken = {{ env = \"{name}\" }}\n");
        rig.write(&rig.toml(&(credential("ONE") + &credential("OTHER"))));
        let variables = ["ONE", "OTHER"].map(|name| (name.to_owned(), "a-planted-secret-of-the-test".to_owned()));
        let options = crate::app::Options { environment: Environment(variables.into()), ..rig.options(false) };
        crate::app::start(options).unwrap().reload().unwrap();
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    let (without, with) = said.split_once("now with variables").expect("it was logged");
    let told = "`{ env }` gives what it gave at the start";
    assert_eq!((without.matches(told).count(), with.matches(told).count()), (0, 1), "{said}");
    let line = with.lines().find(|line| line.contains(told)).unwrap();
    assert!(line.contains(" INFO ") && line.contains("variables=ONE,OTHER"), "{line}");
    assert!(!said.contains("a-planted-secret"), "{said}");
}

/// SEC-38: the log says of each problem what is wrong, where, and what to do, in a line of its own.
#[test]
fn every_problem_of_a_refused_reload_is_a_line() {
    let output = child("app::tests::reload::every_problem_of_a_refused_reload_is_a_line", || {
        log_text();
        let rig = Rig::start("");
        rig.reload(&rig.toml("[server]\nworker = 2\n[log]\nlevels = \"info\"\n")).unwrap_err();
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    let refused: Vec<_> = said.lines().filter(|line| line.contains("the configuration was not reloaded")).collect();
    assert_eq!(refused.len(), 2, "{said}");
    for (line, (at, hint)) in refused.iter().zip([("proxy.toml:2", "workers"), ("proxy.toml:4", "level")]) {
        assert!(line.contains(at) && line.contains("hint=") && line.contains(hint), "{line}");
        assert!(!line.contains("\\n"), "{line}");
    }
}
