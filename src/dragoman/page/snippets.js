/* A request as text to paste: curl or what stands in for it, Python, JavaScript. All values are quoted. */

const lines = (...all) => all.flat().filter((line) => line !== null).join("\n") + "\n";

/** Quote a text for a POSIX shell. */
export const shellQuoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;

// JSON's strings are strings of Python and of JavaScript too.
const quoted = (text) => JSON.stringify(text);

/** Write a JSON value as a JavaScript literal; nested lines are indented by `pad`. */
const javascriptLiteral = (value, pad = "") => JSON.stringify(value, null, 2).replaceAll("\n", `\n${pad}`);

/** Write a JSON value as a Python literal; nested lines are indented by `pad`. */
export function pythonLiteral(value, pad = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return quoted(value);
  const inner = `${pad}    `;
  const rows = Array.isArray(value)
    ? value.map((item) => inner + pythonLiteral(item, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${quoted(name)}: ${pythonLiteral(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return rows.length ? `${open}\n${rows.join(",\n")},\n${pad}${close}` : open + close;
}

/** Write the members of an object as arguments of a Python call, one a line. */
const keywords = (body) => Object.entries(body).map(([name, value]) => `    ${name}=${pythonLiteral(value, "    ")},`);

const http = {
  curl({ method, url, headers, body }) {
    const parts = [`curl -N ${method === "GET" ? "" : `-X ${method} `}${shellQuoted(url)}`];
    for (const [name, value] of Object.entries(headers)) parts.push(`-H ${shellQuoted(`${name}: ${value}`)}`);
    if (body) parts.push(`--data-raw ${shellQuoted(JSON.stringify(body))}`);
    return lines(parts.join(" \\\n  "));
  },
  python: (request) => (kits[request.sdk] ?? urllib)(request),
  javascript: ({ method, url, headers, body }) => lines(
    `const response = await fetch(${quoted(url)}, {`,
    `  method: ${quoted(method)},`,
    `  headers: ${javascriptLiteral(headers, "  ")},`,
    body ? `  body: JSON.stringify(${javascriptLiteral(body, "  ")}),` : null,
    "});",
    "console.log(response.status);",
    "const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();",
    "for (let part; !(part = await reader.read()).done;) console.log(part.value);",
  ),
};

const urllib = ({ method, url, headers, body }) => lines(
  body ? "import json" : null,
  "import urllib.request",
  "",
  body ? `body = ${pythonLiteral(body)}` : null,
  "request = urllib.request.Request(",
  `    ${quoted(url)},`,
  `    method=${quoted(method)},`,
  `    headers=${pythonLiteral(headers, "    ")},`,
  body ? "    data=json.dumps(body).encode()," : null,
  ")",
  "with urllib.request.urlopen(request) as answer:",
  "    for line in answer:",
  '        print(line.decode(), end="", flush=True)',
);

const kits = {
  openai: ({ origin, key, body }) => lines(
    "# pip install openai",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${quoted(`${origin}/v1`)}, api_key=${quoted(key)})`,
    "stream = client.chat.completions.create(", keywords(body), ")",
    "for chunk in stream:",
    "    if chunk.choices:",
    '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
  ),
  anthropic: ({ origin, key, body }) => lines(
    "# pip install anthropic",
    "from anthropic import Anthropic",
    "",
    `client = Anthropic(base_url=${quoted(origin)}, api_key=${quoted(key)})`,
    "stream = client.messages.create(", keywords(body), ")",
    "for event in stream:",
    '    if event.type == "content_block_delta" and event.delta.type == "text_delta":',
    '        print(event.delta.text, end="", flush=True)',
  ),
};

const socket = {
  // A zero byte ends the message, since a question may have several lines.
  curl: ({ url, frame }) => lines(
    "# curl cannot speak WebSocket to and fro; websocat can",
    `printf '%s\\0' ${shellQuoted(frame)} |`,
    `  websocat --null-terminated --no-close ${shellQuoted(url)}`,
  ),
  python: ({ url, frame, last }) => lines(
    "# pip install websockets",
    last.imports,
    "from websockets.sync.client import connect",
    "",
    `with connect(${quoted(url)}) as socket:`,
    `    socket.send(${quoted(frame)})`,
    "    for frame in socket:",
    "        print(frame, flush=True)",
    `        if ${last.python}:`,
    "            break",
  ),
  javascript: ({ url, frame, last }) => lines(
    `const socket = new WebSocket(${quoted(url)});`,
    `socket.onopen = () => socket.send(${quoted(frame)});`,
    "socket.onmessage = ({ data }) => {",
    "  console.log(data);",
    `  if (${last.javascript}) socket.close();`,
    "};",
    "await new Promise((resolve) => { socket.onclose = resolve; });",
  ),
};

const grpc = {
  curl: ({ target, file, proto, service, message, key, isSecure }) => lines(
    `cat > ${file} <<'PROTO'`, `${proto}PROTO`,
    `grpcurl ${isSecure ? "" : "-plaintext "}-proto ${file} -H ${shellQuoted(`authorization: Bearer ${key}`)} \\`,
    `  -d ${shellQuoted(JSON.stringify(message))} \\`,
    `  ${shellQuoted(target)} ${service}/Ask`,
  ),
  python: ({ target, file, proto, type, message, key, isSecure }) => lines(
    "# pip install grpcio grpcio-tools",
    "import sys", "from pathlib import Path", "", "import grpc", "",
    `Path(${quoted(file)}).write_text("""${proto}""")`,
    'sys.path.insert(0, "")',
    `messages, services = grpc.protos_and_services(${quoted(file)})`,
    isSecure
      ? `channel = grpc.secure_channel(${quoted(target)}, grpc.ssl_channel_credentials())`
      : `channel = grpc.insecure_channel(${quoted(target)})`,
    `question = messages.${type}(`, keywords(message), ")",
    `metadata = [("authorization", ${quoted(`Bearer ${key}`)})]`,
    "for event in services.ChatStub(channel).Ask(question, metadata=metadata):",
    '    print(event, end="", flush=True)',
  ),
  javascript: ({ target, file, proto, service, message, key, isSecure }) => lines(
    "// npm install @grpc/grpc-js @grpc/proto-loader (for Node: a browser cannot speak gRPC)",
    'import { writeFileSync } from "node:fs";',
    'import grpc from "@grpc/grpc-js";',
    'import { loadSync } from "@grpc/proto-loader";',
    "",
    `writeFileSync(${quoted(file)}, \`${proto}\`);`,
    `const loaded = grpc.loadPackageDefinition(loadSync(${quoted(file)}, { keepCase: true }));`,
    `const credentials = grpc.credentials.create${isSecure ? "Ssl" : "Insecure"}();`,
    `const client = new loaded.${service}(${quoted(target)}, credentials);`,
    "const metadata = new grpc.Metadata();",
    `metadata.set("authorization", ${quoted(`Bearer ${key}`)});`,
    `const call = client.Ask(${javascriptLiteral(message)}, metadata);`,
    'call.on("data", (event) => console.log(event));',
    'call.on("error", (error) => console.error(error.message));',
  ),
};

const kinds = { http, socket, grpc };

/** Write a request (see dialect_list.js) in `language`: "curl", "python" or "javascript". */
export const snippet = (request, language) => kinds[request.kind][language](request);
