// What the form needs of a JSON Schema.

export const MAX_DEPTH = 8; // deeper levels are edited as JSON
export const MAX_FIELDS = 200; // of a form for a schema that nobody has checked

/** Return the initial value of a field: its default, or the smallest valid shape. */
export function initial(schema, root, required = true, depth = 0) {
  const { kind, schema: known } = kindOf(schema, root);
  if (known.default !== undefined) return known.default;
  if (!required || depth > MAX_DEPTH) return undefined;
  if (kind === "object") {
    const needed = new Set(known.required);
    const entries = Object.entries(known.properties).map(([name, part]) => [
      name, initial(part, root, needed.has(name), depth + 1),
    ]);
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }
  return { string: "", flag: false, array: [] }[kind] ?? known.const;
}

/** Return the kind of field for a schema, and the schema with its references resolved. */
export function kindOf(reference, root, hops = 0) {
  const schema = resolved(reference, root);
  if (schema === null || typeof schema !== "object" || hops > MAX_DEPTH) return { kind: "json", schema: {} };
  const { anyOf, ...rest } = schema;
  const branches = (anyOf ?? []).filter((branch) => branch.type !== "null"); // null is an omitted value
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

/** Return how many fields a form has, or somewhat more than `MAX_FIELDS` if it has more. */
export function sizeOf(schema, root = schema, depth = 0) {
  const { kind, schema: known } = kindOf(schema, root);
  if (depth > MAX_DEPTH) return 1;
  if (kind === "array") return 1 + sizeOf(known.items, root, depth + 1);
  let size = 1;
  for (const part of kind === "object" ? Object.values(known.properties) : []) {
    size += sizeOf(part, root, depth + 1);
    if (size > MAX_FIELDS) return size;
  }
  return kind === "choice" ? Math.max(1, known.enum.length / 10) : size;
}

/** Return whether a value must not be shown (JSON Schema Validation, 9.4; OpenAPI, "format"). */
export function isSecret(schema) {
  return schema.writeOnly === true || schema.format === "password";
}

/** Return whether a part of a value must not be shown. */
export function hasSecret(schema) {
  return /"(writeOnly":true|format":"password")/.test(JSON.stringify(schema));
}

/** Follow references inside the whole schema (RFC 6901, "JSON Pointer"); others cannot be resolved. */
function resolved(schema, root) {
  let current = schema;
  for (let hops = 0; typeof current?.$ref === "string" && hops < MAX_DEPTH; hops += 1) {
    const { $ref: reference, ...own } = current;
    if (!/^#(\/|$)/.test(reference)) return null;
    const target = decodeURIComponent(reference).split("/").slice(1)
      .reduce((part, key) => part?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    if (target === null || typeof target !== "object") return null;
    current = { ...target, ...own };
  }
  return current;
}

/** Return the description and bounds of a schema as sentences. */
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

const FORMATS = { // of JSON Schema Validation, 7.3
  "date-time": "a date and time, such as 2026-01-31T12:00:00Z",
  date: "a date, such as 2026-01-31",
  time: "a time, such as 12:00:00Z",
  email: "an e-mail address",
  uri: "a URL",
  uuid: "a UUID",
};

/** Return in words which rule of its schema a value breaks, null if that cannot be told. */
export function broken(schema, value) {
  if (value === undefined || (value === "" && schema.minLength > 0)) return "This is required.";
  const rules = Array.isArray(value) ? brokenByItems(schema, value) : typeof value === "string" ? brokenByText(schema, value)
    : typeof value === "number" ? brokenByNumber(schema, value) : [];
  const rule = rules.find(([isBroken]) => isBroken)?.[1] ?? brokenType(schema, value);
  return rule === null ? null : `This must ${rule}.`;
}

function brokenByNumber({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf }, value) {
  return [
    [[type].flat().includes("integer") && !Number.isInteger(value), "be a whole number"],
    [value < minimum, `be at least ${minimum}`],
    [value > maximum, `be at most ${maximum}`],
    [value <= exclusiveMinimum, `be more than ${exclusiveMinimum}`],
    [value >= exclusiveMaximum, `be less than ${exclusiveMaximum}`],
    [multipleOf !== undefined && value % multipleOf !== 0, `be a multiple of ${multipleOf}`],
  ];
}

function brokenByText({ minLength, maxLength, format, pattern }, value) {
  const { length } = [...value]; // characters, as JSON Schema counts them
  return [
    [length < minLength, `have at least ${minLength} characters, and has ${length}`],
    [length > maxLength, `have at most ${maxLength} characters, and has ${length}`],
    [Object.hasOwn(FORMATS, format ?? ""), `be ${FORMATS[format]}`],
    [pattern !== undefined, `match ${pattern}`],
  ];
}

function brokenByItems({ minItems, maxItems, uniqueItems }, value) {
  return [
    [value.length < minItems, `have at least ${minItems} ${minItems === 1 ? "entry" : "entries"}`],
    [value.length > maxItems, `have at most ${maxItems} ${maxItems === 1 ? "entry" : "entries"}`],
    [uniqueItems === true, "have no entry twice"],
  ];
}

function brokenType({ type, enum: values }, value) {
  if (values !== undefined) return "be one of the choices";
  if ([type].flat().some((each) => each === "number" || each === "integer") && typeof value !== "number") return "be a number";
  return null;
}
