/**
 * What the process's exit status means, for scripts and for the parent that restarts the daemon. The numbers of
 * `sysexits.h` where one fits.
 */

export const exitCodes = {
	ok: 0,
	/** The work was tried and failed; also a crash. */
	failure: 1,
	/** The command line makes no sense. */
	usage: 2,
	/** Something needed is not there: the daemon, the port, a native binary, a newer Node. */
	unavailable: 69,
	/** Refused for now: the queue is full, the pool is starting. Trying again is right. */
	retryLater: 75,
	/** The configuration cannot be used, or names a model that is not there: trying again is useless. */
	config: 78,
	/** Ctrl-C. */
	interrupted: 130,
	/** SIGTERM. */
	terminated: 143,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Whether starting the same daemon again could end differently: what the restarting parent asks. */
export function mayRestart(code: number): boolean {
	return (
		code !== exitCodes.ok &&
		code !== exitCodes.usage &&
		code !== exitCodes.config &&
		code !== exitCodes.unavailable &&
		code !== exitCodes.interrupted
	);
}
