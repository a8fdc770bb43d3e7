// The point that is chosen: why, its numbers, what others would give and take, and the line of Python that loads it.

// As Python prints a runner-up.
function runnerUp({ id, gains, givesUp }, names) {
  const amounts = (numbers) =>
    names.flatMap((name, j) => (numbers[j] === null ? [] : [`${general(numbers[j], 4)} in ${name}`])).join(", ");
  const parts = [
    ["gains", amounts(gains)],
    ["gives up", amounts(givesUp)],
  ].filter(([, text]) => text);
  return `${id} ${parts.length ? parts.map((part) => part.join(" ")).join(" and ") : "is equal"}`;
}

class ChoiceCard {
  constructor(why, card, state) {
    Object.assign(this, { why, card, state });
  }

  draw() {
    const { state } = this;
    const byHand = state.hand !== null;
    const i = state.chosen;
    const { why, notes } = byHand ? this.byHand(i) : this.byRule(state.choiceByRule);
    const id = i === null ? null : element("strong", { className: "id", textContent: state.data.ids[i] });
    const source = element("span", {
      className: "source",
      textContent: byHand ? "picked by hand" : `by ${state.kind}`,
    });
    const head = id ? element("p", {}, id, " ", source) : "";
    this.why.replaceChildren(head, element("p", { className: id ? "why" : "why none", textContent: why }), ...notes);
    this.card.replaceChildren(...(i === null ? this.nearest() : [this.table(i), this.others(i), this.python(i)]));
    if (byHand) this.card.prepend(this.back());
  }

  note(textContent) {
    return element("p", { className: "note", textContent });
  }

  byRule({ why, id }) {
    const { state } = this;
    const notes = [];
    if (id !== null && state.kind !== "Constraint" && !state.kept[state.chosen]) {
      notes.push(this.note("It breaks the bounds on the axes: only “best in one, within bounds” keeps them."));
    }
    if (id !== null && state.data.seeds > 1) {
      const more = "In Python, select also tells how many of the seeds choose the same";
      const text = `These are means over ${state.data.seeds} seeds. ${more}, and hands back the model nearest to the mean.`;
      notes.push(this.note(text));
    }
    return { why, notes };
  }

  byHand(i) {
    const { data } = this.state;
    const by = this.state.dominator(i);
    const notes =
      by === null ? [] : [this.note(`No rule would choose it: ${data.ids[by]} is no worse in every measure.`)];
    const values = data.objectives.map((o, j) => `${o.name} ${this.state.said(i, j)}`).join(", ");
    return { why: `${data.ids[i]} (${values})`, notes };
  }

  back() {
    const button = element("button", { type: "button", textContent: "Back to the rule", id: "back" });
    button.addEventListener("click", () => this.turn(null));
    return button;
  }

  turn(i) {
    this.state.pick(i);
    document.getElementById("choice-view").focus({ preventScroll: true });
  }

  nearest() {
    const { nearest, data } = this.state;
    return nearest === null ? [] : [this.other(data.ids[nearest], `Look at ${data.ids[nearest]}, the nearest`)];
  }

  table(i) {
    const { state } = this;
    const { objectives, requested, off } = state.data;
    const k = state.data.free.indexOf(i);
    const errors = state.among.errors && k >= 0 ? state.among.errors[k] : null;
    const head = ["objective", "value", ...(errors ? ["± s.e."] : []), "best", ...(requested[i] ? ["asked"] : [])];
    const rows = objectives.map((o, j) => [
      o.name,
      state.said(i, j),
      ...(errors ? [Number.isFinite(errors[j]) ? general(errors[j], 2) : "unknown"] : []),
      shown(state.signs[j] * state.among.low[j], { unit: "" }),
      ...(requested[i] ? [general(requested[i][j], 3)] : []),
    ]);
    const far =
      off[i] === null ? "" : `Control error: ${general(off[i], 3)}° between the ray asked and the one reached.`;
    return element(
      "div",
      { className: "scroll" },
      table(
        head,
        rows.map((row) => tableRow(row, "td")),
      ),
      ...(far && requested[i] ? [this.note(far)] : []),
    );
  }

  others(i) {
    const { state } = this;
    const byHand = state.hand !== null;
    const others = byHand ? state.neighbours(i) : state.choiceByRule.runnersUp;
    const items = others.map((r) => element("li", {}, this.other(r.id, runnerUp(r, state.among.names))));
    const title = byHand ? "Its neighbours, against it" : "Next by this rule, against it";
    return items.length
      ? element("div", {}, element("h3", { textContent: title }), element("ul", { className: "others" }, ...items))
      : "";
  }

  other(id, text) {
    const i = this.state.places.get(id);
    const button = element("button", { type: "button", className: "other", textContent: text });
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.state.point(i));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.state.point(null));
    button.addEventListener("click", () => this.turn(i));
    return button;
  }

  python(i) {
    const { data, among, hand, rule } = this.state;
    const title = data.folder === null ? "In Python (this front has no folder with models)" : "The model, in Python";
    const line = hand === null ? pythonSelect(data, pythonRule(rule, among.names)) : pythonPoint(data, data.ids[i]);
    return copied(title, line);
  }
}

function table(head, rows) {
  return element("table", {}, element("thead", {}, tableRow(head, "th")), element("tbody", {}, ...rows));
}

function tableRow(cells, tag) {
  return element(
    "tr",
    {},
    ...cells.map((textContent, k) => element(k ? tag : "th", { textContent, title: k ? "" : textContent })),
  );
}

function pythonFront(data) {
  return data.folder === null ? "front" : `pm.Front.load(${pythonText(data.folder)})`;
}

function pythonSelect(data, rule) {
  return `${pythonFront(data)}.select(${rule})${data.folder === null ? ".point" : ".load(build)"}`;
}

function pythonPoint(data, id) {
  const same = data.seeds > 1 ? `p.id.partition("-seed-")[0] == ${pythonText(id)}` : `p.id == ${pythonText(id)}`;
  const point = `next(p for p in front.points if ${same})`;
  if (data.folder === null) return point;
  return `front = ${pythonFront(data)}\nmodel = front.load_model(${point}, build)`;
}

function copied(title, text) {
  const code = element("code");
  // where a narrow screen may begin a new line
  for (const part of text.split(/(?=\.(?:select|load|model_at)\()|(?<=[({[])/)) code.append(part, element("wbr"));
  const button = element("button", { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text, code)) ? "Copied" : "Press Ctrl-C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return element(
    "div",
    { className: "python" },
    element("h3", { textContent: title }),
    element("pre", { tabIndex: 0 }, code),
    button,
  );
}

async function copy(text, code) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(code); // without a clipboard, it is at least selected
    return document.execCommand("copy");
  }
}
