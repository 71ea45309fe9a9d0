// What the JavaScript clients of OpenAI and Ollama get from the gateway: one JSON document.
import OpenAI from "openai";
import { Ollama } from "ollama";

const { GATEWAY, KEY } = process.env;
const messages = [{ role: "user", content: "hello" }];

async function refused(request) {
  try {
    return await request;
  } catch (error) {
    return [error.status ?? error.status_code, error.code].filter(Boolean);
  }
}

async function joined(stream, text) {
  let all = "";
  for await (const part of stream) all += text(part) ?? "";
  return all;
}

const client = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0 });
const stranger = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: "wrong", maxRetries: 0 });
const chat = (more) => client.chat.completions.create({ model: "chat", messages, ...more });
const openai = [
  (await chat({})).choices[0].message.content,
  await joined(await chat({ stream: true }), (part) => part.choices[0]?.delta.content),
  (await client.embeddings.create({ model: "nomic-embed-text", input: "one" })).data[0].embedding.length,
  await refused(chat({ model: "nope" })),
  await refused(stranger.models.list()),
];

const other = new Ollama({ host: GATEWAY, headers: { Authorization: `Bearer ${KEY}` } });
const ollama = [
  (await other.chat({ model: "chat", messages })).message.content,
  await joined(await other.chat({ model: "chat", messages, stream: true }), (part) => part.message.content),
  (await other.embed({ model: "nomic-embed-text", input: "one" })).embeddings[0].length,
  await refused(other.delete({ model: "chat" })),
];

console.log(JSON.stringify({ openai, ollama }));
