// The best in one measure among the points that keep bounds.

RULES.Constraint = {
  choose(among, { best, bounds, margin = null }) {
    const bounded = range(among.m).filter((j) => Number.isFinite(bounds[j]));
    const { names, signs, objectives } = among;
    const widths = margin === null || !bounded.length ? null : among.margins[margin];
    if (widths === undefined) throw new Refused("how uncertain these measures are is unknown");
    const atWorst = widths ? among.costs.map((c, k) => c.map((x, j) => x + widths[k][j])) : among.costs;
    const excess = atWorst.map((c) =>
      c.map((x, j) => (bounded.includes(j) ? Math.max(x - signs[j] * bounds[j], 0) : 0)),
    );
    const feasible = range(among.n).filter((k) => !excess[k].some((x) => x !== 0));
    let text = bounded.map((j) => `${names[j]} ${signs[j] < 0 ? "≥" : "≤"} ${general(bounds[j])}`).join(" and ");
    if (text && margin !== null) text += ` at ${general(Number(margin), 4)} confidence`;
    if (!feasible.length) return infeasible(among, excess, widths, text);
    const keys = [best, ...range(among.m).filter((j) => j !== best)];
    const order = lexsort(feasible, ...keys.map((j) => (k) => among.costs[k][j]));
    const superlative = objectives[best].sign < 0 ? "highest" : "lowest";
    let why = `${among.ids[order[0]]} has the ${superlative} ${names[best]}, ${among.number(order[0], best)}, `;
    why += `of the ${countOf(feasible)} ${text ? `with ${text}` : "that none dominates"}`;
    if (widths) {
      const measures = bounded.map((j) => `${names[j]} = ${general(signs[j] * atWorst[order[0]][j], 4)}`);
      why += `; it keeps ${measures.join(", ")} at worst`;
    }
    if (order.length > 1) why += `; next is ${among.ids[order[1]]} with ${among.number(order[1], best)}`;
    return among.chosen(order, why);
  },

  settings: (state) => ({ best: 0, bounds: state.bounds, margin: null }),

  rows(controls, rule) {
    const { names } = controls.state.among;
    const best = controls.choices(
      "best",
      names.map((name, j) => [j, name]),
      rule.best,
      (value) => controls.set({ best: Number(value) }),
    );
    controls.bounds = names.map((name, j) => {
      const sign = controls.state.signs[j] > 0 ? "≤" : "≥";
      return controls.field(rule.bounds[j], `${name} ${sign}`, (x) => controls.state.setBound(j, x), {
        placeholder: "no bound",
      });
    });
    const rows = controls.bounds.map((input, j) =>
      controls.row(j, element("span", { textContent: controls.state.signs[j] > 0 ? "≤" : "≥" }), input),
    );
    return [element("label", { className: "row" }, "best in ", best), ...rows, marginRow(controls, rule)];
  },

  python({ best, bounds, margin }, names) {
    const parts = [pythonText(names[best])];
    const mapping = pythonMapping(bounds, names);
    if (mapping !== "{}") parts.push(mapping, ...(margin === null ? [] : [`margin=${margin}`]));
    return parts;
  },
};

// No choice, and the point that breaks the bounds least.
function infeasible(among, excess, widths, text) {
  const worst = excess.map((e) => largest(e.map((x, j) => x / (among.spans[j] > 0 ? among.spans[j] : 1))));
  const k = worst.indexOf(smallest(worst));
  const broken = range(among.m).filter((j) => excess[k][j] > 0);
  const values = broken.map((j) => {
    const measured = `${among.names[j]} = ${general(among.values[k][j], 8)}`;
    if (!widths) return measured;
    return `${measured}, at worst ${general(among.values[k][j] + among.signs[j] * widths[k][j], 8)}`;
  });
  const why = `no point of the front has ${text}; nearest is ${among.ids[k]} with ${values.join(", ")}`;
  return { kind: "infeasible", id: null, nearest: among.ids[k], why, runnersUp: [] };
}

function marginRow(controls, rule) {
  const levels = Object.keys(controls.state.data.margins);
  if (!levels.length) {
    const text =
      "How uncertain these measures are is unknown, so that bounds are kept as measured, without a margin.";
    return element("p", { className: "note", textContent: text });
  }
  const entries = [["", "as measured"], ...levels.map((level) => [level, `at worst, at ${level} confidence`])];
  const changed = (value) => controls.set({ margin: value || null });
  return element(
    "label",
    { className: "row" },
    "keep them ",
    controls.choices("margin", entries, rule.margin ?? "", changed),
  );
}
