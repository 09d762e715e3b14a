// oidc-provider as an authorization server for client credentials: clients by basic, by post, by an assertion signed with
// the secret, and by assertions signed with the private keys of the unit tests, whose public halves it knows.
// JWT access tokens for one resource, discovery. One client has a refresh token, as if somebody had authorized it, which is
// replaced at every use; another one has the same for tokens that are bound to a key (DPoP). Every proof needs a nonce. With
// CERTIFICATES, a folder, in its environment it also speaks TLS, for clients by the certificate in there; that address is an
// alias in its metadata. It prints
// {"issuer": …, "refresh_token": …, "bound_refresh_token": …} when it listens and ends with its standard input.
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Provider } from 'oidc-provider';

const SECRET = 's3cret+/=:x';
const RESOURCE = 'urn:attache:api';

const client = (client_id, token_endpoint_auth_method) => ({
  client_id,
  client_secret: SECRET,
  token_endpoint_auth_method,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

// Long enough to sign with HS512.
const byJwt = (alg) => ({
  ...client(`by-secret-${alg}`, 'client_secret_jwt'),
  client_secret: SECRET.repeat(6),
  token_endpoint_auth_signing_alg: alg,
});

// Its authorization is made below; nobody is ever sent to its redirect URI.
const byRefreshToken = {
  ...client('by-refresh-token', 'client_secret_basic'),
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: ['https://client.example/callback'],
  response_types: ['code'],
};

const withDpop = (client) => ({ ...client, dpop_bound_access_tokens: true });

const publicKey = (name) => {
  const pem = readFileSync(new URL(`../../../src/jws/keys/${name}.pem`, import.meta.url));
  return createPublicKey(pem).export({ format: 'jwk' });
};

const byKey = ([alg, name]) => ({
  ...client(`by-key-${alg}`, 'private_key_jwt'),
  client_secret: undefined,
  token_endpoint_auth_signing_alg: alg,
  jwks: { keys: [publicKey(name)] },
});

const pem = (name) => readFileSync(`${process.env.CERTIFICATES}/${name}`);

// One client by its certificate itself, one by its name in a certificate that an authority issued, which here is its own.
const byCertificate = () => {
  const certificate = new X509Certificate(pem('client.crt'));
  const key = { ...certificate.publicKey.export({ format: 'jwk' }), x5c: [certificate.raw.toString('base64')] };
  const bound = { client_secret: undefined, tls_client_certificate_bound_access_tokens: true };
  return [
    { ...client('by-self-signed', 'self_signed_tls_client_auth'), ...bound, jwks: { keys: [key] } },
    { ...client('by-authority', 'tls_client_auth'), ...bound, tls_client_auth_san_dns: 'client.example' },
  ];
};

const ALGORITHMS = ['HS256', 'HS512', 'RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];
const KEYS = { RS256: 'rsa', PS256: 'rsa', ES256: 'p256', ES384: 'p384', EdDSA: 'ed25519' };

// The issuer names the port, so the port comes first.
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const tls = process.env.CERTIFICATES
  && createTlsServer({
    key: pem('server.key'), cert: pem('server.crt'), ca: pem('client.crt'), requestCert: true, rejectUnauthorized: false,
  });
if (tls) await new Promise((resolve) => tls.listen(0, '127.0.0.1', resolve));

const provider = new Provider(issuer, {
  clients: [
    client('by-basic', 'client_secret_basic'),
    client('by-post', 'client_secret_post'),
    byRefreshToken,
    withDpop(client('bound', 'client_secret_basic')),
    withDpop({ ...byRefreshToken, client_id: 'bound-by-refresh-token' }),
    ...['HS256', 'HS512'].map(byJwt),
    ...Object.entries(KEYS).map(byKey),
    ...(tls ? byCertificate() : []),
  ],
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  discovery: tls ? { mtls_endpoint_aliases: { token_endpoint: `https://localhost:${tls.address().port}/token` } } : {},
  enabledJWA: {
    clientAuthSigningAlgValues: ALGORITHMS,
    dPoPSigningAlgValues: ['RS256', 'ES256', 'ES384', 'EdDSA'],
  },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  // The refresh token grant's tokens are short-lived, so that they are renewed while a test looks on.
  ttl: { ClientCredentials: 600, AccessToken: 2, RefreshToken: 600, Grant: 600 },
  rotateRefreshToken: true,
  findAccount: (_context, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  features: {
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    devInteractions: { enabled: false },
    mTLS: {
      enabled: Boolean(tls),
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (context) => context.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (context) => context.socket.authorized,
      certificateSubjectMatches: (context, _property, expected) =>
        context.socket.getPeerX509Certificate().subjectAltName === `DNS:${expected}`,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo(_context, resource) {
        if (resource !== RESOURCE) throw new Error(`unknown resource ${resource}`);
        return { scope: 'read write', accessTokenFormat: 'jwt', accessTokenTTL: 600, audience: RESOURCE };
      },
    },
  },
});

const authorize = async (clientId) => {
  const grant = new provider.Grant({ accountId: 'somebody', clientId });
  grant.addOIDCScope('openid offline_access');
  const grantId = await grant.save();
  const refreshToken = new provider.RefreshToken({
    accountId: 'somebody',
    client: await provider.Client.find(clientId),
    grantId,
    gty: 'authorization_code',
    scope: 'openid offline_access',
  });
  return refreshToken.save();
};

server.on('request', provider.callback());
tls?.on('request', provider.callback());
console.log(JSON.stringify({
  issuer,
  refresh_token: await authorize('by-refresh-token'),
  bound_refresh_token: await authorize('bound-by-refresh-token'),
}));
process.stdin.on('end', () => process.exit(0)).resume();
