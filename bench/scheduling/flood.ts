/**
 * 100 000 tasks into one pool, half of them withdrawn, the rest run: how long the event loop of the control thread is held up, ms. On a thread of its
 * own. Where the system tells it (Linux), beside the delay what of each pass of the loop the thread did not have to wait for a core of
 * the machine, which others may have: that is what the scheduler and the collector need themselves.
 */
import { openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { RealHost } from '../../src/actors/kernel/real-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { Telemetry } from '../../src/actors/kernel/telemetry.ts';
import { figure, quantiles } from '../report.ts';
import { Control } from './control.ts';

export interface Flooded {
	/** Delays of the event loop, ms. */
	readonly p999: number;
	readonly most: number;
	readonly seconds: number;
	/** Passes of the loop without the time that the thread waited for a core, ms; null: the system does not tell. */
	readonly own: { readonly p999: number; readonly most: number } | null;
}

/** More than a front thread makes in one of its turns. */
const burst = 256;

/** Tasks come, go and run in bursts, as links deliver them. */
export async function flood(count: number, telemetry: Telemetry): Promise<Flooded> {
	const host = new RealHost(telemetry);
	const one = new Control(new ActorSystem(host), () => host.now(), ['a']);
	await new Promise((resolve) => setTimeout(resolve, 50));
	const waitedMs = coreWaits();
	const own: number[] = [];
	let passFrom = performance.now();
	let waitedBefore = waitedMs?.() ?? 0;
	const turn = (): Promise<void> =>
		new Promise((resolve) => {
			setImmediate(() => {
				const now = performance.now();
				const waited = waitedMs?.() ?? 0;
				own.push(now - passFrom - (waited - waitedBefore));
				passFrom = now;
				waitedBefore = waited;
				resolve();
			});
		});
	const delay = monitorEventLoopDelay({ resolution: 1 });
	delay.enable();
	const from = performance.now();
	const leave: (() => void)[] = [];
	for (let made = 0; made < count; made += 1) {
		leave.push(one.submit());
		if (made % burst === 0) await turn();
	}
	while (one.waiting + one.running.length < count) await turn();
	for (const [index, go] of leave.entries()) {
		if (index % 2 === 0) go();
		if (index % burst === 0) await turn();
	}
	for (let settled = 0; one.waiting > 0 || one.running.length > 0; settled += 1) {
		if (one.running.length > 0) one.settle();
		if (one.running.length === 0 || settled % burst === 0) await turn();
	}
	delay.disable();
	one.system.shutdown();
	const [p999 = 0, most = 0] = quantiles(own, [0.999, 1]);
	return {
		// The monitor's own resolution is in every sample.
		p999: delay.percentile(99.9) / 1e6 - 1,
		most: delay.max / 1e6 - 1,
		seconds: (performance.now() - from) / 1_000,
		own: waitedMs === null ? null : { p999, most },
	};
}

export function floodWords({ p999, most, seconds, own }: Flooded): string {
	const words = `100 000 tasks into one pool, half of them cancelled, the rest run: event loop delayed p99.9 ${figure(p999, 1)} ms, at most ${figure(most, 1)} ms, ${figure(seconds, 1)} s in all`;
	return own === null
		? words
		: `${words}; its passes without what the thread waited for a core p99.9 ${figure(own.p999, 1)} ms, at most ${figure(own.most, 1)} ms`;
}

/** Milliseconds that this thread was ready to run and had no core, all in all: the second number of the scheduler's (Documentation/scheduler/sched-stats.rst of Linux). */
function coreWaits(): (() => number) | null {
	let file: number;
	try {
		file = openSync('/proc/thread-self/schedstat', 'r');
	} catch {
		// Another system.
		return null;
	}
	const bytes = Buffer.alloc(96);
	return () => Number(bytes.toString('latin1', 0, readSync(file, bytes, 0, bytes.length, 0)).split(' ')[1]) / 1e6;
}
