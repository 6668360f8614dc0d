/**
 * A desk that has jobs done by a worker, and does not mind that the worker falls over now and then: its supervisor starts
 * it again, the ask says that there was no answer, and the desk asks again. Ends by itself.
 *
 *   npm run build && node dist/examples/supervised-worker.js
 */
import { type ActorRef, ActorSystem, type AskOutcome, RealHost, type Setup, type SupervisionSpec } from 'orchestratord/actors';

interface Job {
	readonly type: 'square';
	readonly n: number;
	readonly replyTo: ActorRef<number>;
}

type DeskMessage =
	| { readonly type: 'job-ended'; readonly n: number; readonly outcome: AskOutcome<number> }
	| { readonly type: 'next'; readonly n: number };

/** Squares numbers. Has a bug: the first of its lives ends at its first job, and every third after it. */
function worker(lives: { count: number }): Setup<Job> {
	return () => {
		lives.count += 1;
		let broken = lives.count % 3 === 1;
		return {
			onMessage(_ctx, { n, replyTo }) {
				if (broken) {
					broken = false;
					throw new Error(`cannot square ${n} today`);
				}
				replyTo.tell(n * n);
				return 'same';
			},
		};
	};
}

const supervision: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 5, withinMs: 10_000 },
	backoff: { firstMs: 10, maxMs: 1_000, jitter: 0.1 },
	shutdownMs: 1_000,
};

/** Has jobs done one after the other; `say` gets a line for everything that happens. */
function desk(jobs: number, say: (line: string) => void): Setup<DeskMessage> {
	return (ctx) => {
		const squares = ctx.spawn('worker', worker({ count: 0 }), { supervision });
		const ask = (n: number): void =>
			ctx.ask(
				squares,
				100,
				(replyTo: ActorRef<number>): Job => ({ type: 'square', n, replyTo }),
				(outcome) => ({ type: 'job-ended', n, outcome }),
			);
		ask(1);
		return {
			onMessage(context, message) {
				switch (message.type) {
					case 'next':
						ask(message.n);
						return 'same';
					case 'job-ended': {
						const { n, outcome } = message;
						if (outcome.ok) say(`${n} squared is ${outcome.reply}`);
						else say(`${n} squared is unknown (${outcome.reason}, ${outcome.began === 'no' ? 'not begun' : 'maybe begun'}): again`);
						if (outcome.ok && n === jobs) return 'stopped';
						// Squaring twice does no harm, so also work that may have begun is asked for again.
						context.setTimer('next', 10, { type: 'next', n: outcome.ok ? n + 1 : n });
						return 'same';
					}
				}
			},
			onSignal(_ctx, signal) {
				if (signal.type === 'child-failed') say(`the ${signal.name} failed: ${signal.message}; decision: ${signal.decision}`);
				return 'same';
			},
		};
	};
}

const system = new ActorSystem(new RealHost(undefined, { timersKeepAlive: true }));
system.spawn(
	'desk',
	desk(3, (line) => console.log(line)),
);
