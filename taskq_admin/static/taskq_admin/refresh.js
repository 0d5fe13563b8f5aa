/* Fetches the page again every few seconds and makes its marked fragments like the new ones (morph.js).
   Rests while the page is hidden; says so when the server is lost or the session has ended. */
(() => {
  "use strict";
  const label = document.querySelector("[data-taskq-refresh]");
  if (!label) return;
  const select = label.querySelector("select");
  const state = label.querySelector("[role=status]");
  const words = label.dataset;
  const KEY = "taskq.refresh";
  let timer = null;
  let busy = false;
  let ended = false;
  let skew = 0;
  let answered = new Date();

  const recall = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const remember = (value) => {
    try { localStorage.setItem(KEY, value); } catch { /* private windows may refuse */ }
  };

  // The live region is changed only by news: a reader is not told the same every five seconds.
  const say = (text, link) => {
    if (state.dataset.said === text) return;
    state.dataset.said = text;
    state.textContent = text;
    label.classList.toggle("taskq-bad", text !== "");
    if (!link) return;
    const anchor = document.createElement("a");
    anchor.href = location.href;
    anchor.textContent = link;
    state.append(" ", anchor);
  };

  const lengthInWords = (seconds) => {
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const at = parts.findIndex(([size]) => seconds >= size);
    if (at < 0) return "0 s";
    const [size, unit] = parts[at];
    const [smaller, name] = parts[at + 1] ?? [1, ""];
    const rest = Math.floor((seconds % size) / smaller);
    return `${Math.floor(seconds / size)} ${unit}${rest && name ? ` ${rest} ${name}` : ""}`;
  };

  // Ages go on between two answers, by the server's clock.
  const tick = () => {
    for (const time of document.querySelectorAll("time[data-taskq-clock]")) {
      const age = (Date.now() + skew - Date.parse(time.dateTime)) / 1000;
      const pattern = age < 0 ? time.dataset.taskqUntil : time.dataset.taskqClock;
      const text = pattern.replace("%s", lengthInWords(Math.floor(Math.abs(age))));
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const readClock = (page) => {
    const now = Date.parse(page.querySelector("[data-taskq-refresh]")?.dataset.now);
    if (now) skew = now - Date.now();
  };

  const replace = (page) => {
    for (const old of document.querySelectorAll("[data-taskq-fragment]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) window.taskqMorph(old, fresh);
    }
    readClock(page);
    tick();
  };

  const stop = (text, link) => {
    ended = true;
    clearInterval(timer);
    say(text, link);
  };

  const receive = async (answer) => {
    if (answer.type === "opaqueredirect") stop(words.ended, words.login);
    else if (answer.status === 403) stop(words.refused);
    else if (answer.status === 404) stop(words.gone);
    else if (answer.ok) {
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      answered = new Date();
      say("");
    } else say(words.failed.replace("%s", answer.status));
  };

  const refresh = async () => {
    if (document.hidden || busy || ended) return;
    busy = true;
    try {
      // A redirect is the login page. The header keeps messages for the page that they are meant for.
      const headers = { "Taskq-Refresh": "1" };
      const signal = AbortSignal.timeout(30000);
      await receive(await fetch(location.href, { credentials: "same-origin", redirect: "manual", headers, signal }));
    } catch {
      say(words.lost.replace("%s", answered.toLocaleTimeString(document.documentElement.lang || undefined)));
    } finally {
      busy = false;
    }
  };

  const start = () => {
    clearInterval(timer);
    const seconds = Number(select.value);
    timer = seconds > 0 && !ended ? setInterval(refresh, seconds * 1000) : null;
  };

  const saved = recall();
  select.value = [...select.options].some((option) => option.value === saved) ? saved : "5";
  select.addEventListener("change", () => { remember(select.value); start(); });
  document.addEventListener("visibilitychange", () => { if (timer) refresh(); });
  label.hidden = false;
  readClock(document);
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
  start();
})();
