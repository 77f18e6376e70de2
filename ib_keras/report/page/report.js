// The page's script: reads the embedded table, draws it with Plotly, and exports it as CSV.
"use strict";
function main() {
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  };

  // ---- the table -------------------------------------------------------------------------------
  const data = JSON.parse($("data").textContent);
  const column = {}, coded = {};
  for (const c of data.columns) {
    if (c.floats !== undefined) {
      const values = new Float64Array(bytes(c.floats).buffer);
      column[c.name] = (row) => values[row];
    } else {
      const kind = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[c.width];
      const codes = new kind(bytes(c.codes).buffer);
      coded[c.name] = { codes, levels: c.levels };
      column[c.name] = (row) => c.levels[codes[row]];
    }
  }
  const cell = (value, float) => {
    if (value === null || Number.isNaN(value)) return "";
    if (value === Infinity) return "inf";
    if (value === -Infinity) return "-inf";
    if (value === true) return "True";
    if (value === false) return "False";
    const whole = float && Number.isInteger(value) && Math.abs(value) < 1e16;
    const text = Object.is(value, -0) ? "-0.0" : whole ? `${value}.0` : String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  function csv(keep) {
    const names = data.columns.map((c) => c.name);
    const lines = [names.map((name) => cell(name)).join(",")];
    for (let row = 0; row < data.rows; row++)
      if (keep(row)) lines.push(data.columns.map((c) => cell(column[c.name](row), c.float)).join(","));
    return lines.join("\n") + "\n";
  }
  function save(name, address) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  }
  function download(name, text) {
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    save(name, address);
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
  const lastEpoch = new Map();
  for (let row = 0; row < data.rows; row++) {
    const run = column.run(row), epoch = column.epoch(row);
    if (!(lastEpoch.get(run) >= epoch)) lastEpoch.set(run, epoch);
  }
  $("all-csv").onclick = () => download("estimates.csv", csv(() => true));
  $("last-csv").onclick = () => download("last_epoch.csv",
    csv((row) => column.epoch(row) === lastEpoch.get(column.run(row))));
  if (!$("plane")) { document.documentElement.dataset.ready = "true"; return; }

  const Plotly = window.Plotly;

  // ---- curves: by run, estimator, quantity and layer -------------------------------------------
  const index = new Map();
  const part = (name, row) => coded[name].codes[row];
  const code = (name, level) => coded[name].levels.indexOf(level);
  for (let row = 0; row < data.rows; row++) {
    const key = [part("run", row), part("estimator", row), part("quantity", row),
      part("layer", row)].join();
    if (!index.has(key)) index.set(key, []);
    index.get(key).push(row);
  }
  const layers = data.layers;
  const cache = new Map();
  // A curve over the epochs; for several runs, their mean with its standard error.
  function curve(view, estimator, quantity, layer) {
    const name = JSON.stringify([view, estimator, quantity, layer]);
    if (cache.has(name)) return cache.get(name);
    const at = new Map();
    for (const run of data.views[view].runs) {
      const key = [code("run", run), code("estimator", estimator), code("quantity", quantity),
        code("layer", layer)].join();
      for (const row of index.get(key) || []) {
        const value = column.value(row);
        if (!Number.isFinite(value)) continue;
        const epoch = column.epoch(row);
        if (!at.has(epoch)) at.set(epoch, { epoch, values: [], stderr: NaN, flags: new Set() });
        const point = at.get(epoch);
        point.values.push(value);
        point.stderr = column.stderr(row);
        point.kind = column.kind(row);
        for (const flag of (column.flags(row) || "").split(",")) if (flag) point.flags.add(flag);
      }
    }
    for (const p of at.values()) {
      const k = p.values.length;
      p.value = p.values.reduce((a, b) => a + b, 0) / k;
      p.runs = k;
      if (k > 1) {
        const square = p.values.reduce((a, b) => a + (b - p.value) ** 2, 0);
        p.stderr = Math.sqrt(square / (k - 1) / k);
      }
    }
    const sorted = new Map([...at].sort((a, b) => a[0] - b[0]));
    cache.set(name, sorted);
    return sorted;
  }

  // ---- texts -----------------------------------------------------------------------------------
  // Plotly interprets some HTML in texts.
  const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const axisTitle = (quantity) => safe(quantity)
    + (data.units[quantity] ? ` [${data.units[quantity]}]` : "");
  const number = (x) => (Math.abs(x) >= 1000 || (x !== 0 && Math.abs(x) < 0.001)
    ? x.toExponential(2) : x.toFixed(3));
  const measured = (p, unit) => {
    const known = Number.isFinite(p.stderr);
    return number(p.value) + (known ? " ± " + number(p.stderr) : "") + (unit ? " " + unit : "")
      + (known ? "" : " (no standard error)") + (p.runs > 1 ? ` over ${p.runs} runs` : "");
  };
  const valueText = (quantity, p) => `${safe(quantity)} ${measured(p, data.units[quantity])}`;
  const flagged = (...points) => {
    const all = new Set(points.flatMap((p) => [...p.flags]));
    return [...all].sort();
  };
  const hover = (layer, epoch, lines, flags) => [`<b>${safe(layer)}</b>, epoch ${epoch}`, ...lines,
    safe(state.estimator), flags.length ? `flagged: ${safe(flags.join(", "))}` : "no flag"].join("<br>");

  // ---- looks -----------------------------------------------------------------------------------
  const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779",
    "#6ece58", "#b5de2b", "#fde725"].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon",
    "hexagon", "star", "cross", "x"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const bright = () => dark.matches && !printing;
  function colour(layer) {
    const place = layers.indexOf(layer) / Math.max(1, layers.length - 1);
    const at = (bright() ? 0.25 + 0.75 * place : 0.86 * place) * (VIRIDIS.length - 1);
    const low = Math.min(Math.floor(at), VIRIDIS.length - 2), share = at - low;
    const mix = VIRIDIS[low].map((v, i) => Math.round(v + share * (VIRIDIS[low + 1][i] - v)));
    return `rgb(${mix.join()})`;
  }
  // Markers are hollow if the estimate says nothing, and pale if it must be interpreted with care.
  const nothing = (flags) => flags.some((flag) => data.nothing.includes(flag));
  const symbol = (layer, flags) => SYMBOLS[layers.indexOf(layer) % SYMBOLS.length]
    + (nothing(flags) ? "-open" : "");
  const fill = (layer, flags) => (nothing(flags) ? tone("--panel")
    : flags.length ? mixed(colour(layer), tone("--panel"), 0.65) : colour(layer));
  function mixed(rgb, hex, share) {
    const other = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const own = rgb.match(/\d+/g).map(Number);
    return `rgb(${own.map((v, i) => Math.round(v + share * (other[i] - v))).join()})`;
  }
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function layout(x, y) {
    const axis = (title) => ({ title: { text: title, standoff: 8 }, gridcolor: tone("--line"),
      zerolinecolor: tone("--line"), linecolor: tone("--soft"), automargin: true });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: "system-ui, sans-serif", color: tone("--text"), size: 13 },
      margin: { l: 50, r: 14, t: 36, b: 60 }, hovermode: "closest",
      hoverlabel: { align: "left", bgcolor: tone("--ground"), bordercolor: tone("--soft"),
        font: { color: tone("--text") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: tone("--soft"), activecolor: tone("--accent") },
      xaxis: axis(x), yaxis: axis(y), uirevision: "kept",
      ...(printing ? PAPER : {}),
    };
  }
  const PAPER = { width: 670, height: 430 };
  const CONFIG = { displaylogo: false, responsive: true, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  // ---- state -----------------------------------------------------------------------------------
  // Of many layers, some are shown at first, evenly by depth.
  const MANY = 30, SOME = 24, many = layers.length > MANY;
  const some = () => (many ? Array.from({ length: SOME },
    (_, i) => layers[Math.round(i * (layers.length - 1) / (SOME - 1))]) : layers);
  const state = { view: 0, estimator: data.estimators[0], quantity: data.quantities[0], at: 0,
    relevant: data.targets.length ? data.targets[0].quantity : "I(T;Y)",
    shown: new Set(some()), epochs: [] };
  const shown = () => layers.filter((layer) => state.shown.has(layer));
  const XT = "I(X;T)";
  function points(layer) {
    const x = curve(state.view, state.estimator, XT, layer);
    const y = curve(state.view, state.estimator, state.relevant, layer);
    return [...x.values()].filter((p) => y.has(p.epoch)).map((p) => ({ x: p, y: y.get(p.epoch),
      epoch: p.epoch, flags: flagged(p, y.get(p.epoch)) }));
  }
  const told = (layer, p) => hover(layer, p.epoch, [valueText(XT, p.x), valueText(state.relevant, p.y)],
    p.flags);

  // Names are above or below their markers, and left out if both places are taken.
  function labels(here) {
    const wide = (axis, share) => {
      const all = here.map(([, p]) => p[axis].value);
      const [low, high] = extent[axis] || [Math.min(...all), Math.max(...all)];
      return (high - low) * share || 1;
    };
    const dx = wide("x", 0.11), dy = wide("y", 0.06), taken = [], text = [], textposition = [];
    for (const [layer, p] of here) {
      const free = [1, -1].find((side) => taken.every((t) => Math.abs(t.x - p.x.value) > dx
        || Math.abs(t.y - p.y.value - side * dy) > 0.75 * dy));
      if (free !== undefined) taken.push({ x: p.x.value, y: p.y.value + free * dy });
      text.push(free === undefined ? "" : safe(short(layer, 16)));
      textposition.push(free === -1 ? "bottom center" : "top center");
    }
    return { text, textposition };
  }
  const extent = {};
  function now() {
    const epoch = state.epochs[state.at];
    const here = shown().map((layer) => [layer, points(layer).find((p) => p.epoch === epoch)])
      .filter(([, p]) => p);
    const few = here.length <= 8 && innerWidth > 500;
    const error = (p) => (Number.isFinite(p.stderr) ? p.stderr : 0);
    return { here, trace: {
      type: "scatter", mode: few ? "markers+text" : "markers", hoverinfo: "text", name: "now",
      x: here.map(([, p]) => p.x.value), y: here.map(([, p]) => p.y.value),
      hovertext: here.map(([layer, p]) => told(layer, p)),
      ...labels(here), cliponaxis: false,
      error_x: { type: "data", array: here.map(([, p]) => error(p.x)), thickness: 1.2, width: 3,
        color: tone("--soft") },
      error_y: { type: "data", array: here.map(([, p]) => error(p.y)), thickness: 1.2, width: 3,
        color: tone("--soft") },
      // Hollow markers are filled with the background, so that their path does not show through.
      marker: { size: 14, symbol: here.map(([layer]) => symbol(layer, [])),
        color: here.map(([layer, p]) => fill(layer, p.flags)),
        line: { width: here.map(([, p]) => (p.flags.length ? 2.4 : 1)),
          color: here.map(([layer, p]) => (p.flags.length ? colour(layer)
            : bright() ? "#fff" : "#222")) } },
    } };
  }
  // Says whether the values are a bound, and whether they are of T plus noise of the measurement.
  const titleOf = (quantity) => {
    for (const layer of layers)
      for (const p of curve(state.view, state.estimator, quantity, layer).values()) {
        const own = p.flags.has("measurement_noise") ? quantity.replace(/\bT\b/, "T+N") : quantity;
        const bound = { upper: "upper bound on ", lower: "lower bound on " }[p.kind] || "";
        return bound + axisTitle(quantity).replace(safe(quantity), safe(own));
      }
    return axisTitle(quantity);
  };
  function range(values) {
    const low = Math.min(...values), high = Math.max(...values);
    const pad = 0.07 * (high - low) || 0.5;
    return [low - pad, high + pad];
  }
  function drawPlane() {
    const traces = [], xs = [], ys = [];
    for (const layer of shown()) {
      const own = points(layer);
      for (const p of own) { xs.push(p.x.value); ys.push(p.y.value); }
      traces.push({ type: "scatter", mode: "lines+markers", name: safe(layer), hoverinfo: "text",
        x: own.map((p) => p.x.value), y: own.map((p) => p.y.value),
        hovertext: own.map((p) => told(layer, p)), opacity: 0.5,
        line: { color: colour(layer), width: 1.2 },
        marker: { size: 5, color: colour(layer), symbol: own.map((p) => symbol(layer, p.flags)) } });
    }
    if (xs.length) Object.assign(extent, { x: range(xs), y: range(ys) });
    const { here, trace } = now();
    traces.push(trace);
    const look = layout(titleOf(XT), titleOf(state.relevant));
    if (xs.length) { look.xaxis.range = extent.x; look.yaxis.range = extent.y; }
    else look.annotations = [{ text: "nothing to draw: select a layer or another estimator",
      showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }];
    Plotly.react("plane", traces, look, CONFIG);
    tabulate(here);
  }
  const spread = (epoch) => Math.log10(1 + epoch);
  function marks() {
    const last = state.epochs.at(-1) || 0, ticks = [0];
    for (let tick = 1; tick <= last; tick *= 10) ticks.push(tick);
    if (last > 1.8 * ticks.at(-1)) ticks.push(last);
    return ticks;
  }
  const cursor = () => [{ type: "line", xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below",
    x0: spread(state.epochs[state.at]), x1: spread(state.epochs[state.at]),
    line: { width: 1.5, dash: "dot", color: "#888" } }];
  function drawCurves() {
    const traces = shown().map((layer) => {
      const own = [...curve(state.view, state.estimator, state.quantity, layer).values()];
      const errors = own.map((p) => (Number.isFinite(p.stderr) ? p.stderr : 0));
      const doubtful = own.length > 0 && own.every((p) => nothing([...p.flags]));
      return { type: "scatter", mode: "lines+markers", name: safe(layer), hoverinfo: "text",
        x: own.map((p) => spread(p.epoch)), y: own.map((p) => p.value),
        hovertext: own.map((p) => hover(layer, p.epoch,
          [valueText(state.quantity, p)], [...p.flags].sort())),
        error_y: { type: "data", array: errors, visible: errors.some((e) => e > 0), thickness: 1,
          width: 2 },
        line: { color: colour(layer), width: 1.6, dash: doubtful ? "dash" : "solid" },
        marker: { size: 6, line: { width: 1, color: colour(layer) },
          color: own.map((p) => (nothing([...p.flags]) ? colour(layer) : fill(layer, [...p.flags]))),
          symbol: own.map((p) => symbol(layer, [...p.flags])) } };
    });
    const look = layout("epoch", titleOf(state.quantity));
    const ticks = marks();
    Object.assign(look.xaxis, { tickvals: ticks.map(spread), ticktext: ticks.map(String) });
    if (state.epochs.length) look.shapes = cursor();
    Plotly.react("curves", traces, look, CONFIG);
  }
  function drawDepth() {
    if (!many) return;
    const epoch = state.epochs[state.at], first = state.epochs[0];
    const at = (when) => layers.map((layer, i) => [layer, i + 1,
      curve(state.view, state.estimator, state.quantity, layer).get(when)]).filter(([, , p]) => p);
    const line = (own) => ({ type: "scatter", x: own.map(([, i]) => i), y: own.map(([, , p]) => p.value),
      hoverinfo: "text", hovertext: own.map(([layer, , p]) => hover(layer, p.epoch,
        [valueText(state.quantity, p)], [...p.flags].sort())) });
    const before = { ...line(at(first)), mode: "lines", name: "first epoch",
      line: { color: tone("--soft"), width: 1 } };
    const own = at(epoch);
    const here = { ...line(own), mode: "lines+markers", name: "selected epoch",
      line: { color: tone("--accent"), width: 1.2 },
      marker: { size: 7, color: own.map(([layer, , p]) => fill(layer, [...p.flags])),
        line: { width: 1.2, color: own.map(([layer]) => colour(layer)) } } };
    const look = layout("layer", titleOf(state.quantity));
    const parts = printing || $("depth").clientWidth < 700 ? 3 : 6;
    const ticks = Array.from({ length: parts + 1 },
      (_, i) => Math.round(i * (layers.length - 1) / parts));
    Object.assign(look.xaxis, { tickvals: ticks.map((i) => i + 1),
      ticktext: ticks.map((i) => `${i + 1}<br>${safe(short(layers[i], 14))}`) });
    Plotly.react("depth", [before, here], look, CONFIG);
  }
  // The values as a table, for readers who do not use a pointer.
  function tabulate(here) {
    const body = $("now").tBodies[0];
    $("relevant").textContent = state.relevant;
    body.replaceChildren(...here.map(([layer, p]) => {
      const line = document.createElement("tr");
      const add = (tag, text) => {
        const field = document.createElement(tag);
        field.textContent = text;
        line.append(field);
        return field;
      };
      add("th", layer).scope = "row";
      add("td", measured(p.x));
      add("td", measured(p.y));
      add("td", p.flags.join(", ") || "–").className = p.flags.length ? "flag" : "";
      return line;
    }));
  }

  // ---- controls --------------------------------------------------------------------------------
  function offer(select, names) {
    select.replaceChildren(...names.map((name, i) => new Option(name, i)));
  }
  offer($("run"), data.views.map((view) => view.name));
  offer($("estimator"), data.estimators);
  offer($("quantity"), data.quantities);
  offer($("target"), data.targets.map((target) => target.name));
  $("targets").hidden = data.targets.length < 2;
  // Consecutive layers whose names begin alike, or by tens where the names do not divide them.
  function blocks() {
    const start = (layer, k) => layer.split(/(?<=[/_.])/).slice(0, k).join("").replace(/[/_.]+$/, "");
    for (let k = 4; k >= 1; k--) {
      const found = [];
      for (const layer of layers) {
        const name = start(layer, k);
        if (found.at(-1)?.name === name) found.at(-1).layers.push(layer);
        else found.push({ name, layers: [layer] });
      }
      if (found.length > 1 && found.length <= MANY) return found;
    }
    return Array.from({ length: Math.ceil(layers.length / 10) }, (_, i) => {
      const own = layers.slice(10 * i, 10 * i + 10);
      return { name: `${own[0]} … ${own.at(-1)}`, layers: own };
    });
  }
  function chip(layer) {
    const label = document.createElement("label"), box = document.createElement("input");
    const key = document.createElement("span");
    box.type = "checkbox";
    box.value = layers.indexOf(layer);
    box.onchange = () => {
      state.shown[box.checked ? "add" : "delete"](layer);
      check();
      redraw();
    };
    key.className = "key";
    key.style.background = colour(layer);
    label.append(box, key, document.createTextNode(layer));
    return label;
  }
  function folded(block) {
    if (block.layers.length === 1) return chip(block.layers[0]);
    const part = document.createElement("details"), head = document.createElement("summary");
    const place = document.createElement("div");
    place.className = "chips";
    place.append(...block.layers.map(chip));
    part.append(head, place);
    part.dataset.name = block.name;
    return part;
  }
  const found = () => layers.filter((layer) => layer.toLowerCase().includes(
    $("find").value.trim().toLowerCase()));
  function chips() {
    const open = new Set([...$("layers").querySelectorAll("details[open]")].map((d) => d.dataset.name));
    $("layers").classList.toggle("chips", !many);
    $("layers").replaceChildren(...(many ? blocks().map(folded) : layers.map(chip)));
    for (const part of $("layers").querySelectorAll("details")) part.open = open.has(part.dataset.name);
    check();
  }
  // Brings the boxes, the numbers of shown layers and the found names up to date.
  function check() {
    const names = new Set(found());
    for (const box of $("layers").querySelectorAll("input")) {
      box.checked = state.shown.has(layers[box.value]);
      box.parentElement.hidden = !names.has(layers[box.value]);
    }
    for (const part of $("layers").querySelectorAll("details")) {
      const boxes = [...part.querySelectorAll("input")];
      part.hidden = boxes.every((box) => box.parentElement.hidden);
      part.querySelector("summary").textContent = `${part.dataset.name} `
        + `(${boxes.filter((box) => box.checked).length} of ${boxes.length} shown)`;
    }
    $("count").textContent = `${state.shown.size} of ${layers.length} layers are shown`
      + (names.size < layers.length ? `, ${names.size} found` : "");
  }
  function rescale() {
    const before = state.epochs[state.at], epochs = new Set();
    for (const layer of layers)
      for (const quantity of data.quantities)
        for (const epoch of curve(state.view, state.estimator, quantity, layer).keys())
          epochs.add(epoch);
    state.epochs = [...epochs].sort((a, b) => a - b);
    const same = state.epochs.indexOf(before);
    state.at = same < 0 ? Math.max(0, state.epochs.length - 1) : same;
    $("epoch").max = Math.max(0, state.epochs.length - 1);
  }
  function say() {
    const epoch = state.epochs[state.at];
    $("epoch").value = state.at;
    $("epoch").setAttribute("aria-valuetext", `epoch ${epoch}`);
    $("shown").textContent = epoch === undefined ? "no epoch" : `epoch ${epoch}`;
    $("chosen").textContent = [data.views[state.view].name, state.estimator, $("shown").textContent]
      .join(", ");
  }
  function redraw() { say(); drawPlane(); drawCurves(); drawDepth(); }
  let waiting = false;
  function move(at) {
    state.at = at;
    say();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const { here, trace } = now(), place = $("plane").data.length - 1;
      Plotly.restyle("plane", { x: [trace.x], y: [trace.y], hovertext: [trace.hovertext],
        text: [trace.text], textposition: [trace.textposition], "error_x.array": [trace.error_x.array],
        "error_y.array": [trace.error_y.array], "marker.symbol": [trace.marker.symbol],
        "marker.color": [trace.marker.color], "marker.line.color": [trace.marker.line.color],
        "marker.line.width": [trace.marker.line.width] },
      [place]);
      Plotly.relayout("curves", { shapes: cursor() });
      drawDepth();
      tabulate(here);
    });
  }
  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "▶ Play";
  }
  $("play").onclick = () => {
    if (timer !== null) return stop();
    if (state.at >= state.epochs.length - 1) move(0);
    $("play").textContent = "❚❚ Pause";
    const pace = Math.min(600, Math.max(80, 12000 / state.epochs.length));
    timer = setInterval(() => {
      if (state.at < state.epochs.length - 1) move(state.at + 1);
      if (state.at >= state.epochs.length - 1) stop();
    }, pace);
  };
  $("epoch").oninput = () => { stop(); move(Number($("epoch").value)); };
  $("run").onchange = () => { stop(); state.view = Number($("run").value); rescale(); redraw(); };
  $("estimator").onchange = () => {
    stop();
    state.estimator = data.estimators[$("estimator").value];
    rescale();
    redraw();
  };
  $("target").onchange = () => {
    state.relevant = data.targets[$("target").value].quantity;
    redraw();
  };
  $("quantity").onchange = () => { state.quantity = data.quantities[$("quantity").value]; drawCurves();
    drawDepth(); };
  // "All" and "None" concern the layers that were found.
  function choose(names) {
    state.shown = new Set(layers.filter((layer) => names.has(layer)));
    check();
    redraw();
  }
  $("every").onclick = () => choose(new Set([...state.shown, ...found()]));
  $("none").onclick = () => {
    const gone = new Set(found());
    choose(new Set([...state.shown].filter((layer) => !gone.has(layer))));
  };
  $("some").onclick = () => choose(new Set(some()));
  $("find").oninput = () => {
    check();
    const few = $("find").value.trim() !== "" && found().length <= MANY;
    for (const part of $("layers").querySelectorAll("details")) part.open = few && !part.hidden;
  };
  for (const id of ["finding", "some", "deep"]) $(id).hidden = !many;
  for (const button of document.querySelectorAll("button.save"))
    button.onclick = async () => {
      const { chart, format } = button.dataset, { data: traces, layout: look } = $(chart);
      const size = { width: $(chart).clientWidth, height: $(chart).clientHeight };
      const picture = { data: traces, layout: { ...look, ...size, paper_bgcolor: tone("--ground") } };
      save(`${chart}.${format}`, await Plotly.toImage(picture, { format, scale: 2, ...size }));
    };
  dark.addEventListener("change", () => { chips(); redraw(); });
  // On paper, the charts have its width, and the colours of a bright screen.
  function paper(on) {
    printing = on;
    document.documentElement.toggleAttribute("data-print", on);
    redraw();
    if (!on) for (const id of ["plane", "curves", ...(many ? ["depth"] : [])]) Plotly.Plots.resize(id);
  }
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));

  chips();
  rescale();
  redraw();
  $("loading").remove();
  document.documentElement.dataset.ready = "true";
  performance.mark("ready");
}

try {
  main();
} catch (error) {
  const place = document.getElementById("loading");
  if (place) {
    place.id = "failed";
    place.textContent = "The charts could not be drawn: they need a browser from 2023 or later. "
      + "The tables below are complete.";
  }
  console.error(error);
}
