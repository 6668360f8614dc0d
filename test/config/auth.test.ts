/** `auth` and what goes with it, as users of the configuration meet it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, refusal } from './loading.ts';

const digest = 'ab'.repeat(32);
const key = (more = ''): string => `auth: { keys: [{ name: ci, sha256: ${digest}${more} }] }`;

test('a key is a name and a digest; the rest has defaults', () => {
	assert.deepEqual(load([], key()).auth, {
		keys: [
			{
				name: 'ci',
				sha256: digest,
				tenant: 'default',
				roles: ['client'],
				rate: { requestsPerMinute: null, burst: 1, tokensPerMinute: null },
				budgets: { tokens: null, timeMs: null, cost: null, gpuMs: null },
			},
		],
		publicMetrics: false,
	});
	const [limited] = load(
		[],
		key(
			', tenant: t, roles: [operator, worker], rate: { requests_per_minute: 90, tokens_per_minute: 5 }, budgets: { tokens: 9, time_ms: 8, cost: 0.5, gpu_ms: 7 }',
		),
	).auth.keys;
	assert.deepEqual(limited?.rate, { requestsPerMinute: 90, burst: 90, tokensPerMinute: 5 });
	assert.deepEqual(limited?.budgets, { tokens: 9, timeMs: 8, cost: 0.5, gpuMs: 7 });
	assert.match(refusal([], key(', budgets: { cost: 0 }')), /budgets\.cost is 0; it must be a number above 0/);
	assert.deepEqual(limited?.roles, ['operator', 'worker']);
	assert.equal(load(['--auth.public-metrics', 'true'], key()).auth.publicMetrics, true);
	const env = { ORCHD_AUTH_KEYS: `[{ name: env, sha256: "${'AB'.repeat(32)}" }]` };
	assert.deepEqual(load([], undefined, env).auth.keys[0]?.sha256, digest);
});

test('a key that is none is refused in words, and a key itself in its place is not repeated', () => {
	assert.match(refusal([], 'auth: { keys: [{ name: ci }] }'), /^auth\.keys\[0\]\.sha256 is missing; it must be the SHA-256 of the key/);
	assert.match(
		refusal([], key(', roles: [admin]')),
		/^auth\.keys\[0\]\.roles\[0\] is "admin"; it must be one of client, operator, worker$/,
	);
	assert.match(refusal([], key(', roles: []')), /roles is \[\]/);
	assert.match(refusal([], key(', rate: { requests_per_minute: 0 }')), /above 0/);
	const twice = `auth: { keys: [{ name: a, sha256: ${digest} }, { name: a, sha256: ${digest} }] }`;
	assert.match(refusal([], twice), /^auth\.keys\[1\]\.name is that of auth\.keys\[0\] too.*\nauth\.keys\[1\]\.sha256 is that of/);
	assert.doesNotMatch(refusal([], 'auth: { keys: [{ name: ci, sha256: sk-planted-secret }] }'), /planted/);
});

test('an address that other machines can reach, and pages of any origin, need a key', () => {
	for (const addr of ['0.0.0.0:8080', '[::]:80', ':8080', '10.1.2.3:1']) {
		assert.match(refusal(['--addr', addr]), /needs auth\.keys: `orchestratord keys new` makes one/);
		assert.equal(typeof load(['--addr', addr], key()).listen.port, 'number');
	}
	assert.equal(load(['--addr', ':8080'], key()).listen.hostname, '0.0.0.0');
	assert.match(refusal([], 'listen: { cors_origins: ["*"] }'), /any web page could use the daemon; that needs auth\.keys/);
	assert.deepEqual(load([], `${key()}\nlisten: { cors_origins: ["*"] }`).listen.corsOrigins, ['*']);
	assert.deepEqual(load([], 'listen: { cors_origins: ["https://app.example"] }').listen.corsOrigins, ['https://app.example']);
	assert.match(refusal([], 'listen: { cors_origins: ["https://app.example/path"] }'), /cors_origins\[0\]/);
});

test('TLS is two files, found from the working directory, or none', () => {
	assert.equal(load([]).tls, null);
	assert.deepEqual(load([], 'tls: { cert: a.pem, key: /k/b.pem }').tls, { cert: '/srv/fox/a.pem', key: '/k/b.pem' });
	assert.match(refusal([], 'tls: { cert: a.pem }'), /^tls\.cert is given, but tls\.key is not; TLS needs both$/);
	assert.match(refusal([], 'tls: { key: a.pem }'), /^tls\.key is given, but tls\.cert is not/);
});
