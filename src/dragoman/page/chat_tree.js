// A conversation is a tree: each message names its parent, the first questions the conversation's root.

/** The messages below each parent, oldest first. */
export function childrenByParent(tree) {
  const children = new Map();
  for (const message of tree.messages) {
    if (!children.has(message.parent)) children.set(message.parent, []);
    children.get(message.parent).push(message);
  }
  return children;
}

/** The message with this id, if there is one. */
export function messageOf(tree, id) {
  return tree.messages.find((message) => message.id === id);
}

/** From the first question down to the message `leaf`; empty when it is the root or unknown. */
export function pathTo(tree, leaf) {
  const byId = new Map(tree.messages.map((message) => [message.id, message]));
  const path = [];
  for (let at = byId.get(leaf); at && path.length <= byId.size; at = byId.get(at.parent)) path.push(at);
  return path.reverse();
}

/** The end of the newest branch below `id`; `id` itself when nothing is below it. */
export function newestLeaf(tree, id) {
  const children = childrenByParent(tree);
  let at = id;
  for (let steps = 0; children.has(at) && steps <= tree.messages.length; steps += 1) at = children.get(at).at(-1).id;
  return at;
}

/** The tree with these messages in it, in place of those with the same ids. */
export function withMessages(tree, ...messages) {
  const fresh = new Set(messages.map((message) => message.id));
  return { ...tree, messages: [...tree.messages.filter((message) => !fresh.has(message.id)), ...messages] };
}

/** The tree without the messages of these ids. */
export function withoutMessages(tree, ...ids) {
  return { ...tree, messages: tree.messages.filter((message) => !ids.includes(message.id)) };
}
