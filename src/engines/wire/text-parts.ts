/** A long text in parts that one record holds each, however they are escaped in it; no character is cut. Pure. */
const charsMax = 8 * 1024;

export function textParts(text: string): readonly string[] {
	if (text.length <= charsMax) return text === '' ? [] : [text];
	const parts: string[] = [];
	for (let at = 0; at < text.length; ) {
		let until = Math.min(text.length, at + charsMax);
		const last = text.charCodeAt(until - 1);
		if (until < text.length && last >= 0xd800 && last < 0xdc00) until -= 1;
		parts.push(text.slice(at, until));
		at = until;
	}
	return parts;
}
