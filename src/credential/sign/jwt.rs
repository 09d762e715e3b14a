//! A JSON Web Token of our own: for APIs that take what a key of theirs has signed, and have no token endpoint.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use ring::error::Unspecified;
use serde_json::Value;

use super::sensitive;
use super::{Signed, Unsignable, attached};
use crate::clock::{Boot, Clock};
use crate::config::SelfSigned;
use crate::jws::jti;
use crate::secret::{Masks, Secret};
use crate::token::{Attached, PlaceNames};

/// A server's clock may be this much behind ours: as much as GitHub recommends, and at most a quarter of the lifetime.
const BACKDATED_MAX: Duration = Duration::from_secs(60);

/// A token is not used any more this long before its end, and at most a quarter of the lifetime.
const SPARED_MAX: Duration = Duration::from_secs(60);

/// A key that signs tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    config: SelfSigned,
    current: ArcSwapOption<Current>,
}

/// A token that is used for several requests.
#[derive(Debug)]
struct Current {
    attached: Arc<Attached>,
    until: Boot,
}

impl Jwt {
    pub(super) fn new(config: &SelfSigned) -> Self {
        Jwt { config: config.clone(), current: ArcSwapOption::empty() }
    }

    /// What it sets for every request.
    pub(super) fn names(&self) -> PlaceNames {
        PlaceNames { headers: vec![self.config.header.clone()], ..PlaceNames::default() }
    }

    /// A token that is good for a while, or for this request. Signing one takes up to some milliseconds with RSA.
    pub(super) fn sign(&self, clock: &dyn Clock) -> Result<Signed, Unsignable> {
        let now = clock.now();
        if let Some(current) = &*self.current.load()
            && now < current.until
        {
            return Ok(attached(&current.attached));
        }
        let fixed = Arc::new(self.token(clock.wall()).map_err(|Unspecified| Unsignable::NoRandomBytes)?);
        let signed = attached(&fixed);
        if !self.config.per_request {
            // Two workers may sign at once: both tokens are good.
            self.current.store(Some(Arc::new(Current { attached: fixed, until: now.after(self.used_for()) })));
        }
        Ok(signed)
    }

    fn token(&self, now: SystemTime) -> Result<Attached, Unspecified> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(self.backdated());
        let mut claims = self.config.claims.clone();
        claims.insert("iat".to_owned(), issued.as_secs().into());
        claims.insert("exp".to_owned(), (issued + self.config.lifetime).as_secs().into());
        if self.config.per_request {
            claims.insert("jti".to_owned(), jti()?.into());
        }
        let token = self.config.key.sign(self.config.key_id.as_deref(), &Value::Object(claims))?;
        let separator = if self.config.scheme.is_empty() { "" } else { " " };
        let value = Secret::new([&self.config.scheme, separator, token.expose()].concat());
        let masks = Arc::new(Masks::new([&token].into_iter().chain(self.config.key.shared_secret())));
        let header = (self.config.header.clone(), sensitive(value.expose()));
        Ok(Attached::of_one_request(vec![header], None, masks))
    }

    fn backdated(&self) -> Duration {
        BACKDATED_MAX.min(self.config.lifetime / 4)
    }

    fn used_for(&self) -> Duration {
        self.config.lifetime - self.backdated() - SPARED_MAX.min(self.config.lifetime / 4)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::clock::ManualClock;
    use crate::jws::SigningKey;
    use crate::jws::tests::{P256, verified};

    fn jwt(lifetime: u64, per_request: bool, scheme: &str) -> Jwt {
        let claims: Map<_, _> =
            [("iss".to_owned(), json!("57246542-96fe-1a63")), ("aud".to_owned(), json!("appstoreconnect-v1"))]
                .into_iter()
                .collect();
        Jwt::new(&SelfSigned {
            key: Arc::new(SigningKey::from_pem(P256, None).unwrap()),
            key_id: Some("2X9R4HXF34".to_owned()),
            claims,
            lifetime: Duration::from_secs(lifetime),
            per_request,
            header: http::header::AUTHORIZATION,
            scheme: scheme.to_owned(),
        })
    }

    fn token(jwt: &Jwt, clock: &ManualClock) -> String {
        let signed = jwt.sign(clock).unwrap();
        let value = signed.attachment.attached().and_then(Attached::first_header).unwrap().1;
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    }

    /// As Apple's documentation of the App Store Connect API has it, and good for no longer than asked for.
    #[test]
    fn a_token_says_what_is_configured() {
        let (clock, jwt) =
            (ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), jwt(1200, false, "Bearer"));
        let value = token(&jwt, &clock);
        let (header, claims) = verified(value.strip_prefix("Bearer ").unwrap(), &jwt.config.key);
        assert_eq!(header, json!({ "alg": "ES256", "kid": "2X9R4HXF34", "typ": "JWT" }));
        let now = clock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let expected = json!({
            "iss": "57246542-96fe-1a63", "aud": "appstoreconnect-v1", "iat": now - 60, "exp": now - 60 + 1200,
        });
        assert_eq!(claims, expected);
        assert!(!format!("{jwt:?}").contains(&value[20..40]));
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        for (lifetime, used_for) in [(1200, 1080), (300, 180), (40, 20)] {
            let (clock, jwt) =
                (ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), jwt(lifetime, false, ""));
            let first = token(&jwt, &clock);
            assert!(first.starts_with("ey"), "no scheme: {first}");
            clock.advance(Duration::from_secs(used_for - 1));
            assert_eq!(token(&jwt, &clock), first, "{lifetime}");
            clock.advance(Duration::from_secs(1));
            assert_ne!(token(&jwt, &clock), first, "{lifetime}");
        }
    }

    #[test]
    fn each_request_gets_its_own_where_that_is_asked_for() {
        let (clock, jwt) = (ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), jwt(300, true, ""));
        let claims = [token(&jwt, &clock), token(&jwt, &clock)].map(|token| verified(&token, &jwt.config.key).1);
        assert!(claims[0]["jti"].as_str().unwrap().len() >= 16);
        assert_ne!(claims[0]["jti"], claims[1]["jti"]);
    }
}
