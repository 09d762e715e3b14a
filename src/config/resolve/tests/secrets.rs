//! Where secrets come from, and how far loading goes.

use std::os::unix::fs::PermissionsExt;

use super::good::{FULL, folder, write};
use super::*;
use crate::config::{ClientProof, CredentialKind};

/// A configuration with one secret.
fn with_secret(source: &str) -> String {
    format!(
        r#"
        [[listeners]]
        address = "127.0.0.1:8080"
        [credentials.api.bearer]
        token = {source}
        [upstreams.api]
        url = "https://api.example"
        credential = "api"
        [[routes]]
        path = "/"
        upstream = "api"
        clients = "anyone"
        "#
    )
}

fn token(loaded: &Loaded) -> &str {
    match &loaded.config.credentials[0].kind {
        CredentialKind::Bearer { token } => token.expose(),
        _ => panic!("it is a Bearer token"),
    }
}

fn messages(problems: &Problems) -> Vec<&str> {
    problems.problems.iter().map(|problem| problem.message.as_str()).collect()
}

/// SEC-15, and the attack S06: a secret file that group or world can write is refused; a world-readable one is warned
/// of.
#[test]
fn secret_files_that_others_can_write_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = with_secret("{ file = \"secret\" }");
    for (mode, refused, warned) in [
        (0o600, false, false),
        (0o640, false, false),
        (0o400, false, false),
        (0o644, false, true),
        (0o660, true, false),
        (0o602, true, false),
        (0o666, true, false),
    ] {
        write(folder.path(), "secret", "a-secret-of-enough-length\n", mode);
        match resolve_in(folder.path(), &text, &[], Load::Full) {
            Ok(loaded) => {
                assert!(!refused, "{mode:o}");
                assert_eq!(token(&loaded), "a-secret-of-enough-length");
                assert_eq!(messages(&loaded.warnings).len(), usize::from(warned), "{mode:o}");
                assert_eq!(loaded.watched, [folder.path().join("secret")]);
            }
            Err(problems) => {
                assert!(refused, "{problems}");
                assert!(problems.problems[0].message.contains("can write it"), "{problems}");
            }
        }
    }
}

/// SEC-15, and the attack S06: symlinks are followed, because Kubernetes mounts secrets behind them; what is no file is refused, and a
/// FIFO without waiting for a writer.
#[test]
fn symlinks_are_followed_and_what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data", "a-secret-of-enough-length", 0o600);
    std::os::unix::fs::symlink("data", folder.path().join("secret")).unwrap();
    let text = with_secret("{ file = \"secret\" }");
    assert_eq!(token(&resolve_in(folder.path(), &text, &[], Load::Full).unwrap()), "a-secret-of-enough-length");
    std::fs::set_permissions(folder.path().join("data"), std::fs::Permissions::from_mode(0o620)).unwrap();
    resolve_in(folder.path(), &text, &[], Load::Full).unwrap_err();
    let status = std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap();
    assert!(status.success());
    for name in ["fifo", ".", "nothing"] {
        let problems = resolve_in(folder.path(), &with_secret(&format!("{{ file = \"{name}\" }}")), &[], Load::Full);
        let problems = problems.unwrap_err();
        assert_eq!(messages(&problems).len(), 1, "{problems}");
    }
}

/// SEC-13: a secret that is too short to be masked in bodies is warned of when it is loaded.
#[test]
fn short_secrets_are_warned_of() {
    let text = with_secret("{ env = \"TOKEN\" }");
    for (secret, warnings) in [("fifteen-bytes-x", 1), ("sixteen-bytes-xy", 0)] {
        let loaded = resolve(&text, &[("TOKEN", secret)]).unwrap();
        assert_eq!(messages(&loaded.warnings).len(), warnings, "{secret}");
        assert!(!format!("{loaded:?} {}", loaded.warnings).contains(secret));
    }
}

