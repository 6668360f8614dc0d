/**
 * An engine that speaks the OpenAI API, as small as one can be, for tests of those that we start. Shares nothing with our own reading of it.
 * `managed-server.js --port N --model NAME [--late MS] [--deaf]`: says what it was asked, has a child, and ends by itself on the prompt `die`.
 */
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';

const argument = (name: string): string => process.argv[process.argv.indexOf(`--${name}`) + 1] ?? '';
setTimeout(() => process.exit(7), 120_000);
if (process.argv.includes('--deaf')) process.on('SIGTERM', () => undefined);
const child = spawn(process.execPath, ['-e', "setTimeout(() => {}, 120000); process.on('SIGTERM', () => {})"], { stdio: 'ignore' });
process.stdout.on('error', () => undefined);
process.stdout.write(`pids ${process.pid} ${child.pid ?? 0}\n`);
process.stderr.write(`devices ${process.env['CUDA_VISIBLE_DEVICES'] ?? 'all'}, wish ${process.env['WISH'] ?? 'none'}\n`);

// openapi.yaml of github.com/openai/openai-openapi: ListModelsResponse, CreateChatCompletionStreamResponse.
const server = createServer((request, response) => {
	const path = request.url ?? '';
	if (path === '/v1/models') {
		response.setHeader('content-type', 'application/json');
		response.end(JSON.stringify({ object: 'list', data: [{ id: argument('model'), object: 'model' }] }));
		return;
	}
	let body = '';
	request.setEncoding('utf8').on('data', (part: string) => {
		body += part;
	});
	request.on('end', () => {
		process.stdout.write(`asked ${body}\n`);
		response.setHeader('content-type', 'text/event-stream');
		const say = (content: string, said?: () => void): boolean =>
			response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`, said);
		if (body.includes('"die"')) {
			say('oh ', () => setTimeout(() => process.exit(3), 100));
			return;
		}
		say('well ');
		say('done');
		response.end(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\ndata: [DONE]\n\n`);
	});
});
setTimeout(() => server.listen(Number(argument('port')), '127.0.0.1'), Number(argument('late')) || 0);
