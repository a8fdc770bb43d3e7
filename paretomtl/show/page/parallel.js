// An upright axis an objective, the best measure on top, a line a point; and a bound to pull on each axis.

const [FINE, COARSE] = [0.01, 0.1]; // steps of the keys, of an axis

class Parallel extends Plot {
  constructor(box, state) {
    super(box, state, "A line a point, an axis an objective, better up");
    this.handles = state.data.objectives.map((_, j) => (state.flat[j] ? null : this.handle(j)));
  }

  handle(j) {
    const { name, sign } = this.state.data.objectives[j];
    const handle = element("div", {
      className: "handle",
      tabIndex: 0,
      role: "slider",
      "aria-orientation": "vertical",
      "aria-label": `bound on ${name}, ${sign > 0 ? "at most" : "at least"}; up is stricter`,
    });
    handle.append(element("span"));
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      this.grip = event.clientY - handle.getBoundingClientRect().top - handle.offsetHeight / 2;
      event.stopPropagation();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) this.pull(j, this.heightAt(this.at(event)[1] - this.grip));
      event.stopPropagation();
    });
    handle.addEventListener("keydown", (event) => this.pushed(event, j));
    this.box.append(handle);
    return handle;
  }

  pushed(event, j) {
    const steps = {
      ArrowUp: FINE,
      ArrowRight: FINE,
      ArrowDown: -FINE,
      ArrowLeft: -FINE,
      PageUp: COARSE,
      PageDown: -COARSE,
    };
    if (event.key in steps) this.pull(j, Math.round((this.heightOf(j) + steps[event.key]) * 100) / 100);
    else if (event.key === "Home") this.pull(j, 0);
    else if (event.key === "End") this.pull(j, 1);
    else return;
    event.preventDefault();
  }

  pull(j, height) {
    const bound = this.state.boundAt(height, j);
    if (bound !== this.state.bounds[j]) this.state.setBound(j, bound);
  }

  heightOf(j) {
    const bound = this.state.bounds[j];
    if (bound === null) return 0;
    return Math.min(Math.max(this.state.height(this.state.signs[j] * bound, j), 0), 1);
  }

  place(width) {
    const { m } = this.state;
    this.side = Math.min(Math.max(width / (2 * m), 38), 90);
    this.step = (width - 2 * this.side) / (m - 1);
    [this.top, this.bottom] = [72, 330];
    return 372;
  }

  x(j) {
    return this.side + j * this.step;
  }

  y(height) {
    return this.bottom - height * (this.bottom - this.top);
  }

  heightAt(y) {
    return (this.bottom - y) / (this.bottom - this.top);
  }

  // by axis, where the lines pass; computed once a layout, for a drag draws all lines again
  get lines() {
    if (this.linesOf !== this.width) {
      this.linesOf = this.width;
      this.ys = this.state.costs.map((c) => c.map((x, j) => this.y(this.state.height(x, j))));
    }
    return this.ys;
  }

  paint(context, colours) {
    const { n, m } = this.state;
    const thin = Math.max(0.5, Math.min(1.6, 40 / Math.sqrt(n)));
    const alpha = Math.max(0.12, Math.min(0.85, 12 / Math.sqrt(n)));
    const every = this.state.moving && n > MANY ? Math.ceil(n / MANY) : 1;
    for (const { points: all, colour, faded } of this.state.kinds()) {
      const points = every > 1 ? all.filter((k) => k % every === 0) : all;
      context.globalAlpha = faded ? Math.min(0.14, alpha) : alpha;
      context.strokeStyle = colour;
      context.lineWidth = thin;
      for (let from = 0; from < points.length; from += 25) {
        context.beginPath(); // some at a time: one path of all would not show where lines are dense
        for (const k of points.slice(from, from + 25)) this.trace(context, k);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    for (let j = 0; j < m; j++) this.paintAxis(context, colours, j);
    this.placeHandles();
  }

  trace(context, k) {
    const ys = this.lines[k];
    context.moveTo(this.x(0), ys[0]);
    for (let j = 1; j < ys.length; j++) context.lineTo(this.x(j), ys[j]);
  }

  paintAxis(context, { ink: dark, muted, paper, bound: excluded }, j) {
    const { data, flat, best, worst, signs } = this.state;
    const x = this.x(j);
    context.strokeStyle = dark;
    stroke(context, [x, this.top], [x, this.bottom], 1.2);
    if (this.state.bounds[j] !== null) {
      context.strokeStyle = excluded;
      stroke(context, [x, this.y(this.heightOf(j))], [x, this.bottom], 5);
    }
    if (data.ideals) {
      context.strokeStyle = dark;
      const y = this.y(this.state.height(data.ideals[j] * signs[j], j));
      stroke(context, [x - 8, y], [x + 8, y], 2);
    }
    const room = Math.min(this.step, 2 * this.side) - 8;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    context.fillStyle = dark;
    context.font = `600 12px ${colours().font}`;
    const names = fitted(context, titled(data.objectives[j]), room);
    names.forEach((text, k) => context.fillText(text, x, 12 + 14 * (k + 2 - names.length)));
    context.font = `11px ${colours().font}`;
    context.fillStyle = muted;
    const way = data.objectives[j].sign > 0 ? "lower is better" : "higher is better";
    context.fillText(context.measureText(way).width <= room ? way : way.split(" ")[0], x, 41);
    const ends = flat[j]
      ? [[best[j], this.y(0.5) - 8]]
      : [
          [best[j], this.top - 8],
          [worst[j], this.bottom + 26],
        ];
    for (const [cost, y] of ends) {
      const text = general(cost * signs[j], 4).replace("-", "−");
      context.fillStyle = paper;
      if (flat[j])
        context.fillRect(x - context.measureText(text).width / 2 - 2, y - 10, context.measureText(text).width + 4, 13);
      context.fillStyle = muted;
      context.fillText(text, x, y);
    }
  }

  placeHandles() {
    this.handles.forEach((handle, j) => {
      if (!handle) return;
      const { objectives } = this.state.data;
      const { bounds, best, worst, signs } = this.state;
      const bound = bounds[j];
      const ends = [best[j] * signs[j], worst[j] * signs[j]];
      handle.style.left = `${this.x(j)}px`;
      handle.style.top = `${this.y(this.heightOf(j))}px`;
      handle.classList.toggle("set", bound !== null);
      handle.classList.toggle("last", j === this.state.m - 1);
      const text = bound === null ? "" : `${signs[j] > 0 ? "≤" : "≥"} ${general(bound)}`;
      handle.firstChild.textContent = text;
      handle.setAttribute("aria-valuemin", Math.min(...ends));
      handle.setAttribute("aria-valuemax", Math.max(...ends));
      handle.setAttribute("aria-valuenow", bound ?? ends[1]);
      handle.setAttribute(
        "aria-valuetext",
        bound === null ? "no bound" : `${objectives[j].name} ${text} ${objectives[j].unit}`,
      );
    });
  }

  paintMarks(context, colours, { hover, chosen, nearest }) {
    const line = (k, colour, width, dashes = []) => {
      if (k === null) return;
      context.setLineDash(dashes);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      this.trace(context, k);
      context.stroke();
      context.setLineDash([]);
      this.lines[k].forEach((y, j) => filled(context, this.x(j), y, colour, width + 1));
    };
    line(nearest, colours.chosen, 2, [5, 4]);
    line(chosen, colours.chosen, 3);
    line(hover, hover === chosen ? colours.chosen : colours.ink, 2);
    const { mapped, signs } = this.state;
    mapped?.forEach((value, j) => {
      const height = Math.min(Math.max(this.state.height(value * signs[j], j), -0.05), 1.05);
      diamond(context, this.x(j), this.y(height), colours);
    });
  }

  find(x, y) {
    const k = Math.floor((x - this.side) / this.step);
    if (k < 0 || k >= this.state.m - 1 || y < this.top - 6 || y > this.bottom + 6) return null;
    const share = (x - this.x(k)) / this.step;
    let [least, nearest] = [8, null];
    for (const i of range(this.state.n)) {
      if (!this.state.isShown(i)) continue;
      const ys = this.lines[i];
      const away = Math.abs((1 - share) * ys[k] + share * ys[k + 1] - y) + (this.state.kept[i] ? 0 : 3);
      if (away < least) [least, nearest] = [away, i];
    }
    return nearest;
  }

  whereIs(k) {
    const middle = Math.floor((this.state.m - 1) / 2);
    return [this.x(middle), this.lines[k][middle]];
  }
}
