// The rule and its settings.

class Controls {
  constructor(form, state) {
    [this.form, this.state] = [form, state];
    form.addEventListener("submit", (event) => event.preventDefault());
    const options = state.data.rules.map((rule) =>
      element("option", { value: rule.name, textContent: rule.label }),
    );
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
    this.about.textContent = this.state.data.rules.find(({ name }) => name === kind).about;
    this.bounds = null;
    this.parts.replaceChildren(...(RULES[kind].rows?.(this, this.state.rule) ?? []));
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

  // bounds are pulled on the axes too
  refresh() {
    this.bounds?.forEach((input, j) => {
      if (input !== document.activeElement) input.value = this.state.bounds[j] ?? "";
    });
  }
}
