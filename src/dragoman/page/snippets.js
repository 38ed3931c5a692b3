/* A request as text to paste, by the tool or language that takes it. All values are quoted. */

// JSON's strings are strings of Python and of JavaScript too.
const quoted = (text) => JSON.stringify(text);
const shellQuoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;
const javascript = (value, pad = "") => JSON.stringify(value, null, 2).replaceAll("\n", `\n${pad}`);

const STRING_OR_WORD = /"(?:\\.|[^"\\])*"|\b(?:true|false|null)\b/g;
const WORDS = { true: "True", false: "False", null: "None" };
const python = (value, pad = "") => JSON.stringify(value, null, 4)
  .replace(STRING_OR_WORD, (found) => WORDS[found] ?? found).replaceAll("\n", `\n${pad}`);

/** The members of an object as arguments of a Python call, one a line. */
const keywords = (body) => Object.entries(body)
  .map(([name, value]) => `    ${name}=${python(value, "    ")},\n`).join("");

const kits = {
  openai: ({ origin, key, body }) => `# pip install openai
from openai import OpenAI

client = OpenAI(base_url=${quoted(`${origin}/v1`)}, api_key=${quoted(key)})
stream = client.chat.completions.create(
${keywords(body)})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`,
  anthropic: ({ origin, key, body }) => `# pip install anthropic
from anthropic import Anthropic

client = Anthropic(base_url=${quoted(origin)}, api_key=${quoted(key)})
stream = client.messages.create(
${keywords(body)})
for event in stream:
    if event.type == "content_block_delta" and event.delta.type == "text_delta":
        print(event.delta.text, end="", flush=True)
`,
};

const urllib = ({ method, url, headers, body }) => `import json
import urllib.request

body = ${python(body ?? null)}
request = urllib.request.Request(
    ${quoted(url)},
    method=${quoted(method)},
    headers=${python(headers, "    ")},
    data=json.dumps(body).encode() if body else None,
)
with urllib.request.urlopen(request) as answer:
    for line in answer:
        print(line.decode(), end="", flush=True)
`;

const http = {
  curl({ method, url, headers, body }) {
    const options = Object.entries(headers).map(([name, value]) => `-H ${shellQuoted(`${name}: ${value}`)}`);
    if (body) options.push(`--data-raw ${shellQuoted(JSON.stringify(body))}`);
    return `${[`curl -N -X ${method} ${shellQuoted(url)}`, ...options].join(" \\\n  ")}\n`;
  },
  Python: (request) => (kits[request.kit] ?? urllib)(request),
  JavaScript: ({ method, url, headers, body }) => `const response = await fetch(${quoted(url)}, {
  method: ${quoted(method)},
  headers: ${javascript(headers, "  ")},${body ? `\n  body: JSON.stringify(${javascript(body, "  ")}),` : ""}
});
console.log(response.status);
const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
for (let part; !(part = await reader.read()).done;) console.log(part.value);
`,
};

const socket = {
  // A zero byte ends the message, since a question may have several lines.
  websocat: ({ url, frame }) => `printf '%s\\0' ${shellQuoted(frame)} |
  websocat --null-terminated --no-close ${shellQuoted(url)}
`,
  Python: ({ url, frame, last }) => `# pip install websockets
import re
from websockets.sync.client import connect

with connect(${quoted(url)}) as socket:
    socket.send(${quoted(frame)})
    for frame in socket:
        print(frame, flush=True)
        if re.match(${quoted(last)}, frame):
            break
`,
  JavaScript: ({ url, frame, last }) => `const socket = new WebSocket(${quoted(url)});
socket.onopen = () => socket.send(${quoted(frame)});
socket.onmessage = ({ data }) => {
  console.log(data);
  if (/${last}/.test(data)) socket.close();
};
await new Promise((resolve) => { socket.onclose = resolve; });
`,
};

const grpc = {
  grpcurl: ({ target, file, proto, service, message, key, isSecure }) => `cat > ${file} <<'PROTO'
${proto}PROTO
grpcurl ${isSecure ? "" : "-plaintext "}-proto ${file} -H ${shellQuoted(`authorization: Bearer ${key}`)} \\
  -d ${shellQuoted(JSON.stringify(message))} \\
  ${shellQuoted(target)} ${service}/Ask
`,
  Python: ({ target, file, proto, type, message, key, isSecure }) => `# pip install grpcio grpcio-tools
import sys
from pathlib import Path

import grpc

Path(${quoted(file)}).write_text("""${proto}""")
sys.path.insert(0, "")
messages, services = grpc.protos_and_services(${quoted(file)})
target = ${quoted(target)}
channel = grpc.${isSecure ? "secure_channel(target, grpc.ssl_channel_credentials())" : "insecure_channel(target)"}
question = messages.${type}(
${keywords(message)})
metadata = [("authorization", ${quoted(`Bearer ${key}`)})]
for event in services.ChatStub(channel).Ask(question, metadata=metadata):
    print(event, end="", flush=True)
`,
  JavaScript: ({ target, file, proto, service, message, key, isSecure }) => `// For Node.
// npm install @grpc/grpc-js @grpc/proto-loader
import { writeFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

writeFileSync(${quoted(file)}, \`${proto}\`);
const loaded = grpc.loadPackageDefinition(loadSync(${quoted(file)}, { keepCase: true }));
const client = new loaded.${service}(${quoted(target)}, grpc.credentials.create${isSecure ? "Ssl" : "Insecure"}());
const metadata = new grpc.Metadata();
metadata.set("authorization", ${quoted(`Bearer ${key}`)});
const call = client.Ask(${javascript(message)}, metadata);
call.on("data", (event) => console.log(event));
call.on("error", (error) => console.error(error.message));
`,
};

/** Writers of text to paste: kind of request (see dialect_list.js) → tool or language → (request) → text. */
export const writers = { http, socket, grpc };
