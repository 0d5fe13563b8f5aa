// Asks how far a report is, twice a second, and reloads the page when it is done.
"use strict";

const INTERVAL = 500;
const report = document.getElementById("report");

function show(progress) {
  const state = report.querySelector("[data-state]");
  state.textContent = progress.state;
  state.className = `state ${progress.state.toLowerCase()}`;
  if (!progress.total) return;
  const bar = report.querySelector("progress");
  bar.max = progress.total;
  bar.value = progress.done;
  report.querySelector("[data-count]").textContent = `${progress.done} of ${progress.total}`;
}

async function poll() {
  try {
    const response = await fetch(report.dataset.status);
    if (response.ok) {
      const progress = await response.json();
      if (progress.finished) {
        window.location.reload();
        return;
      }
      show(progress);
    }
  } catch {
    // The site is being restarted: ask again.
  }
  window.setTimeout(poll, INTERVAL);
}

if (report && report.dataset.finished === "no") poll();
