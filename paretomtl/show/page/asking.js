// What no point has: the line that says which preference comes nearest to it, and how to train there.

class Asking {
  constructor(box, state, controls) {
    [this.state, this.levels] = [state, new Array(state.m).fill(null)];
    box.addEventListener("submit", (event) => event.preventDefault());
    this.result = element("div", { role: "status" });
    const fields = range(state.m).map((j) =>
      controls.row(
        j,
        controls.field(null, `level to ask for, ${state.among.names[j]}`, (x) => {
          this.levels[j] = x;
          this.draw();
        }),
      ),
    );
    const about = "What would you like that no point has? A field left empty keeps the chosen point’s value.";
    box.append(element("p", { className: "note", textContent: about }), ...fields, this.result);
  }

  draw() {
    const { state, levels } = this;
    const given = levels.filter(Number.isFinite).length;
    const kept = given < state.m ? state.chosen : null;
    if (!given || (given < state.m && kept === null)) return this.result.replaceChildren();
    const { data } = state;
    const id = kept === null ? null : data.ids[kept];
    const line = data.folder === null ? this.python(id) : this.command(id);
    this.result.replaceChildren(copied(data.folder === null ? "In Python" : "On the command line", line));
  }

  command(id) {
    const { data, among } = this.state;
    const amounts = this.levels.flatMap((x, j) => (Number.isFinite(x) ? [shellText(`${among.names[j]}=${x}`)] : []));
    const flags = amounts.map((text) => `--aspire${/^'?-/.test(text) ? "=" : " "}${text}`);
    return ["paretomtl ask", shellText(data.folder), ...flags, ...(id === null ? [] : [`--at ${shellText(id)}`])].join(" ");
  }

  python(id) {
    const { data, among } = this.state;
    const at = id === null ? "" : `, at=${pythonPoint(data, id)}`;
    return `front.ask(${pythonMapping(this.levels, among.names)}${at})`;
  }
}

// Python's shlex.quote: a text as one word of a shell
function shellText(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}
