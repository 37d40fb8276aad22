// Generates TypeScript from OpenAPI documents: `node generate.mjs <document.json>…` writes `<document>.d.ts`.

import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

for (const path of process.argv.slice(2)) {
  const ast = await openapiTS(await readFile(path, "utf8"), { silent: true, defaultNonNullable: false });
  await writeFile(path.replace(/\.json$/, ".d.ts"), astToString(ast));
}
