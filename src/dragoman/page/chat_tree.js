// A conversation is a tree: each message names its parent, the first questions the conversation's root.

/** The messages below each parent, oldest first. */
export function childrenByParent(tree) {
  return Map.groupBy(tree.messages, (message) => message.parent);
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

/** The tree that was read, of the messages that are shown already. What was heard here may be ahead of its record. */
export function refreshed(shown, read) {
  const known = new Map(shown.messages.map((message) => [message.id, message]));
  const messages = read.messages.map((message) => {
    const mine = known.get(message.id) ?? message;
    return mine.wasHeard && message.state !== "complete" ? mine : Object.assign(mine, message, { trouble: null });
  });
  return { root: read.root, messages };
}
