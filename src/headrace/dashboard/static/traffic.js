// The bar of a traffic split: its boundaries are sliders that change the shares on both sides.
"use strict";

(() => {
  const NUM_COLORS = 6;
  const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

  class SplitBar {
    constructor(bar, form) {
      this.bar = bar;
      this.fields = [...form.querySelectorAll("[data-share]")];
      this.parts = this.fields.map((_, index) => this.newPart(index));
      this.handles = this.fields.slice(1).map((_, index) => this.newHandle(index));
      this.parts.forEach((part, index) => {
        bar.append(part);
        if (index < this.handles.length) bar.append(this.handles[index]);
      });
      bar.hidden = this.fields.length < 2;
      form.addEventListener("input", () => this.show());
      this.show();
    }

    share(index) {
      return Math.min(Math.max(Math.round(Number(this.fields[index].value)) || 0, 0), 100);
    }

    newPart(index) {
      const part = document.createElement("span");
      part.className = `part series-${index % NUM_COLORS + 1}`;
      return part;
    }

    // Between the shares `index` and `index + 1`.
    newHandle(index) {
      const handle = document.createElement("span");
      const names = [index, index + 1].map((at) => this.fields[at].dataset.share);
      handle.className = "handle";
      handle.tabIndex = 0;
      handle.setAttribute("role", "slider");
      handle.setAttribute("aria-label", `Boundary between ${names.join(" and ")}`);
      handle.addEventListener("keydown", (event) => {
        const sum = this.share(index) + this.share(index + 1);
        const wanted = { Home: 0, End: sum }[event.key] ?? this.share(index) + (STEPS[event.key] || 0);
        if (!(event.key in STEPS) && event.key !== "Home" && event.key !== "End") return;
        event.preventDefault();
        this.set(index, wanted);
      });
      handle.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        handle.focus();
        handle.setPointerCapture(event.pointerId);
      });
      handle.addEventListener("pointermove", (event) => {
        if (handle.hasPointerCapture(event.pointerId)) this.drag(index, event.clientX);
      });
      return handle;
    }

    drag(index, x) {
      const left = this.parts[index].getBoundingClientRect().left;
      const right = this.parts[index + 1].getBoundingClientRect().right;
      const sum = this.share(index) + this.share(index + 1);
      if (right > left) this.set(index, sum * (x - left) / (right - left));
    }

    // The sum of both shares stays.
    set(index, wanted) {
      const sum = this.share(index) + this.share(index + 1);
      const share = Math.min(Math.max(Math.round(wanted), 0), sum);
      if (share === this.share(index)) return;
      this.fields[index].value = share;
      this.fields[index + 1].value = sum - share;
      this.fields[index].dispatchEvent(new Event("input", { bubbles: true }));
    }

    show() {
      let before = 0;
      this.parts.forEach((part, index) => {
        const share = this.share(index);
        part.style.flexGrow = share;
        part.textContent = share >= 10 ? `${share} %` : "";
        const handle = this.handles[index];
        if (!handle) return;
        const names = [index, index + 1].map((at) => `${this.fields[at].dataset.share} ${this.share(at)} %`);
        handle.setAttribute("aria-valuemin", before);
        handle.setAttribute("aria-valuenow", before + share);
        handle.setAttribute("aria-valuemax", before + share + this.share(index + 1));
        handle.setAttribute("aria-valuetext", names.join(", "));
        before += share;
      });
    }
  }

  const bar = document.querySelector("[data-split-bar]");
  if (bar) new SplitBar(bar, bar.closest("form"));
})();
