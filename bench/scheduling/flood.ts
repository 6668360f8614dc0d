/**
 * 100 000 tasks into one pool, half of them withdrawn, the rest run: how long the event loop of the control thread is held up, ms. On a thread of its
 * own. Where the system tells it (Linux), beside the delay how long each pass of the loop had a core, which is what it needs itself, also
 * for the collector's work on this thread; and how long it took without the time that the thread was ready and had none. What is
 * between the two is the wait for the collector's other threads, which want a core too.
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
	/** Passes of the loop, ms: on a core, and without the wait for one. Null: the system does not tell. */
	readonly passes: { readonly onCore: Passes; readonly unqueued: Passes } | null;
}

interface Passes {
	readonly p999: number;
	readonly most: number;
}

/** More than a front thread makes in one of its turns. */
const burst = 256;

/** Tasks come, go and run in bursts, as links deliver them. */
export async function flood(count: number, telemetry: Telemetry): Promise<Flooded> {
	const host = new RealHost(telemetry);
	const one = new Control(new ActorSystem(host), () => host.now(), ['a']);
	await new Promise((resolve) => setTimeout(resolve, 50));
	const core = coreTimes();
	const onCore: number[] = [];
	const unqueued: number[] = [];
	let from = performance.now();
	let before = core?.() ?? noTimes;
	const turn = (): Promise<void> =>
		new Promise((resolve) => {
			setImmediate(() => {
				const now = performance.now();
				const times = core?.() ?? noTimes;
				onCore.push(times.onMs - before.onMs);
				unqueued.push(now - from - (times.waitedMs - before.waitedMs));
				from = now;
				before = times;
				resolve();
			});
		});
	const delay = monitorEventLoopDelay({ resolution: 1 });
	delay.enable();
	const begun = performance.now();
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
	return {
		// The monitor's own resolution is in every sample.
		p999: delay.percentile(99.9) / 1e6 - 1,
		most: delay.max / 1e6 - 1,
		seconds: (performance.now() - begun) / 1_000,
		passes: core === null ? null : { onCore: passesOf(onCore), unqueued: passesOf(unqueued) },
	};
}

function passesOf(times: readonly number[]): Passes {
	const [p999 = 0, most = 0] = quantiles(times, [0.999, 1]);
	return { p999, most };
}

export function floodWords({ p999, most, seconds, passes }: Flooded): string {
	const words = `100 000 tasks into one pool, half of them cancelled, the rest run: event loop delayed p99.9 ${figure(p999, 1)} ms, at most ${figure(most, 1)} ms, ${figure(seconds, 1)} s in all`;
	if (passes === null) return words;
	const told = ({ p999, most }: Passes): string => `p99.9 ${figure(p999, 1)} ms, at most ${figure(most, 1)} ms`;
	return `${words}\n\na pass of that loop: on a core ${told(passes.onCore)}; without the wait for one ${told(passes.unqueued)}`;
}

interface CoreTimes {
	/** Milliseconds that the thread has run, and that it was ready to run and had no core, all in all. */
	readonly onMs: number;
	readonly waitedMs: number;
}

const noTimes: CoreTimes = { onMs: 0, waitedMs: 0 };

/** As the scheduler of Linux tells them (Documentation/scheduler/sched-stats.rst), to a tick of its clock. */
function coreTimes(): (() => CoreTimes) | null {
	let file: number;
	try {
		file = openSync('/proc/thread-self/schedstat', 'r');
	} catch {
		// Another system.
		return null;
	}
	const bytes = Buffer.alloc(96);
	return () => {
		const [on, waited] = bytes
			.toString('latin1', 0, readSync(file, bytes, 0, bytes.length, 0))
			.split(' ')
			.map(Number);
		return { onMs: (on ?? 0) / 1e6, waitedMs: (waited ?? 0) / 1e6 };
	};
}
