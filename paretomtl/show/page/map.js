// A preference to move, on a front whose points are of one network: what losses to expect, between those computed.

class PreferenceSliders {
  constructor(box, state) {
    [this.box, this.state] = [box, state];
    const { names, m } = state.among;
    this.parts = m === 2 ? [0.5] : new Array(m).fill(50);
    this.inputs = (m === 2 ? names.slice(0, 1) : names).map((name, j) => {
      const span = m === 2 ? { min: 0, max: 1, step: 0.01 } : { min: 0, max: 100, step: 1 };
      const input = element("input", {
        type: "range",
        ...span,
        id: `preference-${j}`,
        "aria-label": `preference for ${name}`,
      });
      input.value = this.parts[j];
      input.addEventListener("input", () => {
        this.parts[j] = input.valueAsNumber;
        this.draw();
      });
      return element(
        "label",
        { className: "row" },
        element("span", { className: "name", textContent: name, title: name }),
        input,
      );
    });
    this.result = element("div");
    const rest = m === 2 ? `The rest of it is ${names[1]}’s.` : "They are scaled to sum 1.";
    const about = `All points are of one network, which takes any preference. ${rest}`;
    box.append(element("p", { className: "note", textContent: about }), ...this.inputs, this.result);
    this.draw(false);
  }

  get preference() {
    if (this.state.m === 2) return [this.parts[0], 1 - this.parts[0]];
    const whole = sum(this.parts);
    return whole ? this.parts.map((x) => x / whole) : null;
  }

  draw(moved = true) {
    const { data, among } = this.state;
    const r = this.preference?.map((x) => Number(x.toFixed(3)));
    if (!r) {
      this.result.replaceChildren(
        element("p", { className: "why none", textContent: "A preference needs one number above 0." }),
      );
      return;
    }
    const { losses, inside } = between(data.map, r);
    const { error, signs } = data.map;
    const head = ["objective", "preference", "loss", ...(error ? ["off by ≤"] : [])];
    const rows = among.names.map((name, j) => [
      name,
      r[j].toFixed(3),
      general(losses[j], 4),
      ...(error ? [general(error[j], 2)] : []),
    ]);
    const lossTable = table(
      head,
      rows.map((row) => tableRow(row, "td")),
    );
    const where = inside
      ? "These losses are interpolated between the points of this front, not computed."
      : "This preference is beyond the points of this front: these are the losses of the nearest one.";
    const how = error
      ? " The last column is how far a point’s own losses were, at worst, from those that its neighbours alone would " +
        "suggest; between two points of a smooth front it is about a quarter of that."
      : " How far they may be off is not known: there are too few points to say, or too many.";
    const line = `${data.folder === null ? "front" : pythonFront(data)}.model_at([${r.map(pythonFloat).join(", ")}], build)`;
    this.result.replaceChildren(
      element("div", { className: "scroll" }, lossTable),
      element("p", { className: "note", textContent: where + how }),
      copied("The model there, in Python", line),
    );
    this.state.mapped = moved && signs ? losses.map((x, j) => x * signs[j]) : null;
    this.state.tell("marks");
  }
}

// The losses on the straight line, triangle or simplex between points around a preference.
function between({ preferences, losses, triangles }, r) {
  for (const corners of triangles ?? []) {
    const shares = barycentric(
      corners.map((k) => preferences[k]),
      r,
    );
    if (shares?.every((x) => x >= -1e-9)) {
      return { inside: true, losses: r.map((_, j) => sum(corners.map((k, c) => shares[c] * losses[k][j]))) };
    }
  }
  const away = preferences.map((p) => Math.hypot(...p.map((x, j) => x - r[j])));
  return { inside: false, losses: losses[away.indexOf(smallest(away))] };
}

// What shares of the corners make up r: by Gauss's elimination; null of corners in one plane.
function barycentric(corners, r) {
  const m = r.length;
  const rows = range(m).map((j) => [...corners.map((corner) => corner[j]), r[j]]);
  for (let k = 0; k < m; k++) {
    const pivot = range(m - k).reduce((a, b) => (Math.abs(rows[k + b][k]) > Math.abs(rows[k + a][k]) ? b : a), 0) + k;
    if (Math.abs(rows[pivot][k]) < 1e-12) return null;
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    for (let i = 0; i < m; i++) {
      if (i === k) continue;
      const times = rows[i][k] / rows[k][k];
      for (let j = k; j <= m; j++) rows[i][j] -= times * rows[k][j];
    }
  }
  return range(m).map((k) => rows[k][m] / rows[k][k]);
}
