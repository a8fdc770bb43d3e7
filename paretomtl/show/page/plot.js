// What the drawings share: two canvases, one for the points and one for what is marked among them; pointer and keys.

const MANY = 800; // points, from which on they are drawn as squares, and some of their lines while a bound moves
const NEAR = 12; // pixels from a point that still mean it

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let ink = null; // the theme's colours; a canvas knows no CSS variables

function colours() {
  if (ink) return ink;
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "ink", "muted", "line", "front", "dominated", "chosen", "map", "bound", "font"];
  ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return ink;
}

// A text in at most so many lines that are no wider than this; its end stays, for the unit is there.
function fitted(context, text, width, most = 2) {
  const lines = [""];
  for (const word of text.split(/(?<=[ _-])/)) {
    const longer = lines.at(-1) + word;
    if (!lines.at(-1) || context.measureText(longer.trimEnd()).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const kept = lines.length > most ? [...lines.slice(0, most - 1), `${lines[most - 1]}…`] : lines;
  return kept.map((line) => shortened(context, line.trimEnd(), width));
}

function shortened(context, line, width) {
  if (context.measureText(line).width <= width) return line;
  let end = line.length;
  while (end > 1 && context.measureText(`${line.slice(0, end)}…`).width > width) end -= 1;
  return `${line.slice(0, end)}…`;
}

// Round numbers on an axis, with texts that tell them apart.
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10);
  const places = [];
  for (let k = Math.ceil(low / step); k * step <= high && places.length < 20; k++) places.push(k * step);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const size = Math.max(Math.abs(low), Math.abs(high));
  const text = (x) => {
    if (Math.abs(x) < step / 1e6) return "0";
    return size >= 1e5 || decimals > 5 ? Number(x.toPrecision(5)).toExponential() : x.toFixed(decimals);
  };
  return places.map((x) => [x, text(x).replace("-", "−")]);
}

function titled({ name, unit }) {
  return unit ? `${name} [${unit}]` : name;
}

class Plot {
  constructor(box, state, label) {
    [this.box, this.state] = [box, state];
    box.classList.add("plot");
    box.tabIndex = 0;
    box.setAttribute("role", "application");
    box.setAttribute("aria-label", `${label}. Arrow keys go from point to point, Enter chooses one, Escape leaves it.`);
    [this.back, this.over] = [element("canvas"), element("canvas")];
    this.tip = element("div", { className: "tip", hidden: true });
    box.append(this.back, this.over, this.tip);
    box.addEventListener("pointermove", (event) => this.pointed(event));
    box.addEventListener("pointerleave", () => this.left());
    box.addEventListener("click", (event) => this.clicked(event));
    box.addEventListener("keydown", (event) => this.keyed(event));
    box.addEventListener("blur", () => this.left());
    this.width = 0;
    new ResizeObserver(() => this.layout()).observe(box);
  }

  layout() {
    const width = this.box.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.measure = this.over.getContext("2d");
    this.measure.font = `12px ${colours().font}`;
    this.height = Math.round(this.place(width));
    this.box.style.height = `${this.height}px`;
    this.draw();
  }

  context(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const scale = this.state.n > MANY ? ratio : Math.max(2, ratio); // sharp on paper too, where that costs little
    const [width, height] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.globalAlpha = 1;
    context.font = `12px ${colours().font}`;
    context.lineJoin = "round";
    return context;
  }

  draw() {
    if (!this.width) return;
    this.paint(this.context(this.back), colours());
    this.mark();
  }

  mark() {
    if (!this.width) return;
    const context = this.context(this.over);
    const { hover, chosen, nearest } = this.state;
    this.paintMarks(context, colours(), { hover, chosen, nearest });
    if (hover === null || !this.active) this.tip.hidden = true;
    else this.showTip(hover);
  }

