// What all pages share: relative times, copy buttons, questions before changes.
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
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  document.addEventListener("htmx:afterSettle", showTimes);

  showTimes();
  setInterval(showTimes, 10000);
  const problems = document.getElementById("problems");
  if (problems) problems.focus();
})();
