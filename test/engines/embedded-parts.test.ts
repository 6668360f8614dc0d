/** The small decisions of the llama.cpp host, without llama.cpp: templates, slots, budgets, schemas, devices. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ChatMessage } from '../../src/actors/serving/task-request.ts';
import { TemplateError } from '../../src/engines/chat-rendering.ts';
import { readNvidiaQuery, withMigDevices } from '../../src/engines/devices-nvidia.ts';
import { ChatTemplate } from '../../src/engines/embedded/chat-template.ts';
import { deviceEnv } from '../../src/engines/embedded/device-env.ts';
import { grammarShape } from '../../src/engines/embedded/grammar-shape.ts';
import { libraryJsonSchema, SchemaError } from '../../src/engines/embedded/json-schema.ts';
import { batchTokensMax, PrefillBudget } from '../../src/engines/embedded/prefill-budget.ts';
import { chooseSlot } from '../../src/engines/embedded/slot-choice.ts';
import { SpecialGuard } from '../../src/engines/embedded/special-guard.ts';
import { chunkLength, chunksOf } from '../../src/engines/embedded/text-chunks.ts';
import { nvidiaMigList, nvidiaMigQuery } from '../fixtures/device-tools.ts';

const chatMl =
	"{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const specialNames = ['<|im_start|>', '<|im_end|>', '<|endoftext|>', '<s>', '[INST]'];
const specialBase = 0x200000;

/** A tokenizer of code points, with special tokens as numbers beyond them. */
function codePoints(text: string, special: boolean): number[] {
	const ids: number[] = [];
	let at = 0;
	while (at < text.length) {
		const found = special ? specialNames.findIndex((name) => text.startsWith(name, at)) : -1;
		if (found >= 0) {
			ids.push(specialBase + found);
			at += (specialNames[found] as string).length;
			continue;
		}
		const point = text.codePointAt(at) as number;
		ids.push(point);
		at += point > 0xffff ? 2 : 1;
	}
	return ids;
}

function template(source: string): ChatTemplate {
	return new ChatTemplate(source, {
		specialNames,
		bosText: '<s>',
		eosText: '<|im_end|>',
		tokenize: (text, { special }) => Promise.resolve(codePoints(text, special)),
	});
}

async function idsOf(chat: ChatTemplate, messages: readonly ChatMessage[]): Promise<readonly number[]> {
	return (await chat.tokenize({ messages }, 1000)).ids;
}

function textOf(ids: readonly number[]): string {
	return ids.map((id) => (id >= specialBase ? specialNames[id - specialBase] : String.fromCodePoint(id))).join('');
}

const injections = fc.array(
	fc.oneof(fc.constantFrom(...specialNames, '<|im_', 'start|>', '<', '|>', '\n', ' ', 'mark', '[IN', 'ST]'), fc.string({ maxLength: 6 })),
	{ maxLength: 8 },
);
const hostileText = injections.map((parts) => parts.join(''));

