//! Everything that is not attache: who asks, who grants, who answers.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use super::answers::answer_over_tls;
use super::grantor::{GRANTED, Grantor};
use super::planted::{BY_COMMAND, CLIENT_KEY_SHA256, GRANTED_OVER_TLS, IN_FILE, ROTATED, secret};
use crate::support::{Identity, TlsPeer, TokenEndpoint, Upstream, free_address};

/// What the peers are called where only the egress proxy knows where they are. Loopback addresses are always reached
/// directly.
pub const NAME: &str = "peers.test";

pub struct World {
    pub basic: TokenEndpoint,
    pub raw: TokenEndpoint,
    pub post: TokenEndpoint,
    pub wrong: TokenEndpoint,
    /// Its tokens live so short that tests see them renewed.
    pub renewed: TokenEndpoint,
    pub grantor: Grantor,
    pub upstream: Upstream,
    pub tls: TlsPeer,
    pub server: Identity,
    pub client: Identity,
    pub address: SocketAddr,
    pub tls_address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
}

impl World {
    pub fn start() -> World {
        let folder = tempfile::tempdir().expect("there is room for a file");
        fs::write(folder.path().join("file"), secret(IN_FILE)).expect("there is room for a file");
        fs::write(folder.path().join("printed"), secret(BY_COMMAND)).expect("there is room for a file");
        let server = Identity::new(folder.path(), "server", &["127.0.0.1", NAME]);
        let client = Identity::new(folder.path(), "client", &["attache.test"]);
        let renewed = TokenEndpoint::named("planted-by-renewed");
        renewed.set_lifetime(Some(Duration::from_secs(4)));
        let upstream = Upstream::open();
        World {
            tls: TlsPeer::start(&server, &client, answer_over_tls),
            server,
            client,
            tls_address: free_address(),
            folder,
            basic: TokenEndpoint::named("planted-by-basic"),
            raw: TokenEndpoint::named("planted-by-raw"),
            post: TokenEndpoint::named("planted-by-post"),
            wrong: TokenEndpoint::named("planted-by-wrong"),
            renewed,
            grantor: Grantor::start(&upstream.url()),
            upstream,
            address: free_address(),
            admin: free_address(),
        }
    }

    /// Its level is not plain `trace`, which would be that of our own events, so that libraries say all they know, too.
    pub fn toml(&self, more: &str) -> String {
        let mut toml = format!(
            "[[listeners]]\naddress = \"{}\"\n\n[[listeners]]\naddress = \"{}\"\n\
             tls.certificates = [{{ cert = {:?}, key = {:?} }}]\n\n[admin]\naddress = \"{}\"\n\n[log]\nlevel = \"trace,hyper=trace\"\n\
             {more}\n\n[clients.app.key]\nsha256 = [\"{CLIENT_KEY_SHA256}\"]\n",
            self.address, self.tls_address, self.server.cert_file, self.server.key_file, self.admin
        );
        let endpoints = [
            ("basic", &self.basic, "client_secret_basic"),
            ("raw", &self.raw, "client_secret_basic_raw"),
            ("post", &self.post, "client_secret_post"),
            ("wrong", &self.wrong, "client_secret_post"),
            ("renewed", &self.renewed, "client_secret_post"),
        ];
        for (name, endpoint, method) in endpoints {
            toml += &format!(
                "\n[credentials.{name}.client_credentials]\ntoken_url = \"{}\"\nclient_id = \"{name}\"\n\
                 client_secret = {{ env = \"CLIENT_SECRET_{}\" }}\ntoken_endpoint_auth_method = \"{method}\"\n",
                endpoint.url(),
                name.to_uppercase()
            );
        }
        toml += "\n[credentials.bearer.bearer]\ntoken = { env = \"BEARER_TOKEN\" }\n\
                 \n[credentials.header.api_key]\nheader = \"X-Their-Key\"\nvalue = { env = \"HEADER_KEY\" }\n\
                 \n[credentials.query.api_key]\nquery = \"key\"\nvalue = { env = \"QUERY_KEY\" }\n\
                 \n[credentials.password.basic]\nusername = \"user\"\npassword = { env = \"BASIC_PASSWORD\" }\n";
        let [file, printed] = ["file", "printed"].map(|name| self.folder.path().join(name));
        toml += &format!(
            "\n[credentials.file.bearer]\ntoken = {{ file = {file:?} }}\n\
             \n[credentials.command.bearer]\ntoken = {{ command = [\"cat\", {printed:?}] }}\n"
        );
        toml += &self.toml_of_tls();
        toml += SIGNATURES;
        let upstream = self.upstream.url();
        let host = upstream.strip_prefix("http://").expect("it is a URL");
        toml += &GRANTS.replace("GRANTOR", &self.grantor.url()).replace("INSTANCE", host);
        for name in ROUTES {
            let url = if name == "based" { "{instance_url}" } else { upstream.as_str() };
            toml += &format!(
                "\n[upstreams.{name}]\nurl = \"{url}/{name}\"\ncredential = \"{name}\"\n\n[[routes]]\n\
                 path = \"/{name}/{{*rest}}\"\nupstream = \"{name}\"\nclients = [\"app\"]\n"
            );
        }
        toml
    }

