//! Values of a token answer that say where an upstream is.

use super::{DESCRIPTION_BYTES_MAX, Reader};
use crate::config::{BaseUrl, BaseUrlFlaw, HttpUrl};
use crate::credential::failure::Failure;
use crate::token::FetchErrorKind;

impl Reader<'_> {
    /// SEC-14: an upstream must not be where a value says. Nothing is sent there.
    pub(super) fn misplaced(&self, name: &str, rule: &BaseUrl, flaw: &BaseUrlFlaw) -> Failure {
        // The path may be anything, so that only the origin is quoted.
        let origin = |url: &HttpUrl| {
            let origin = format!("{}://{}", url.scheme(), url.authority());
            self.reflections.quotable(&origin, DESCRIPTION_BYTES_MAX).unwrap_or_else(|| "a host".to_owned())
        };
        let (why, hint) = match flaw {
            BaseUrlFlaw::NoUrl => ("is no URL of scheme and host".to_owned(), None),
            BaseUrlFlaw::Path => ("has a path, where scheme and host are all that is taken".to_owned(), None),
            BaseUrlFlaw::Cleartext(url) => (
                format!("is {}, where the token would go over the network in cleartext", origin(url)),
                Some("say `cleartext = true` at the upstream if it has to be".to_owned()),
            ),
            BaseUrlFlaw::NotAllowed(url) => (
                format!("is {}, which is not among the hosts that are allowed ({rule})", origin(url)),
                Some(format!("if that host is the provider's, add it to `answer.base_urls.{name}`")),
            ),
        };
        let cause = format!("it granted a token, but its `{name}`, by which the upstream is found, {why}");
        let failure = self.failure(FetchErrorKind::Refused, cause);
        Failure { hint, ..failure }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::{AllowedHost, AnswerShape};
    use crate::credential::answer::tests::reply;
    use crate::credential::answer::{Asked, read};
    use crate::secret::Secret;

    fn refusal(url: &str) -> Failure {
        let hosts = vec![AllowedHost { name: "my.crm.example".to_owned(), below: true, port: None }];
        let shape = AnswerShape {
            values: [("instance_url".to_owned(), "instance_url".into())].into(),
            base_urls: [("instance_url".to_owned(), BaseUrl { hosts, cleartext: false })].into(),
            ..AnswerShape::default()
        };
        let secret = Secret::new("s3cret-of-the-client");
        let asked = Asked {
            host: "login.example.com",
            hint: &|_, _| None,
            secrets: vec![&secret],
            bound: false,
            shape: &shape,
            wall: SystemTime::UNIX_EPOCH,
        };
        let body = serde_json::json!({ "access_token": "T", "instance_url": url }).to_string();
        read(&reply(200, &[], body), &asked).expect_err("it is refused")
    }

    /// SEC-14, TL-26: a refusal names the host and the list, and repeats no secret.
    #[test]
    fn a_refusal_names_the_host_and_the_list() {
        let cases = [
            (
                "https://evil.example:444",
                "is https://evil.example:444, which is not among the hosts that are allowed (*.my.crm.example)",
            ),
            (
                "http://acme.my.crm.example",
                "is http://acme.my.crm.example, where the token would go over the network in cleartext",
            ),
            ("https://acme.my.crm.example/v1", "has a path"),
            ("acme.my.crm.example", "is no URL"),
            ("https://s3cret-of-the-client.evil.example", "is a host, which is not among"),
        ];
        assert_eq!(cases.len(), 5);
        for (url, expected) in cases {
            let failure = refusal(url);
            assert_eq!(failure.kind, FetchErrorKind::Refused);
            let text = failure.text();
            assert!(
                text.contains(&format!("its `instance_url`, by which the upstream is found, {expected}")),
                "{text}"
            );
            assert!(!text.contains("s3cret-of"), "{text}");
        }
    }
}
