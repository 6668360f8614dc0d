/** As much of HTTP/1.1 as these benches need: messages with a `Content-Length`, and nothing else. */

/** Where the message at the beginning ends; −1: it is not whole. Without a `Content-Length`: behind its head. */
export function requestEnd(text: string): number {
	const head = text.indexOf('\r\n\r\n');
	if (head < 0) return -1;
	const length = Number(/content-length: (\d+)/i.exec(text.slice(0, head))?.[1] ?? '0');
	const end = head + 4 + length;
	return text.length < end ? -1 : end;
}