    /// Discovery, HTTP/2 and mutual TLS.
    fn toml_of_tls(&self) -> String {
        let url = format!("https://127.0.0.1:{}", self.tls.address.port());
        format!(
            "\n[credentials.tls.client_credentials]\nissuer = \"{url}\"\nclient_id = \"tls\"\n\
             client_secret = {{ env = \"CLIENT_SECRET_DISCOVERED\" }}\n\
             \n[upstreams.tls]\nurl = \"{url}/tls\"\ncredential = \"tls\"\n\
             client_certificate = {{ cert = {:?}, key = {:?} }}\n\
             \n[[routes]]\npath = \"/tls/{{*rest}}\"\nupstream = \"tls\"\nclients = [\"app\"]\n",
            self.client.cert_file, self.client.key_file
        )
    }

    /// `[egress]`, with what it trusts.
    pub fn egress(&self, more: &str) -> String {
        format!("\n[egress]\nca = {:?}\n{more}", self.server.cert_file)
    }

    /// Puts another file in the place of the one that holds a secret.
    pub fn rotate(&self) {
        let [new, old] = ["file.new", "file"].map(|name| self.folder.path().join(name));
        fs::write(&new, secret(ROTATED)).expect("there is room for a file");
        fs::rename(new, old).expect("a file can be renamed");
    }

    /// The tokens that were granted.
    pub fn tokens(&self) -> Vec<String> {
        let endpoints = [&self.basic, &self.raw, &self.post, &self.renewed];
        let granted = endpoints.iter().flat_map(|endpoint| endpoint.grants().tokens());
        granted.chain(GRANTED.map(str::to_owned)).chain([GRANTED_OVER_TLS.to_owned()]).collect()
    }

    /// The proofs of the key that tokens are bound to.
    pub fn proofs(&self) -> Vec<String> {
        let to_upstreams = self.upstream.requests().into_iter();
        let to_upstreams = to_upstreams.filter_map(|request| request.headers.get("dpop").map(str::to_owned));
        to_upstreams.chain(self.grantor.proofs()).collect()
    }

    /// The same with peers that are known by name only.
    pub fn toml_by_name(&self, more: &str) -> String {
        let toml = self.toml("").replace("://127.0.0.1:", &format!("://{NAME}:"));
        let cleartext = |line: &str| match line.contains(&format!("url = \"http://{NAME}")) {
            true => format!("{line}\ncleartext = true\n"),
            false => format!("{line}\n"),
        };
        toml.lines().map(cleartext).collect::<String>() + more
    }
}

const SIGNATURES: &str = r#"
[credentials.aws.aws_sigv4]
access_key_id = "AKIDEXAMPLE"
secret_access_key = { env = "AWS_SECRET" }
session_token = { env = "AWS_SESSION" }
region = "eu-central-1"
service = "execute-api"

[credentials.mac.hmac]
key = { env = "HMAC_KEY" }
string_to_sign = "{timestamp}{target}{phrase}{body}"
secrets = { phrase = { env = "HMAC_PHRASE" } }
headers = { X-Phrase = "{phrase}", X-Signature = "{signature}" }
query = { phrase = "{phrase}" }

[credentials.own.jwt]
secret = { env = "JWT_SECRET" }
"#;

const GRANTS: &str = r#"
[credentials.imds.aws_sigv4]
keys = "instance"
url = "GRANTOR"
region = "eu-central-1"
service = "execute-api"

[credentials.login.login]
values.password = { env = "LOGIN_PASSWORD" }
url = "GRANTOR/login"
json = { user = "attache", password = "{password}" }
answer = { token = "session.id", lifetime = "lifetime" }
attach = { header = "X-Session" }

[credentials.identity.metadata]
provider = "azure"
resource = "https://vault.azure.net"
url = "GRANTOR/identity"
identity_header = { env = "IDENTITY_HEADER" }

[credentials.refreshed.refresh_token]
token_url = "GRANTOR/refresh"
client_id = "attache"
token_endpoint_auth_method = "none"
refresh_token = { env = "REFRESH_SEED" }

[credentials.signed.jwt_bearer]
token_url = "GRANTOR/assertion"
issuer_claim = "attache"
private_key = { env = "PRIVATE_KEY" }

[credentials.bound.client_credentials]
token_url = "GRANTOR/bound"
client_id = "attache"
client_secret = { env = "CLIENT_SECRET_BOUND" }
dpop = { key = { env = "DPOP_KEY" } }

[credentials.exchanged.token_exchange]
token_url = "GRANTOR/exchanged"
client_id = "attache"
client_secret = { env = "CLIENT_SECRET_EXCHANGED" }
subject_token = { header = "X-Subject-Token", clients = ["app"] }

[credentials.based.client_credentials]
token_url = "GRANTOR/based"
client_id = "attache"
client_secret = { env = "CLIENT_SECRET_BASED" }
answer.base_urls.instance_url = ["INSTANCE"]
"#;

pub const ROUTES: [&str; 22] = [
    "bound",
    "exchanged",
    "based",
    "imds",
    "login",
    "identity",
    "refreshed",
    "signed",
    "aws",
    "mac",
    "own",
    "basic",
    "raw",
    "post",
    "wrong",
    "renewed",
    "bearer",
    "header",
    "query",
    "password",
    "file",
    "command",
];
