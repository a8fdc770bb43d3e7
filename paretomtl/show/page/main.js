// The page: its parts, put together.

const byId = (id) => document.getElementById(id);
const MOST_ROWS = 200; // of the table of points

function summary({ seeds, failed, ids, free, split }) {
  const points = ids.length === 1 ? "1 point" : `${ids.length} points`;
  const over = seeds > 1 ? `, means over ${seeds} seeds` : "";
  const without = failed ? `; ${failed} failed and are not shown` : "";
  const data = split === "validate" ? "validation" : split;
  return `${points}${over}, ${free.length} that none dominates${without}. Measures on the ${data} data.`;
}

function legend(state) {
  const { data } = state;
  const entries = [["front", "front"]];
  if (state.n > state.free.size) entries.push(["dominated", "dominated"]);
  entries.push(["chosen", "chosen"]);
  if (data.ideals) entries.push(["ideal", "trained alone (ideals)"]);
  if (data.reference) entries.push(["reference", "reference"]);
  if (data.origin && data.requested.some(Boolean)) entries.push(["ray", "ray asked"], ["way", "ray reached"]);
  if (data.map && data.map.signs) entries.push(["mapped", "interpolated"]);
  return entries.map(([kind, text]) => element("li", { className: kind }, element("i"), text));
}

function note(state, scatter) {
  const { reference } = state.data;
  if (!reference) return "The hypervolume’s reference is of the losses, so that it is not drawn among these measures.";
  const beyond = scatter.limits.some(([low, high], j) => reference[j] < low || reference[j] > high);
  const text = state.among.names
    .map((name, j) => `${name} ${shown(reference[j], state.data.objectives[j])}`)
    .join(", ");
  return beyond ? `The reference (${text}) lies beyond these axes.` : "";
}

function drawLeft(state) {
  const kept = range(state.n).filter((i) => state.kept[i] && state.isShown(i)).length;
  const all = range(state.n).filter((i) => state.isShown(i)).length;
  const bounded = state.bounds.some((b) => b !== null);
  const measured = state.rule.margin ? " as measured" : ""; // the rule keeps them at worst
  const unbounded = `${all === 1 ? "1 point" : `all ${all} points`}, no bounds yet`;
  byId("left").textContent = bounded ? `${kept} of ${all} points keep the bounds${measured}` : unbounded;
  byId("clear").disabled = !bounded;
}

function drawTable(state) {
  const kept = range(state.n).filter((i) => state.kept[i] && state.isShown(i));
  byId("table-count").textContent =
    kept.length > MOST_ROWS ? `the first ${MOST_ROWS} of ${kept.length}` : `${kept.length}`;
  if (!byId("table").open) return;
  const { data } = state;
  const head = ["id", ...data.objectives.map(titled), "asked", "control error"];
  const rows = kept.slice(0, MOST_ROWS).map((i) => {
    const requested = data.requested[i] ? data.requested[i].map((x) => general(x, 3)).join(", ") : "";
    const off = data.off[i] === null ? "" : `${general(data.off[i], 3)}°`;
    const cells = [data.ids[i], ...range(state.m).map((j) => general(state.value(i, j), 4)), requested, off];
    const row = tableRow(cells, "td");
    row.classList.toggle("chosen", i === state.chosen);
    row.addEventListener("pointerenter", () => state.point(i));
    row.addEventListener("pointerleave", () => state.point(null));
    row.addEventListener("click", () => state.pick(i));
    return row;
  });
  byId("table").querySelector(".scroll").replaceChildren(table(head, rows));
}

function setTheme(plots, theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  ink = null;
  for (const plot of plots) plot.state.sorted = null;
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to ${dark ? "light" : "dark"} colours`);
  for (const plot of plots) plot.draw();
}

function start(raw) {
  const state = new State(raw);
  const { data } = state;
  byId("title").textContent = data.folder ?? document.title.replace(/: .*/, "");
  byId("summary").textContent = summary(data);
  byId("legend").replaceChildren(...legend(state));
  const hidden = state.n - state.free.size;
  byId("dominated-label").hidden = !hidden;
  byId("dominated-label").querySelector("span").textContent = `show ${hidden} dominated`;

  const scatter = new Scatter(byId("scatter"), state);
  const parallel = new Parallel(byId("parallel"), state);
  const plots = [scatter, parallel];
  byId("scatter-note").textContent = note(state, scatter);
  const requested = data.requested.some((r, i) => r && data.reached[i]);
  byId("requested-view").hidden = !requested;
  if (requested) {
    plots.push(new Requested(byId("requested"), state));
    byId("requested-note").textContent = plots[2].note();
  }
  state.plots = plots;
  if (data.first !== "scatter-view") byId("scatter-view").before(byId(data.first));
  const controls = new Controls(byId("rule"), state);
  const card = new ChoiceCard(byId("choice"), byId("chosen"), state);
  byId("asking-view").hidden = !data.requested.some(Boolean); // without preferences there is none to ask for
  const asking = new Asking(byId("asking"), state, controls);

  let [waiting, all] = [false, false];
  state.listeners.push((what) => {
    all ||= what === "all";
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      const whole = all;
      [waiting, all] = [false, false];
      if (!whole) return plots.forEach((plot) => plot.mark());
      refresh();
    });
  });
  const refresh = () => {
    for (const plot of plots) plot.draw();
    controls.refresh();
    card.draw();
    asking.draw();
    drawLeft(state);
    drawTable(state);
  };
  byId("map-view").hidden = !data.map;
  if (data.map) new PreferenceSliders(byId("map"), state);
  byId("table").addEventListener("toggle", () => drawTable(state));
  byId("dominated").addEventListener("change", (event) => {
    state.dominatedShown = event.target.checked;
    state.change();
  });
  byId("clear").addEventListener("click", () => {
    state.bounds.fill(null);
    state.released();
    state.change();
  });
  byId("theme").addEventListener("click", () => {
    setTheme(plots, getComputedStyle(document.documentElement).colorScheme === "dark" ? "light" : "dark");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(plots));
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    setTheme(plots, "light");
  });
  addEventListener("afterprint", () => {
    if (before) return setTheme(plots, before);
    delete document.documentElement.dataset.theme;
    setTheme(plots);
  });
  setTheme(plots);
  refresh();
  return state;
}

// for tests, and for whoever wants the same choices in a script of their own
window.paretomtl = {
  rules: RULES,
  choose: (raw, rule) => choose(new Candidates(decoded(raw)), rule),
  runnerUp,
  pythonRule,
  between,
  state: start(JSON.parse(byId("data").textContent)),
};
