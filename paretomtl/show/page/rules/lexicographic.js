// One measure after the other, each within a tolerance of its best.

RULES.Lexicographic = {
  choose(among, { order: columns, within, errors }) {
    const { names } = among;
    for (const j of columns) {
      if ((within[j] ?? 0) < 0 || (errors[j] ?? 0) < 0) throw new Refused(`the tolerance of ${names[j]} is negative`);
    }
    let [left, dropped] = [range(among.n), []];
    const conditions = [];
    for (const j of columns.slice(0, -1)) {
      const best = left.reduce((a, b) => (among.costs[b][j] < among.costs[a][j] ? b : a));
      const tolerance = toleranceOf(among, best, j, within, errors);
      const near = (k) => among.costs[k][j] - among.costs[best][j] - tolerance <= 1e-9 * among.spans[j];
      const far = left.filter((k) => !near(k));
      dropped = [...lexsort(far, (k) => among.costs[k][j]), ...dropped];
      left = left.filter(near);
      const how = tolerance ? `within ${general(tolerance, 4)} of ` : "with ";
      conditions.push(`${how}the best ${names[j]}, ${among.number(best, j)}`);
    }
    const last = columns.at(-1);
    const rest = range(among.m).filter((j) => !columns.includes(j));
    const keys = [last, ...rest, ...columns.slice(0, -1)];
    const order = lexsort(left, ...keys.map((j) => (k) => among.costs[k][j]));
    const superlative = among.objectives[last].sign < 0 ? "highest" : "lowest";
    let why = `${among.ids[order[0]]} has the ${superlative} ${names[last]}, ${among.number(order[0], last)}, `;
    why += `of the ${countOf(left)} ${conditions.length ? conditions.join(" and ") : "that none dominates"}`;
    return among.chosen([...order, ...dropped], why);
  },

  settings({ m }) {
    const none = () => new Array(m).fill(null);
    return { order: range(m), within: none(), errors: none() };
  },

  rows(controls, rule) {
    const last = rule.order.length - 1;
    return rule.order.map((j, place) => {
      const name = controls.state.among.names[j];
      const moves = [
        ["↑", -1, "earlier"],
        ["↓", 1, "later"],
      ].map(([text, step, how]) => {
        const disabled = place + step < 0 || place + step > last;
        const button = element("button", {
          type: "button",
          textContent: text,
          disabled,
          "aria-label": `${name} ${how}`,
        });
        button.addEventListener("click", () => move(controls, place, step, how));
        return button;
      });
      const row = controls.row(j, ...moves);
      row.classList.add("ordered");
      row.prepend(element("b", { textContent: `${place + 1}.` }));
      if (place < last) row.append(...toleranceField(controls, rule, j, name));
      return row;
    });
  },

  python({ order, within, errors }, names) {
    const parts = [`[${order.map((j) => pythonText(names[j])).join(", ")}]`];
    for (const [argument, amounts] of [
      ["within", within],
      ["standard_errors", errors],
    ]) {
      const mapping = pythonMapping(
        amounts.map((x) => x || null),
        names,
      );
      if (mapping !== "{}") parts.push(`${argument}=${mapping}`);
    }
    return parts;
  },
};

function toleranceOf(among, best, j, within, errors) {
  if (!Number.isFinite(errors[j])) return within[j] ?? 0;
  if (!among.errors) throw new Refused("standard errors of these measures are unknown");
  const error = among.errors[best][j];
  if (!Number.isFinite(error)) {
    throw new Refused(`the standard error of ${among.names[j]} at ${among.ids[best]} is unknown`);
  }
  return errors[j] * error;
}

function move(controls, place, step, how) {
  const order = [...controls.state.rule.order];
  [order[place], order[place + step]] = [order[place + step], order[place]];
  controls.set({ order });
  controls.build();
  const moved = controls.parts.children[place + step];
  const again = [...moved.querySelectorAll("button")];
  (again.find((b) => b.ariaLabel.endsWith(how) && !b.disabled) ?? again.find((b) => !b.disabled)).focus();
}

function toleranceField(controls, rule, j, name) {
  let inErrors = rule.errors[j] !== null;
  const changed = (x) => {
    rule.within[j] = inErrors ? null : x;
    rule.errors[j] = inErrors ? x : null;
    controls.set({});
  };
  const input = controls.field(rule.errors[j] ?? rule.within[j], `tolerance for ${name}`, changed, {
    min: 0,
    placeholder: "0",
  });
  const entries = [
    ["unit", controls.state.data.objectives[j].unit || "in its unit"],
    ["errors", "standard errors"],
  ];
  const turn = (value) => {
    inErrors = value === "errors";
    changed(input.value === "" ? null : input.valueAsNumber);
  };
  const unit = controls.choices(`unit of the tolerance for ${name}`, entries, inErrors ? "errors" : "unit", turn);
  return [
    element(
      "span",
      { className: "tolerance" },
      "within ",
      input,
      ...(controls.state.data.errors ? [unit] : []),
      " of the best",
    ),
  ];
}
