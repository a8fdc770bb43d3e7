// The points, a panel a pair of objectives: objective j along column j, objective i up row i.

const RAYS = 40; // points, up to which every ray is drawn

class Scatter extends Plot {
  constructor(box, state) {
    super(box, state, "The points, a panel a pair of objectives");
    this.limits = range(state.m).map((j) => this.limitsOf(j));
  }

  // of the points, the ideals, and the reference where it is no farther from them than they span
  limitsOf(j) {
    const { best, worst, flat, signs, data } = this.state;
    let [low, high] = [best[j], worst[j]];
    const reference = data.reference && data.reference[j] * signs[j];
    const near = data.reference && (flat[j] || (reference >= low - (high - low) && reference <= high + (high - low)));
    if (near) [low, high] = [Math.min(low, reference), Math.max(high, reference)];
    const margin = 0.06 * (high - low > 1e-12 * Math.abs(high) ? high - low : Math.abs(high) || 1);
    const ends = [(low - margin) * signs[j], (high + margin) * signs[j]];
    return signs[j] > 0 ? ends : ends.reverse();
  }

  place(width) {
    const count = this.state.m - 1;
    const narrow = width < 520;
    const texts = range(count).flatMap((k) => ticks(...this.limits[k + 1], 4).map(([, text]) => text));
    const widest = Math.max(...texts.map((text) => this.measure.measureText(text).width));
    this.gap = narrow ? 8 : 14;
    this.edge = { left: Math.ceil(widest) + (narrow ? 38 : 40), right: 12, top: 8 };
    const wide = (width - this.edge.left - this.edge.right - this.gap * (count - 1)) / count;
    const long = range(count).some((j) => this.measure.measureText(this.title(j).join("  ")).width > wide);
    this.edge.bottom = long ? 52 : 38;
    const tall = count === 1 ? Math.min(Math.max(0.62 * wide, 260), 440) : Math.max((narrow ? 1 : 0.82) * wide, 76);
    this.panels = [];
    for (let i = 1; i <= count; i++) {
      for (let j = 0; j < i; j++) {
        const [x, y] = [this.edge.left + j * (wide + this.gap), this.edge.top + (i - 1) * (tall + this.gap)];
        this.panels.push({ i, j, x, y, wide, tall });
      }
    }
    return this.edge.top + count * tall + (count - 1) * this.gap + this.edge.bottom;
  }

  across(panel, value) {
    const [low, high] = this.limits[panel.j];
    return panel.x + ((value - low) / (high - low)) * panel.wide;
  }

  up(panel, value) {
    const [low, high] = this.limits[panel.i];
    return panel.y + panel.tall - ((value - low) / (high - low)) * panel.tall;
  }

  spot(panel, k) {
    return [this.across(panel, this.state.value(k, panel.j)), this.up(panel, this.state.value(k, panel.i))];
  }

  get radius() {
    const small = (this.state.m > 3 ? 0.8 : 1) * (this.width < 520 && this.state.m > 2 ? 0.7 : 1);
    return small * (this.state.n > 1500 ? 1.8 : this.state.n > 300 ? 2.8 : 4.2);
  }

  paint(context, colours) {
    for (const panel of this.panels) {
      this.paintAxes(context, colours, panel);
      this.within(context, panel, () => {
        if (this.state.m === 2 && this.state.n <= RAYS) {
          for (const k of range(this.state.n)) this.paintRays(context, colours, panel, k);
        }
        this.paintIdeals(context, colours, panel);
        this.paintPoints(context, panel, (k) => this.spot(panel, k), this.radius);
      });
      this.paintReference(context, colours, panel);
    }
  }

  within(context, { x, y, wide, tall }, painted) {
    context.save();
    context.beginPath();
    context.rect(x, y, wide, tall);
    context.clip();
    painted();
    context.restore();
  }