  showTip(i) {
    const { data } = this.state;
    const where = this.whereIs(i);
    const rows = data.objectives.map((o, j) =>
      element(
        "div",
        {},
        element("span", { textContent: o.name }),
        element("b", { textContent: this.state.said(i, j) }),
      ),
    );
    const state = this.state.free.has(i) ? "" : " (dominated)";
    this.tip.replaceChildren(element("strong", { textContent: data.ids[i] + state }), ...rows);
    this.tip.hidden = where === null;
    if (!where) return;
    const [x, y] = where;
    const { offsetWidth: w, offsetHeight: h } = this.tip;
    const left = x + 14 + w < this.width ? x + 14 : Math.max(0, x - 14 - w);
    const top = Math.min(Math.max(0, y - h - 10), this.height - h);
    this.tip.style.left = `${Math.max(0, Math.min(left, this.width - w))}px`;
    this.tip.style.top = `${top}px`;
  }

  at(event) {
    const box = this.box.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  pointed(event) {
    this.active = true;
    const i = this.find(...this.at(event));
    this.box.style.cursor = i === null ? "" : "pointer";
    if (i !== this.state.hover) this.state.point(i);
  }

  left() {
    this.active = false;
    this.state.point(null);
  }

  clicked(event) {
    if (event.target.closest("[role=slider]")) return;
    const i = this.find(...this.at(event));
    if (i !== null) this.state.pick(i);
  }

  keyed(event) {
    if (event.target !== this.box) return;
    const { state } = this;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key in steps) {
      this.active = true;
      const here = range(state.n).filter((i) => state.isShown(i) && state.kept[i]);
      const order = lexsort(here, (i) => state.value(i, 0));
      if (!order.length) return;
      const from = order.indexOf(state.hover ?? state.chosen);
      const next = from < 0 ? 0 : (from + steps[event.key] + order.length) % order.length;
      state.point(order[next]);
      const values = state.among.names.map((name, j) => `${name} ${state.said(order[next], j)}`);
      announce(`${state.data.ids[order[next]]}: ${values.join(", ")}`);
    } else if (event.key === "Enter" || event.key === " ") {
      if (state.hover !== null) state.pick(state.hover);
    } else if (event.key === "Escape") {
      state.point(null);
    } else {
      return;
    }
    event.preventDefault();
  }

  // within a box of the drawing; `spot` gives the place of a point, if it has one
  paintPoints(context, box, spot, radius) {
    if (this.state.n > MANY) {
      this.paintSquares(context, box, spot, radius);
      return;
    }
    for (const { points, colour, faded } of this.state.kinds()) {
      context.globalAlpha = faded ? 0.16 : 1;
      context.fillStyle = colour;
      context.beginPath();
      for (const k of points) {
        const place = spot(k);
        if (place) dot(context, ...place, radius);
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  // Thousands of points, written as pixels: that a bound may be pulled while all are seen.
  paintSquares(context, box, spot, radius) {
    const scale = context.getTransform().a;
    const [wide, tall] = [Math.ceil(box.wide * scale), Math.ceil(box.tall * scale)];
    const pixels = new ImageData(wide, tall);
    const words = new Uint32Array(pixels.data.buffer);
    const side = Math.max(1, Math.round(2 * radius * scale));
    for (const { points, colour, faded } of this.state.kinds()) {
      const word = wordOf(colour, faded ? 48 : 255);
      for (const k of points) {
        const place = spot(k);
        if (!place) continue;
        const left = Math.round((place[0] - box.x - radius) * scale);
        const top = Math.round((place[1] - box.y - radius) * scale);
        const [right, bottom] = [Math.min(wide, left + side), Math.min(tall, top + side)];
        for (let y = Math.max(0, top); y < bottom; y++) {
          for (let x = Math.max(0, left); x < right; x++) words[y * wide + x] = word;
        }
      }
    }
    this.sheet ??= element("canvas");
    Object.assign(this.sheet, { width: wide, height: tall });
    this.sheet.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(this.sheet, box.x, box.y, wide / scale, tall / scale);
  }
}

// "#rrggbb" as a pixel's word
function wordOf(colour, alpha) {
  const [red, green, blue] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function announce(text) {
  document.getElementById("live").textContent = text;
}

function dot(context, x, y, radius) {
  context.moveTo(x + radius, y);
  context.arc(x, y, radius, 0, 2 * Math.PI);
}
