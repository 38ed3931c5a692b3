// sse.js 0.6.1, which system A's pages ship, re-created from its rules (seed protocols, section 3).
// The same rules in Python: ../sse_js.py.

class OldSSE {
  constructor(url, options) {
    this.url = url;
    this.headers = options.headers || {};
    this.payload = options.payload || "";
    this.listeners = {};
    this.shown = 0;
    this.chunk = "";
  }

  addEventListener(name, listener) {
    (this.listeners[name] ||= []).push(listener);
  }

  // It does not start by itself.
  stream() {
    const request = new XMLHttpRequest();
    this.request = request;
    request.addEventListener("progress", () => this.progress());
    request.addEventListener("load", () => this.load());
    request.addEventListener("error", () => this.fail());
    request.addEventListener("abort", () => this.tell("abort", undefined));
    request.open(this.payload ? "POST" : "GET", this.url);
    for (const name in this.headers) request.setRequestHeader(name, this.headers[name]);
    request.send(this.payload);
  }

  progress() {
    if (!this.request) return;
    if (this.request.status !== 200) return this.fail();
    const news = this.request.responseText.slice(this.shown);
    this.shown += news.length;
    for (const part of news.split(/(\r\n|\r|\n){2}/g)) {
      if (part.trim()) {
        this.chunk += part;
      } else {
        // What a listener throws leaves `chunk` as it is.
        this.dispatch(this.chunk.trim());
        this.chunk = "";
      }
    }
  }

  load() {
    this.progress();
    if (!this.request) return;
    this.dispatch(this.chunk);
    this.chunk = "";
  }

  fail() {
    const data = this.request.response;
    const request = this.request;
    this.request = null;
    this.tell("error", data);
    request.abort();
  }

  dispatch(chunk) {
    if (!chunk) return;
    let name = "message";
    let data = "";
    for (const line of chunk.split(/\n|\r\n|\r/)) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue;
      const value = line.slice(colon + 1).trim();
      const field = line.slice(0, colon);
      if (field === "data") data += value;
      if (field === "event") name = value;
    }
    this.tell(name, data);
  }

  tell(name, data) {
    const event = new CustomEvent(name);
    event.data = data;
    for (const listener of this.listeners[name] || []) listener(event);
  }
}
