//! `golden/` holds broken files beside the exact report of each. With `ATTACHE_BLESS` in the environment the reports
//! are written anew.

use super::*;

/// Keys of tests only.
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../jws/keys/", $name))
    };
}

const VARIABLES: &[(&str, &str)] = &[
    ("SECRET", "a-secret-of-enough-length"),
    ("SHORT", "short"),
    ("EMPTY", ""),
    ("PAIR", "a-user-name:a-password-of-enough-length"),
    ("TWO_LINES", "first-line-of-it\nsecond-line-of-it"),
    ("UMLAUT", "sécret-of-enough-length"),
    ("P256", key!("p256.pem")),
    ("SEC1", key!("p256-sec1.pem")),
    ("ENCRYPTED", key!("p256-encrypted.pem")),
    ("RSA_1024", key!("rsa-1024.pem")),
    ("SERVICE_ACCOUNT", SERVICE_ACCOUNT),
    ("AUTHORIZED_USER", "{\"type\":\"authorized_user\",\"refresh_token\":\"a-secret-of-a-person\"}"),
    ("HALF_A_SERVICE_ACCOUNT", "{\"type\":\"service_account\",\"client_email\":\"robot@p.example\"}"),
    ("TWO_WORDS", "a-secret of-enough-length"),
    ("TWO_COOKIES", "a-secret-of-enough-length;admin=1"),
    ("QUOTES", "\"\""),
    ("BAD_URL", "https://user:SECRET-of-the-environment@api.example"),
];

const SERVICE_ACCOUNT: &str = "{\"type\":\"service_account\",\"client_email\":\"robot@p.example\",\
    \"private_key_id\":\"7\",\"private_key\":\"no PEM\",\"token_uri\":\"https://oauth2.example/token\"}";

fn report(file: &Path) -> String {
    let report = match load(file, &environment(VARIABLES), Load::Full) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(problems) => problems.to_string(),
    };
    report + "\n"
}

#[test]
fn every_problem_is_reported_at_once_as_the_golden_files_say() {
    let mut cases = 0;
    for entry in std::fs::read_dir("src/config/golden").unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let expected = file.with_extension("report");
        let report = report(&file);
        let count = |what: &str| report.matches(what).count();
        let problems = count("error: ") + count("warning: ");
        assert_eq!(problems, count("= hint: "), "every problem says what to do about it:\n{report}");
        if std::env::var_os("ATTACHE_BLESS").is_some() {
            std::fs::write(&expected, &report).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(report, expected, "the report of {}", file.display());
        cases += 1;
    }
    assert!(cases >= 24, "{cases}");
}

/// What is asked for is said in words that fit: another file, the file in a folder.
#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (file, hint) in [(folder.path().join("missing.toml"), "which file"), (folder.path().to_owned(), "a folder")] {
        let problems = load(&file, &environment(&[]), Load::Full).unwrap_err();
        let told = problems.problems[0].hint.as_deref();
        assert!(told.is_some_and(|told| told.contains(hint)), "{problems}");
    }
}

/// The same where a byte is missing, or all from there on: a secret under a misspelt key, in half a line, in no TOML.
#[test]
fn literal_secrets_are_not_shown_by_slips_of_the_pen() {
    let text = std::fs::read_to_string("src/config/golden/literal-secrets.toml").unwrap();
    let mut shown = 0;
    for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
        let length = text[at..].chars().next().map_or(0, char::len_utf8);
        for broken in [text[..at].to_owned(), format!("{}{}", &text[..at], &text[at + length..])] {
            let report = match load_text(Path::new("proxy.toml"), &broken, &environment(VARIABLES), Load::Full) {
                Ok(loaded) => loaded.warnings.to_string(),
                Err(problems) => problems.to_string(),
            };
            assert!(!report.contains("LITERAL"), "{report}");
            shown += 1;
        }
    }
    assert!(shown > 1000);
}

/// A literal secret is never shown, whatever else is wrong with the file: in no form that it can be put into.
#[test]
fn literal_secrets_are_not_shown() {
    for file in ["api-keys", "literal-secrets", "presets", "syntax", "misplaced-keys", "urls"] {
        let file = Path::new("src/config/golden").join(file).with_extension("toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(["LITERAL", "a-literal-secret", "BAD_URL"].iter().any(|planted| text.contains(planted)), "{file:?}");
        let problems = load(&file, &environment(VARIABLES), Load::Full).unwrap_err();
        for shown in [problems.to_string(), problems.report(true), format!("{problems:?}")] {
            assert!(!shown.contains("LITERAL") && !shown.contains("literal-secret\""), "{shown}");
            assert!(!shown.contains("1234567890") && !shown.contains("SECRET-of-the"), "{shown}");
        }
    }
}