describe('a chat template', () => {
	it('is rendered exactly, and its special tokens are special', async () => {
		const ids = await idsOf(template(chatMl), [{ role: 'user', content: 'hi' }]);
		assert.equal(textOf(ids), '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n');
		assert.equal(ids.filter((id) => id >= specialBase).length, 3);
	});

	it('makes no special token of what users write, wherever they write it, and loses none of it', async () => {
		const message = fc.record({ role: fc.oneof(fc.constantFrom('user', 'system'), hostileText), content: hostileText });
		await fc.assert(
			fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 4 }), async (messages) => {
				const ids = await idsOf(template(chatMl), messages);
				const expected = messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join('');
				assert.equal(textOf(ids), `${expected}<|im_start|>assistant\n`);
				assert.equal(ids.filter((id) => id >= specialBase).length, messages.length * 2 + 1);
			}),
			{ numRuns: 500 },
		);
	});

	it('makes no special token of two texts that meet, or of a text that meets the markup', async () => {
		const meeting = template("{% for m in messages %}{{ m.role + m.content + 'start|>' }}{% endfor %}");
		const ids = await idsOf(meeting, [{ role: '<|im_', content: 'end|><|im_' }]);
		assert.equal(textOf(ids), '<|im_end|><|im_start|>');
		assert.ok(ids.every((id) => id < specialBase));
	});

	it('sees the real text of a message: it may trim it, split it, look into it', async () => {
		const asking = template(
			"{% for m in messages %}{% if m.content.startswith('/') %}[command]{% endif %}{{ m.content | trim }}|{{ m.content.split('.')[-1] }}{% endfor %}",
		);
		assert.equal(textOf(await idsOf(asking, [{ role: 'user', content: '/go  left. now ' }])), '[command]/go  left. now| now ');
	});

	it('that refuses a conversation says why; one that cannot be read says so', async () => {
		const strict = template(
			"{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages here') }}{% endif %}{% endfor %}",
		);
		await assert.rejects(
			idsOf(strict, [{ role: 'system', content: 'x' }]),
			(error) => error instanceof TemplateError && /no system messages here/.test(error.message),
		);
		assert.throws(() => template('{% for %}'), TemplateError);
	});

	it('adds no more bytes than its bounds say', async () => {
		const chat = template(chatMl);
		const { baseBytes, perMessageBytes } = chat.bounds();
		await fc.assert(
			fc.asyncProperty(
				fc.array(fc.record({ role: fc.constantFrom('user', 'assistant', 'system'), content: fc.string() }), { minLength: 1, maxLength: 6 }),
				async (messages) => {
					const own = messages.reduce((sum, { role, content }) => sum + Buffer.byteLength(role) + Buffer.byteLength(content), 0);
					assert.ok((await idsOf(chat, messages)).length <= own + baseBytes + perMessageBytes * messages.length);
				},
			),
		);
	});
});

describe('the guard of special names', () => {
	it('finds whole names and parts of names at the edges, in order', () => {
		const guard = new SpecialGuard(['<|end|>', '<s>']);
		assert.deepEqual(guard.spans('plain text'), []);
		assert.deepEqual(guard.spans('a<s>b<|end|>'), [
			{ from: 1, to: 4 },
			{ from: 5, to: 12 },
		]);
		assert.deepEqual(guard.spans('nd|> x <|e'), [
			{ from: 0, to: 4 },
			{ from: 7, to: 10 },
		]);
		assert.deepEqual(new SpecialGuard([]).spans('<s>'), []);
	});
});

describe('a long text', () => {
	const guard = new SpecialGuard(specialNames);
	const parts = fc.array(
		fc.oneof(fc.constantFrom('word', ' next', ' ', '\n', '🦊', '狐', ...specialNames), fc.string({ unit: 'grapheme', maxLength: 9 })),
		{ minLength: 1, maxLength: 20 },
	);

	it('is cut into chunks that make it up, none too long, no character and no special name in two', () => {
		fc.assert(
			fc.property(parts, fc.integer({ min: 1, max: 4_000 }), fc.nat(40), (some, times, padding) => {
				const text = 'x'.repeat(padding) + some.join('').repeat(times);
				const chunks = [...chunksOf(text, guard)];
				assert.equal(chunks.join(''), text);
				assert.ok(chunks.every((chunk) => chunk.length <= chunkLength));
				if (chunks.length > 1)
					assert.ok(
						chunks.slice(1).every((chunk, index) => guard.nameAcross((chunks[index] ?? '') + chunk, (chunks[index] ?? '').length) < 0),
					);
				assert.ok(chunks.every((chunk) => !/^[\uDC00-\uDFFF]/.test(chunk) || /^[\uDC00-\uDFFF]/.test(text)));
			}),
			{ numRuns: 60 },
		);
	});

	it('is cut between words where it has words', () => {
		const text = 'some words in a row '.repeat(2_000);
		for (const chunk of [...chunksOf(text, guard)].slice(1)) assert.match(chunk, /^ [a-z]/);
	});
});

