/** Comlink ships its Node adapter as ESM without a declaration that NodeNext finds. */
declare module 'comlink/dist/esm/node-adapter.mjs' {
	import type { MessagePort, Worker } from 'node:worker_threads';
	import type { Endpoint } from 'comlink';

	export default function nodeEndpoint(port: MessagePort | Worker): Endpoint;
}
