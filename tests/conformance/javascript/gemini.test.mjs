// The unmodified `@google/genai` package against the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, FunctionCallingConfigMode, GoogleGenAI, Type } from "@google/genai";
import { MODEL, gathered, idle, keys, metric, url } from "./server.mjs";

const ai = client();
const routing = { k: 2, answer: "number", constrain: true, seed: 1 };
const declaration = {
  name: "forecast",
  parameters: {
    type: Type.OBJECT,
    properties: { city: { type: Type.STRING, enum: ["Oslo", "Rome"] } },
    required: ["city"],
  },
};

function client(httpOptions = {}, apiKey = keys.conformance) {
  return new GoogleGenAI({ apiKey, httpOptions: { baseUrl: url, ...httpOptions } });
}

function said(text) {
  return { responseMimeType: "text/x.enum", responseSchema: { type: Type.STRING, enum: [text] } };
}

async function raised(promise, status, word) {
  const error = await promise.then(
    () => assert.fail("nothing was raised"),
    (caught) => caught,
  );
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, status);
  assert.ok(error.message.includes(word), error.message);
}

test("an answer and its usage", async () => {
  const reply = await ai.models.generateContent({
    model: MODEL, contents: "Hello!", config: said("Good day."),
  });
  assert.equal(reply.text, "Good day.");
  assert.equal(reply.modelVersion, MODEL);
  assert.ok(reply.responseId);
  assert.equal(reply.candidates[0].finishReason, "STOP");
  const usage = reply.usageMetadata;
  assert.equal(usage.totalTokenCount, usage.promptTokenCount + usage.candidatesTokenCount);
});

test("every version under either spelling of the base URL", async () => {
  for (const apiVersion of [undefined, "v1", "v1beta", "v1alpha"]) {
    for (const end of ["", "/", "/gemini", "/gemini/"]) {
      const other = client({ baseUrl: url + end, apiVersion });
      const reply = await other.models.generateContent({
        model: MODEL, contents: "Hi!", config: said("here"),
      });
      assert.equal(reply.text, "here");
    }
  }
});

test("a stream spells the plain answer", async () => {
  const ask = { model: MODEL, contents: "Hi!", config: { seed: 3, maxOutputTokens: 16 } };
  const plain = await ai.models.generateContent(ask);
  const chunks = await gathered(await ai.models.generateContentStream(ask));
  assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), plain.text);
  assert.equal(
    chunks.at(-1).usageMetadata.totalTokenCount,
    plain.usageMetadata.totalTokenCount,
  );
});

test("tokens are counted as they are read", async () => {
  const ask = { model: MODEL, contents: "Hello there!" };
  const { totalTokens } = await ai.models.countTokens(ask);
  const reply = await ai.models.generateContent({ ...ask, config: { maxOutputTokens: 1 } });
  assert.equal(totalTokens, reply.usageMetadata.promptTokenCount);
});

test("a chat keeps both sides", async () => {
  const chat = ai.chats.create({ model: MODEL, config: said("Yes.") });
  assert.equal((await chat.sendMessage({ message: "One?" })).text, "Yes.");
  const chunks = await gathered(await chat.sendMessageStream({ message: "Two?" }));
  assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), "Yes.");
  assert.equal((await chat.sendMessage({ message: "Three?" })).text, "Yes.");
  assert.deepEqual(chat.getHistory(true).slice(0, 3).map((content) => content.role), [
    "user", "model", "user",
  ]);
});

test("structured output fits either kind of schema", async () => {
  const config = { responseMimeType: "application/json", maxOutputTokens: 200 };
  const google = {
    type: Type.OBJECT,
    properties: { a: { type: Type.BOOLEAN }, b: { type: Type.STRING, enum: ["x", "y"] } },
    required: ["b", "a"],
    propertyOrdering: ["b", "a"],
  };
  const first = await ai.models.generateContent({
    model: MODEL, contents: "Hi!", config: { ...config, responseSchema: google },
  });
  assert.deepEqual(Object.keys(JSON.parse(first.text)), ["b", "a"]);
  const second = await ai.models.generateContent({
    model: MODEL, contents: "Hi!", config: { ...config, responseJsonSchema: { enum: [[1, 2]] } },
  });
  assert.deepEqual(JSON.parse(second.text), [1, 2]);
});

