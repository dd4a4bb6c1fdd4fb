"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const memory = report.memory;
  const $ = (id) => document.getElementById(id);

  // --- Elements and numbers --------------------------------------------------------------------

  /** An element with children; strings become text, so nothing of the report is read as HTML. */
  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    for (const child of children.flat()) made.append(child instanceof Node ? child : String(child));
    return made;
  }

  function scaled(value, base, units) {
    let unit = 0;
    while (Math.abs(value) >= base && unit < units.length - 1) { value /= base; unit += 1; }
    const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
    return `${value.toFixed(digits)} ${units[unit]}`;
  }
  const bytes = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
  const flops = (value) =>
    scaled(value, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"]);
  const count = (value) => Number(value).toLocaleString("en-US");
  const share = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "");

  function table(header, rows, numbers) {
    const cell = (name) => (text, index) =>
      element(name, numbers.includes(index) ? { class: "number" } : {}, text);
    return [
      element("thead", {}, element("tr", {}, header.map(cell("th")))),
      element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell("td"))))),
    ];
  }

  // --- Figures -----------------------------------------------------------------------------------

  const title = report.model.name || "Capacity report";
  document.title = `${title}: capacity report`;
  $("name").textContent = title;
  const figures = [
    ["parameters", count(report.parameters.count)],
    ["trained", count(report.parameters.trainable)],
    ["forward", flops(report.flops.forward)],
    ["backward", flops(report.flops.backward)],
    ["peak of a step", memory.peak && bytes(memory.peak.bytes)],
    ["reserved by the allocator", memory.reserved && bytes(memory.reserved.bytes)],
    ["held", memory.held && bytes(memory.held)],
    ["total", memory.total.low !== undefined && memory.total.low !== memory.total.high
      ? `${bytes(memory.total.low)} to ${bytes(memory.total.high)}`
      : bytes(memory.total.bytes)],
    memory.device && [memory.device.name,
      `${memory.device.fits ? "fits" : "does not fit"}: ${(100 * memory.device.share).toFixed(0)} %`],
  ];
  for (const figure of figures) {
    if (figure && figure[1]) {
      $("figures").append(element("div", {}, element("dt", {}, figure[0]), element("dd", {}, figure[1])));
    }
  }

  // --- Colours -----------------------------------------------------------------------------------

  // Okabe and Ito's colours, which people with any colour vision can tell apart, and shades of them.
  const PALETTE = ["#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#f0e442",
    "#7f8c9b", "#8a6fb0", "#2f5d50", "#b8860b", "#a04030", "#4f7cac"];
  const timeline = memory.timeline || [];
  // The kinds that live longest lie at the bottom of the picture.
  const lives = new Map();
  for (const sample of timeline) {
    for (const part of sample.parts) lives.set(part.kind, (lives.get(part.kind) || 0) + 1);
  }
  const kinds = [...lives.keys()].sort((a, b) => lives.get(b) - lives.get(a));
  const colour = (index) => PALETTE[index % PALETTE.length];

  // --- The plot ------------------------------------------------------------------------------------

  const moments = timeline.map((sample) => {
    const of = new Map(sample.parts.map((part) => [part.kind, part.bytes]));
    return { ...sample, bytes: kinds.map((kind) => of.get(kind) || 0) };
  });
  const hidden = new Set();
  let view = [0, Math.max(moments.length, 1)];
  let pointed = null;
  const plot = $("plot");
  const overview = $("overview");
  const tip = $("tip");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const total = (moment) =>
    moment.bytes.reduce((sum, value, kind) => (hidden.has(kind) ? sum : sum + value), 0);

  function canvas(node) {
    const scale = window.devicePixelRatio || 1;
    const { width, height } = node.getBoundingClientRect();
    node.width = Math.max(1, Math.round(width * scale));
    node.height = Math.max(1, Math.round(height * scale));
    const context = node.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  /** One column a pixel: of the moments that fall into it, the one that takes most. */
  function columns(from, to, width) {
    const wanted = Math.max(1, Math.min(Math.floor(width), Math.ceil(to - from)));
    const result = [];
    for (let column = 0; column < wanted; column += 1) {
      const first = Math.floor(from + ((to - from) * column) / wanted);
      const end = Math.max(first + 1, Math.floor(from + ((to - from) * (column + 1)) / wanted));
      let best = first;
      for (let at = first; at < Math.min(end, moments.length); at += 1) {
        if (total(moments[at]) > total(moments[best])) best = at;
      }
      result.push(best);
    }
    return result;
  }

  function areas(context, shown, left, width, top, height, highest) {
    const step = width / shown.length;
    const base = new Float64Array(shown.length);
    kinds.forEach((_, kind) => {
      if (hidden.has(kind)) return;
      context.fillStyle = colour(kind);
      context.beginPath();
      shown.forEach((at, column) => {
        const value = moments[at].bytes[kind];
        if (value > 0) {
          const y = top + height - (height * (base[column] + value)) / highest;
          const low = top + height - (height * base[column]) / highest;
          context.rect(left + column * step, y, step + 0.6, low - y);
        }
        base[column] += value;
      });
      context.fill();
    });
  }

  const LEFT = 72;
  const BOTTOM = 26;
  const TOP = 18;

  function ticks(highest) {
    const raw = highest / 5;
    const power = 2 ** Math.floor(Math.log2(raw || 1));
    const step = [1, 1.25, 1.5, 2].map((f) => f * power).find((s) => s >= raw) || 2 * power;
    const result = [];
    for (let value = 0; value <= highest; value += step) result.push(value);
    return result;
  }

  function draw() {
    if (moments.length === 0) return;
    const { context, width, height } = canvas(plot);
    const [from, to] = view;
    const inner = width - LEFT - 8;
    const tall = height - TOP - BOTTOM;
    const shown = columns(from, to, inner);
    const highest = 1.04 * Math.max(1, ...shown.map((at) => total(moments[at])));
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const value of ticks(highest)) {
      const y = TOP + tall - (tall * value) / highest;
      context.fillStyle = style("--line");
      context.fillRect(LEFT, y, inner, 1);
      context.fillStyle = style("--faint");
      context.textAlign = "right";
      context.fillText(bytes(value), LEFT - 6, y);
    }
    areas(context, shown, LEFT, inner, TOP, tall, highest);
    const x = (at) => LEFT + (inner * (at - from)) / (to - from);
    phases(context, x, from, to, height, tall);
    const peak = peakAt();
    if (peak >= from && peak < to) mark(context, x(peak + 0.5), tall, style("--accent"), "peak");
    if (pointed !== null && pointed >= from && pointed < to) {
      mark(context, x(pointed + 0.5), tall, style("--ink"), "");
    }
    drawOverview();
  }

  function phases(context, x, from, to, height, tall) {
    context.textAlign = "center";
    let start = Math.floor(from);
    const end = Math.min(Math.ceil(to), moments.length);
    for (let at = start; at <= end; at += 1) {
      if (at < end && moments[at].phase === moments[start].phase) continue;
      const [a, b] = [Math.max(x(start), LEFT), x(at)];
      context.fillStyle = style("--faint");
      const text = moments[start].phase;
      if (b - a > context.measureText(text).width + 8) {
        context.fillText(text, (a + b) / 2, height - BOTTOM / 2);
      }
      if (at < end) context.fillRect(b, TOP, 1, tall + 8);
      start = at;
    }
  }

  function mark(context, x, tall, ink, text) {
    context.fillStyle = ink;
    context.fillRect(x, TOP, 1.5, tall);
    context.textAlign = x > LEFT + 60 ? "right" : "left";
    context.fillText(text, x, TOP / 2);
  }

  function drawOverview() {
    const { context, width, height } = canvas(overview);
    const inner = width - LEFT - 8;
    const shown = columns(0, moments.length, inner);
    const highest = Math.max(1, ...shown.map((at) => total(moments[at])));
    areas(context, shown, LEFT, inner, 0, height, highest);
    const x = (at) => LEFT + (inner * at) / moments.length;
    context.fillStyle = style("--paper");
    context.globalAlpha = 0.7;
    context.fillRect(LEFT, 0, x(view[0]) - LEFT, height);
    context.fillRect(x(view[1]), 0, LEFT + inner - x(view[1]), height);
    context.globalAlpha = 1;
  }

  function peakAt() {
    let best = 0;
    moments.forEach((moment, at) => { if (total(moment) > total(moments[best])) best = at; });
    return best;
  }

  // --- Pointing, zooming, walking ------------------------------------------------------------------

  function momentAt(event) {
    const box = plot.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (box.width - LEFT - 8);
    return view[0] + part * (view[1] - view[0]);
  }

  function show(at) {
    pointed = Math.max(0, Math.min(moments.length - 1, Math.floor(at)));
    const moment = moments[pointed];
    const rows = kinds
      .map((kind, index) => [kind, moment.bytes[index], index])
      .filter((row) => row[1] > 0)
      .sort((a, b) => b[1] - a[1])
      .map(([kind, value, index]) => element("tr", {},
        element("td", {}, swatch(index), kind), element("td", { class: "number" }, bytes(value))));
    const sum = moment.bytes.reduce((a, b) => a + b, 0);
    tip.replaceChildren(
      element("strong", {}, bytes(sum)), ` ${moment.phase}: ${moment.at}`,
      moment.op ? element("div", { class: "faint" }, moment.op) : "",
      element("table", {}, rows),
    );
    tip.hidden = false;
    const box = plot.getBoundingClientRect();
    const x = LEFT + ((box.width - LEFT - 8) * (pointed + 0.5 - view[0])) / (view[1] - view[0]);
    tip.style.top = "1.2rem";
    tip.style.left = x < box.width / 2 ? `${x + 12}px` : "auto";
    tip.style.right = x < box.width / 2 ? "auto" : `${box.width - x + 12}px`;
    draw();
  }

  function zoom(from, to) {
    const least = Math.min(8, moments.length);
    let width = Math.max(least, Math.min(moments.length, to - from));
    from = Math.max(0, Math.min(moments.length - width, from));
    view = [from, from + width];
    draw();
  }

  let dragged = null;
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    dragged = { at: momentAt(event), view: [...view], moves: event.shiftKey };
  });
  plot.addEventListener("pointermove", (event) => {
    if (dragged && dragged.moves) {
      const by = dragged.at - momentAt(event);
      zoom(view[0] + by, view[1] + by);
    } else {
      show(momentAt(event));
    }
  });
  plot.addEventListener("pointerup", (event) => {
    if (dragged && !dragged.moves) {
      const [a, b] = [dragged.at, momentAt(event)].sort((x, y) => x - y);
      if (b - a > (view[1] - view[0]) / 50) zoom(a, b);
    }
    dragged = null;
  });
  plot.addEventListener("pointerleave", () => { pointed = null; tip.hidden = true; draw(); });
  plot.addEventListener("dblclick", () => zoom(0, moments.length));
  plot.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = momentAt(event);
    const factor = Math.exp(event.deltaY / 400);
    zoom(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
  }, { passive: false });
  plot.addEventListener("keydown", (event) => {
    const at = pointed === null ? peakAt() : pointed;
    const width = view[1] - view[0];
    const middle = (view[0] + view[1]) / 2;
    const does = {
      ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1),
      Home: () => show(0), End: () => show(moments.length - 1),
      "+": () => zoom(middle - width / 4, middle + width / 4),
      "-": () => zoom(middle - width, middle + width),
      Escape: () => zoom(0, moments.length),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  overview.addEventListener("click", (event) => {
    const box = overview.getBoundingClientRect();
    const at = ((event.clientX - box.left - LEFT) / (box.width - LEFT - 8)) * moments.length;
    const half = (view[1] - view[0]) / 2;
    zoom(at - half, at + half);
  });

  const swatch = (index) => element("span", { class: "swatch", style: `background:${colour(index)}` });
  kinds.forEach((kind, index) => {
    const button = element("button", { "aria-pressed": "true" }, swatch(index), kind);
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      draw();
    });
    $("legend").append(element("li", {}, button));
  });

  // --- Tables ------------------------------------------------------------------------------------

  function section(into, heading, header, rows, numbers, name) {
    if (rows.length === 0) return;
    into.append(
      element("h2", {}, heading),
      element("div", { class: "scroll" },
        element("table", name ? { class: name } : {}, table(header, rows, numbers))),
    );
  }
  function bars(rows) {
    const most = Math.max(1, ...rows.map((row) => row.bytes));
    return rows.map((row) => {
      const index = kinds.indexOf(row.kind);
      const ink = index < 0 ? "var(--faint)" : colour(index);
      const bar = element("div",
        { class: "bar", style: `width:${(100 * row.bytes) / most}%;background:${ink}` });
      return [row.kind, bytes(row.bytes), bar, row.how || ""];
    });
  }

  // Whose step it is, where a plan has several ranks.
  function planLine(peak) {
    const plan = peak.plan;
    if (!plan) return "";
    const stage = plan.stages ? ` Stage ${plan.stage} holds most of ${plan.stages.map(bytes).join(", ")}.` : "";
    const bounds = plan.bounds
      ? ` Buffers of communication are estimated: ${bytes(plan.bounds.low)} to ${bytes(plan.bounds.high)}.` : "";
    return ` It is the step of a rank: ${plan.how}.${stage}${bounds}`;
  }

  const peak = memory.peak;
  if (moments.length === 0) {
    $("memory").hidden = true;
  } else if (peak) {
    $("peak").textContent = `The peak, ${bytes(peak.bytes)}, is in the ${peak.phase} phase, at ${peak.at || "no layer"}.${planLine(peak)}`;
  }
  if (peak) {
    const parts = Array.isArray(peak.parts)
      ? peak.parts
      : Object.entries(peak.parts).map(([kind, value]) => ({ kind, bytes: value }));
    section($("parts"), "What makes up the peak", ["kind", "bytes", "", ""], bars(parts), [1], "bars");
  }
  section($("more"), "What one device holds", ["part", "bytes", "", "how"], bars(memory.parts), [1], "bars");
  section($("more"), "Kept for the backward pass by", ["layer", "bytes", "share"],
    memory.owners.map((o) => [o.instances > 1 ? `${o.path} ×${o.instances}` : o.path, bytes(o.bytes),
      share(o.bytes, memory.held || memory.total.bytes)]), [1, 2]);
  section($("more"), "Estimated beside the tensors", ["what", "bytes", "from", "to", "how"],
    (memory.estimates || []).map((e) => [e.name, bytes(e.bytes), bytes(e.low), bytes(e.high),
      `${e.how} (${e.source})`]), [1, 2, 3]);
  section($("more"), "What would take less", ["change", "saves", "then", "FLOPs", "sends", "over the bus", "costs"],
    (memory.levers || []).map((l) => [l.change, bytes(l.saves), bytes(l.after),
      l.arithmetic ? `${(100 * l.arithmetic).toFixed(0)} %` : "", l.sends ? `+${bytes(l.sends)}` : "",
      l.sends_host ? `+${bytes(l.sends_host)}` : "", l.costs]), [1, 2, 3, 4, 5]);
  section($("more"), "The largest sizes that fit", ["dim", "now", "surely", "at most"],
    (memory.largest || []).map((l) => [l.dim, count(l.size), count(l.sure), count(l.most)]), [1, 2, 3]);
  if (memory.host) {
    section($("more"), "On the host, for each device", ["what", "bytes", "how"],
      memory.host.parts.map((p) => [p.kind, bytes(p.bytes), p.how]), [1]);
  }
  $("more").append(element("p", { class: "faint" }, `Not in the total: ${memory.leaves_out}.`));

  const rows = report.layers.map((layer) => [layer.path, layer.op,
    `${layer.output.dtype} [${layer.output.shape.join(", ")}]`,
    layer.parameters ? count(layer.parameters) : "", layer.flops ? flops(layer.flops) : ""]);
  const header = ["layer", "op", "output", "parameters", "forward"];
  const MOST = 2000;
  function layers() {
    const wanted = $("filter").value.toLowerCase();
    const found = rows.filter((row) => `${row[0]} ${row[1]}`.toLowerCase().includes(wanted));
    $("layer-table").replaceChildren(...table(header, found.slice(0, MOST), [3, 4]));
    if (found.length > MOST) {
      $("layer-table").append(element("caption", {}, `the first ${count(MOST)} of ${count(found.length)}`));
    }
  }
  $("filter").addEventListener("input", layers);
  layers();

  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