/// SEC-13: what counts is the key, which an upstream may echo without its scheme.
#[test]
fn a_short_key_behind_a_scheme_is_warned_of() {
    let warned_of = |header: &str, secret: &str| {
        let key = format!("[credentials.api.api_key]\nheader = \"{header}\"\nvalue = {{ env = \"KEY\" }}");
        let text = with_secret("0").replace("[credentials.api.bearer]", &key).replace("token = 0", "");
        let loaded = resolve(&text, &[("KEY", secret)]).unwrap();
        messages(&loaded.warnings).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let told = "`value` without its scheme is shorter than 16 bytes: it is masked in headers only";
    assert_eq!(warned_of("Authorization", "Token abcdefghij"), [told]);
    for (header, secret) in [("Authorization", "Token sixteen-bytes-xy"), ("X-Key", "sixteen-bytes xy")] {
        assert_eq!(warned_of(header, secret), [""; 0], "{header}: {secret}");
    }
}

#[test]
fn commands_run_only_when_everything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let text = with_secret("{ command = [\"sh\", \"-c\", \"touch ran; echo a-secret-of-enough-length\"] }");
    for how in [Load::WithoutCommands, Load::WithoutSecrets] {
        let loaded = resolve_in(folder.path(), &text, &[], how).unwrap();
        assert!(!token(&loaded).is_empty() && loaded.warnings.problems.is_empty());
        assert!(!folder.path().join("ran").exists());
    }
    let loaded = resolve_in(folder.path(), &text, &[], Load::Full).unwrap();
    assert_eq!(token(&loaded), "a-secret-of-enough-length");
    assert!(folder.path().join("ran").exists());
}

/// In CI there is no secret, no key and no variable, and all the rest is checked.
#[test]
fn without_secrets_the_rest_is_checked() {
    let ca_only = folder();
    for gone in ["certs/proxy.crt", "certs/proxy.key", "rsa.pem", "secret", "service-account.json"] {
        std::fs::remove_file(ca_only.path().join(gone)).unwrap();
    }
    let loaded = resolve_in(ca_only.path(), FULL, &[], Load::WithoutSecrets).unwrap_or_else(|why| panic!("{why}"));
    assert!(messages(&loaded.warnings).iter().all(|message| message.ends_with("is not set")));
    assert_eq!(messages(&loaded.warnings).len(), 5);
    let broken = FULL.replace("credential = \"maps\"", "credential = \"mpas\"");
    let problems = resolve_in(ca_only.path(), &broken, &[], Load::WithoutSecrets).unwrap_err();
    assert_eq!(messages(&problems), ["there is no credential `mpas`"]);
}

/// SEC-14: what is secret goes over http only to loopback, or where the file says so.
#[test]
fn cleartext_is_refused_but_for_loopback() {
    let text = with_secret("{ env = \"TOKEN\" }");
    for (url, more, allowed) in [
        ("https://api.example", "", true),
        ("http://api.example", "", false),
        ("http://10.0.0.1", "", false),
        ("http://api.example", "cleartext = true", true),
        ("http://127.0.0.1:9000", "", true),
        ("http://[::1]:9000", "", true),
        ("http://localhost", "", true),
    ] {
        let text = text.replace("\"https://api.example\"", &format!("\"{url}\"\n{more}"));
        assert_eq!(resolve(&text, &[("TOKEN", "a-secret-of-enough-length")]).is_ok(), allowed, "{url} {more}");
    }
    let without_credential = text.replace("https:", "http:").replace("credential = \"api\"", "");
    assert!(resolve(&without_credential, &[("TOKEN", "a-secret-of-enough-length")]).is_ok());
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let mine = folder();
    let other = folder();
    std::fs::copy(other.path().join("certs/proxy.key"), mine.path().join("certs/proxy.key")).unwrap();
    let variables = [("ADDRESS", "127.0.0.1:1"), ("TOKEN", "a-token-of-enough-length"), ("CLIENT_ID", "c")];
    let store_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let more = [("EGRESS_PASSWORD", "a-secret-of-enough-length"), ("STORE_KEY", store_key), ("CONTAINER", "/c")];
    let variables: Vec<_> = variables.into_iter().chain(more).collect();
    let problems = resolve_in(mine.path(), FULL, &variables, Load::Full).unwrap_err();
    assert_eq!(messages(&problems), ["the private key does not belong to the certificate"; 3]);
}

