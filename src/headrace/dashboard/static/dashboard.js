// What all pages share: relative times, copy buttons, questions before changes, live parts.
"use strict";

(() => {
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

  function showTimes() {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const seconds = (new Date(element.dateTime) - Date.now()) / 1000;
      const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
      element.title ||= element.textContent;
      element.textContent = relative.format(Math.round(seconds / size), unit);
    }
  }

  async function copy(button) {
    const text = button.parentElement.querySelector("pre, code, input").textContent;
    await navigator.clipboard.writeText(text);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  // Parts of a page that are kept current: not while the page is hidden.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches("[data-live]")) event.preventDefault();
  });
  document.addEventListener("htmx:afterSettle", showTimes);

  const offline = document.getElementById("offline");
  document.addEventListener("htmx:sendError", () => { offline.hidden = false; });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr.status > 0) offline.hidden = true;
  });

  showTimes();
  setInterval(showTimes, 10000);
  const problems = document.getElementById("problems");
  if (problems) problems.focus();
})();
