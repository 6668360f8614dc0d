/**
 * What llama.cpp's parser and sampler do not bound in a GBNF grammar, seen before they do. Pure. Groups are parsed by
 * recursion: some ten thousand parentheses end the process, and every task in it. A repetition from more to fewer, such as
 * {5,1}, is parsed without end. Each repetition that may be skipped or stand in another multiplies the places that sampling
 * keeps track of.
 */

export interface GrammarShape {
	/** Most open groups at once. */
	readonly depth: number;
	/** How many `?`, `*`, `+` and `{…}` there are. */
	readonly repetitions: number;
	/** Most repetitions around one element: `((a+)*)?` has 3. */
	readonly repetitionDepth: number;
	/** A `{m,n}` with n below m. */
	readonly backwards: boolean;
}

const bounds = /\{\s*(\d+)\s*,\s*(\d+)\s*\}/y;

/** What stands in literals, character classes and comments is none of it. */
export function grammarShape(text: string): GrammarShape {
	/** Of the groups around this place, outermost first: repetitions around any element within. */
	const groups: number[] = [0];
	let last = 0;
	let depth = 0;
	let repetitions = 0;
	let repetitionDepth = 0;
	let backwards = false;
	for (let at = 0; at < text.length; at++) {
		switch (text[at]) {
			case '"':
				at = closing(text, at, '"');
				last = 0;
				break;
			case '[':
				at = closing(text, at, ']');
				last = 0;
				break;
			case '#':
				at = closing(text, at, '\n');
				break;
			case '(':
				groups.push(0);
				depth = Math.max(depth, groups.length - 1);
				break;
			case ')':
				last = groups.length > 1 ? (groups.pop() ?? 0) : 0;
				groups[groups.length - 1] = Math.max(groups.at(-1) ?? 0, last);
				break;
			case '{':
			case '?':
			case '*':
			case '+':
				backwards ||= repeatsBackwards(text, at);
				repetitions += 1;
				last += 1;
				groups[groups.length - 1] = Math.max(groups.at(-1) ?? 0, last);
				repetitionDepth = Math.max(repetitionDepth, last);
				break;
			case ' ':
			case '\t':
			case '}':
			case ',':
				break;
			default:
				if (!/\d/.test(text[at] as string)) last = 0;
		}
	}
	return { depth, repetitions, repetitionDepth, backwards };
}

function repeatsBackwards(text: string, at: number): boolean {
	bounds.lastIndex = at;
	const range = bounds.exec(text);
	return range !== null && Number(range[2]) < Number(range[1]);
}

/** Where what begins at `start` ends: at the first `end` that is not escaped, or with the text. */
function closing(text: string, start: number, end: '"' | ']' | '\n'): number {
	for (let at = start + 1; at < text.length; at++) {
		if (text[at] === end) return at;
		if (text[at] === '\\' && end !== '\n') at += 1;
	}
	return text.length;
}