/// Two secrets while they are rotated, the newer first; one that is said twice is one.
#[test]
fn a_client_has_one_secret_or_two() {
    let secrets = |value: &str| {
        let text = with_secret("0").replace(
            "[credentials.api.bearer]\n        token = 0",
            &format!(
                "[credentials.api.client_credentials]\ntoken_url = \"https://login.example\"\nclient_id = \"a\"\n\
                 client_secret = {value}"
            ),
        );
        let loaded =
            resolve(&text, &[("NEW", "the-newer"), ("OLD", "the-older")]).unwrap_or_else(|why| panic!("{why}"));
        let CredentialKind::OAuth2(oauth2) = &loaded.config.credentials[0].kind else { panic!("it is a grant") };
        let text = |proof: &ClientProof| match proof {
            ClientProof::Secret(secret) => secret.expose().to_owned(),
            _ => panic!("it is a secret"),
        };
        (text(&oauth2.proof), oauth2.older_proof.as_ref().map(text))
    };
    let (newer, older) = ("the-newer".to_owned(), "the-older".to_owned());
    assert_eq!(secrets("{ env = \"NEW\" }"), (newer.clone(), None));
    assert_eq!(secrets("[{ env = \"NEW\" }]"), (newer.clone(), None));
    assert_eq!(secrets("[{ env = \"NEW\" }, { env = \"OLD\" }]"), (newer.clone(), Some(older)));
    assert_eq!(secrets("[{ env = \"NEW\" }, { env = \"NEW\" }]"), (newer, None));
}

/// A systemd credential is a file in the folder that systemd names, under the same rules as any (SEC-15).
#[test]
fn credentials_of_systemd_are_read_from_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("credentials");
    std::fs::create_dir(&directory).unwrap();
    let variables = [("CREDENTIALS_DIRECTORY", directory.to_str().unwrap())];
    let text = with_secret("{ credential = \"crm.secret\" }");
    let missing = resolve_in(folder.path(), &text, &variables, Load::Full).unwrap_err();
    assert!(messages(&missing)[0].contains("credentials/crm.secret"), "{missing}");
    assert!(missing.to_string().contains("`LoadCredential=crm.secret:PATH`"), "{missing}");
    write(&directory, "crm.secret", "a-secret-of-enough-length\n", 0o440);
    let loaded = resolve_in(folder.path(), &text, &variables, Load::Full).unwrap();
    assert_eq!(token(&loaded), "a-secret-of-enough-length");
    // A service can ask for new ones with its reload.
    assert_eq!(loaded.watched, [directory.join("crm.secret")]);
    assert!(loaded.variables.is_empty());
    write(&directory, "crm.secret", "a-secret-of-enough-length\n", 0o460);
    let writable = resolve_in(folder.path(), &text, &variables, Load::Full).unwrap_err();
    assert!(messages(&writable)[0].contains("can write it"), "{writable}");
    let elsewhere = resolve_in(folder.path(), &text, &[], Load::Full).unwrap_err();
    assert!(messages(&elsewhere)[0].contains("not started by systemd"), "{elsewhere}");
    assert!(resolve_in(folder.path(), &text, &[], Load::WithoutSecrets).is_ok());
    // A name that leads out of the folder is none.
    for name in ["../secret", "..", "a/b", ""] {
        let text = with_secret(&format!("{{ credential = \"{name}\" }}"));
        resolve_in(folder.path(), &text, &variables, Load::Full).unwrap_err();
    }
}

/// What a command says on its standard error may be the secret, and is not shown.
#[test]
fn a_command_that_fails_is_reported_without_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = with_secret("{ command = [\"sh\", \"-c\", \"echo PLANTED; echo PLANTED >&2; exit 7\"] }");
    let problems = resolve_in(folder.path(), &text, &[], Load::Full).unwrap_err();
    assert_eq!(messages(&problems), ["`sh` failed with exit status: 7"]);
    assert!(!problems.problems.iter().any(|problem| format!("{problem:?}").contains("PLANTED")));
}

/// SEC-14: of all credentials only those of metadata servers go to a link-local address in cleartext, and to no name.
#[test]
fn only_metadata_servers_are_asked_in_cleartext_on_the_link() {
    let refused = |credential: &str| {
        let text = with_secret("0").replace("[credentials.api.bearer]\n        token = 0", credential);
        resolve(&text, &[("TOKEN", "a-secret-of-enough-length")]).err().map(|problems| problems.to_string())
    };
    let metadata = |url: &str| format!("[credentials.api.metadata]\nprovider = \"google\"\nurl = \"{url}\"");
    for url in ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://127.0.0.1:8080", "https://emulator.example"]
    {
        assert_eq!(refused(&metadata(url)), None, "{url}");
    }
    let grant = "[credentials.api.client_credentials]\ntoken_url = \"http://169.254.169.254/token\"\nclient_id = \"a\"\n\
                 client_secret = { env = \"TOKEN\" }";
    for credential in [grant, &metadata("http://emulator.example"), &metadata("http://10.0.0.1")] {
        assert!(refused(credential).is_some_and(|why| why.contains("cleartext")), "{credential}");
    }
}
