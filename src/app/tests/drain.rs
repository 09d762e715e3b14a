//! The end: draining, signals, panics.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::process::{child, log_text, said};
use super::rig::breathe;
use super::*;
use crate::clock::{Clock, SystemClock};

/// SEC-40, SEC-45: on shutdown readiness goes off while listeners go on accepting; then the answer in progress ends
/// well, and its connection with it.
#[test]
fn readiness_goes_off_first_and_streams_end_well() {
    let mut rig = Rig::start("[server]\ndrain_delay = \"1s\"\n");
    let mut streaming = rig.client();
    streaming.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    streaming.head();
    let go_on = rig.upstream.slow.recv().unwrap();
    let (address, admin) = (rig.running().addresses()[0], rig.running().admin_address().unwrap());
    let running = rig.take();
    let begun = SystemClock.now();
    let ending = std::thread::spawn(move || running.shutdown());
    while Client::connect(admin).get("/readyz").status == 200 {
        assert!(SystemClock.now().since(begun) < Duration::from_secs(1), "readiness is still on");
        breathe();
    }
    assert_eq!(Client::connect(address).get("/x").body, "hello", "it goes on accepting for drain_delay");
    assert!(!ending.is_finished());
    let idle = Client::connect(address).rest().unwrap();
    assert_eq!(idle, "", "a connection without a request closes as the drain begins");
    assert!(SystemClock.now().since(begun) >= Duration::from_secs(1), "but not before");
    go_on.send(()).unwrap();
    let rest = streaming.rest().unwrap();
    assert_eq!(rest, "5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
    ending.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// SEC-40: what does not end is cut off after `drain_timeout`, does not look complete, and is not the client's fault.
#[test]
fn what_does_not_end_is_cut_off() {
    let output = child("app::tests::drain::what_does_not_end_is_cut_off", || {
        log_text();
        let mut rig = Rig::start("[server]\ndrain_delay = \"0s\"\ndrain_timeout = \"1s\"\n");
        assert_eq!(rig.client().get("/x").body, "hello");
        let begin = || {
            let mut streaming = rig.client();
            streaming.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            streaming.head();
            (streaming, rig.upstream.slow.recv().unwrap())
        };
        let ((mut streaming, _held), _other) = (begin(), begin());
        let in_progress = rig.admin("/metrics").body.lines().any(|line| line == "attache_requests_in_progress 2.0");
        assert!(in_progress, "{}", rig.admin("/metrics").body);
        let begun = SystemClock.now();
        rig.take().shutdown();
        let took = SystemClock.now().since(begun);
        assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
        let rest = streaming.rest().unwrap_or_default();
        assert!(!rest.contains("0\r\n\r\n"), "{rest}");
        crate::app::log::flush();
    });
    let Some(output) = output else { return };
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let cut_off: Vec<_> =
        said.lines().filter(|line| line.contains("attache::access") && line.contains("path=/slow")).collect();
    assert_eq!(cut_off.len(), 2, "{said}");
    assert!(cut_off.iter().all(|line| line.contains("aborted=true") && line.contains("fault=proxy")), "{said}");
    let line = said.lines().find(|line| line.contains("requests in progress were cut off")).unwrap_or_default();
    assert!(line.contains("WARN") && line.contains("requests=2"), "{said}");
}

#[test]
fn dropping_it_stops_it_at_once() {
    let mut rig = Rig::start("[server]\ndrain_delay = \"60s\"\n");
    let mut streaming = rig.client();
    streaming.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    streaming.head();
    let begun = SystemClock.now();
    drop(rig.take());
    assert!(SystemClock.now().since(begun) < Duration::from_secs(10));
}

/// SEC-40: SIGTERM drains and ends with exit code 0; SIGHUP reloads.
#[test]
fn signals_reload_and_end() {
    in_a_process_of_its_own("app::tests::drain::signals_reload_and_end", || {
        let at_once = "[server]\ndrain_delay = \"0s\"\n";
        let (rig, address) = rig_with_a_fixed_port(at_once);
        let options = rig.options(false);
        let running = std::thread::spawn(move || crate::app::run(options));
        until_it_answers(address, 200);
        let moved = rig.toml(at_once).replacen("127.0.0.1:0", &address.to_string(), 1);
        rig.write(&moved.replace("/{*rest}", "/new/{*rest}"));
        kill_process(getpid(), Signal::HUP).unwrap();
        until_it_answers(address, 404);
        for _ in 0..40 {
            kill_process(getpid(), Signal::HUP).unwrap();
        }
        kill_process(getpid(), Signal::TERM).unwrap();
        let code = running.join().unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
    });
}

/// SEC-40: a second SIGTERM ends at once, and says what it cuts off.
#[test]
fn a_second_signal_ends_at_once() {
    let begun = SystemClock.now();
    let output = child("app::tests::drain::a_second_signal_ends_at_once", || {
        let (rig, address) = rig_with_a_fixed_port("[server]\ndrain_delay = \"60s\"\n");
        let options = rig.options(false);
        std::thread::spawn(move || crate::app::run(options));
        until_it_answers(address, 200);
        let mut streaming = Client::connect(address);
        streaming.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        streaming.head();
        let _held = rig.upstream.slow.recv().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        loop {
            // One signal that is pending twice is one: the second is for the time after the first was heard.
            kill_process(getpid(), Signal::TERM).unwrap();
            breathe();
        }
    });
    let Some(output) = output else { return };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.contains("a second signal")).unwrap_or_default();
    assert!(line.contains("requests=1"), "{said}");
    assert!(SystemClock.now().since(begun) < Duration::from_secs(30));
}

#[test]
fn an_invalid_configuration_has_an_exit_code_of_its_own() {
    in_a_process_of_its_own("app::tests::drain::an_invalid_configuration_has_an_exit_code_of_its_own", || {
        let rig = Rig::start("");
        rig.write("nonsense");
        let code = crate::app::run(rig.options(false));
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::from(3)));
    });
}

#[test]
fn a_panic_of_what_is_essential_aborts_with_a_clear_message() {
    let name = "app::tests::drain::a_panic_of_what_is_essential_aborts_with_a_clear_message";
    let output = child(name, || {
        log_text();
        crate::app::process::log_panics();
        crate::app::essential::or_abort("a part of the test", || panic!("as it should"));
    });
    let Some(output) = output else { return };
    let said = said(&output);
    assert!(!output.status.success() && output.status.code().is_none(), "it was ended by SIGABRT: {said}");
    assert!(said.contains("panic: as it should") && said.contains("a part of the test panicked"), "{said}");
    assert!(said.contains("src/app/tests/drain.rs"), "it says where: {said}");
}

/// A configuration for `run`, which does not say where it listens.
fn rig_with_a_fixed_port(more: &str) -> (Rig, std::net::SocketAddr) {
    let mut rig = Rig::start("");
    let address = rig.running().addresses()[0];
    drop(rig.take());
    rig.write(&rig.toml(more).replacen("127.0.0.1:0", &address.to_string(), 1));
    (rig, address)
}

fn until_it_answers(address: std::net::SocketAddr, status: u16) {
    loop {
        if std::net::TcpStream::connect(address).is_ok() && Client::connect(address).get("/x").status == status {
            return;
        }
        breathe();
    }
}
