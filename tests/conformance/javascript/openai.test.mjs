// The unmodified `openai` package against the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { MODEL, gathered, idle, keys, metric, url } from "./server.mjs";

const ai = client();
const messages = [{ role: "user", content: "Hello!" }];
const endless = { model: MODEL, messages, max_tokens: 3500, n: 8, ignore_eos: true };
const tools = [
  {
    type: "function",
    function: {
      name: "forecast",
      strict: true,
      parameters: {
        type: "object",
        properties: { city: { enum: ["Oslo", "Rome"] } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];

function client(options = {}) {
  return new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: keys.conformance,
    maxRetries: 0,
    ...options,
  });
}

function words(...choices) {
  return { structured_outputs: { choice: choices } };
}

async function raised(promise, kind) {
  const error = await promise.then(
    () => assert.fail("nothing was raised"),
    (caught) => caught,
  );
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
  return error;
}

test("an answer, its usage and its request id", async () => {
  const reply = await ai.chat.completions.create({ model: MODEL, messages, ...words("Good day.") });
  assert.equal(reply.choices[0].message.content, "Good day.");
  assert.equal(reply.choices[0].finish_reason, "stop");
  assert.equal(
    reply.usage.total_tokens,
    reply.usage.prompt_tokens + reply.usage.completion_tokens,
  );
  assert.ok(reply._request_id);
});

test("answers are indexed, and logprobs have bytes", async () => {
  const reply = await ai.chat.completions.create({
    model: MODEL, messages, n: 2, logprobs: true, top_logprobs: 2, ...words("naïve ☃"),
  });
  assert.deepEqual(reply.choices.map((choice) => choice.index), [0, 1]);
  const bytes = reply.choices[1].logprobs.content.flatMap((token) => token.bytes ?? []);
  assert.equal(Buffer.from(bytes).toString(), "naïve ☃");
});

test("the raw response has the headers", async () => {
  const asked = ai.chat.completions.create(
    { model: MODEL, messages, ...words("yes") },
    { headers: { "x-request-id": "asked-by-javascript" } },
  );
  const { data, response, request_id } = await asked.withResponse();
  assert.equal(data.choices[0].message.content, "yes");
  assert.equal(response.headers.get("x-request-id"), "asked-by-javascript");
  assert.equal(request_id, "asked-by-javascript");
});

test("a stream spells the plain answer and ends with the usage", async () => {
  const ask = { model: MODEL, messages, seed: 3, max_tokens: 16 };
  const plain = await ai.chat.completions.create(ask);
  const chunks = await gathered(
    await ai.chat.completions.create({
      ...ask, stream: true, stream_options: { include_usage: true },
    }),
  );
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, plain.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.total_tokens, plain.usage.total_tokens);
});

test("the stream helper gathers the whole answer", async () => {
  const stream = ai.chat.completions.stream({ model: MODEL, messages, ...words("one two") });
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  assert.equal(await stream.finalContent(), "one two");
  assert.equal(deltas.join(""), "one two");
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, "stop");
});

test("a required call, its result and the answer", async () => {
  const reply = await ai.chat.completions.create({
    model: MODEL, messages, tools, tool_choice: "required", parallel_tool_calls: false,
  });
  assert.equal(reply.choices[0].finish_reason, "tool_calls");
  const message = reply.choices[0].message;
  const [call] = message.tool_calls;
  assert.ok(["Oslo", "Rome"].includes(JSON.parse(call.function.arguments).city));
  const result = { role: "tool", tool_call_id: call.id, content: "dry" };
  const answer = await ai.chat.completions.create({
    model: MODEL, messages: [...messages, message, result], tools, max_tokens: 4,
  });
  assert.ok(answer.usage.prompt_tokens > reply.usage.prompt_tokens);
});

test("a streamed call comes whole", async () => {
  const stream = ai.chat.completions.stream({
    model: MODEL, messages, tools, tool_choice: "required", parallel_tool_calls: false,
  });
  const final = await stream.finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.equal(call.function.name, "forecast");
  assert.ok(JSON.parse(call.function.arguments).city);
});