  paintAxes(context, { line, muted, ink: dark }, panel) {
    const { i, j, x, y, wide, tall } = panel;
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + 0.5, wide - 1, tall - 1);
    context.font = `11px ${colours().font}`;
    context.fillStyle = muted;
    context.textBaseline = "middle";
    const bottom = y + tall;
    let free = -Infinity;
    for (const [value, text] of ticks(...this.limits[j], Math.max(2, wide / 70))) {
      const at = this.across(panel, value);
      stroke(context, [at, y], [at, bottom], 0.5);
      const half = context.measureText(text).width / 2;
      if (i !== this.state.m - 1 || at - half < free || at + half > x + wide + 10) continue;
      context.textAlign = "center";
      context.fillText(text, at, bottom + 12);
      free = at + half + 6;
    }
    for (const [value, text] of ticks(...this.limits[i], Math.max(2, tall / 45))) {
      const at = this.up(panel, value);
      stroke(context, [x, at], [x + wide, at], 0.5);
      context.textAlign = "right";
      if (j === 0) context.fillText(text, x - 6, at);
    }
    context.fillStyle = dark;
    context.textAlign = "center";
    if (i === this.state.m - 1) this.paintTitle(context, j, x + wide / 2, bottom + 29, wide);
    if (j !== 0) return;
    context.save();
    context.translate(8, y + tall / 2);
    context.rotate(-Math.PI / 2);
    this.paintTitle(context, i, 0, 0, tall);
    context.restore();
  }

  // the name, and which way is better
  title(j) {
    const objective = this.state.data.objectives[j];
    return [titled(objective), objective.sign > 0 ? "← better" : "better →"];
  }

  // on one line where both fit
  paintTitle(context, j, x, y, width) {
    context.font = `12px ${colours().font}`;
    const [name, way] = this.title(j);
    if (context.measureText(`${name}  ${way}`).width <= width) {
      context.fillText(`${name}  ${way}`, x, y);
      return;
    }
    context.fillText(shortened(context, name, width), x, y);
    context.fillText(shortened(context, way, width), x, y + 14);
  }

  paintIdeals(context, { muted }, panel) {
    const { ideals } = this.state.data;
    if (!ideals) return;
    context.strokeStyle = muted;
    context.setLineDash([6, 4]);
    const [x, y] = [this.across(panel, ideals[panel.j]), this.up(panel, ideals[panel.i])];
    stroke(context, [x, panel.y], [x, panel.y + panel.tall], 1);
    stroke(context, [panel.x, y], [panel.x + panel.wide, y], 1);
    context.setLineDash([]);
  }

  paintReference(context, { ink: dark }, panel) {
    const { reference } = this.state.data;
    if (!reference) return;
    const [x, y] = [this.across(panel, reference[panel.j]), this.up(panel, reference[panel.i])];
    if (x < panel.x || x > panel.x + panel.wide || y < panel.y || y > panel.y + panel.tall) return;
    context.strokeStyle = dark;
    stroke(context, [x - 5, y - 5], [x + 5, y + 5], 1.6);
    stroke(context, [x - 5, y + 5], [x + 5, y - 5], 1.6);
  }

  // dotted: the ray asked for, on which r_i times the loss is equal; a thin line: from its start to what was reached
  paintRays(context, colours, { ...panel }, k, strong = false) {
    const { origin: start, requested: all, span } = this.state.data;
    const requested = all[k];
    if (!start || !requested || !this.state.isShown(k)) return;
    const direction = [panel.j, panel.i].map((j) => span[j] / Math.max(requested[j], 1e-9));
    const far = 1e3 * Math.max(...this.limits.flat().map(Math.abs));
    const scale = far / Math.max(...direction);
    const at = (along) => [
      this.across(panel, start[panel.j] + along * direction[0]),
      this.up(panel, start[panel.i] + along * direction[1]),
    ];
    const [origin, end] = [at(0), at(scale)];
    context.globalAlpha = strong ? 1 : 0.5;
    context.strokeStyle = strong ? colours.ink : colours.muted;
    context.setLineDash([2, 4]);
    stroke(context, origin, end, strong ? 1.5 : 1);
    context.setLineDash([]);
    context.strokeStyle = colours.front;
    context.globalAlpha = strong ? 0.9 : 0.3;
    stroke(context, origin, this.spot(panel, k), strong ? 1.2 : 0.8);
    context.globalAlpha = 1;
  }

  paintMarks(context, colours, { hover, chosen, nearest }) {
    const { mapped } = this.state;
    for (const panel of this.panels) {
      this.within(context, panel, () => {
        if (chosen !== null) this.paintRays(context, colours, panel, chosen, true);
        if (hover !== null) this.paintRays(context, colours, panel, hover, true);
        if (mapped) diamond(context, this.across(panel, mapped[panel.j]), this.up(panel, mapped[panel.i]), colours);
      });
      if (nearest !== null) ring(context, ...this.spot(panel, nearest), colours.chosen, this.radius + 4, [3, 3]);
      if (chosen !== null) {
        filled(context, ...this.spot(panel, chosen), colours.chosen, Math.max(this.radius, 3.4));
        ring(context, ...this.spot(panel, chosen), colours.paper, Math.max(this.radius, 3.4) + 2);
        ring(context, ...this.spot(panel, chosen), colours.chosen, Math.max(this.radius, 3.4) + 4);
      }
      if (hover !== null) {
        filled(context, ...this.spot(panel, hover), hover === chosen ? colours.chosen : colours.front, this.radius);
        ring(context, ...this.spot(panel, hover), colours.ink, this.radius + 2.5);
      }
    }
  }

  panelAt(x, y) {
    return this.panels.find((p) => x >= p.x - 6 && x <= p.x + p.wide + 6 && y >= p.y - 6 && y <= p.y + p.tall + 6);
  }

  find(x, y) {
    const panel = this.panelAt(x, y);
    if (!panel) return null;
    this.panel = panel;
    let [least, nearest] = [NEAR, null];
    for (const k of range(this.state.n)) {
      if (!this.state.isShown(k)) continue;
      const [px, py] = this.spot(panel, k);
      const away = Math.hypot(px - x, py - y) + (this.state.kept[k] ? 0 : 4); // of two, the one that is not faded
      if (away < least) [least, nearest] = [away, k];
    }
    return nearest;
  }

  whereIs(k) {
    return this.spot(this.panel ?? this.panels[0], k);
  }
}

function stroke(context, from, to, width) {
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function filled(context, x, y, colour, radius) {
  context.fillStyle = colour;
  context.beginPath();
  dot(context, x, y, radius);
  context.fill();
}

function ring(context, x, y, colour, radius, dashes = []) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dashes);
  context.beginPath();
  dot(context, x, y, radius);
  context.stroke();
  context.setLineDash([]);
}

function diamond(context, x, y, { map, paper }) {
  context.beginPath();
  context.moveTo(x, y - 7);
  context.lineTo(x + 7, y);
  context.lineTo(x, y + 7);
  context.lineTo(x - 7, y);
  context.closePath();
  context.fillStyle = map;
  context.strokeStyle = paper;
  context.lineWidth = 1.5;
  context.fill();
  context.stroke();
}
