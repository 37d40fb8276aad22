// What a JSON Schema says to who fills in a form.

export const MOST_DEEP = 8; // what is nested more deeply is written as JSON

/** Return what a field begins with: its default, or the least there has to be. */
export function initial(schema, root, required = true, depth = 0) {
  const { kind, schema: known } = kindOf(schema, root);
  if (known.default !== undefined) return known.default;
  if (!required || depth > MOST_DEEP) return undefined;
  if (kind === "object") {
    const needed = new Set(known.required);
    const begun = Object.entries(known.properties).map(([name, part]) => [
      name, initial(part, root, needed.has(name), depth + 1),
    ]);
    return Object.fromEntries(begun.filter(([, value]) => value !== undefined));
  }
  return { string: "", flag: false, array: [] }[kind] ?? known.const;
}

/** Return what kind of field a schema needs, and the schema with its references followed. */
export function kindOf(reference, root, hops = 0) {
  const schema = resolved(reference, root);
  if (schema === null || typeof schema !== "object" || hops > MOST_DEEP) return { kind: "json", schema: {} };
  const { anyOf, ...rest } = schema;
  const branches = (anyOf ?? []).filter((branch) => branch.type !== "null"); // a null is what is left out
  if (branches.length === 1) return kindOf({ ...branches[0], ...rest }, root, hops + 1);
  const types = [schema.type].flat().filter((type) => type !== "null");
  const [type] = types;
  if (schema.const !== undefined) return { kind: "choice", schema: { ...schema, enum: [schema.const] } };
  if (Array.isArray(schema.enum)) return { kind: "choice", schema };
  if (types.length !== 1) return { kind: "json", schema };
  if (type === "boolean") return { kind: "flag", schema: { ...schema, enum: [true, false] } };
  if (type === "object" && schema.properties !== undefined) return { kind: "object", schema };
  if (type === "array" && schema.items && !schema.prefixItems) return { kind: "array", schema };
  if (type === "string") return { kind: "string", schema };
  if (type === "number" || type === "integer") return { kind: "number", schema };
  return { kind: "json", schema };
}

/** Follow references inside the whole schema (RFC 6901, "JSON Pointer"); others lead nowhere. */
function resolved(schema, root) {
  let found = schema;
  for (let hops = 0; typeof found?.$ref === "string" && hops < MOST_DEEP; hops += 1) {
    const { $ref: reference, ...own } = found;
    if (!/^#(\/|$)/.test(reference)) return null;
    const target = decodeURIComponent(reference).split("/").slice(1)
      .reduce((part, key) => part?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    if (target === null || typeof target !== "object") return null;
    found = { ...target, ...own };
  }
  return found;
}

/** Return the description of a schema and its bounds, as sentences. */
export function described(schema) {
  const { minimum: low, maximum: high, minLength: short, maxLength: long } = schema;
  const range = (from, to, what) => {
    if (from === undefined && to === undefined) return "";
    if (to === undefined) return `At least ${from}${what}.`;
    return from === undefined ? `At most ${to}${what}.` : `${from} to ${to}${what}.`;
  };
  const description = (schema.description ?? "").replace(/[^.!?]$/, "$&.");
  return [description, range(low, high, ""), range(short, long, " characters")].filter(Boolean).join(" ");
}
