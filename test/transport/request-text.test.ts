/** From bytes to values: JSON with positions, canonical text, ids, routes, origins. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bodyHash, canonicalJson } from '../../src/transport/api/canonical-json.ts';
import { parseJsonBody, whereJsonBreaks } from '../../src/transport/api/json-body.ts';
import { excessIn, jsonNameBytesMax, jsonNestingMax, jsonValuesMax } from '../../src/transport/api/json-bounds.ts';
import { TaskIds } from '../../src/transport/api/task-id.ts';
import { OriginGuard } from '../../src/transport/auth/origin-guard.ts';
import type { HttpRequest } from '../../src/transport/http/http-host.ts';
import { Router } from '../../src/transport/http/routes.ts';

function messageOf(body: string | Buffer): string {
	const parsed = parseJsonBody(Buffer.from(body as string));
	assert.ok(!parsed.ok);
	assert.equal(parsed.failure.code, 'INVALID_PARAMS');
	return parsed.failure.message;
}

describe('a JSON body', () => {
	it('is taken exactly when JSON.parse takes it', () => {
		fc.assert(
			fc.property(
				fc.oneof(
					fc.json(),
					fc.string(),
					fc.json().map((text) => text.slice(0, -1)),
					fc.json().map((text) => `${text},`),
				),
				(text) => {
					const parsed = parseJsonBody(Buffer.from(text));
					let expected: unknown;
					try {
						expected = JSON.parse(Buffer.from(text).toString());
					} catch {
						assert.ok(!parsed.ok);
						return;
					}
					assert.deepEqual(parsed, { ok: true, value: expected });
				},
			),
		);
	});

	it('says where it breaks and what was expected, without repeating it', () => {
		assert.match(messageOf(''), /empty/);
		assert.match(messageOf('{"a":1'), /ends too early.*line 1, column 7.*comma or the end/);
		assert.match(messageOf('{"a" 1}'), /column 6 \(character 5\) it needs a colon/);
		assert.match(messageOf('{\n "prompt": secret\n}'), /line 2, column 12.*needs a value/);
		assert.doesNotMatch(messageOf('{\n "prompt": secret\n}'), /secret|prompt/);
		assert.match(messageOf('[1,]'), /column 4.*a value/);
		assert.match(messageOf('{"a":1,}'), /column 8.*name in double quotes/);
		assert.match(messageOf("{'a':1}"), /column 2.*name in double quotes/);
		assert.match(messageOf('"\\x"'), /string breaks/);
		assert.match(messageOf('{} {}'), /nothing more/);
		assert.match(messageOf('\ufeff{}'), /character 0/);
	});

	it('points at a place where the text before it is a prefix of some JSON', () => {
		fc.assert(
			fc.property(fc.json(), fc.nat(), fc.constantFrom('}', ']', ',', ':', '"', 'x', '\u0001'), (json, at, junk) => {
				const index = at % (json.length + 1);
				const broken = json.slice(0, index) + junk + json.slice(index);
				try {
					JSON.parse(broken);
					return;
				} catch {
					const position = Number(/character (\d+)/.exec(whereJsonBreaks(broken))?.[1]);
					assert.ok(position >= Math.min(index, position) && position <= broken.length);
				}
			}),
		);
	});

	it('may be nested without bound and still only be refused', () => {
		assert.match(whereJsonBreaks('['.repeat(100_000)), /ends too early/);
		assert.match(whereJsonBreaks(`${'{"a":'.repeat(50_000)}x`), /a value/);
		assert.match(messageOf('['.repeat(10_000)), /ends too early/);
	});

	it('that is long is refused for too many values, too deep nesting or too long a name, before it is parsed', () => {
		const padding = ' '.repeat(20_000);
		const list = (values: number): string => `[${'1,'.repeat(values - 2)}1]${padding}`;
		assert.ok(parseJsonBody(Buffer.from(list(jsonValuesMax - 1))).ok);
		assert.match(messageOf(list(jsonValuesMax + 1)), /more than 65536 values/);
		assert.match(messageOf('{"a":1,'.repeat(1_000_000)), /more than|nested/);
		const nest = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}${padding}`;
		assert.ok(parseJsonBody(Buffer.from(nest(jsonNestingMax))).ok);
		assert.match(messageOf(nest(jsonNestingMax + 1)), /nested more than 128 deep/);
		const named = (bytes: number): string => `{"${'é'.repeat(bytes / 2)}" : 1}${padding}`;
		assert.ok(parseJsonBody(Buffer.from(named(jsonNameBytesMax))).ok);
		assert.match(messageOf(named(jsonNameBytesMax + 2)), /name is longer than 1024 bytes/);
	});

	it('is not refused for what a text in it looks like', () => {
		const text = `${'[{,:\\"'.repeat(100_000)}\\`;
		const body = JSON.stringify({ prompt: text, 'a"b\\': ['\\', '"', '\\"', '[[['] });
		assert.equal(excessIn(Buffer.from(body)), null);
		assert.ok(parseJsonBody(Buffer.from(body)).ok);
		fc.assert(
			fc.property(fc.json({ maxDepth: 6 }), (json) => {
				const long = Buffer.from(`[${json},${JSON.stringify('x'.repeat(20_000))}]`);
				assert.equal(excessIn(long), null);
			}),
		);
	});

	it('that is not UTF-8 is refused with the place', () => {
		const broken = Buffer.concat([Buffer.from('{"prompt":"ä'), Buffer.from([0xff]), Buffer.from('"}')]);
		assert.match(messageOf(broken), /not UTF-8.*byte 13/);
		assert.match(messageOf(Buffer.from([0xc3])), /byte 0|byte 1/);
		assert.match(messageOf(Buffer.concat([Buffer.alloc(1_000_000, 'a'), Buffer.from([0xed, 0xa0, 0x80])])), /byte 100000\d/);
	});
});

describe('the canonical text', () => {
	it('is the same for the same value, whatever the order of its keys and its spacing', () => {
		fc.assert(
			fc.property(fc.jsonValue(), (value) => {
				const shuffled = JSON.parse(JSON.stringify(value, null, 3)) as unknown;
				assert.equal(canonicalJson(shuffled), canonicalJson(JSON.parse(JSON.stringify(value))));
				assert.deepEqual(JSON.parse(canonicalJson(shuffled)), shuffled);
			}),
		);
		assert.equal(bodyHash({ a: 1, b: [1, { c: 2, d: 3 }] }, 'x'), bodyHash({ b: [1, { d: 3, c: 2 }], a: 1 }, 'x'));
	});

	it('differs where the body differs, and leaves out the id alone', () => {
		assert.notEqual(bodyHash({ a: '1' }, 'x'), bodyHash({ a: 1 }, 'x'));
		assert.notEqual(bodyHash({ a: [1, 2] }, 'x'), bodyHash({ a: [2, 1] }, 'x'));
		assert.equal(bodyHash({ a: 1, task_id: 'p' }, 'task_id'), bodyHash({ task_id: 'q', a: 1 }, 'task_id'));
		assert.notEqual(bodyHash(JSON.parse('{"__proto__":1}') as Record<string, unknown>, 'x'), bodyHash({}, 'x'));
	});
});

describe('task ids', () => {
	it('are UUIDv7 in the order of their making, also within a millisecond and when the clock goes back', () => {
		let now = 1_800_000_000_000;
		const ids = new TaskIds(7, () => now);
		const made: string[] = [];
		for (let index = 0; index < 20_000; index++) {
			if (index === 10_000) now -= 5_000;
			if (index % 3000 === 0) now += 1;
			made.push(ids.next());
		}
		assert.ok(made.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{10}07$/.test(id)));
		assert.deepEqual([...made].sort(), made);
		assert.equal(new Set(made).size, made.length);
	});
});

describe('the router', () => {
	const router = new Router<string>([
		{ method: 'GET', path: '/v2/tasks', handler: 'list' },
		{ method: 'POST', path: '/v2/tasks', handler: 'submit' },
		{ method: 'POST', path: '/v2/tasks/preview', handler: 'preview' },
		{ method: 'GET', path: '/v2/tasks/{id}', handler: 'get' },
		{ method: 'DELETE', path: '/v2/tasks/{id}', handler: 'delete' },
		{ method: 'GET', path: '/v2/tasks/{id}/events', handler: 'events' },
	]);
	const handlerOf = (method: string, path: string): string => {
		const match = router.match(method, path);
		return match.found === 'route' ? match.handler : match.found;
	};

	it('finds exact paths before those with a parameter, and HEAD where GET is', () => {
		assert.equal(handlerOf('POST', '/v2/tasks/preview'), 'preview');
		assert.equal(handlerOf('GET', '/v2/tasks/preview'), 'get');
		assert.equal(handlerOf('HEAD', '/v2/tasks'), 'list');
		assert.equal(handlerOf('DELETE', '/v2/tasks/x'), 'delete');
		const match = router.match('GET', '/v2/tasks/a%2Fb/events');
		assert.deepEqual(match.found === 'route' && match.params, { id: 'a/b' });
	});

	it('tells a method that is not allowed from a path that is not there', () => {
		assert.deepEqual(router.match('PUT', '/v2/tasks'), { found: 'path', allow: 'GET, POST, HEAD, OPTIONS' });
		for (const path of ['/', '', '/v2/tasks/', '/v2/tasks//events', '/v2/tasks/%zz', '/v2/Tasks', '//v2/tasks', '/v1/replicasets']) {
			assert.equal(handlerOf('GET', path), 'nothing', path);
		}
	});
});

describe('the request guard', () => {
	const guard = new OriginGuard({ hostname: '127.0.0.1', port: 8080, hosts: ['box.lan', 'proxy.lan:443'], corsOrigins: [] });
	const allowed = (headers: Readonly<Record<string, string>>): boolean => {
		const request: HttpRequest = {
			method: 'POST',
			path: '/',
			query: '',
			header: (name) => headers[name],
			headerCount: 1,
		};
		const refusal = guard.refusal(request);
		if (refusal !== null) assert.equal(refusal.code, 'FORBIDDEN');
		return refusal === null;
	};

	it('knows the names of the daemon with its port, and no other', () => {
		for (const host of ['127.0.0.1:8080', 'localhost:8080', '[::1]:8080', 'LocalHost:8080', 'box.lan', 'box.lan:8080', 'proxy.lan:443']) {
			assert.ok(allowed({ host }), host);
		}
		for (const host of ['', 'localhost', 'localhost:81', 'evil.example:8080', '127.0.0.1:8080, evil.example', 'proxy.lan', 'xbox.lan']) {
			assert.ok(!allowed({ host }), host);
		}
	});

	it('refuses pages of other origins, and forms of its own', () => {
		const host = 'localhost:8080';
		assert.ok(allowed({ host, origin: 'http://localhost:8080' }));
		assert.ok(allowed({ host, origin: 'https://proxy.lan' }));
		for (const origin of ['http://localhost:3000', 'https://evil.example', 'null', 'http://localhost', 'file://', 'garbage']) {
			assert.ok(!allowed({ host, origin }), origin);
		}
		const form = 'application/x-www-form-urlencoded';
		assert.ok(allowed({ host, 'content-type': form }));
		assert.ok(!allowed({ host, origin: 'http://localhost:8080', 'content-type': form }));
		assert.ok(allowed({ host, origin: 'http://localhost:8080', 'content-type': 'application/json; charset=utf-8' }));
	});
});

describe('the request guard of a daemon on all addresses, shared with pages', () => {
	const guard = new OriginGuard({ hostname: '0.0.0.0', port: 8080, hosts: ['box.lan'], corsOrigins: ['https://app.example'] });
	const request = (headers: Readonly<Record<string, string>>, method = 'GET'): HttpRequest => ({
		method,
		path: '/',
		query: '',
		header: (name) => headers[name],
		headerCount: 1,
	});
	const allowed = (headers: Readonly<Record<string, string>>): boolean => guard.refusal(request(headers)) === null;

	it('takes any address for its Host, for no page can make one up, and of names only its own', () => {
		for (const host of ['192.168.1.5:8080', '10.0.0.1', '[fe80::1]:8080', 'box.lan:1']) assert.ok(allowed({ host }), host);
		for (const host of ['evil.example:8080', '1.2.3:80', '1.2.3.4.evil.example', '[evil]:80', '1.2.3.4:x'])
			assert.ok(!allowed({ host }), host);
	});

	it('takes pages of its own address, and not those of another address', () => {
		const host = '192.168.1.5:8080';
		assert.ok(allowed({ host, origin: 'http://192.168.1.5:8080' }));
		for (const origin of ['http://6.6.6.6:8080', 'http://192.168.1.5:81', 'null', 'https://app.example.evil'])
			assert.ok(!allowed({ host, origin }), origin);
	});

	it('lets pages of the origins that are configured ask and read, whatever they send', () => {
		const page = { host: 'box.lan', origin: 'https://app.example' };
		assert.ok(allowed({ ...page, 'content-type': 'text/plain' }));
		assert.deepEqual(guard.corsHeaders(request(page)).slice(0, 1), [['Access-Control-Allow-Origin', 'https://app.example']]);
		assert.deepEqual(guard.corsHeaders(request({ host: 'box.lan' })), [['Vary', 'Origin']]);
		const ask = { ...page, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, content-type' };
		const answer = new Map(guard.preflight(request(ask, 'OPTIONS'), 'GET, POST') ?? []);
		assert.equal(answer.get('Access-Control-Allow-Methods'), 'GET, POST');
		assert.equal(answer.get('Access-Control-Allow-Headers'), 'authorization, content-type');
		assert.equal(guard.preflight(request({ ...ask, origin: 'https://evil.example' }, 'OPTIONS'), 'GET'), null);
		assert.equal(guard.preflight(request(page, 'OPTIONS'), 'GET'), null);
		const broken = guard.preflight(request({ ...ask, 'access-control-request-headers': 'a\r\nb: c' }, 'OPTIONS'), 'GET');
		assert.ok(!broken?.some(([name]) => name === 'Access-Control-Allow-Headers'));
	});

	it('shares nothing unless told to', () => {
		const closed = new OriginGuard({ hostname: '127.0.0.1', port: 8080, hosts: [], corsOrigins: [] });
		const page = { host: 'localhost:8080', origin: 'https://app.example', 'access-control-request-method': 'POST' };
		assert.deepEqual(closed.corsHeaders(request(page)), []);
		assert.equal(closed.preflight(request(page, 'OPTIONS'), 'GET'), null);
		assert.equal(closed.refusal(request(page))?.code, 'FORBIDDEN');
	});
});
