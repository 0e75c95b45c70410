// An OpenID provider on loopback for tests. Its settings come as JSON in the file
// that the first argument names; it prints a line once it listens.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import Provider from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const seen = { grants: {}, errors: [], hosts: {} };

const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
  scopes: ['read', 'write', 'admin'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth'],
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
  ttl: { ClientCredentials: 600 },
  discovery: { mtls_endpoint_aliases: { token_endpoint: settings.alias } },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => {
        const certificate = ctx.req.socket.getPeerX509Certificate();
        return certificate ? certificate.toString() : undefined;
      },
      certificateAuthorized: (ctx) => ctx.req.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' &&
        ctx.req.socket.getPeerX509Certificate().subjectAltName === `DNS:${expected}`,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: 'read write', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});
provider.on('grant.success', (ctx) => {
  const id = ctx.oidc.client.clientId;
  seen.grants[id] = (seen.grants[id] ?? 0) + 1;
});
provider.on('grant.error', (_ctx, err) => seen.errors.push(err.error));

const answer = provider.callback();
const server = createServer(
  { cert: readFileSync(settings.certificate), key: readFileSync(settings.key), ca: readFileSync(settings.ca), requestCert: true, rejectUnauthorized: false },
  (req, res) => {
    if (req.url === '/_seen') {
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify(seen));
      return;
    }
    if (req.url === '/token') {
      seen.hosts[req.headers.host] = (seen.hosts[req.headers.host] ?? 0) + 1;
    }
    answer(req, res);
  },
);
server.listen(settings.port, '127.0.0.1', () => console.log('listening'));
