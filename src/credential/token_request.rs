//! The token request of the client credentials grant: RFC 6749 section 4.4.2, with the extensions that servers ask for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use zeroize::Zeroizing;

use crate::config::{self, TokenEndpointAuthMethod};
use crate::secret::Secret;

/// Everything of the request but the address, and how the client authenticates.
#[derive(Debug)]
pub(super) struct TokenRequest {
    client_id: String,
    client_secret: Secret,
    /// The form without the client's own fields.
    form: String,
}

impl TokenRequest {
    pub(super) fn new(config: &config::ClientCredentials) -> Self {
        TokenRequest {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            form: form(config),
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(super) fn client_secret(&self) -> &Secret {
        &self.client_secret
    }

    /// Whether the two spellings of Basic differ for this client.
    pub(super) fn is_changed_by_encoding(&self) -> bool {
        let changed = |text: &str| !form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().eq(text);
        changed(&self.client_id) || changed(self.client_secret.expose())
    }

    /// The request to send to this target.
    pub(super) fn to(&self, target: Uri, method: TokenEndpointAuthMethod) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_owner(self.body(method))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(authorization) = self.authorization(method) {
            headers.insert(AUTHORIZATION, authorization);
        }
        request
    }

    fn body(&self, method: TokenEndpointAuthMethod) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(
            self.form.len() + 64 + 3 * (self.client_id.len() + self.client_secret.expose().len()),
        ));
        body.extend_from_slice(self.form.as_bytes());
        if method == TokenEndpointAuthMethod::ClientSecretPost {
            for (name, value) in
                [("&client_id=", self.client_id.as_str()), ("&client_secret=", self.client_secret.expose())]
            {
                body.extend_from_slice(name.as_bytes());
                form_urlencoded::byte_serialize(value.as_bytes())
                    .for_each(|part| body.extend_from_slice(part.as_bytes()));
            }
        }
        body
    }

    /// The `Authorization` of Basic. RFC 6749 section 2.3.1 has both parts form-encoded first, which is the only way to
    /// have a `:` in an id; `raw` is for servers that do not decode.
    fn authorization(&self, method: TokenEndpointAuthMethod) -> Option<HeaderValue> {
        let encoded = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
        let (id, secret) = (self.client_id.as_str(), self.client_secret.expose());
        let pair = match method {
            TokenEndpointAuthMethod::ClientSecretBasic => format!("{}:{}", *encoded(id), *encoded(secret)),
            TokenEndpointAuthMethod::ClientSecretBasicRaw => format!("{id}:{secret}"),
            TokenEndpointAuthMethod::ClientSecretPost => return None,
        };
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(Zeroizing::new(pair).as_bytes())));
        let mut value = HeaderValue::from_str(&value).expect("base64 is a legal header value");
        value.set_sensitive(true);
        Some(value)
    }
}

/// The form's fields. Of ours only the grant type can be among the configured parameters: Zoom has one of its own.
fn form(config: &config::ClientCredentials) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    if !config.parameters.contains_key("grant_type") {
        form.append_pair("grant_type", "client_credentials");
    }
    if !config.scope.is_empty() {
        form.append_pair("scope", &config.scope.join(" "));
    }
    if let Some(audience) = &config.audience {
        form.append_pair("audience", audience);
    }
    config.resource.iter().for_each(|resource| {
        form.append_pair("resource", resource);
    });
    form.extend_pairs(&config.parameters);
    form.finish()
}
