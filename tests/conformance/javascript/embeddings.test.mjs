// Embeddings through the unmodified JavaScript packages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
import { MODEL, keys, url } from "./server.mjs";

test("OpenAI embeddings, decoded by the client", async () => {
  const ai = new OpenAI({ baseURL: `${url}/v1`, apiKey: keys.conformance, maxRetries: 0 });
  const reply = await ai.embeddings.create({ model: MODEL, input: ["a", "b", "a"] });
  assert.deepEqual(reply.data.map((each) => each.index), [0, 1, 2]);
  assert.deepEqual(reply.data[0].embedding, reply.data[2].embedding);
  assert.notDeepEqual(reply.data[0].embedding, reply.data[1].embedding);
});

test("Gemini embeddings", async () => {
  const ai = new GoogleGenAI({ apiKey: keys.conformance, httpOptions: { baseUrl: url } });
  const reply = await ai.models.embedContent({ model: MODEL, contents: ["a", "b", "a"] });
  assert.deepEqual(reply.embeddings[0].values, reply.embeddings[2].values);
  assert.notDeepEqual(reply.embeddings[0].values, reply.embeddings[1].values);
});
