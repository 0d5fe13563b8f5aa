/* The buttons "Copy": they copy the text beside them as it is, folded parts too. Shown by this script alone.
   The clipboard of the browser is there on https only, so a selection is copied elsewhere. */
(() => {
  "use strict";
  document.documentElement.classList.add("taskq-copies");

  const viaSelection = (element) => {
    const area = document.createElement("textarea");
    area.value = element.textContent;
    area.setAttribute("readonly", "");
    area.className = "taskq-aside";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };

  const copy = async (element) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      try { return viaSelection(element); } catch { return false; }
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-taskq-copy]");
    const element = button?.closest(".taskq-copyable")?.querySelector("pre, code");
    if (!element) return;
    const label = button.dataset.taskqLabel ?? button.textContent;
    button.dataset.taskqLabel = label;
    const done = await copy(element);
    button.focus();
    button.textContent = done ? button.dataset.taskqCopied : button.dataset.taskqRefused;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
})();