describe('the choice of a slot', () => {
	it('goes to the longest beginning of the prompt', () => {
		const slots = [
			{ shared: 300, lastUsed: 1 },
			{ shared: 400, lastUsed: 9 },
			{ shared: 0, lastUsed: 0 },
		];
		assert.equal(chooseSlot(slots, 440), 1);
	});

	it('leaves a conversation its cache when only the template is shared', () => {
		const slots = [
			{ shared: 12, lastUsed: 9 },
			{ shared: 0, lastUsed: 0 },
		];
		assert.equal(chooseSlot(slots, 100), 1);
	});

	it('is the one used longest ago when nothing, or the same, speaks for all', () => {
		const lastUsed = [5, 2, 7];
		const shared = (tokens: number) => lastUsed.map((used) => ({ shared: tokens, lastUsed: used }));
		assert.equal(chooseSlot(shared(0), 100), 1);
		assert.equal(chooseSlot(shared(12), 100), 1);
		assert.equal(chooseSlot(shared(90), 100), 1);
		assert.equal(chooseSlot([], 100), -1);
	});
});

describe('the prefill budget', () => {
	it('fits a step into one batch, always leaves prompts some room, and is fixed for strict runs', () => {
		fc.assert(
			fc.property(
				fc.array(fc.tuple(fc.integer({ min: 0, max: 512 }), fc.double({ min: 0.01, max: 60_000, noNaN: true })), { maxLength: 20 }),
				fc.integer({ min: 0, max: 256 }),
				(samples, decoding) => {
					const budget = new PrefillBudget();
					for (const [tokens, ms] of samples) budget.measured(tokens, ms);
					const tokens = budget.tokens(decoding, false);
					assert.ok(Number.isInteger(tokens) && tokens >= 32 && tokens + decoding <= batchTokensMax);
					assert.equal(budget.tokens(0, true), batchTokensMax);
				},
			),
		);
	});

	it('takes less on a slow engine, and least while others decode', () => {
		const budget = new PrefillBudget();
		budget.measured(512, 1_024);
		assert.equal(budget.tokens(0, false), 125);
		assert.equal(budget.tokens(1, false), 32);
	});
});

