// The least weighted sum, or the least weighted maximum, of the measures scaled to the front's range.

RULES.Weights = {
  choose(among, { weights, sum: linear }) {
    finiteRow(weights, among.names, "a weight");
    if (weights.some((w) => w < 0) || !weights.some((w) => w)) {
      throw new Refused("weights must be at least 0, and not all 0");
    }
    const whole = sum(weights);
    const share = weights.map((w) => w / whole);
    const spans = among.spans.map((s) => (s > 0 ? s : 1));
    const scaled = among.costs.map((c) => c.map((x, j) => (x - among.low[j]) / spans[j]));
    const parts = scaled.map((row) => row.map((x, j) => share[j] * (among.spans[j] > 0 ? x : 0)));
    const total = parts.map((row) => sum(row));
    const worst = parts.map(largest);
    const order = linear
      ? ranked(
          total,
          scaled.map((row) => sum(row)),
        )
      : ranked(worst, total);
    const [k] = order;
    const text = among.names.map((name, j) => `${name} ${general(share[j], 3)}`).join(", ");
    return among.chosen(
      order,
      `${among.named(k)} has the least weighted ${linear ? "sum" : "maximum"} of its distances from the best measures, ` +
        `${general(linear ? total[k] : worst[k], 3)} of the front's range, at the weights ${text}`,
    );
  },

  settings: ({ m }) => ({ weights: new Array(m).fill(1), sum: true }),

  rows(controls, rule) {
    const rows = rule.weights.map((value, j) =>
      controls.row(
        j,
        controls.field(
          value,
          `weight of ${controls.state.among.names[j]}`,
          (x) => {
            rule.weights[j] = x;
            controls.set({});
          },
          { min: 0 },
        ),
      ),
    );
    const entries = [
      ["linear", "weighted sum (linear)"],
      ["tchebycheff", "weighted maximum (tchebycheff)"],
    ];
    const kind = controls.choices("kind", entries, rule.sum ? "linear" : "tchebycheff", (v) =>
      controls.set({ sum: v === "linear" }),
    );
    return [...rows, element("label", { className: "row" }, "by the ", kind)];
  },

  python: ({ weights, sum }, names) => [pythonMapping(weights, names), ...(sum ? [] : ['"tchebycheff"'])],
};
