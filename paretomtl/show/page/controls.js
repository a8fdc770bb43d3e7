// The rule and its settings.

const ABOUT = {
  Constraint: [
    "Best in one, within bounds",
    "The best point in one measure among those that keep the bounds on others.",
  ],
  Knee: ["Knee", "The point that is left for another at the worst terms."],
  MinMaxRegret: ["Least worst regret", "The point that is nowhere far from the best there could have been."],
  ReferencePoint: [
    "Nearest to aspirations",
    "The point whose worst miss of what one would like is smallest, of the front's range.",
  ],
  Weights: ["Weights", "The point with the least weighted distance from the best measures, of the front's range."],
  Lexicographic: [
    "One after the other",
    "Of the points near the best in the first measure those near the best in the next.",
  ],
};

class Controls {
  constructor(form, state) {
    [this.form, this.state] = [form, state];
    form.addEventListener("submit", (event) => event.preventDefault());
    const options = Object.entries(ABOUT).map(([value, [text]]) => element("option", { value, textContent: text }));
    this.kind = element("select", { id: "kind" }, ...options);
    this.kind.addEventListener("change", () => this.turn(this.kind.value));
    this.about = element("p", { className: "note", id: "about" });
    this.parts = element("div", { id: "settings" });
    form.append(element("label", { className: "row" }, "choose by ", this.kind), this.about, this.parts);
    this.build();
  }

  turn(kind) {
    this.state.kind = kind;
    this.state.hand = null;
    this.state.change();
    this.build();
  }

  build() {
    const { kind } = this.state;
    this.kind.value = kind;
    this.about.textContent = ABOUT[kind][1];
    this.bounds = null;
    const made = {
      Constraint: "constraint",
      ReferencePoint: "aspirations",
      Weights: "weights",
      Lexicographic: "order",
    }[kind];
    this.parts.replaceChildren(...(made ? this[made](this.state.rule) : []));
  }

  set(change) {
    Object.assign(this.state.rule, change);
    this.state.hand = null;
    this.state.change();
  }

  // a number, or null where the field is empty or holds none
  field(value, label, changed, about = {}) {
    const input = element("input", { type: "number", step: "any", value: value ?? "", "aria-label": label, ...about });
    input.addEventListener("input", () => changed(input.value === "" ? null : input.valueAsNumber));
    return input;
  }

  row(j, ...inputs) {
    const { name, unit } = this.state.data.objectives[j];
    return element(
      "div",
      { className: "row" },
      element("span", { className: "name", textContent: name, title: name }),
      ...inputs,
      element("span", { className: "unit", textContent: unit }),
    );
  }

  choices(label, entries, value, changed) {
    const options = entries.map(([v, text]) => element("option", { value: v, textContent: text }));
    const select = element("select", { "aria-label": label }, ...options);
    select.value = value;
    select.addEventListener("change", () => changed(select.value));
    return select;
  }

  constraint(rule) {
    const { names } = this.state.among;
    const best = this.choices(
      "best",
      names.map((name, j) => [j, name]),
      rule.best,
      (value) => this.set({ best: Number(value) }),
    );
    this.bounds = names.map((name, j) => {
      const sign = this.state.signs[j] > 0 ? "≤" : "≥";
      return this.field(rule.bounds[j], `${name} ${sign}`, (x) => this.state.setBound(j, x), {
        placeholder: "no bound",
      });
    });
    const rows = this.bounds.map((input, j) =>
      this.row(j, element("span", { textContent: this.state.signs[j] > 0 ? "≤" : "≥" }), input),
    );
    return [element("label", { className: "row" }, "best in ", best), ...rows, this.margin(rule)];
  }

  margin(rule) {
    const levels = Object.keys(this.state.data.margins);
    if (!levels.length) {
      const text =
        "How uncertain these measures are is unknown, so that bounds are kept as measured, without a margin.";
      return element("p", { className: "note", textContent: text });
    }
    const entries = [["", "as measured"], ...levels.map((level) => [level, `at worst, at ${level} confidence`])];
    const changed = (value) => this.set({ margin: value || null });
    return element(
      "label",
      { className: "row" },
      "keep them ",
      this.choices("margin", entries, rule.margin ?? "", changed),
    );
  }

  aspirations(rule) {
    return rule.aspirations.map((value, j) =>
      this.row(
        j,
        this.field(value, `aspiration for ${this.state.among.names[j]}`, (x) => {
          rule.aspirations[j] = x;
          this.set({});
        }),
      ),
    );
  }

  weights(rule) {
    const rows = rule.weights.map((value, j) =>
      this.row(
        j,
        this.field(
          value,
          `weight of ${this.state.among.names[j]}`,
          (x) => {
            rule.weights[j] = x;
            this.set({});
          },
          { min: 0 },
        ),
      ),
    );
    const entries = [
      ["linear", "weighted sum (linear)"],
      ["tchebycheff", "weighted maximum (tchebycheff)"],
    ];
    const kind = this.choices("kind", entries, rule.sum ? "linear" : "tchebycheff", (v) =>
      this.set({ sum: v === "linear" }),
    );
    return [...rows, element("label", { className: "row" }, "by the ", kind)];
  }

  order(rule) {
    const last = rule.order.length - 1;
    return rule.order.map((j, place) => {
      const name = this.state.among.names[j];
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
        button.addEventListener("click", () => this.move(place, step, how));
        return button;
      });
      const row = this.row(j, ...moves);
      row.classList.add("ordered");
      row.prepend(element("b", { textContent: `${place + 1}.` }));
      if (place < last) row.append(...this.tolerance(rule, j, name));
      return row;
    });
  }

  move(place, step, how) {
    const order = [...this.state.rule.order];
    [order[place], order[place + step]] = [order[place + step], order[place]];
    this.set({ order });
    this.build();
    const moved = this.parts.children[place + step];
    const again = [...moved.querySelectorAll("button")];
    (again.find((b) => b.ariaLabel.endsWith(how) && !b.disabled) ?? again.find((b) => !b.disabled)).focus();
  }

  tolerance(rule, j, name) {
    let inErrors = rule.errors[j] !== null;
    const changed = (x) => {
      rule.within[j] = inErrors ? null : x;
      rule.errors[j] = inErrors ? x : null;
      this.set({});
    };
    const input = this.field(rule.errors[j] ?? rule.within[j], `tolerance for ${name}`, changed, {
      min: 0,
      placeholder: "0",
    });
    const entries = [
      ["unit", this.state.data.objectives[j].unit || "in its unit"],
      ["errors", "standard errors"],
    ];
    const unit = this.choices(`unit of the tolerance for ${name}`, entries, inErrors ? "errors" : "unit", (value) => {
      inErrors = value === "errors";
      changed(input.value === "" ? null : input.valueAsNumber);
    });
    return [
      element(
        "span",
        { className: "tolerance" },
        "within ",
        input,
        ...(this.state.data.errors ? [unit] : []),
        " of the best",
      ),
    ];
  }

  // bounds are pulled on the axes too
  refresh() {
    this.bounds?.forEach((input, j) => {
      if (input !== document.activeElement) input.value = this.state.bounds[j] ?? "";
    });
  }
}
