/* Fetches the page again every few seconds and puts its marked fragments in place of the old ones.
   Rests while the page is hidden, and leaves alone what the reader is using. */
(() => {
  "use strict";
  const label = document.querySelector("[data-taskq-refresh]");
  if (!label) return;
  const select = label.querySelector("select");
  const KEY = "taskq.refresh";
  let timer = null;
  let busy = false;

  const recall = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const remember = (value) => {
    try { localStorage.setItem(KEY, value); } catch { /* private windows may refuse */ }
  };

  const inUse = (element) => {
    const selection = document.getSelection();
    return element.contains(document.activeElement)
      || element.querySelector("details[open]")
      || (selection && !selection.isCollapsed && selection.containsNode(element, true));
  };

  const replace = (page) => {
    for (const old of document.querySelectorAll("[data-taskq-fragment]")) {
      const fresh = page.getElementById(old.id);
      if (fresh && fresh.innerHTML !== old.innerHTML && !inUse(old)) old.replaceChildren(...fresh.childNodes);
    }
  };

  const refresh = async () => {
    if (document.hidden || busy) return;
    busy = true;
    try {
      // A redirect is the login page: the session is over.
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      label.classList.toggle("taskq-bad", !answer.ok);
    } catch {
      label.classList.add("taskq-bad");
    } finally {
      busy = false;
    }
  };

  const start = () => {
    clearInterval(timer);
    const seconds = Number(select.value);
    timer = seconds > 0 ? setInterval(refresh, seconds * 1000) : null;
  };

  const saved = recall();
  select.value = [...select.options].some((option) => option.value === saved) ? saved : "5";
  select.addEventListener("change", () => { remember(select.value); start(); });
  document.addEventListener("visibilitychange", () => { if (timer) refresh(); });
  label.hidden = false;
  start();
})();
