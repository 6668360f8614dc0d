/**
 * HTTP/2 as this daemon speaks it, with prior knowledge and with TLS, under h2spec, whose cases cite RFC 7540 and 7541. Needs h2spec
 * in the path, which `.ci/h2spec` sees to. What node's implementation does not pass is listed here and in docs/operations.md.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { firstPair } from '../fixtures/certificates.ts';
import { startFront } from '../transport/test-front.ts';

/** Cases by their section, and why a client need not care. */
const known: Readonly<Record<string, string>> = {
	'http2/3.5 Sends invalid connection preface': 'on a shared port it is a bad request of HTTP/1.1, and is answered as one',
	'http2/5.1 closed: Sends a DATA frame after sending RST_STREAM frame': 'ignored, as RFC 9113, 5.1 allows for a while',
	'http2/5.1 closed: Sends a HEADERS frame after sending RST_STREAM frame': 'ignored likewise',
	'http2/5.1 half closed (remote): Sends a DATA frame': 'the stream was answered and closed before it came',
	'http2/5.1 half closed (remote): Sends a HEADERS frame': 'the stream was answered and closed before it came',
	'http2/6.1 Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state':
		'the stream was answered and closed before it came',
	'http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream':
		'the stream was answered and closed before they came',
	'http2/6.9 Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream':
		'the stream was answered and closed before it came',
	'http2/8.1.2.1 Sends a HEADERS frame that contains a pseudo-header field as trailers': 'answered before it came',
	'http2/5.1 closed: Sends a DATA frame': 'ignored likewise',
	'http2/5.1 closed: Sends a HEADERS frame': 'ignored likewise',
	'http2/5.1.1 Sends stream identifier that is numerically smaller than previous': 'ignored: the library takes it for a closed stream',
	'http2/6.7 Sends a PING frame with ACK': 'the library ends the connection: nothing had been asked',
	'http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1':
		'the library ends the connection instead of the stream',
	'http2/8.1 Sends a second HEADERS frame without the END_STREAM flag': 'answered before it came',
	'http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length':
		'answered before the body came',
	'http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length':
		'answered before the body came',
};

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-h2spec-'));
after(() => rmSync(folder, { recursive: true }));

/** The cases that failed, each by section and sentence. */
async function failures(port: number, tls: boolean): Promise<{ readonly ran: number; readonly failed: string[] }> {
	const report = join(folder, 'report.xml');
	const args = ['-h', '127.0.0.1', '-p', String(port), '-P', '/health', '-o', '2', '-j', report, ...(tls ? ['-t', '-k'] : [])];
	const child = spawn('h2spec', args, { stdio: 'ignore' });
	await new Promise((resolve, reject) => {
		child.once('error', reject);
		child.once('close', resolve);
	});
	const xml = readFileSync(report, 'utf8');
	const cases = [...xml.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*>([\s\S]*?)<\/testcase>/g)];
	const failed = cases.filter(([, , , inside = '']) => inside.includes('<failure') || inside.includes('<error'));
	const named = failed.map(([, section = '', sentence = '']) => `${section} ${sentence}`.replaceAll('&#34;', '"'));
	return { ran: cases.length, failed: named };
}

describe('HTTP/2 under h2spec', () => {
	for (const tls of [false, true]) {
		it(`passes all cases but those that are known, ${tls ? 'with TLS' : 'with prior knowledge'}`, async () => {
			const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
			writeFileSync(files.cert, firstPair.cert);
			writeFileSync(files.key, firstPair.key);
			const http = { http2: true, tls: tls ? files : null };
			const front = await startFront({ secure: tls }, undefined, 'node', null, undefined, http);
			const unknown: string[][] = [];
			try {
				// Whether a frame comes before the answer or behind it is a matter of luck: what fails is tried once more.
				for (let run = 0; run < 2 && unknown.at(-1)?.length !== 0; run += 1) {
					const { ran, failed } = await failures(front.port, tls);
					assert.ok(ran > 140, `${ran} cases ran`);
					unknown.push(failed.filter((each) => known[each] === undefined));
				}
			} finally {
				front.close();
			}
			const [first = [], again = []] = unknown;
			assert.deepEqual(
				first.filter((each) => again.includes(each)),
				[],
			);
			assert.deepEqual(
				front.lines.filter(({ level }) => level === 'error'),
				[],
			);
		});
	}
});
