/** The table of metrics in the operations manual, row by row against what the daemon registers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../src/config-root.ts';
import { threadLog } from '../../src/transport/telemetry/logs.ts';
import { metricSpecs } from '../../src/transport/telemetry/metric-names.ts';
import { threadTelemetry } from '../../src/transport/telemetry/metrics.ts';

const manual = readFileSync(join(packageRoot(), 'docs/operations.md'), 'utf8');
const log = threadLog({ thread: 'test', level: 'error' });

test('the manual has a row for every metric of ours, with its type, labels and meaning', () => {
	const rows = metricSpecs.map(({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.join(', ') || '–'} | ${help} |`);
	const missing = rows.filter((row) => !manual.includes(`\n${row}\n`));
	assert.ok(missing.length === 0, `docs/operations.md lacks these rows:\n${missing.join('\n')}`);
	const named = [...manual.matchAll(/^\| `(\w+)` \| (?:counter|gauge|histogram) \|/gm)].map((match) => match[1]);
	assert.deepEqual(
		named,
		metricSpecs.map(({ name }) => name),
	);
});

test('the manual names every metric of the process and of the heaps', async () => {
	const threads = [
		threadTelemetry({ thread: 'main', log, processDefaults: true }),
		threadTelemetry({ thread: 'control', log, heapDefaults: true }),
	];
	const ours = new Set(metricSpecs.map(({ name }) => name));
	const all = (await Promise.all(threads.map((telemetry) => telemetry.snapshot()))).flat().map(({ name }) => name);
	for (const telemetry of threads) telemetry.close();
	const defaults = all.filter((name) => !ours.has(name));
	assert.ok(defaults.length > 8, defaults.join());
	assert.deepEqual(
		defaults.filter((name) => !manual.includes(`\`${name}\``)),
		[],
	);
});

test('a help text is a sentence, and says the unit that the name abbreviates', () => {
	const units: Readonly<Record<string, RegExp>> = { _ms: /milliseconds/, _us: /microseconds/, _bytes: /bytes/, _ratio: /0 to 1|over/ };
	for (const { name, help } of metricSpecs) {
		assert.match(help, /^[A-Z0-9].*\.$/, name);
		for (const [suffix, unit] of Object.entries(units)) if (name.endsWith(suffix)) assert.match(help, unit, name);
		if (name.startsWith('gen_ai_')) assert.match(help, /in seconds/, name);
	}
});