test("a call is made, answered and gone on from", async () => {
  const tools = [{ functionDeclarations: [declaration] }];
  const toolConfig = { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY } };
  const reply = await ai.models.generateContent({
    model: MODEL, contents: "Rain?", config: { tools, toolConfig, maxOutputTokens: 400, seed: 2 },
  });
  const [call] = reply.functionCalls;
  assert.ok(["Oslo", "Rome"].includes(call.args.city));
  const results = reply.functionCalls.map(({ id, name }) => ({
    functionResponse: { id, name, response: { output: "dry" } },
  }));
  const answer = await ai.models.generateContent({
    model: MODEL,
    contents: [
      { role: "user", parts: [{ text: "Rain?" }] },
      reply.candidates[0].content,
      { role: "user", parts: results },
    ],
    config: { tools, maxOutputTokens: 4 },
  });
  assert.ok(answer.usageMetadata.promptTokenCount > reply.usageMetadata.promptTokenCount);
});

test("functions are called by the client itself", async () => {
  const called = [];
  const tool = {
    tool: async () => ({ functionDeclarations: [declaration] }),
    callTool: async (calls) => {
      called.push(...calls.map((call) => call.args.city));
      return calls.map(({ id, name }) => ({
        functionResponse: { id, name, response: { output: "dry" } },
      }));
    },
  };
  await ai.models.generateContent({
    model: MODEL,
    contents: "Rain?",
    config: {
      tools: [tool],
      toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY } },
      automaticFunctionCalling: { maximumRemoteCalls: 2 },
      maxOutputTokens: 400,
      seed: 2,
    },
  });
  assert.ok(called.length > 0);
  assert.ok(called.every((city) => ["Oslo", "Rome"].includes(city)));
});

test("routing goes in by the extra body or a header and comes out in headers", async () => {
  const ask = { model: MODEL, contents: "What is 3 + 4?", config: { maxOutputTokens: 16 } };
  const clients = [
    client({ extraBody: { uncertaintyRouting: routing } }),
    client({ headers: { "x-pollux-routing": JSON.stringify(routing) } }),
  ];
  for (const each of clients) {
    const reply = await each.models.generateContent(ask);
    assert.equal(reply.sdkHttpResponse.headers["x-pollux-k"], "2");
    assert.ok(reply.usageMetadata.thoughtsTokenCount > 0);
  }
});

test("a routed stream is read to its end", async () => {
  const chunks = await gathered(
    await client({ extraBody: { uncertaintyRouting: routing } }).models.generateContentStream({
      model: MODEL, contents: "What is 3 + 4?", config: { maxOutputTokens: 16 },
    }),
  );
  assert.ok(chunks.length > 3);
  assert.ok(chunks.at(-1).candidates[0].finishReason);
});

test("models are listed and found", async () => {
  const names = (await gathered(await ai.models.list())).map((model) => model.name);
  assert.deepEqual(names, [`models/${MODEL}`, `models/${MODEL}:routed`]);
  assert.equal((await ai.models.get({ model: MODEL })).name, `models/${MODEL}`);
});

test("the error of each kind", async () => {
  const ask = (changes, using = ai) =>
    using.models.generateContent({
      model: MODEL, contents: "Hi!", config: { maxOutputTokens: 4 }, ...changes,
    });
  await raised(ask({ config: { temperature: 3 } }), 400, "INVALID_ARGUMENT");
  await raised(ask({ model: "org/other" }), 404, "NOT_FOUND");
  await raised(ask({}, client({}, "wrong")), 401, "UNAUTHENTICATED");
  const narrow = client({}, keys.narrow);
  await raised(ask({ config: { candidateCount: 2 } }, narrow), 403, "PERMISSION_DENIED");
  const indebted = client({}, keys.indebted);
  await ask({}, indebted).catch(() => {});
  await raised(ask({}, indebted), 429, "RESOURCE_EXHAUSTED");
});

test("a deadline in the middle of a stream is raised", async () => {
  const hurried = client({ headers: { "X-Server-Timeout": "0.4" } });
  const stream = await hurried.models.generateContentStream({
    model: MODEL, contents: "Hi!", config: { maxOutputTokens: 3500, candidateCount: 8 },
  });
  await raised(gathered(stream), 504, "DEADLINE_EXCEEDED");
  await idle();
});

test("aborting a stream frees what it held", async () => {
  const before = await metric("vllm:request_success_total", 'finished_reason="abort"');
  const controller = new AbortController();
  const stream = await ai.models.generateContentStream({
    model: MODEL,
    contents: "Hi!",
    config: { maxOutputTokens: 3500, candidateCount: 8, abortSignal: controller.signal },
  });
  await assert.rejects(async () => {
    for await (const _ of stream) controller.abort();
  });
  await idle();
  const after = await metric("vllm:request_success_total", 'finished_reason="abort"');
  assert.equal(after, before + 1);
});
