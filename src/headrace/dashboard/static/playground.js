// A chat through the control plane, which forwards it to the gateway; the response is streamed.

const root = document.querySelector("[data-playground]");
const find = (name) => root.querySelector(`[data-${name}]`);
const chat = root && find("chat");
const settings = root && find("settings");
const NUMBERS = ["max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"];
const EXAMPLE = "Name three rivers.";

const messages = [];
let running = null;

// The body of the request that sends `prompt` after the conversation so far.
function requestBody(prompt) {
  const values = new FormData(settings);
  const body = { model: values.get("model").trim(), messages: [] };
  if (values.get("system")) body.messages.push({ role: "system", content: values.get("system") });
  body.messages.push(...messages);
  if (prompt) body.messages.push({ role: "user", content: prompt });
  for (const name of NUMBERS) {
    if (values.get(name) !== "") body[name] = Number(values.get(name));
  }
  if (values.get("stop")) body.stop = [values.get("stop")];
  return { ...body, stream: true, stream_options: { include_usage: true } };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl() {
  const body = requestBody(chat.elements.prompt.value);
  // After a response: the request that it answered.
  if (body.messages.at(-1)?.role === "assistant") body.messages.pop();
  if (body.messages.at(-1)?.role !== "user") body.messages.push({ role: "user", content: EXAMPLE });
  const variable = root.dataset.keyVariable;
  const lines = [
    `curl -N ${quoted(`${root.dataset.endpoint}/v1/chat/completions`)}`,
    "-H 'content-type: application/json'",
    ...(variable ? [`-H "authorization: Bearer $${variable}"`] : []),
    `-d ${quoted(JSON.stringify(body))}`,
  ];
  document.querySelector("[data-curl] pre").textContent = lines.join(" \\\n  ");
}

function addMessage(role, text) {
  const element = document.createElement("div");
  const label = document.createElement("strong");
  const content = document.createElement("div");
  element.className = `message ${role}`;
  label.textContent = role === "user" ? "You" : "Model";
  content.className = "content";
  content.textContent = text;
  element.append(label, content);
  find("messages").append(element);
  find("messages").scrollTop = find("messages").scrollHeight;
  return { element, content };
}

// The events of a response's stream, parsed.
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function errorOf(response) {
  if (response.type === "opaqueredirect") return "The session has ended. Reload the page.";
  const text = await response.text();
  try {
    const page = JSON.parse(text);
    return page.error?.message ?? page.message ?? text;
  } catch {
    return `The request failed (${response.status}). Reload the page.`;
  }
}

class Exchange {
  constructor() {
    this.controller = new AbortController();
    this.text = "";
    this.numChunks = 0;
    this.beganAt = performance.now();
    this.firstAt = null;
    this.lastAt = null;
    this.usage = null;
    this.finish = "";
  }

  // Throws an Error with a message for users.
  async run(body, show) {
    const response = await fetch(root.dataset.playground, {
      method: "POST",
      headers: { ...JSON.parse(document.body.getAttribute("hx-headers")), "Content-Type": "application/json" },
      body: JSON.stringify(body),
      redirect: "manual",
      signal: this.controller.signal,
    });
    if (!response.ok) throw new Error(await errorOf(response));
    for await (const event of eventsOf(response)) {
      if (event.error) throw new Error(event.error.message ?? String(event.error));
      this.add(event);
      show(this.text);
    }
  }

  add(event) {
    if (event.usage) this.usage = event.usage;
    const choice = event.choices?.[0];
    if (!choice) return;
    if (choice.finish_reason) this.finish = choice.finish_reason;
    const piece = choice.delta?.content;
    if (!piece) return;
    this.lastAt = performance.now();
    this.firstAt ??= this.lastAt;
    this.numChunks += 1;
    this.text += piece;
  }

  showStats() {
    const shown = (value, unit) => `${new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(value)} ${unit}`;
    const numTokens = this.usage?.completion_tokens;
    const decodeS = this.firstAt === null ? 0 : (this.lastAt - this.firstAt) / 1000;
    const num = numTokens ?? this.numChunks;
    const set = (name, text) => { find(name).textContent = text; };
    set("ttft", this.firstAt === null ? "—" : shown(this.firstAt - this.beganAt, "ms"));
    set("speed", num > 1 && decodeS > 0 ? shown((num - 1) / decodeS, numTokens ? "tokens/s" : "chunks/s") : "—");
    set("prompt-tokens", this.usage ? `${this.usage.prompt_tokens} tokens` : "—");
    set("output-tokens", numTokens !== undefined ? `${numTokens} tokens` : this.numChunks ? `${this.numChunks} chunks` : "—");
    set("total", shown((performance.now() - this.beganAt) / 1000, "s"));
    set("finish", this.finish || "—");
  }
}

function setRunning(exchange, state) {
  running = exchange;
  find("send").disabled = Boolean(exchange);
  find("cancel").disabled = !exchange;
  find("clear").disabled = Boolean(exchange);
  find("messages").setAttribute("aria-busy", String(Boolean(exchange)));
  find("state").textContent = state;
}

async function send() {
  const field = chat.elements.prompt;
  const prompt = field.value;
  if (running || !prompt.trim() || !settings.reportValidity()) return;
  const body = requestBody(prompt);
  const exchange = new Exchange();
  find("error").hidden = true;
  setRunning(exchange, "Generating");
  const asked = addMessage("user", prompt);
  const answer = addMessage("assistant", "");
  field.value = "";
  let state = "";
  try {
    await exchange.run(body, (text) => {
      const list = find("messages");
      const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
      answer.content.textContent = text;
      if (isAtEnd) list.scrollTop = list.scrollHeight;
    });
    state = "Done";
  } catch (error) {
    if (exchange.controller.signal.aborted) {
      state = "Cancelled";
      exchange.finish = "cancelled";
    } else {
      find("error").textContent = error instanceof TypeError
        ? "The control plane does not respond." : error.message;
      find("error").hidden = false;
    }
  }
  exchange.showStats();
  if (exchange.text) {
    messages.push({ role: "user", content: prompt }, { role: "assistant", content: exchange.text });
  } else if (state !== "Done") {
    asked.element.remove();
    answer.element.remove();
    field.value ||= prompt;
  }
  setRunning(null, state);
  showCurl();
}

function clear() {
  messages.length = 0;
  find("messages").replaceChildren();
  find("error").hidden = true;
  find("state").textContent = "";
  chat.elements.prompt.focus();
  showCurl();
}

if (root) {
  chat.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  chat.addEventListener("input", showCurl);
  settings.addEventListener("input", showCurl);
  settings.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  find("cancel").addEventListener("click", () => { running?.controller.abort(); chat.elements.prompt.focus(); });
  find("clear").addEventListener("click", clear);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.controller.abort();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === chat.elements.prompt) send();
  });
  showCurl();
}
