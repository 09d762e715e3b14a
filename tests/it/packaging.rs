//! What the program is packaged with.

use std::path::Path;

use crate::sources::file;
use crate::support::{Tool, program};

/// What keeps a broken attache from the rest of the machine: a line that is lost is missed by nobody who only runs it.
#[test]
fn the_unit_takes_away_what_is_not_needed() {
    let unit = file("attache.service").text;
    let settings: Vec<&str> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    let hardening = [
        "DynamicUser=yes",
        "UMask=0077",
        "LimitCORE=0",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "RemoveIPC=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
    ];
    let missing: Vec<_> = hardening.iter().filter(|line| !settings.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A later line would take back what an earlier one says.
    let named = |name: &str| settings.iter().filter(|line| line.starts_with(&format!("{name}="))).count();
    for (name, _) in hardening.iter().filter_map(|line| line.split_once('=')) {
        assert_eq!(named(name), if name == "SystemCallFilter" { 2 } else { 1 }, "{name}");
    }
    assert_eq!(named("User") + named("Group"), 0, "the user is made for it");
    assert!(settings.contains(&"ExecStart=/usr/bin/attache run --config /etc/attache/proxy.toml"));
}

/// What systemd does not understand it ignores, and the service then has the right that was to be taken away.
#[test]
fn systemd_understands_the_unit() {
    // It also looks whether the programs are there, of which `kill` is no part of a bare machine.
    let unit = file("attache.service").text.replace("/usr/bin/attache", &program()).replace("/bin/kill", &program());
    assert_eq!(complaints(&unit), "");
    let slips =
        [("ProtectClock=yes", "ProtectClocks=yes"), ("=invisible", "=invisble"), ("~@privileged", "~@privilegd")];
    for (right, wrong) in slips {
        assert!(unit.contains(right), "{right}");
        assert!(!complaints(&unit.replace(right, wrong)).is_empty(), "{wrong} is not noticed");
    }
}

/// What systemd says of a unit. Not its exit status: that also tells of units that came with the machine.
fn complaints(unit: &str) -> String {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("attache.service");
    std::fs::write(&path, unit).expect("there is room for a file");
    let output = Tool::SYSTEMD_ANALYZE.output(&["verify", "--man=no", path.to_str().expect("it is text")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| line.contains("attache.service")).collect()
}

#[test]
fn the_image_does_not_run_as_root() {
    let dockerfile = file("Dockerfile").text;
    let (_, image) = dockerfile.rsplit_once("\nFROM ").expect("what is run is not what it was built in");
    let users: Vec<&str> = image.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
    // By number, so that Kubernetes' runAsNonRoot can see that it is not 0.
    assert_eq!(users, ["65532:65532"]);
    assert!(image.contains("\nENTRYPOINT [\"/usr/bin/attache\"]\n"), "without a shell: {image}");
    assert!(image.lines().all(|line| !line.starts_with("RUN ")), "nothing is run in it while it is built");
}

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
