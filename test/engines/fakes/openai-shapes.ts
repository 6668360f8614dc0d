/**
 * Objects of OpenAI's requests that engines with its paths take over, as openapi.yaml of github.com/openai/openai-openapi has them: the schema is
 * named beside each.
 */
import { type BodyFields, isEither, isFlag, isListOf, isNumber, isObject, isOneOf, isRecord, isText } from './strict-body.ts';

/** ResponseFormatJsonObject, ResponseFormatJsonSchema */
export const isResponseFormat = isEither(
	isRecord({ type: isOneOf('json_object') }),
	isRecord({
		type: isOneOf('json_schema'),
		json_schema: isRecord({ name: isText, 'description?': isText, schema: isObject, 'strict?': isFlag }),
	}),
);

/** ChatCompletionTool of FunctionObject */
export const isTool = isRecord({
	type: isOneOf('function'),
	function: isRecord({ name: isText, 'description?': isText, 'parameters?': isObject, 'strict?': isFlag }),
});

/** ChatCompletionToolChoiceOption */
export const isToolChoice = isEither(
	isOneOf('none', 'auto', 'required'),
	isRecord({ type: isOneOf('function'), function: isRecord({ name: isText }) }),
);

/** `logit_bias`: "maps tokens (specified by their token ID in the tokenizer) to an associated bias value" */
export const isBias = (value: unknown): boolean =>
	isObject(value) && Object.entries(value as object).every(([id, bias]) => /^\d+$/.test(id) && isNumber(bias));

/** ReasoningEffort */
export const isEffort = isOneOf('none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max');

/** ChatCompletionMessageToolCall */
const isCall = isRecord({ id: isText, type: isOneOf('function'), function: isRecord({ name: isText, arguments: isText }) });
const isPart = isEither(
	isRecord({ type: isOneOf('text'), text: isText }),
	isRecord({ type: isOneOf('image_url'), image_url: isRecord({ url: isText, 'detail?': isText }) }),
);

/** ChatCompletionRequestMessage: the fields of the roles that carry text, pictures and calls. */
export const messageFields: BodyFields = {
	role: isOneOf('system', 'developer', 'user', 'assistant', 'tool'),
	content: isEither(isText, isListOf(isPart)),
	'name?': isText,
	'tool_calls?': isListOf(isCall),
	'tool_call_id?': isText,
};
