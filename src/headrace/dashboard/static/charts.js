// Charts of a service's metrics: one line per revision, drawn by uPlot from the history's JSON.
"use strict";

(() => {
  const REFRESH_MS = 15000;
  const HEIGHT = 160;
  const NUM_COLORS = 6;
  const container = document.querySelector("[data-charts]");
  const state = document.getElementById("charts-state");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function shown(value, unit) {
    if (value === null || value === undefined) return "—";
    const number = unit === "%" ? value * 100 : value;
    return `${new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(number)} ${unit}`.trim();
  }

  function last(values) {
    for (let index = values.length - 1; index >= 0; index -= 1) {
      if (values[index] !== null) return values[index];
    }
    return null;
  }

  class Chart {
    constructor(figure) {
      this.metrics = figure.dataset.metrics.split(" ");
      this.unit = figure.dataset.unit;
      this.plot = figure.querySelector(".plot");
      this.legend = figure.querySelector("[data-legend]");
      this.key = "";
      new ResizeObserver(() => this.resize()).observe(this.plot);
      this.plot.addEventListener("keydown", (event) => this.move(event));
      this.plot.addEventListener("blur", () => this.select(null));
    }

    // `page`: a HistoryView.
    show(page) {
      this.lines = page.revisions.flatMap((revision, index) => this.metrics.map((metric, order) => ({
        number: revision.number,
        metric,
        values: revision[metric],
        color: index % NUM_COLORS + 1,
        dash: order === 0 ? undefined : [4, 4],
      })));
      this.times = page.times;
      const data = [page.times, ...this.lines.map((line) => line.values)];
      const key = JSON.stringify([this.lines.map((line) => [line.number, line.metric]), dark.matches]);
      if (this.chart && key === this.key) {
        this.chart.setData(data);
      } else {
        this.key = key;
        this.chart?.destroy();
        this.chart = new uPlot(this.options(), data, this.plot);
      }
      this.showLegend(null);
    }

    options() {
      const axis = {
        stroke: variable("--muted"),
        grid: { stroke: variable("--line"), width: 1 },
        ticks: { stroke: variable("--line"), width: 1 },
        font: "12px system-ui, sans-serif",
      };
      return {
        width: Math.max(this.plot.clientWidth, 100),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { setScale: false } },
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.1 : 1] } },
        axes: [
          axis,
          { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => shown(tick, this.unit === "%" ? "%" : "")) },
        ],
        series: [
          {},
          ...this.lines.map((line) => ({
            label: `Revision ${line.number} ${line.metric}`,
            stroke: variable(`--series-${line.color}`),
            width: 2,
            dash: line.dash,
          })),
        ],
        hooks: { setCursor: [(chart) => this.showLegend(chart.cursor.idx)] },
      };
    }

    // The values at one time, or the last known ones.
    showLegend(index) {
      const isAt = index !== null && index !== undefined;
      const at = isAt ? ` at ${new Date(this.times[index] * 1000).toLocaleTimeString()}` : "";
      const numbers = [...new Set(this.lines.map((line) => line.number))];
      this.legend.replaceChildren(...numbers.map((number) => {
        const lines = this.lines.filter((line) => line.number === number);
        const values = lines.map((line) => shown(isAt ? line.values[index] : last(line.values), this.unit));
        const item = document.createElement("li");
        const mark = document.createElement("span");
        mark.className = `mark series-${lines[0].color}`;
        item.append(mark, ` Revision ${number}: ${values.join(" / ")}${at}`);
        return item;
      }));
    }

    move(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.chart) return;
      event.preventDefault();
      const index = this.chart.cursor.idx ?? (step < 0 ? this.times.length : -1);
      this.select(Math.min(Math.max(index + step, 0), this.times.length - 1));
    }

    select(index) {
      if (!this.chart) return;
      const left = index === null ? -10 : this.chart.valToPos(this.times[index], "x");
      this.chart.setCursor({ left, top: index === null ? -10 : 0 });
    }

    resize() {
      const width = this.plot.clientWidth;
      if (this.chart && width > 0 && width !== this.chart.width) this.chart.setSize({ width, height: HEIGHT });
    }
  }

  const charts = [...container.querySelectorAll("[data-metrics]")].map((figure) => new Chart(figure));
  let page = null;

  function showAll() {
    for (const chart of charts) chart.show(page);
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(container.dataset.charts);
      if (!response.ok) throw new Error(response.statusText);
      page = await response.json();
      state.textContent = page.revisions.length ? "" : "There are no samples in this period yet.";
      showAll();
    } catch {
      state.textContent = "The metrics cannot be read. Retrying.";
    }
  }

  dark.addEventListener("change", () => page && showAll());
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, REFRESH_MS);
  refresh();
})();
