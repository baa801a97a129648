// Files and cached contents through the unmodified JavaScript packages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GoogleGenAI } from "@google/genai";
import OpenAI, { toFile } from "openai";
import { MODEL, gathered, keys, url } from "./server.mjs";

const gemini = new GoogleGenAI({ apiKey: keys.conformance, httpOptions: { baseUrl: url } });
const ai = new OpenAI({ baseURL: `${url}/v1`, apiKey: keys.conformance, maxRetries: 0 });

test("a Gemini file is uploaded, listed, asked about and deleted", async () => {
  const blob = new Blob(["city,people\nParis,2\n"], { type: "text/csv" });
  const file = await gemini.files.upload({ file: blob, config: { displayName: "cities" } });
  assert.equal(file.mimeType, "text/csv");
  assert.equal((await gemini.files.get({ name: file.name })).state, "ACTIVE");
  const names = (await gathered(await gemini.files.list())).map((each) => each.name);
  assert.ok(names.includes(file.name));
  const reply = await gemini.models.generateContent({
    model: MODEL,
    contents: ["What?", { fileData: { fileUri: file.uri, mimeType: file.mimeType } }],
    config: { maxOutputTokens: 2 },
  });
  assert.ok(reply.usageMetadata.promptTokenCount > 20);
  await gemini.files.delete({ name: file.name });
  await assert.rejects(gemini.files.get({ name: file.name }));
});

test("cached contents are made, used, changed and deleted", async () => {
  const cache = await gemini.caches.create({
    model: MODEL, config: { contents: "Ada keeps the lighthouse. ".repeat(20), ttl: "300s" },
  });
  const reply = await gemini.models.generateContent({
    model: MODEL, contents: "Who?", config: { cachedContent: cache.name, maxOutputTokens: 2 },
  });
  assert.ok(reply.usageMetadata.promptTokenCount > cache.usageMetadata.totalTokenCount);
  const later = await gemini.caches.update({ name: cache.name, config: { ttl: "600s" } });
  assert.ok(later.expireTime > cache.expireTime);
  await gemini.caches.delete({ name: cache.name });
});

test("an OpenAI file is uploaded, listed, read and deleted", async () => {
  const file = await ai.files.create({
    file: await toFile(Buffer.from("a,b\n"), "a.csv"), purpose: "user_data",
  });
  assert.equal(file.bytes, 4);
  assert.ok((await gathered(ai.files.list())).some((each) => each.id === file.id));
  assert.equal(await (await ai.files.content(file.id)).text(), "a,b\n");
  assert.ok((await ai.files.delete(file.id)).deleted);
});