describe('a JSON schema', () => {
	it('that grammars can express is passed on, with unions, definitions and free values', () => {
		const schema = {
			$schema: 'https://json-schema.org/draft/2020-12/schema',
			title: 'order',
			type: 'object',
			properties: {
				kind: { enum: ['a', 'b'] },
				note: { type: ['string', 'null'], maxLength: 20 },
				item: { $ref: '#/definitions/item' },
				either: { anyOf: [{ type: 'integer' }, { type: 'boolean' }] },
				free: {},
				when: { type: 'string', format: 'email' },
			},
			required: ['kind'],
			additionalProperties: false,
			definitions: { item: { type: 'array', items: { type: 'number' }, minItems: 1 } },
		};
		assert.deepEqual(libraryJsonSchema(schema), {
			oneOf: [
				{
					type: 'object',
					properties: {
						kind: { enum: ['a', 'b'] },
						note: { oneOf: [{ type: 'string', maxLength: 20 }, { type: 'null' }] },
						item: { $ref: '#/$defs/item' },
						either: { oneOf: [{ type: 'integer' }, { type: 'boolean' }] },
						free: {
							oneOf: [
								{ type: 'object', additionalProperties: true },
								{ type: 'array' },
								{ type: 'string' },
								{ type: 'number' },
								{ type: 'boolean' },
								{ type: 'null' },
							],
						},
						when: { type: 'string' },
					},
					additionalProperties: false,
				},
			],
			$defs: { item: { type: 'array', items: { type: 'number' }, minItems: 1 } },
		});
	});

	const refused: readonly [string, unknown, RegExp][] = [
		['with a pattern', { type: 'object', properties: { a: { type: 'string', pattern: '^x' } } }, /\/properties\/a uses pattern/],
		['with a minimum', { type: 'integer', minimum: 3 }, /the schema uses minimum/],
		['with allOf of several', { allOf: [{ type: 'string' }, { type: 'string' }] }, /uses allOf with more than one/],
		['with a reference to nothing', { $ref: '#/$defs/gone' }, /\$ref names gone/],
		['with a reference elsewhere', { $ref: 'https://example.com/x' }, /\/\$ref must be #\/\$defs/],
		['with a required property that it does not describe', { type: 'object', properties: {}, required: ['b'] }, /required names b/],
		['that is a list', [], /must be a schema/],
		['with an unknown type', { type: 'date' }, /type is "date"; allowed are/],
		['with an enum of objects', { enum: [{}] }, /holds an object/],
		['with bounds that exclude each other', { type: 'array', minItems: 3, maxItems: 2 }, /minItems above maxItems/],
	];
	for (const [what, schema, words] of refused) {
		it(`${what} is refused with the place of the problem`, () => {
			assert.throws(
				() => libraryJsonSchema(schema),
				(error) => error instanceof SchemaError && words.test(error.message),
			);
		});
	}

	it('nested without end is refused', () => {
		let schema: unknown = { type: 'string' };
		for (let depth = 0; depth < 200; depth += 1) schema = { type: 'array', items: schema };
		assert.throws(() => libraryJsonSchema(schema), /nested more than 64 deep/);
	});
});

describe('a grammar', () => {
	it('is as deep as its groups, whatever its literals, classes and comments hold', () => {
		const depths: readonly (readonly [string, number])[] = [
			['root ::= "a"', 0],
			['root ::= ("a" ("b")) ("c")', 2],
			['root ::= "((" [(] [\\]((] "\\"((" ("x")', 1],
			['# ((( "\nroot ::= ("a") # ((', 1],
			['root ::= (("a"', 2],
			['root ::= ")))" (("a"))', 2],
			['root ::= "((', 0],
			[`root ::= ${'('.repeat(50_000)}`, 50_000],
		];
		for (const [text, depth] of depths) assert.equal(grammarShape(text).depth, depth, text.slice(0, 40));
	});

	it('shows how often it repeats, how deep, and whether backwards, before a parser that does not bound it', () => {
		const shapes: readonly (readonly [string, number, number, boolean])[] = [
			['root ::= "a" b', 0, 0, false],
			['root ::= "a"? b* [+*?]+ "?+*{9,1}" # ?*', 3, 1, false],
			['root ::= (("a"+)* | "b")?', 3, 3, false],
			['root ::= ("a"+ "b") "c"{2,3}', 2, 1, false],
			['root ::= "a"{3}{ 1 , 2 }', 2, 2, false],
			['root ::= "a"{5,1}', 1, 1, true],
			['root ::= "a" ) )+ ("b"', 1, 1, false],
			[`root ::= ${'('.repeat(100)}"a"${')+'.repeat(100)}`, 100, 100, false],
			[`root ::= ${'"a"? '.repeat(5000)}`, 5000, 1, false],
		];
		for (const [text, repetitions, repetitionDepth, backwards] of shapes) {
			const shape = grammarShape(text);
			assert.deepEqual(
				[shape.repetitions, shape.repetitionDepth, shape.backwards],
				[repetitions, repetitionDepth, backwards],
				text.slice(0, 60),
			);
		}
	});
});

describe('the environment of an engine process', () => {
	const whole = { devices: [], replica: 0 };

	it('shows it the devices it was given and no others, in the order of the bus', () => {
		const env = deviceEnv({ PATH: '/bin' }, [1, 3], whole);
		assert.equal(env['PATH'], '/bin');
		assert.equal(env['CUDA_DEVICE_ORDER'], 'PCI_BUS_ID');
		for (const name of ['CUDA_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES', 'GGML_VK_VISIBLE_DEVICES'])
			assert.equal(env[name], '1,3');
		assert.equal(deviceEnv({}, null, whole)['CUDA_VISIBLE_DEVICES'], undefined);
		assert.equal(deviceEnv({}, [], whole)['CUDA_VISIBLE_DEVICES'], '');
	});

	it('gives each replica one of the MIG devices of a GPU that is cut into them, by its name', () => {
		const { devices } = readNvidiaQuery(nvidiaMigQuery, true);
		const seen = (mask: readonly number[], replica: number): string | undefined =>
			deviceEnv({}, mask, { devices: withMigDevices(devices, nvidiaMigList), replica })['CUDA_VISIBLE_DEVICES'];
		assert.equal(seen([0], 0), 'MIG-ffda444c-c706-57c6-98c9-67c441a0b109');
		assert.equal(seen([0], 4), 'MIG-fe9bc608-60f5-5479-8cc4-1827021d27a9');
		assert.equal(seen([1], 3), '1');
		assert.equal(seen([1, 0], 0), 'GPU-e109d8d9-923e-7235-0429-96b7fdbcbd30,MIG-ffda444c-c706-57c6-98c9-67c441a0b109');
	});
});
