// Bundles src/ into ../static/ (or the folder given), with the licences of what is bundled.
import { build } from "esbuild";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "static");
mkdirSync(out, { recursive: true });

const KDBUSH = `ISC License

Copyright (c) 2018, Vladimir Agafonkin

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE.`;

const result = await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.js" },
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: "es2020",
  legalComments: "none",
  outdir: out,
  metafile: true,
});

copyFileSync(join(here, "src", "page.html"), join(out, "page.html"));

const about = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
const packages = new Set();
// A package's own bundle holds what it depends on.
function add(name) {
  if (packages.has(name) || !existsSync(join(here, "node_modules", name))) return;
  packages.add(name);
  Object.keys(about(name).dependencies ?? {}).forEach(add);
}
for (const path of Object.keys(result.metafile.inputs)) {
  const match = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/);
  if (match) add(match[1]);
}

let text = "page.js holds these packages, each under the licence that stands below its name.\n";
for (const name of [...packages].sort()) {
  const { version, license } = about(name);
  const folder = join(here, "node_modules", name);
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const licence = file ? readFileSync(join(folder, file), "utf8").trim() : `Licence: ${license}`;
  text += `\n${"-".repeat(80)}\n${name} ${version} (${license})\n\n${licence}\n`;
}
// regl-scatterplot carries a copy of it, without the text.
text += `\n${"-".repeat(80)}\nkdbush 4.0.2 (ISC), within regl-scatterplot\n\n${KDBUSH}\n`;
writeFileSync(join(out, "LICENSES.txt"), text);
