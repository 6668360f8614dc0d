/** Which redirects may be followed, as a table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reach, reachOf, redirectProblem } from '../../src/fetch/address-rules.ts';

test('an address is of this machine, of its network, or public, in whatever clothes', () => {
	const table: Readonly<Record<keyof typeof reach, readonly string[]>> = {
		loopback: ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1'],
		private: [
			'0.0.0.0',
			'10.1.2.3',
			'100.64.0.1',
			'169.254.169.254',
			'172.16.0.1',
			'172.31.255.255',
			'192.168.1.1',
			'224.0.0.1',
			'255.255.255.255',
			'::',
			'fc00::1',
			'fdff::1',
			'fe80::1',
			'ff02::1',
			'::ffff:10.0.0.1',
			'64:ff9b::a9fe:a9fe',
		],
		public: ['1.1.1.1', '172.32.0.1', '100.128.0.1', '192.169.0.1', '2606:4700::1111', '::ffff:8.8.8.8', '64:ff9b::808:808'],
	};
	for (const [kind, addresses] of Object.entries(table)) {
		for (const address of addresses) assert.equal(reachOf(address), reach[kind as keyof typeof reach], address);
	}
});

test('a redirect stays with its owner or leads to bytes that are known, and never away from TLS', () => {
	const problem = (from: string, to: string, known = false, redirectHosts: readonly string[] = []): string | null =>
		redirectProblem(new URL(from), new URL(to), { known, redirectHosts });
	const hub = 'https://huggingface.co/o/r/resolve/main/m.gguf';
	for (const to of ['https://cdn-lfs.hf.co/x', 'https://us.aws.cdn.hf.co/x', 'https://huggingface.co/x'])
		assert.equal(problem(hub, to), null);
	assert.equal(problem('https://github.com/a', 'https://objects.githubusercontent.com/a'), null);
	assert.equal(problem('https://example.com/a', 'https://cdn.example.com/a'), null);
	assert.match(problem('https://example.com/a', 'https://notexample.com/a') ?? '', /another host.*catalog\.redirect_hosts/);
	assert.match(problem(hub, 'https://cdn-lfs.hf.co.evil.example/x') ?? '', /another host/);
	assert.equal(problem('https://example.com/a', 'https://other.example/a', true), null);
	assert.equal(problem('https://example.com/a', 'https://a.cdn.example/a', false, ['*.cdn.example']), null);
	assert.match(problem('https://example.com/a', 'https://cdn.example/a', false, ['*.cdn.example']) ?? '', /another host/);
	for (const known of [true, false]) {
		assert.match(problem('https://example.com/a', 'http://example.com/a', known) ?? '', /from https to http/);
		assert.match(problem('http://127.0.0.1/a', 'http://127.0.0.2/a', known) ?? '', /over http to another host/);
		assert.match(problem('https://example.com/a', 'file:///etc/passwd', known) ?? '', /no way to fetch/);
		assert.match(problem('https://example.com/a', 'https://u:p@example.com/a', known) ?? '', /password/);
	}
	assert.equal(problem('http://127.0.0.1/a', 'https://example.com/a', true), null);
});
