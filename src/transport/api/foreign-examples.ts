/** Examples of the operations of `/v1/messages` and `/v1/responses`, beside those in `examples.ts`. No behaviour. */

const taskId = '01890a5d-ac96-774b-bcce-b302099a8057';
const conversation = { model: 'default', system: 'Be brief.', messages: [{ role: 'user', content: 'What is 7 + 5?' }] };
const response = {
	id: `resp_${taskId}`,
	object: 'response',
	created_at: 1_796_110_744,
	status: 'completed',
	background: false,
	error: null,
	incomplete_details: null,
	model: 'default',
	instructions: 'Be brief.',
	previous_response_id: null,
	tools: [],
	tool_choice: 'auto',
	parallel_tool_calls: true,
	max_output_tokens: 16,
	temperature: 0,
	top_p: 1,
	text: { format: { type: 'text' } },
	reasoning: { effort: null, summary: null },
	store: true,
	truncation: 'disabled',
	metadata: {},
	output: [
		{
			id: `msg_${taskId}_0`,
			type: 'message',
			status: 'completed',
			role: 'assistant',
			content: [{ type: 'output_text', annotations: [], logprobs: [], text: '7 plus 5 is 12.' }],
		},
	],
	usage: {
		input_tokens: 12,
		input_tokens_details: { cached_tokens: 8 },
		output_tokens: 6,
		output_tokens_details: { reasoning_tokens: 0 },
		total_tokens: 18,
	},
};
const inputItem = {
	id: `item_${taskId}_0`,
	type: 'message',
	role: 'user',
	status: 'completed',
	content: [{ type: 'input_text', text: 'What is 7 + 5?' }],
};

export const foreignExamples: Readonly<Record<string, { readonly body?: unknown; readonly answer?: unknown }>> = {
	'POST /v1/messages': {
		body: { ...conversation, max_tokens: 16 },
		answer: {
			id: `msg_${taskId}`,
			type: 'message',
			role: 'assistant',
			model: 'default',
			content: [{ type: 'text', text: '7 plus 5 is 12.' }],
			stop_reason: 'end_turn',
			stop_sequence: null,
			usage: { input_tokens: 4, cache_creation_input_tokens: 0, cache_read_input_tokens: 8, output_tokens: 6 },
		},
	},
	'POST /v1/messages/count_tokens': { body: conversation, answer: { input_tokens: 12 } },
	'POST /v1/responses': {
		body: { model: 'default', instructions: 'Be brief.', input: 'What is 7 + 5?', temperature: 0, max_output_tokens: 16 },
		answer: response,
	},
	'GET /v1/responses/{id}': { answer: response },
	'DELETE /v1/responses/{id}': { answer: { id: response.id, object: 'response', deleted: true } },
	'POST /v1/responses/{id}/cancel': { answer: { ...response, status: 'cancelled', background: true } },
	'GET /v1/responses/{id}/input_items': {
		answer: { object: 'list', data: [inputItem], first_id: inputItem.id, last_id: inputItem.id, has_more: false },
	},
};
