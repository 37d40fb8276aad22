// The rows of a timeline: one for each source, nested as their paths are, such as `supervisor/researcher`.

const MAX_ROWS = 200;
const MAX_DEPTH = 8;
const MAX_LABEL = 200; // characters
const OTHERS = "other sources";

/** The groups of lanes in a row, from the top. */
export const LANES = ["run", "step", "work", "mark"];

class Row {
  children = [];
  items = Object.fromEntries(LANES.map((lanes) => [lanes, []])); // in the order in which they begin
  changes = 0; // of what decides about the lanes

  constructor(path, label, depth) {
    this.path = path;
    this.label = label.slice(0, MAX_LABEL);
    this.depth = depth;
  }
}

export class Sources {
  root = new Row("", "Run", 0); // of what has no source
  rows = [this.root]; // in the order in which they are shown

  #byPath = new Map([["", this.root]]);

  /** Return the row of a source, which is made when it is first asked for. */
  row(source) {
    const path = typeof source === "string" ? source.split("/", MAX_DEPTH).join("/") : "";
    return this.#byPath.get(path) ?? this.#add(path);
  }

  #add(path) {
    if (this.#byPath.size >= MAX_ROWS && path !== OTHERS) return this.row(OTHERS);
    const names = path.split("/");
    const parent = names.length === 1 ? this.root : this.row(names.slice(0, -1).join("/"));
    const row = new Row(path, names.at(-1), names.length - 1);
    this.#byPath.set(path, row);
    parent.children.push(row);
    this.rows = [...flat(this.root)];
    return row;
  }
}

function* flat(row) {
  yield row;
  for (const child of row.children) yield* flat(child);
}
