// Keeps a part of a page current by server-sent events: one connection, and none while the page is
// hidden, since browsers open six connections to a host for all of their tabs.
"use strict";

(() => {
  const FIRST_RETRY_MS = 500;
  const MAX_RETRY_MS = 15000;
  const STATES_KEPT = "[role=region]";
  const notice = document.getElementById("offline");

  function say(text) {
    notice.textContent = text;
    notice.hidden = !text;
  }

  class LivePart {
    constructor(element) {
      this.element = element;
      this.address = element.dataset.live;
      this.seen = element.dataset.seen;
      this.retryMs = FIRST_RETRY_MS;
      this.isOver = false;
      document.addEventListener("visibilitychange", () => this.update());
      window.addEventListener("pagehide", () => this.close());
      window.addEventListener("pageshow", () => this.update());
      this.update();
    }

    update() {
      if (document.hidden || this.isOver) this.close();
      else this.open();
    }

    open() {
      if (this.source) return;
      clearTimeout(this.timer);
      const separator = this.address.includes("?") ? "&" : "?";
      this.source = new EventSource(`${this.address}${separator}seen=${this.seen}`);
      this.source.addEventListener("part", (event) => {
        this.seen = event.lastEventId;
        this.replace(event.data);
        this.succeeded();
      });
      this.source.addEventListener("current", () => this.succeeded());
      this.source.addEventListener("missing", (event) => {
        this.end();
        say(event.data);
      });
      this.source.addEventListener("signed-out", (event) => {
        this.end();
        window.location.assign(event.data);
      });
      this.source.addEventListener("error", () => this.failed());
    }

    close() {
      clearTimeout(this.timer);
      this.source?.close();
      this.source = null;
    }

    end() {
      this.isOver = true;
      this.close();
    }

    succeeded() {
      this.retryMs = FIRST_RETRY_MS;
      say("");
    }

    // The browser's own attempts would be at a fixed interval, and end at the first error response.
    failed() {
      this.close();
      say("The control plane does not respond. Retrying.");
      this.timer = setTimeout(() => this.update(), this.retryMs * (0.5 + Math.random()));
      this.retryMs = Math.min(this.retryMs * 2, MAX_RETRY_MS);
    }

    // htmx keeps focus and selection; tables stay where they were scrolled to.
    replace(html) {
      const offsets = [...this.element.querySelectorAll(STATES_KEPT)].map((region) => region.scrollLeft);
      htmx.swap(this.element, html, { swapStyle: "innerHTML", swapDelay: 0, settleDelay: 0 });
      this.element.querySelectorAll(STATES_KEPT).forEach((region, index) => {
        region.scrollLeft = offsets[index] ?? 0;
      });
    }
  }

  for (const element of document.querySelectorAll("[data-live]")) new LivePart(element);
})();
