// oidc-provider as an authorization server for client credentials: two clients, one by basic and one by post, JWT access
// tokens for one resource, discovery. It prints {"issuer": …} when it listens and ends with its standard input.
import { createServer } from 'node:http';
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

// The issuer names the port, so the port comes first.
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [client('by-basic', 'client_secret_basic'), client('by-post', 'client_secret_post')],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
  scopes: ['read', 'write'],
  ttl: { ClientCredentials: 600 },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    devInteractions: { enabled: false },
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

server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
process.stdin.on('end', () => process.exit(0)).resume();
