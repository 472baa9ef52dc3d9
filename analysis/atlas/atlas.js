// The page of the atlas. `dagre` is above, in the same module; everything that is drawn comes from DATA.

const find = (id) => document.getElementById(id);
const { networks, bubbles } = await unpack(find("data").textContent);
const named = new Map(networks.map((network) => [network.name, network]));
const OUTSIDE = -1;
const FIGURES = { multiply_adds: "multiply-adds", parameters: "parameters", memory: "memory" };
const LARGE = { width: 180, height: 48 }; // a layer or block, in pixels
const SMALL = { width: 104, height: 24 }; // an operation
const PADDING = 10;
const EDGE = { minlen: 1, weight: 1, width: 0, height: 0, labeloffset: 0, labelpos: "r" }; // what dagre asks of each
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }; // columns, rows

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// Makes an element, of SVG where the name starts with "svg:".
function make(name, attributes = {}, ...children) {
  const [kind, tag] = name.startsWith("svg:")
    ? ["http://www.w3.org/2000/svg", name.slice(4)]
    : ["http://www.w3.org/1999/xhtml", name];
  const element = document.createElementNS(kind, tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Numbers and shapes

const by = (sides) => sides.join(" × ");
const one = (pair) => (pair[0] === pair[1] ? String(pair[0]) : by(pair));
const tight = (sides) => sides.join("×");
const exact = (number) => number.toLocaleString("en");

function short(number, units = ["", "\u00a0k", "\u00a0M", "\u00a0G"], step = 1000) {
  let unit = 0;
  while (number >= step && unit < units.length - 1) [number, unit] = [number / step, unit + 1];
  return `${unit ? number.toPrecision(number < 100 ? 3 : 4) : exact(number)}${units[unit]}`;
}
const bytes = (number) => short(number, ["\u00a0B", "\u00a0KiB", "\u00a0MiB", "\u00a0GiB"], 1024);
const written = (figure, number) => (figure === "memory" ? bytes(number) : short(number));

function share(part, whole) {
  const percent = whole ? (100 * part) / whole : 0;
  return percent === 0 ? "" : percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
}

// Blocks and layers

const leaves = (node) => (node.nodes ? node.nodes.flatMap(leaves) : [node]);
const total = (node, figure) => leaves(node).reduce((sum, leaf) => sum + (leaf[figure] ?? 0), 0);
const isOperation = (node) => !node.nodes && !node.input;
const lastLayer = (node) => leaves(node).findLast((leaf) => leaf.receptive_field);
const lastConvolution = (node) => leaves(node).findLast((leaf) => leaf.kind === "conv");

function look(node) {
  if (node.nodes) return "block";
  if (isOperation(node)) return "operation";
  if (node.kind === "conv" || node.kind === "dense") return node.kind;
  return /pool|average/.test(node.kind) ? "pool" : "norm";
}

function kindOf(node) {
  if (node.nodes) {
    const layers = leaves(node).filter((leaf) => leaf.input).length;
    return `block of ${layers === 1 ? "a layer" : `${layers} layers`}`;
  }
  if (node.kind === "dense") return "fully connected";
  if (node.kind !== "conv") return node.kind;
  const depthwise = node.groups > 1 && node.groups === node.input.at(-1);
  return `${depthwise ? "depthwise " : node.groups > 1 ? "grouped " : ""}convolution`;
}

function summary(node) {
  const output = tight(node.output);
  const [layer, ...more] = leaves(node).filter((leaf) => leaf.stride);
  if (!layer || more.length) return output;
  return `${tight(layer.kernel)}${one(layer.stride) === "1" ? "" : ` /${one(layer.stride)}`} → ${output}`;
}

function facts(network, node) {
  const rows = [["kind", kindOf(node)]];
  const add = (name, value) => value !== undefined && value !== "" && rows.push([name, value]);
  if (node.input) add("input", by(node.input));
  add("output", by(node.output));
  if (isOperation(node)) return rows;
  if (node.kernel) add("kernel", by(node.kernel));
  if (node.stride) add("stride", one(node.stride));
  if (node.padding) {
    const sides = node.padding.map((side) => one(side).replace(" × ", "+")); // 0+1: one pixel below or right
    add("padding", one(sides));
  }
  if (node.groups > 1) add("groups", exact(node.groups));
  for (const [figure, name] of Object.entries(FIGURES)) {
    const value = total(node, figure);
    const percent = share(value, network[figure]);
    add(name, `${figure === "memory" ? bytes(value) : exact(value)}${percent && ` (${percent})`}`);
  }
  const last = lastLayer(node);
  if (last) add("receptive field", `${by(last.receptive_field)} pixels`);
  return rows;
}

// Arrow keys go to the nearest of some elements; one of them is in the order of the Tab key.
function rove(elements, places, chosen = 0) {
  elements.forEach((element, i) => {
    element.setAttribute("tabindex", i === chosen ? 0 : -1);
    element.addEventListener("focus", () =>
      elements.forEach((other) => other.setAttribute("tabindex", other === element ? 0 : -1)),
    );
    element.addEventListener("keydown", (event) => {
      const [dx, dy] = ARROWS[event.key] ?? [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      let best = null;
      places.forEach(([x, y], j) => {
        const along = (x - places[i][0]) * dx + (y - places[i][1]) * dy;
        const aside = Math.abs((x - places[i][0]) * dy) + Math.abs((y - places[i][1]) * dx);
        if (along > 1 && (!best || along + 2 * aside < best[0])) best = [along + 2 * aside, j];
      });
      if (best) elements[best[1]].focus();
    });
  });
}

// A network: its blocks, what is known of one of them, and what it sees of the photograph

class Panel {
  // `place`: names of the blocks to go into.
  constructor(network, place = []) {
    this.network = network;
    this.path = [network.root];
    for (const name of place) {
      const block = this.scope.nodes.find((node) => node.name === name && node.nodes);
      if (block) this.path.push(block);
    }
    this.unit = [0.5, 0.5]; // of the feature map, from 0 to 1
    this.diagram = make("div", { class: "diagram" });
    this.crumbs = make("ol");
    this.into = make("button", { type: "button", click: () => this.enter(this.chosen) }, "zoom in");
    this.out = make("button", { type: "button", click: () => this.leave() }, "zoom out");
    this.name = make("h3");
    this.list = make("dl");
    this.picture = make("svg:svg", { tabindex: 0, role: "application" });
    this.caption = make("figcaption", { "aria-live": "polite" });
    this.element = make(
      "article",
      { class: "panel" },
      make("h2", {}, network.name),
      make("p", { class: "facts" }, this.facts()),
      make("nav", { class: "where", "aria-label": `Place in ${network.name}` }, this.crumbs, this.out, this.into),
      make(
        "div",
        { class: "inside" },
        this.diagram,
        make("div", { class: "about" }, this.name, this.list, make("figure", {}, this.picture, this.caption)),
      ),
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.leave();
    });
    for (const kind of ["pointerdown", "pointermove"]) {
      this.picture.addEventListener(kind, (event) => (kind === "pointerdown" || event.buttons) && this.pointAt(event));
    }
    this.picture.addEventListener("keydown", (event) => this.step(event));
    this.draw();
  }

  facts() {
    const { year, fields, published, input } = this.network;
    const error =
      published && `${Number(published.top1.toFixed(2))} % top-1 error (${published.where}, ${published.source})`;
    return [
      year,
      `images of ${by(input)}`,
      ...["parameters", "multiply_adds"].map((figure) => `${short(this.network[figure])} ${FIGURES[figure]}`),
      error,
      fields,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  get scope() {
    return this.path.at(-1);
  }

  enter(node) {
    if (!node?.nodes) return;
    this.path.push(node);
    while (this.scope.nodes.length === 1 && this.scope.nodes[0].nodes) this.path.push(this.scope.nodes[0]);
    this.draw(true);
  }

  leave() {
    if (this.path.length === 1) return;
    const left = this.path.pop();
    this.draw(true, left);
  }

  // Returns the button that goes back to a block of the path.
  crumb(i) {
    const back = () => {
      const left = this.path[i + 1];
      this.path.length = i + 1;
      this.draw(true, left);
    };
    const button = make("button", { type: "button", click: back }, this.path[i].name || this.network.name);
    button.disabled = i === this.path.length - 1;
    return button;
  }

  // Draws the blocks of the present scope; `focus`: the keyboard was in it.
  draw(focus = false, chosen = this.scope.nodes[0]) {
    this.crumbs.replaceChildren(...this.path.map((_, i) => make("li", {}, this.crumb(i))));
    this.out.disabled = this.path.length === 1;
    const { svg, elements, places } = diagram(this.scope, this.network, find("figure").value);
    this.scope.nodes.forEach((node, i) => {
      const show = () => this.show(node);
      const choose = () => this.choose(node);
      elements[i].addEventListener("pointerenter", show);
      elements[i].addEventListener("pointerleave", () => this.show(this.chosen));
      elements[i].addEventListener("focus", choose);
      elements[i].addEventListener("click", () => (choose(), this.enter(node)));
      elements[i].addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.enter(node);
      });
    });
    const index = this.scope.nodes.indexOf(chosen);
    rove(elements, places, index);
    this.elements = elements;
    this.diagram.replaceChildren(svg);
    this.center();
    this.choose(chosen);
    if (focus) {
      elements[index].focus();
      remember();
    }
  }

  center() {
    this.diagram.scrollLeft = (this.diagram.scrollWidth - this.diagram.clientWidth) / 2;
  }

  choose(node) {
    this.chosen = node;
    this.scope.nodes.forEach((other, i) => this.elements[i].classList.toggle("chosen", other === node));
    this.into.disabled = !node.nodes;
    this.show(node);
  }

  show(node) {
    this.name.textContent = node.name;
    this.list.replaceChildren(
      ...facts(this.network, node).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
    );
    this.layer = lastLayer(node) ?? this.layer ?? lastLayer(this.network.root);
    this.paint();
  }

  // Rows and columns of the layer's map, and the unit that is chosen.
  get map() {
    const sides = this.layer.output.length === 3 ? this.layer.output.slice(0, 2) : [1, 1];
    return { sides, unit: sides.map((side, i) => Math.min(side - 1, Math.floor(this.unit[i] * side))) };
  }

  paint() {
    const { layer } = this;
    const [height, width] = this.network.input;
    const { sides, unit } = this.map;
    const margin = Math.round(0.12 * width);
    const [h, w] = layer.receptive_field;
    const [y, x] = unit.map((index, i) => layer.field_start[i] + index * layer.field_step[i]);
    const field = { x, y, width: w, height: h };
    // What lies within the image: where it begins, and how long it is.
    const within = (from, size, side) => {
      const first = Math.max(0, from);
      return [first, Math.max(0, Math.min(side, from + size) - first)];
    };
    const [[top, tall], [left, wide]] = [within(y, h, height), within(x, w, width)];
    const radius = 0.018 * width;
    this.picture.setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
    this.picture.replaceChildren(
      make("svg:image", {
        href: photograph(height, width),
        width,
        height,
        style: width < 100 ? "image-rendering: pixelated" : "",
      }),
      make("svg:path", {
        class: "unseen",
        "fill-rule": "evenodd",
        d: `M0 0h${width}v${height}h${-width}zM${left} ${top}h${wide}v${tall}h${-wide}z`,
      }),
      make("svg:rect", { class: "field dark", ...field }),
      make("svg:rect", { class: "field", ...field }),
      make("svg:circle", { class: "unit", cx: x + w / 2, cy: y + h / 2, r: radius }),
    );
    const [row, column] = unit.map((index, i) => `${index + 1} of ${sides[i]}`);
    const which = sides[0] * sides[1] === 1 ? "Each unit" : `The unit in row ${row}, column ${column}`;
    const part = `${share(tall * wide, height * width)} of the image`;
    const rest = h > tall || w > wide ? "; the rest is padding" : "";
    this.caption.textContent = `${which} of ${layer.name} sees ${by([h, w])} pixels: ${part}${rest}.`;
    this.picture.setAttribute(
      "aria-label",
      `Receptive field on a photograph. ${this.caption.textContent} Arrows move the unit.`,
    );
  }

  pointAt(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.picture.getScreenCTM().inverse());
    const { sides } = this.map;
    const { field_start: start, field_step: step, receptive_field: size } = this.layer;
    this.unit = [point.y, point.x].map((at, i) => {
      const index = Math.round((at - start[i] - size[i] / 2) / step[i]);
      return (Math.max(0, Math.min(sides[i] - 1, index)) + 0.5) / sides[i];
    });
    this.paint();
  }

  step(event) {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    const move = ARROWS[event.key].toReversed();
    const { sides, unit } = this.map;
    this.unit = unit.map((index, i) => (Math.max(0, Math.min(sides[i] - 1, index + move[i])) + 0.5) / sides[i]);
    this.paint();
  }
}

const photographs = new Map();
function photograph(height, width) {
  const key = by([height, width]);
  if (!photographs.has(key)) {
    const photo = find("photo");
    const side = Math.min(photo.naturalWidth, photo.naturalHeight);
    const canvas = make("canvas", { width, height });
    canvas
      .getContext("2d")
      .drawImage(
        photo,
        (photo.naturalWidth - side) / 2,
        (photo.naturalHeight - side) / 2,
        side,
        side,
        0,
        0,
        width,
        height,
      );
    photographs.set(key, canvas.toDataURL("image/jpeg", 0.9));
  }
  return photographs.get(key);
}

// Returns the drawing of a block's nodes, the element of each, and its place.
function diagram(scope, network, figure) {
  const nodes = scope.nodes.map((node, i) => ({ v: String(i), ...(isOperation(node) ? SMALL : LARGE) }));
  const ends = new Map(["in", "out"].map((key) => [key, { v: key, ...SMALL }]));
  const edges = scope.edges.map(([from, to]) => ({
    v: from === OUTSIDE ? "in" : String(from),
    w: to === OUTSIDE ? "out" : String(to),
    ...EDGE,
  }));
  const all = [...nodes, ...ends.values()];
  dagre.layout(all, edges, { nodesep: 18, ranksep: 26 }, {});
  const right = Math.max(...all.map((n) => n.x + n.width / 2), ...edges.flatMap((e) => e.points.map((p) => p.x))) + 16;
  const bottom = Math.max(...all.map((n) => n.y + n.height / 2)) + 16;
  // A wide drawing shrinks to what is legible; the rest is scrolled to.
  const style = `width: max(${0.72 * (right + 16)}px, min(100%, ${right + 16}px))`;
  const svg = make("svg:svg", {
    style,
    viewBox: `-16 -16 ${right + 16} ${bottom + 16}`,
    role: "group",
    "aria-label": `${scope.name || network.name}: ${scope.nodes.length} parts`,
  });
  svg.append(...edges.map(flow));
  const input = network.root === scope ? `image ${tight(network.input)}` : "input";
  for (const [key, text] of [
    ["in", input],
    ["out", network.root === scope ? "answer" : "output"],
  ]) {
    const { x, y } = ends.get(key);
    svg.append(make("svg:text", { class: "small", x, y: y + 4, "text-anchor": "middle" }, text));
  }
  const elements = scope.nodes.map((node, i) => drawn(node, nodes[i], network, figure));
  svg.append(...elements);
  return { svg, elements, places: nodes.map((n) => [n.x, n.y]) };
}

function flow({ points }) {
  const [start, ...rest] = points;
  const end = rest.at(-1);
  let d = `M${start.x} ${start.y}`;
  for (let i = 0; i < rest.length - 1; i++) {
    // A curve that bends at this point, to the middle between it and the next one, or to the end.
    const [at, next] = [rest[i], rest[i + 1]];
    const to = next === end ? end : { x: (at.x + next.x) / 2, y: (at.y + next.y) / 2 };
    d += `Q${at.x} ${at.y} ${to.x} ${to.y}`;
  }
  return make(
    "svg:g",
    {},
    make("svg:path", { class: "flow", d }),
    make("svg:path", { class: "arrow", d: `M${end.x} ${end.y}l-4 -7h8z` }),
  );
}

function drawn(node, { x, y, width, height }, network, figure) {
  const kind = look(node);
  const [left, top] = [-width / 2, -height / 2];
  const text = (cls, x, y, content, anchor = "start") =>
    make("svg:text", { class: cls, x, y, "text-anchor": anchor }, content);
  const group = make("svg:g", {
    class: `node ${kind}`,
    transform: `translate(${x} ${y})`,
    role: "button",
    "aria-label": `${node.name}, ${kindOf(node)}, ${summary(node)}`,
  });
  if (kind === "operation") {
    group.append(
      make("svg:rect", { class: "shape", x: left, y: top, width, height, rx: height / 2 }),
      text("", 0, 4, node.kind, "middle"),
    );
    return group;
  }
  const box = `M${left} ${top}h${width}v${height}h${-width}z`;
  if (kind === "block")
    group.append(make("svg:path", { class: "back", d: `M${left + 5} ${top - 5}h${width}v${height}` }));
  group.append(
    kind === "dense"
      ? make("svg:rect", { class: "shape", x: left, y: top, width, height, rx: 16 })
      : make("svg:path", {
          class: "shape",
          d: kind === "pool" ? `M${left} ${top}h${width}l-8 ${height}h${16 - width}z` : box,
        }),
  );
  const part = total(node, figure);
  const inside = left + PADDING;
  const length = width - 2 * PADDING;
  group.append(
    text("name", inside, top + 18, node.name),
    text("small", -inside, top + 18, share(part, network[figure]), "end"),
    text("", inside, top + 35, summary(node)),
    make("svg:rect", {
      class: "share",
      x: inside,
      y: top + height - 7,
      width: (length * part) / network[figure],
      height: 4,
    }),
  );
  return group;
}

// Two networks in numbers

function compare(first, second) {
  const table = find("compared");
  table.hidden = !second;
  if (!second) return;
  const rows = [
    ...Object.entries(FIGURES).map(([figure, name]) => [
      figure === "memory" ? "memory of the outputs" : name,
      (n) => n[figure],
      (v) => written(figure, v),
    ]),
    [
      "convolutions and fully connected layers",
      (n) => leaves(n.root).filter((leaf) => leaf.multiply_adds).length,
      exact,
    ],
    ["receptive field of the last convolution, pixels", (n) => lastConvolution(n.root)?.receptive_field[0] ?? 0, exact],
  ].map(([name, value, format]) => {
    const [a, b] = [value(first), value(second)];
    return [name, format(a), format(b), `×\u00a0${Number((b / a).toPrecision(3))}`];
  });
  const error = ({ published }) => (published ? `${Number(published.top1.toFixed(2))} % (${published.where})` : "");
  rows.push(["published top-1 error", error(first), error(second), ""]);
  const line = (kind, cells) =>
    make("tr", {}, ...cells.map((cell, i) => make(i ? kind : "th", i ? {} : { scope: "row" }, cell)));
  table.replaceChildren(
    line("th", ["", first.name, second.name, "second over first"]),
    ...rows.map((row) => line("td", row)),
  );
}

// The years

function chart() {
  const until = Number(find("until").value);
  find("year").textContent = until;
  const width = Math.min(find("chart").clientWidth, 1100);
  const height = Math.max(320, Math.min(520, 0.62 * width));
  const box = { left: 44, right: width - 12, top: 22, bottom: height - 44 };
  const scale = (from, to, start, end) => (value) => start + ((value - from) / (to - from)) * (end - start);
  const log = scale(Math.log10(0.03e9), Math.log10(40e9), box.left, box.right);
  const x = (value) => log(Math.log10(value));
  const y = scale(45, 86, box.bottom, box.top);
  const radius = (parameters) => Math.max(4, Math.sqrt(parameters / 140e6) * 0.05 * Math.max(width, 480));
  const svg = make("svg:svg", { width, height, role: "group", "aria-label": `Networks until ${until}` });
  const line = (x1, y1, x2, y2) => svg.append(make("svg:line", { class: "axis", x1, y1, x2, y2 }));
  const text = (x, y, content, anchor = "middle") =>
    svg.append(make("svg:text", { class: "small", x, y, "text-anchor": anchor }, content));
  for (const giga of [0.03, 0.1, 0.3, 1, 3, 10, 30]) {
    line(x(giga * 1e9), box.top, x(giga * 1e9), box.bottom);
    text(x(giga * 1e9), box.bottom + 18, `${giga} G`);
  }
  for (const percent of [50, 60, 70, 80]) {
    line(box.left, y(percent), box.right, y(percent));
    text(box.left - 6, y(percent) + 4, `${percent} %`, "end");
  }
  text((box.left + box.right) / 2, height - 6, "multiply-adds of one image");
  text(box.left, 12, "top-1 accuracy", "start");
  const shown = bubbles
    .filter((b) => b.year <= until)
    .map((b) => ({ ...b, x: x(b.multiply_adds), y: y(100 - b.top1), r: radius(b.parameters) }));
  shown.sort((a, b) => b.r - a.r);
  const labels = place(shown, until, box);
  const elements = shown.map((b) =>
    make(
      "svg:g",
      {
        class: `bubble${b.year === until ? " new" : ""}`,
        role: "button",
        "aria-label": told(b),
        click: () => open(b.network),
        keydown: (event) => [" ", "Enter"].includes(event.key) && open(b.network),
        focus: () => tell(b),
        pointerenter: () => tell(b),
      },
      make("svg:circle", { cx: b.x, cy: b.y, r: b.r }),
    ),
  );
  const names = shown.flatMap((b, i) =>
    labels[i]
      ? [
          make(
            "svg:text",
            { class: b.year === until ? "label new" : "label", x: labels[i].x, y: labels[i].y + 10 },
            b.name,
          ),
        ]
      : [],
  );
  svg.append(...elements, ...names);
  rove(
    elements,
    shown.map((b) => [b.x, b.y]),
  );
  find("chart").replaceChildren(svg);
  const latest = bubbles.filter((b) => b.year === until).map((b) => b.name);
  find("bubble").textContent = `New in ${until}: ${latest.join(", ") || "none of these"}.`;
}

// Returns where each name fits beside its bubble, or null; those of the year come first.
function place(shown, until, box) {
  const taken = shown.map((b) => ({ x: b.x - 5, y: b.y - 5, w: 10, h: 10 }));
  const meet = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  const labels = shown.map(() => null);
  const order = [...shown.keys()].sort((i, j) => (shown[j].year === until) - (shown[i].year === until));
  for (const i of order) {
    const b = shown[i],
      w = 6.6 * b.name.length + 4,
      h = 13;
    const places = [
      [b.r + 3, -h / 2],
      [-b.r - 3 - w, -h / 2],
      [-w / 2, -b.r - 2 - h],
      [-w / 2, b.r + 2],
      [6, -h - 4],
      [6, 5],
      [-w - 6, -h - 4],
      [-w - 6, 5],
    ].map(([dx, dy]) => ({ x: b.x + dx, y: b.y + dy, w, h }));
    const free = places.find(
      (p) =>
        p.x > box.left &&
        p.x + w < box.right &&
        p.y > box.top &&
        p.y + h < box.bottom &&
        !taken.some((t, j) => j !== i && meet(p, t)),
    );
    if (free) taken.push((labels[i] = free));
  }
  return labels;
}

const told = (b) =>
  `${b.name}, ${b.year}: ${(100 - b.top1).toFixed(2)} % top-1 accuracy (${b.where}, ${b.source}), ` +
  `${short(b.parameters)} parameters, ${short(b.multiply_adds)} multiply-adds`;
const tell = (b) => (find("bubble").textContent = `${told(b)}.`);

// What is chosen

let panels = [];

function open(name) {
  if (!named.has(name)) return;
  find("first").value = name;
  refresh();
  find("networks").scrollIntoView();
}

function refresh() {
  const chosen = [find("first"), find("second")].map((select) => named.get(select.value)).filter(Boolean);
  panels = chosen.map((network, i) => (panels[i]?.network === network ? panels[i] : new Panel(network)));
  show();
}

function show() {
  find("panels").className = panels.length > 1 ? "two" : "";
  find("panels").replaceChildren(...panels.map((panel) => panel.element));
  panels.forEach((panel) => panel.center());
  compare(...panels.map((panel) => panel.network));
  remember();
}

// Writes into the address what is shown, so that it can be sent: NETWORK/BLOCK/BLOCK&NETWORK.
function remember() {
  const places = panels.map((panel) =>
    [panel.network, ...panel.path.slice(1)].map((node) => encodeURIComponent(node.name)).join("/"),
  );
  location.replace(`#${places.join("&")}`);
}

await find("photo").decode();
const usual = networks.find((n) => n.group === "yours") ?? named.get("ResNet-50") ?? networks[0];
const places = location.hash
  .slice(1)
  .split("&")
  .map((place) => place.split("/").map(decodeURIComponent));
panels = places
  .filter(([name]) => named.has(name))
  .slice(0, 2)
  .map(([name, ...place]) => new Panel(named.get(name), place));
if (!panels.length) panels = [new Panel(usual)];
[find("first").value, find("second").value] = [panels[0].network.name, panels[1]?.network.name ?? ""];
for (const id of ["first", "second"]) find(id).addEventListener("change", refresh);
find("figure").addEventListener("change", () => panels.forEach((panel) => panel.draw(false, panel.chosen)));
const years = bubbles.map((b) => b.year);
Object.assign(find("until"), { min: Math.min(...years), max: Math.max(...years), value: Math.max(...years) });
find("until").addEventListener("input", chart);
addEventListener("resize", chart);
chart();
show();
document.documentElement.dataset.ready = Math.round(performance.now()); // ms, for the tests
