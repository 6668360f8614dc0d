/**
 * The command of a managed engine, from what the configuration says to the words that a program is started with. There is no shell: a
 * command is split into words by quotes alone, once, before its macros are filled in, so that no value can become a second word. Pure; for
 * the configuration, which checks, and for engine threads, which start.
 */

/** What a macro may stand for; null: the configuration does not say it. */
export type MacroValues = Readonly<Record<MacroName, string | number | null>>;
export type MacroName = (typeof macroNames)[number];

/** In the order in which they are told. */
export const macroNames = [
	'host',
	'port',
	'port_2',
	'port_3',
	'model',
	'devices',
	'device_count',
	'ctx',
	'slots',
	'total_ctx',
	'max_tokens_out',
	'pool_id',
	'replica',
	'replica_id',
	'runtime_dir',
	'cache_dir',
] as const;

/** Which key a macro without a value waits for. */
const saidBy: Readonly<Partial<Record<MacroName, string>>> = {
	model: 'model',
	devices: 'devices',
	device_count: 'devices',
	ctx: 'ctx',
	total_ctx: 'ctx',
};

export type CommandWords = { readonly ok: true; readonly words: readonly string[] } | { readonly ok: false; readonly problem: string };

/** Words of a shell that have no meaning here: who writes them expects one. */
const shellWords: ReadonlySet<string> = new Set(['|', '||', '&', '&&', ';', '>', '>>', '<', '2>&1']);

/** Words as a shell would split them: by blanks, but for what is quoted; a backslash takes the next character as it is. */
export function splitCommand(text: string): CommandWords {
	const words: string[] = [];
	let word: string | null = null;
	let quoted = false;
	let quote: '"' | "'" | null = null;
	const push = (): string | null => {
		if (word === null) return null;
		if (!quoted && shellWords.has(word)) return word;
		words.push(word);
		word = null;
		quoted = false;
		return null;
	};
	for (let at = 0; at < text.length; at++) {
		const character = text.charAt(at);
		if (quote === null && /\s/.test(character)) {
			const shell = push();
			if (shell !== null) return noShell(shell);
		} else if (quote === null && (character === '"' || character === "'")) {
			quote = character;
			quoted = true;
			word ??= '';
		} else if (character === quote) quote = null;
		else if (character === '\\' && quote !== "'") {
			const next = text.charAt(++at);
			if (next === '') return { ok: false, problem: 'ends with a backslash that stands before nothing' };
			// Inside double quotes it takes only what would mean something there.
			word = (word ?? '') + (quote === '"' && !'"\\'.includes(next) ? `\\${next}` : next);
			quoted = true;
		} else word = (word ?? '') + character;
	}
	if (quote !== null) return { ok: false, problem: `has a ${quote} without a second one` };
	const shell = push();
	if (shell !== null) return noShell(shell);
	return words.length === 0 ? { ok: false, problem: 'is empty' } : { ok: true, words };
}

function noShell(word: string): CommandWords {
	return { ok: false, problem: `has ${word}, but there is no shell to read it; name a script, or sh -c '…'` };
}

/** `{name}`; in double braces it is no macro, but its name in braces. Other braces, as of JSON, mean nothing. */
const macroPattern = /\{\{[a-z][a-z0-9_]*\}\}|\{([a-z][a-z0-9_]*)\}/g;

/** Null: every macro in it is known and has a value; else what is wrong with it, in words. */
export function commandProblem(words: readonly string[], known: (name: MacroName) => boolean): string | null {
	for (const word of words) {
		for (const [, name] of word.matchAll(macroPattern)) {
			if (name === undefined) continue;
			if (!isMacro(name)) return `has {${name}}, which is no macro; there are {${macroNames.join('}, {')}}, and {{${name}}} is {${name}}`;
			if (!known(name)) return `has {${name}}, but the pool does not say its ${saidBy[name] ?? name}`;
		}
	}
	return null;
}

/** The words with their macros filled in. A command that has passed `commandProblem` has no other. */
export function filledIn(words: readonly string[], values: MacroValues): readonly string[] {
	return words.map((word) =>
		word.replaceAll(macroPattern, (whole, name: string | undefined) => {
			if (name === undefined) return whole.slice(1, -1);
			return isMacro(name) ? String(values[name] ?? '') : whole;
		}),
	);
}

function isMacro(name: string): name is MacroName {
	return macroNames.some((each) => each === name);
}

/** What `{model}` is, of a model as a pool names it: the path of a file, the name of one on a hub. */
export function modelWord(model: string): string {
	return /^file:(?:\/\/(?=\/))?(.+)$/.exec(model)?.[1] ?? /^hf:([^@]+)$/.exec(model)?.[1] ?? model;
}

/** Whether the macro stands in any of them: a model that is given to a command is the only one that its engine has. */
export function namesMacro(words: readonly string[], wanted: MacroName): boolean {
	return words.some((word) => [...word.matchAll(macroPattern)].some(([, name]) => name === wanted));
}
