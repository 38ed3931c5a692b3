// What a test asks a page afterwards: events that its listeners got, and errors that nobody caught.
// Chooses the generation of sse.js.

const query = new URLSearchParams(location.search);
const seen = { events: [], thrown: [] };
window.addEventListener("error", (e) => seen.thrown.push(e.message));
window.addEventListener("unhandledrejection", (e) => seen.thrown.push(String(e.reason)));
window.SSE = typeof OldSSE === "undefined" ? undefined : OldSSE;
seen.ready = Promise.resolve();
if (query.get("sse") === "new") {
  seen.ready = import("./sse-2.8.0.js").then((module) => (window.SSE = module.SSE));
}
