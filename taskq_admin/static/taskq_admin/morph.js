/* taskqMorph(old, fresh): makes an element like another one, node by node, and keeps the nodes that both have.
   So what the reader does with them stays: focus, typed text, checked boxes, opened folds, selected text, scrolling. */
"use strict";
window.taskqMorph = (() => {
  const KEPT = ".actions, [data-taskq-keep]";

  // What a node is known by; rows of a list by the row of the table that they stand for.
  const keyOf = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    if (node.id) return `#${node.id}`;
    if (node.dataset.taskqKey || node.localName !== "tr") return node.dataset.taskqKey ?? "";
    const box = node.querySelector("input[type=checkbox]");
    return box?.value ?? node.querySelector("a")?.getAttribute("href") ?? "";
  };

  const isSelected = (node) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(node, true);
  };

  // A fold is opened by its reader. Django's script marks rows whose box is checked.
  const attributes = (old, fresh) => {
    const isOwn = (name) => name === "open" && old.localName === "details";
    const marked = old.localName === "tr" && old.classList.contains("selected");
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !isOwn(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !isOwn(name)) old.setAttribute(name, value);
    }
    if (marked) old.classList.add("selected");
  };

  const children = (old, fresh) => {
    const keyed = new Map();
    for (const node of old.childNodes) if (keyOf(node)) keyed.set(keyOf(node), node);
    const wanted = new Set([...fresh.childNodes].map(keyOf));
    let next = old.firstChild;
    const drop = (node) => { if (!node.contains(document.activeElement)) node.remove(); };
    for (const node of [...fresh.childNodes]) {
      const key = keyOf(node);
      // What is gone makes room first, so that nodes that stay are not moved: a moved node loses the focus.
      while (next && keyOf(next) && !wanted.has(keyOf(next))) {
        const gone = next;
        next = next.nextSibling;
        drop(gone);
      }
      const same = key ? keyed.get(key) : next && !keyOf(next) ? next : null;
      if (!same || same.nodeName !== node.nodeName) {
        old.insertBefore(node, next);
        continue;
      }
      keyed.delete(key);
      if (same === next) next = next.nextSibling;
      else old.insertBefore(same, next);
      morph(same, node);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      drop(gone);
    }
  };

  const morph = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue && !isSelected(old)) old.nodeValue = fresh.nodeValue;
    } else if (!old.isEqualNode(fresh) && !old.matches(KEPT)) {
      attributes(old, fresh);
      children(old, fresh);
    }
  };
  return morph;
})();
