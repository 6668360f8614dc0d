/**
 * How deeply the groups of a GBNF grammar are nested. Pure. llama.cpp parses them by recursion, without a bound: some ten
 * thousand parentheses end its process, and every task in it.
 */

/** Most open parentheses at once; those in literals, character classes and comments are not groups. */
export function grammarDepth(text: string): number {
	let depth = 0;
	let deepest = 0;
	for (let at = 0; at < text.length; at++) {
		switch (text[at]) {
			case '"':
				at = closing(text, at, '"');
				break;
			case '[':
				at = closing(text, at, ']');
				break;
			case '#':
				at = closing(text, at, '\n');
				break;
			case '(':
				depth += 1;
				deepest = Math.max(deepest, depth);
				break;
			case ')':
				depth -= 1;
				break;
			default:
		}
	}
	return deepest;
}

/** Where what begins at `start` ends: at the first `end` that is not escaped, or with the text. */
function closing(text: string, start: number, end: '"' | ']' | '\n'): number {
	for (let at = start + 1; at < text.length; at++) {
		if (text[at] === end) return at;
		if (text[at] === '\\' && end !== '\n') at += 1;
	}
	return text.length;
}
