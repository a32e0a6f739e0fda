// The official SDKs for Node against hearth: each asks, streams, and uses a tool. Prints one JSON object; test_clients.py judges it.
import { createRequire } from "node:module";
const require = createRequire(process.env.HEARTH_NODE + "/");
const load = (name) => import(require.resolve(name));
const base = process.env.HEARTH_BASE;
const ask = [{ role: "user", content: "plain" }];
const use = [{ role: "user", content: "tools" }];
const schema = { type: "object", properties: { city: { type: "string" } } };
const out = {};

for (const name of ["openai", "openai-4"]) {
  const { OpenAI } = await load(name);
  const client = new OpenAI({ baseURL: base + "/v1", apiKey: "none", maxRetries: 0 });
  const r = {};
  r.text = (await client.chat.completions.create({ model: "gpt", messages: ask })).choices[0].message.content;
  r.stream = "";
  for await (const c of await client.chat.completions.create({ model: "claude", messages: ask, stream: true })) r.stream += c.choices[0]?.delta?.content ?? "";
  const t = await client.chat.completions.create({ model: "lama", messages: use, tools: [{ type: "function", function: { name: "weather", parameters: schema } }] });
  r.tools = t.choices[0].message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]);
  r.models = [];
  for await (const m of await client.models.list()) r.models.push(m.id);
  r.vector = (await client.embeddings.create({ model: "tiny", input: "x" })).data[0].embedding.length;
  try { await client.chat.completions.create({ model: "gpt", messages: [{ role: "user", content: "error 429" }] }); } catch (e) { r.status = e.status; }
  if (client.responses) r.response = (await client.responses.create({ model: "claude", input: "plain" })).output_text;
  out[name] = r;
}
{
  const { Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: "none", maxRetries: 0 });
  const r = {};
  r.text = (await client.messages.create({ model: "gpt", max_tokens: 50, messages: ask })).content[0].text;
  r.stream = await client.messages.stream({ model: "lama", max_tokens: 50, messages: ask }).finalText();
  const m = await client.messages.stream({ model: "gpt", max_tokens: 50, messages: use, tools: [{ name: "weather", input_schema: schema }] }).finalMessage();
  r.tools = m.content.filter((b) => b.type === "tool_use").map((b) => [b.name, b.input]);
  r.count = (await client.messages.countTokens({ model: "tiny", messages: ask })).input_tokens;
  try { await client.messages.create({ model: "gpt", max_tokens: 5, messages: [{ role: "user", content: "error 529" }] }); } catch (e) { r.status = e.status; }
  out.anthropic = r;
}
{
  const { Ollama } = await load("ollama");
  const client = new Ollama({ host: base });
  const r = {};
  r.text = (await client.chat({ model: "claude", messages: ask })).message.content;
  r.stream = "";
  for await (const p of await client.chat({ model: "gpt", messages: ask, stream: true })) r.stream += p.message.content;
  const t = await client.chat({ model: "gpt", messages: use, tools: [{ type: "function", function: { name: "weather", description: "d", parameters: schema } }] });
  r.tools = t.message.tool_calls.map((c) => [c.function.name, c.function.arguments]);
  r.models = (await client.list()).models.map((m) => m.model);
  r.vector = (await client.embed({ model: "tiny", input: "x" })).embeddings[0].length;
  out.ollama = r;
}
console.log(JSON.stringify(out));
