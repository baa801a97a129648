// Live and Realtime sessions through the unmodified JavaScript packages, which speak TLS only.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GoogleGenAI, Modality } from "@google/genai";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { MODEL, keys, url } from "./server.mjs";

test("a live session answers two turns and closes", async () => {
  const ai = new GoogleGenAI({ apiKey: keys.conformance, httpOptions: { baseUrl: url } });
  let ended;
  let text = "";
  const session = await ai.live.connect({
    model: MODEL,
    config: { responseModalities: [Modality.TEXT], maxOutputTokens: 8 },
    callbacks: {
      onmessage: (message) => {
        for (const part of message.serverContent?.modelTurn?.parts ?? []) text += part.text ?? "";
        if (message.serverContent?.turnComplete) ended.resolve(message);
      },
      onerror: (event) => ended.reject(event.error ?? event),
      onclose: (event) => ended.reject(new Error(event.reason)),
    },
  });
  for (const turns of ["One.", "Two."]) {
    ended = Promise.withResolvers();
    text = "";
    session.sendClientContent({ turns, turnComplete: true });
    const last = await ended.promise;
    assert.ok(text);
    assert.ok(last.usageMetadata.totalTokenCount > 0);
  }
  ended.promise.catch(() => {});
  session.close();
});

test("a realtime session answers with typed events", async () => {
  const ai = new OpenAI({ baseURL: `${url}/v1`, apiKey: keys.conformance });
  const session = new OpenAIRealtimeWS({ model: MODEL }, ai);
  const { promise, resolve, reject } = Promise.withResolvers();
  const kinds = [];
  session.on("error", reject);
  session.on("event", (event) => kinds.push(event.type));
  session.on("session.created", () => {
    session.send({
      type: "session.update",
      session: { type: "realtime", output_modalities: ["text"], max_output_tokens: 8 },
    });
    session.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content: [{ type: "input_text", text: "Hi!" }] },
    });
    session.send({ type: "response.create" });
  });
  session.on("response.done", (event) => resolve(event.response));
  const response = await promise;
  session.close();
  assert.ok(response.usage.output_tokens > 0);
  assert.equal(kinds[0], "session.created");
  assert.ok(kinds.includes("response.output_text.delta"));
});
