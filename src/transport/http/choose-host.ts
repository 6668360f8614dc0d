/**
 * Which server library answers: uWebSockets where its binary loads, else node's own. The choice is a value, so that a missing
 * binary is one clear line in the log, and tests can make it.
 */
import type { BugReport, HostChoice, HttpHost, HttpHostOptions } from './http-host.ts';
import { NodeHost } from './node-host.ts';
import { loadUwsHost } from './uws-host.ts';

/** As in `listen.host`. */
export type HostPreference = 'auto' | 'uws' | 'node';

export type ChosenHost =
	/** `instead`: why it is not the one that is wanted by default; null: it is. */
	{ readonly ok: true; readonly host: HttpHost; readonly instead: string | null } | { readonly ok: false; readonly reason: string };

export function chooseHost(
	preference: HostPreference,
	options: HttpHostOptions,
	report: BugReport,
	loadUws: (options: HttpHostOptions, report: BugReport) => HostChoice = loadUwsHost,
): ChosenHost {
	if (preference === 'node') return { ok: true, host: new NodeHost(options, report), instead: null };
	const choice = loadUws(options, report);
	if (choice.ok) return { ok: true, host: choice.host, instead: null };
	if (preference === 'uws') return choice;
	return { ok: true, host: new NodeHost(options, report), instead: choice.reason };
}
