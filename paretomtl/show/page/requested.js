// What was asked against what was reached, a panel an objective; on the diagonal a point lies on the ray asked for.

class Requested extends Plot {
  constructor(box, state) {
    super(box, state, "The preference asked against the one reached, a panel an objective");
    const { requested, reached } = state.data;
    this.known = range(state.n).filter((i) => requested[i] && reached[i]);
    this.most = range(state.m).map(
      (j) => 1.08 * Math.max(...this.known.map((i) => Math.max(requested[i][j], reached[i][j]))),
    );
  }

  place(width) {
    const { m } = this.state;
    const columns = Math.min(m, Math.max(1, Math.floor(width / 165)));
    this.side = Math.min(190, (width - columns * 52) / columns);
    const wide = Math.min(width / columns, this.side + 90);
    this.panels = range(m).map((j) => ({
      j,
      x: (j % columns) * wide + 40,
      y: Math.floor(j / columns) * (this.side + 66) + 24,
    }));
    return Math.ceil(m / columns) * (this.side + 66) + 4;
  }

  spot({ j, x, y }, i) {
    const { requested, reached } = this.state.data;
    const scale = this.side / this.most[j];
    return [x + requested[i][j] * scale, y + this.side - reached[i][j] * scale];
  }

  paint(context, colours) {
    const radius = this.state.n > 300 ? 1.5 : 3;
    for (const panel of this.panels) {
      this.paintAxes(context, colours, panel);
      this.paintPoints(
        context,
        { ...panel, wide: this.side, tall: this.side },
        (k) => this.isKnown(k) && this.spot(panel, k),
        radius,
      );
    }
  }

  isKnown(i) {
    return this.state.data.requested[i] && this.state.data.reached[i];
  }

  paintAxes(context, { line, muted, ink: dark }, { j, x, y }) {
    const { side } = this;
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    context.strokeStyle = muted;
    context.setLineDash([6, 4]);
    stroke(context, [x, y + side], [x + side, y], 1);
    context.setLineDash([]);
    context.fillStyle = muted;
    context.font = `11px ${colours().font}`;
    context.textBaseline = "middle";
    for (const [value, text] of ticks(0, this.most[j], 3)) {
      const at = (value / this.most[j]) * side;
      context.textAlign = "center";
      context.fillText(text, x + at, y + side + 11);
      context.textAlign = "right";
      context.fillText(text, x - 5, y + side - at);
    }
    context.textAlign = "center";
    context.fillText("asked", x + side / 2, y + side + 26);
    context.save();
    context.translate(x - 32, y + side / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("reached", 0, 0);
    context.restore();
    context.fillStyle = dark;
    context.font = `600 12px ${colours().font}`;
    context.fillText(shortened(context, this.state.among.names[j], side), x + side / 2, y - 12);
  }

  paintMarks(context, colours, { hover, chosen }) {
    for (const panel of this.panels) {
      if (chosen !== null && this.isKnown(chosen)) {
        filled(context, ...this.spot(panel, chosen), colours.chosen, 3.4);
        ring(context, ...this.spot(panel, chosen), colours.chosen, 7);
      }
      if (hover !== null && this.isKnown(hover)) ring(context, ...this.spot(panel, hover), colours.ink, 6);
    }
  }

  find(x, y) {
    const { side } = this;
    const panel = this.panels.find((p) => x >= p.x - 6 && x <= p.x + side + 6 && y >= p.y - 6 && y <= p.y + side + 6);
    if (!panel) return null;
    this.panel = panel;
    let [least, nearest] = [NEAR, null];
    for (const i of this.known) {
      if (!this.state.isShown(i)) continue;
      const [px, py] = this.spot(panel, i);
      const away = Math.hypot(px - x, py - y);
      if (away < least) [least, nearest] = [away, i];
    }
    return nearest;
  }

  whereIs(i) {
    return this.isKnown(i) ? this.spot(this.panel ?? this.panels[0], i) : null;
  }

  note() {
    const off = this.known.map((i) => this.state.data.off[i]).filter((x) => x !== null);
    const sorted = [...off].sort((a, b) => a - b);
    const [middle, most] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted.at(-1)].map((x) => general(x ?? 0, 3));
    const units = "Losses count in units of what there is to gain: 0 where each is trained alone, 1 at its worst where others are.";
    const error = `The control error, the angle between both rays, is ${middle}° in the middle and ${most}° at most.`;
    return [
      "A preference asks for the ray on which preference × loss is equal; the one reached is that of the losses’ own ray.",
      ...(this.state.data.normalised ? [units] : []),
      ...(sorted.length ? [error] : []),
      "Of methods that take preferences as weights, it only tells where a point landed.",
    ].join(" ");
  }
}
