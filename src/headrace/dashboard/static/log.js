// Logs that are followed: the last lines, with search and automatic scrolling.
"use strict";

(() => {
  const NUM_FIRST_LINES = 1000;
  const MAX_NUM_LINES = 10000;
  const RETRY_MS = 3000;

  class Log {
    constructor(root) {
      this.address = root.dataset.log;
      this.text = root.querySelector("[data-log-text]");
      this.state = root.querySelector("[data-log-state]");
      this.search = root.querySelector("[data-log-search]");
      this.follow = root.querySelector("[data-log-follow]");
      this.lines = [];
      this.rest = "";
      this.search.addEventListener("input", () => this.render());
      this.follow.addEventListener("change", () => this.scroll());
      document.addEventListener("visibilitychange", () => this.update());
      this.update();
    }

    // Not while the page is hidden: browsers open six connections to a host for all of their tabs.
    update() {
      clearTimeout(this.timer);
      if (document.hidden) this.abort?.abort();
      else if (!this.isOver) this.read();
    }

    async read() {
      const abort = this.abort = new AbortController();
      try {
        const response = await fetch(
          `${this.address}?follow=true&lines=${NUM_FIRST_LINES}`, { signal: abort.signal },
        );
        if (!response.ok) {
          this.state.textContent = `The log cannot be read (${response.status}).`;
          return;
        }
        this.state.textContent = "Live";
        this.lines = [];
        this.rest = "";
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          this.add(value);
        }
        this.state.textContent = "The log has ended.";
        this.isOver = true;
      } catch {
        if (abort.signal.aborted) return;
        this.state.textContent = "Disconnected. Retrying.";
        this.timer = setTimeout(() => this.update(), RETRY_MS);
      }
    }

    add(piece) {
      const lines = (this.rest + piece).split("\n");
      this.rest = lines.pop();
      this.lines.push(...lines);
      this.lines.splice(0, this.lines.length - MAX_NUM_LINES);
      this.renderSoon();
    }

    renderSoon() {
      this.frame ||= requestAnimationFrame(() => this.render());
    }

    render() {
      this.frame = 0;
      const wanted = this.search.value.toLowerCase();
      const lines = this.rest ? [...this.lines, this.rest] : this.lines;
      const shown = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
      this.text.textContent = shown.join("\n");
      this.scroll();
    }

    scroll() {
      if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
    }
  }

  for (const root of document.querySelectorAll("[data-log]")) new Log(root);
})();
