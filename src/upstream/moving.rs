//! Upstreams that are where the token's answer says.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Connector, ExchangeError, ExchangeErrorKind, Upstream};
use crate::config::{self, BaseUrl, HttpUrl, UpstreamUrl};

/// How many of its places an upstream keeps at hand. More are found again, at the cost of a lock.
const AT_HAND_MAX: usize = 16;

/// Where the requests of a call go.
#[derive(Debug)]
pub enum Destination {
    Fixed(Upstream),
    /// Where the token says that is attached.
    OfToken(Moving),
}

/// An upstream whose scheme, host and port are those of a value of the token's answer. Shared by the workers.
#[derive(Debug)]
pub struct Moving {
    config: Arc<config::Upstream>,
    /// The value's name.
    value: String,
    rule: BaseUrl,
    connector: Arc<Connector>,
    /// The last ones first; at most [`AT_HAND_MAX`].
    places: ArcSwap<Vec<Arc<Upstream>>>,
}

impl Destination {
    /// Builds what is running of an upstream.
    pub fn new(config: &Arc<config::Upstream>, connector: &Arc<Connector>) -> Destination {
        match &config.url {
            UpstreamUrl::Fixed(url) => Destination::Fixed(Upstream::new(config, url, connector)),
            UpstreamUrl::OfToken { value, .. } => Destination::OfToken(Moving::new(config, value, connector)),
        }
    }
}

impl Moving {
    fn new(config: &Arc<config::Upstream>, value: &str, connector: &Arc<Connector>) -> Self {
        let life = config.credential.as_ref().and_then(|credential| credential.kind.token_life());
        let rule = life.and_then(|life| life.attach.base_urls.get(value)).cloned();
        Moving {
            config: config.clone(),
            value: value.to_owned(),
            // Without a rule, no URL is allowed.
            rule: rule.unwrap_or(BaseUrl { hosts: Vec::new(), cleartext: false }),
            connector: connector.clone(),
            places: ArcSwap::default(),
        }
    }

    /// The name of the value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The upstream at this URL, which is what the token's answer has for the value.
    ///
    /// # Errors
    /// It has none, or one that this upstream may not be at. Nothing was sent.
    pub fn reach(&self, url: Option<&HttpUrl>) -> Result<Arc<Upstream>, ExchangeError> {
        let url = url.ok_or_else(|| self.unreachable("the token that is to be sent came without it"))?;
        let is_it = |place: &&Arc<Upstream>| place.url() == url;
        if let Some(place) = self.places.load().iter().find(is_it) {
            return Ok(place.clone());
        }
        // A token was held to the rule when it came; this one may have come under another.
        if self.rule.check(&url.to_string()).is_err() {
            return Err(self.unreachable("the host that it names is not among those allowed"));
        }
        let place = Upstream::named(&self.config, url, &self.connector);
        let place =
            place.ok_or_else(|| self.unreachable("tokens have named too many places in all: restart the proxy"))?;
        let place = Arc::new(place);
        self.places
            .rcu(|places| std::iter::once(&place).chain(places.iter()).take(AT_HAND_MAX).cloned().collect::<Vec<_>>());
        Ok(place)
    }

    fn unreachable(&self, why: &str) -> ExchangeError {
        ExchangeError {
            kind: ExchangeErrorKind::AddressRefused,
            text: format!("the URL `{}` of the token's answer: {why}", self.value),
            nothing_sent: true,
            reused_closed: false,
            connection_ends: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::NAMED_PLACES_MAX;
    use super::super::tests::rig::{connector, upstream_config, url};
    use super::*;
    use crate::config::AllowedHost;

    fn moving() -> Moving {
        let hosts = vec![AllowedHost { name: "example.test".to_owned(), below: true, port: None }];
        Moving {
            config: Arc::new(upstream_config(url(true, "unused.invalid", 443))),
            value: "instance_url".to_owned(),
            rule: BaseUrl { hosts, cleartext: false },
            connector: connector(),
            places: ArcSwap::default(),
        }
    }

    fn at(number: usize) -> HttpUrl {
        HttpUrl::parse(&format!("https://h{number}.example.test")).unwrap()
    }

    #[tokio::test]
    async fn a_place_is_made_once_and_the_last_few_are_kept() {
        let moving = moving();
        let first = moving.reach(Some(&at(0))).unwrap();
        assert_eq!(first.authority(), "h0.example.test");
        assert!(Arc::ptr_eq(&first, &moving.reach(Some(&at(0))).unwrap()));
        for number in 1..100 {
            moving.reach(Some(&at(number))).unwrap();
        }
        assert_eq!(moving.places.load().len(), AT_HAND_MAX);
        assert!(Arc::ptr_eq(&moving.reach(Some(&at(99))).unwrap(), &moving.places.load()[0]));
        let again = moving.reach(Some(&at(0))).unwrap();
        assert!(!Arc::ptr_eq(&first, &again));
        assert!(first.shares_connections_with(&again), "its connections are found again");
    }

    /// SEC-14: a token that came under another rule is not sent where this one does not allow it.
    #[tokio::test]
    async fn a_place_that_is_not_allowed_is_never_made() {
        let moving = moving();
        let elsewhere = HttpUrl::parse("https://evil.test").unwrap();
        for url in [None, Some(&elsewhere)] {
            let error = moving.reach(url).unwrap_err();
            assert!(error.nothing_sent && error.text.contains("`instance_url`"), "{}", error.text);
        }
        assert!(moving.places.load().is_empty());
    }

    #[tokio::test]
    async fn there_is_a_bound_on_places() {
        let moving = moving();
        // What a file names is not counted, however much of it there is.
        for number in 0..20 {
            Upstream::new(&moving.config, &url(true, &format!("fixed{number}.test"), 443), &moving.connector);
        }
        let refused = (0..10_000).find(|number| moving.reach(Some(&at(*number))).is_err());
        assert_eq!(refused, Some(NAMED_PLACES_MAX));
        moving.reach(Some(&at(0))).expect("it has been there before, if not among the last");
        // A reload makes the upstream anew.
        let anew = Moving { connector: moving.connector.clone(), ..self::moving() };
        anew.reach(Some(&at(0))).expect("it has been there before");
        let error = anew.reach(Some(&at(NAMED_PLACES_MAX))).unwrap_err();
        assert!(error.text.contains("restart the proxy"), "{}", error.text);
    }
}