test("a response format is parsed", async () => {
  const reply = await ai.chat.completions.parse({
    model: MODEL,
    messages,
    response_format: {
      type: "json_schema",
      json_schema: { name: "pick", strict: true, schema: { enum: [{ a: 1 }] } },
    },
  });
  assert.deepEqual(JSON.parse(reply.choices[0].message.content), { a: 1 });
});

test("routing goes in and comes out beside the known fields", async () => {
  const reply = await ai.chat.completions.create({
    model: MODEL,
    messages: [{ role: "user", content: "What is 3 + 4?" }],
    max_tokens: 16,
    uncertainty_routing: { k: 2, answer: "number", constrain: true, seed: 1 },
  });
  assert.equal(reply.uncertainty_routing.k, 2);
});

test("a completion", async () => {
  const reply = await ai.completions.create({ model: MODEL, prompt: "Once", ...words(" upon") });
  assert.equal(reply.choices[0].text, " upon");
});

test("a response, kept, gone on from, listed and deleted", async () => {
  const text = { format: { type: "json_schema", name: "said", schema: { enum: ["fine"] } } };
  const first = await ai.responses.create({ model: MODEL, input: "One.", text });
  assert.equal(first.output_text, '"fine"');
  const second = await ai.responses.create({
    model: MODEL, input: "Two.", previous_response_id: first.id, text,
  });
  assert.equal((await ai.responses.retrieve(second.id)).id, second.id);
  const items = await gathered(ai.responses.inputItems.list(second.id, { order: "asc" }));
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant", "user"]);
  await ai.responses.delete(second.id);
  await raised(ai.responses.retrieve(second.id), OpenAI.NotFoundError);
});

test("events of a streamed response end with the whole", async () => {
  const text = { format: { type: "json_schema", name: "said", schema: { enum: ["fine"] } } };
  const stream = ai.responses.stream({ model: MODEL, input: "One.", text });
  const events = await gathered(stream);
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  assert.equal((await stream.finalResponse()).output_text, '"fine"');
});

test("models are listed and found", async () => {
  const ids = (await gathered(ai.models.list())).map((model) => model.id);
  assert.deepEqual(ids, [MODEL, `${MODEL}:routed`]);
  assert.equal((await ai.models.retrieve(MODEL)).id, MODEL);
});

test("the error of each kind", async () => {
  const ask = (changes, using = ai) =>
    using.chat.completions.create({ model: MODEL, messages, max_tokens: 4, ...changes });
  const wrong = await raised(ask({ colour: "red" }), OpenAI.BadRequestError);
  assert.deepEqual([wrong.status, wrong.param, wrong.code], [400, "colour", "unknown_parameter"]);
  assert.ok(wrong.requestID);
  const unknown = await raised(ask({ model: "gpt-9" }), OpenAI.NotFoundError);
  assert.equal(unknown.code, "model_not_found");
  const stranger = client({ apiKey: "wrong" });
  await raised(ask({}, stranger), OpenAI.AuthenticationError);
  await raised(ask({ n: 2 }, client({ apiKey: keys.narrow })), OpenAI.PermissionDeniedError);
  const indebted = client({ apiKey: keys.indebted });
  await ask({}, indebted).catch(() => {});
  const limited = await raised(ask({}, indebted), OpenAI.RateLimitError);
  assert.equal(limited.headers.get("x-should-retry"), "false");
  await raised(ai.images.generate({ prompt: "a cat" }), OpenAI.NotFoundError);
});

test("aborting a stream frees what it held", async () => {
  const before = await metric("vllm:request_success_total", 'finished_reason="abort"');
  const stream = await ai.chat.completions.create({ ...endless, stream: true });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  await idle();
  const after = await metric("vllm:request_success_total", 'finished_reason="abort"');
  assert.equal(after, before + 1);
});

test("a timeout is raised and ends the work", async () => {
  const asked = ai.chat.completions.create(endless, { timeout: 200 });
  await raised(asked, OpenAI.APIConnectionTimeoutError);
  await idle();
});
