// What the page shows, and how it was set. A point is its index in the order of the ids.

function decoded(raw) {
  const doubles = (text) => text && new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const margins = Object.entries(raw.margins).map(([level, text]) => [level, doubles(text)]);
  return { ...raw, values: doubles(raw.values), margins: Object.fromEntries(margins), errors: doubles(raw.errors) };
}

// Rounded to few digits of the measure's range, away from better, so that the best point always keeps its best.
function looser(cost, span) {
  const power = Math.floor(Math.log10(span / 200));
  if (power >= 0) return Math.ceil(cost / 10 ** power) * 10 ** power;
  const decimals = Math.min(-power, 100);
  const near = Number(cost.toFixed(decimals));
  if (near >= cost) return near;
  return Math.max(cost, Number((Math.ceil(cost * 10 ** decimals) / 10 ** decimals).toFixed(decimals)));
}

class State {
  constructor(raw) {
    this.data = decoded(raw);
    const { objectives, ids, free, values } = this.data;
    [this.n, this.m] = [ids.length, objectives.length];
    this.signs = objectives.map((o) => o.sign);
    this.among = new Candidates(this.data);
    this.places = new Map(ids.map((id, i) => [id, i]));
    this.free = new Set(free);
    this.costs = range(this.n).map((i) => this.signs.map((sign, j) => sign * values[i * this.m + j]));
    this.setEnds();
    this.bounds = new Array(this.m).fill(null);
    this.dominatedShown = true;
    this.hand = this.data.chosen === null ? null : this.places.get(this.data.chosen);
    this.hover = null;
    this.mapped = null; // the measures on the map at its preference
    this.setRules();
    this.listeners = [];
    this.refilter();
  }

  // the best and the worst cost on the axes: of all points and of the ideals
  setEnds() {
    const ideals = this.data.ideals && this.data.ideals.map((x, j) => x * this.signs[j]);
    const column = (j) => [...this.costs.map((c) => c[j]), ...(ideals ? [ideals[j]] : [])];
    this.best = range(this.m).map((j) => smallest(column(j)));
    this.worst = range(this.m).map((j) => largest(column(j)));
    this.flat = range(this.m).map((j) => {
      const size = Math.max(Math.abs(this.best[j]), Math.abs(this.worst[j]), 1e-300);
      return this.worst[j] - this.best[j] <= 1e-12 * size;
    });
  }

  setRules() {
    const entries = this.data.rules.map(({ name }) => [name, { kind: name, ...RULES[name].settings?.(this) }]);
    this.rules = Object.fromEntries(entries);
    const quick = this.among.n <= MANY; // a knee of thousands of points takes a moment
    this.kind = quick && this.answer(this.rules.Knee).id !== null ? "Knee" : "MinMaxRegret";
  }

  get rule() {
    return this.rules[this.kind];
  }

  // Those without settings are answered once.
  answer(rule) {
    if (Object.keys(rule).length > 1) return choose(this.among, rule);
    this.known ??= {};
    return (this.known[rule.kind] ??= choose(this.among, rule));
  }

  change() {
    this.refilter();
    [this.choice, this.sorted] = [null, null];
    this.tell("all");
  }

  point(i) {
    this.hover = i;
    this.tell("marks");
  }

  pick(i) {
    this.hand = i;
    this.change();
  }

  tell(what) {
    for (const listener of this.listeners) listener(what);
  }

  setBound(j, value) {
    this.bounds[j] = value;
    this.released();
    this.moving = true; // until it has been still for a moment
    clearTimeout(this.still);
    this.still = setTimeout(() => {
      this.moving = false;
      this.tell("all");
    }, 200);
    this.change();
  }

  // A bound asks the rule that keeps it anew; what was picked by hand beside other rules stays.
  released() {
    if (this.kind === "Constraint") this.hand = null;
  }

  refilter() {
    const bounded = range(this.m).filter((j) => this.bounds[j] !== null);
    this.kept = this.costs.map((c) => bounded.every((j) => c[j] <= this.signs[j] * this.bounds[j]));
  }

  get choiceByRule() {
    return (this.choice ??= this.answer(this.rule));
  }

  // the place of the point that is chosen, by hand or by the rule; null where there is none
  get chosen() {
    if (this.hand !== null) return this.hand;
    const { id } = this.choiceByRule;
    return id === null ? null : this.places.get(id);
  }

  // the place of the point that is nearest to keeping bounds which none keeps
  get nearest() {
    return this.hand === null && this.choiceByRule.nearest ? this.places.get(this.choiceByRule.nearest) : null;
  }

  // The points in the order they are painted, with what they look like.
  kinds() {
    if (this.sorted) return this.sorted;
    const all = range(this.n).filter((i) => this.isShown(i));
    const of = (free, kept) => all.filter((i) => this.free.has(i) === free && this.kept[i] === kept);
    const { dominated, front } = colours();
    this.sorted = [
      { points: of(false, false), colour: dominated, faded: true },
      { points: of(true, false), colour: front, faded: true },
      { points: of(false, true), colour: dominated, faded: false },
      { points: of(true, true), colour: front, faded: false },
    ];
    return this.sorted;
  }

  isShown(i) {
    return this.free.has(i) || this.dominatedShown || i === this.hand;
  }

  value(i, j) {
    return this.data.values[i * this.m + j];
  }

  said(i, j) {
    return shown(this.value(i, j), this.data.objectives[j]);
  }

  // 1 for the best end of an axis, 0 for the worst
  height(cost, j) {
    return this.flat[j] ? 0.5 : (this.worst[j] - cost) / (this.worst[j] - this.best[j]);
  }

  boundAt(height, j) {
    if (height <= 0) return null;
    const span = this.worst[j] - this.best[j];
    return this.signs[j] * looser(this.worst[j] - Math.min(height, 1) * span, span);
  }

  // Of the points that none dominates, the nearest on the axes, with what they gain and give up against this one.
  neighbours(i) {
    const away = (k) => {
      const steps = this.costs[k].map((c, j) => this.height(c, j) - this.height(this.costs[i][j], j));
      return Math.hypot(...steps);
    };
    const others = this.data.free.filter((k) => k !== i);
    return lexsort(others, away)
      .slice(0, SHOWN)
      .map((k) => {
        const better = this.costs[i].map((c, j) => c - this.costs[k][j]);
        const [gains, givesUp] = [better.map((b) => (b > 0 ? b : null)), better.map((b) => (b < 0 ? -b : null))];
        return { id: this.data.ids[k], gains, givesUp };
      });
  }

  dominator(i) {
    if (this.free.has(i)) return null;
    return this.data.free.find((k) => this.costs[k].every((c, j) => c <= this.costs[i][j])) ?? null;
  }
}
