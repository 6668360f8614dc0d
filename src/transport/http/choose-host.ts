/**
 * Which server library answers: uWebSockets where its binary loads. The choice is a value, so that a missing binary is a
 * clear message at start and the place where another host steps in.
 */
import type { BugReport, HostChoice, HttpHostOptions } from './http-host.ts';
import { loadUwsHost } from './uws-host.ts';

export function chooseHost(options: HttpHostOptions, report: BugReport): HostChoice {
	return loadUwsHost(options, report);
}
