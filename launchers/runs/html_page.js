'use strict';
// Draws the charts of the page; see html_page.py for their data.
const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [460, 270, 52, 10, 10, 40];

function element(parent, name, attributes = {}, text = '') {
  const isSvg = parent.namespaceURI === SVG || name === 'svg';
  const made = isSvg ? document.createElementNS(SVG, name)
                     : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.textContent = text;
  return parent.appendChild(made);
}

function short(x) {
  for (const [size, letter] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (Math.abs(x) >= size) return +(x / size).toPrecision(4) + letter;
  }
  return String(+x.toPrecision(4));
}

// About five round numbers in [low, high].
function ticks(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-9); i++) {
    found.push(i * step);
  }
  return found;
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    if (x !== null) [low, high] = [Math.min(low, x), Math.max(high, x)];
  }
  if (low > high) return [0, 1];
  const pad = high > low ? 0.03 * (high - low) : 0.5;
  return [low - pad, high + pad];
}

// The points of a curve in parts without gaps.
function parts(points) {
  const found = [[]];
  for (const point of points) {
    if (point.includes(null)) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((part) => part.length);
}

function draw(chart, parent) {
  const hidden = new Set();
  const figure = element(parent, 'figure');
  element(figure, 'figcaption', {}, chart.title);
  const svg = element(figure, 'svg', {viewBox: `0 0 ${WIDTH} ${HEIGHT}`});
  const tip = element(figure, 'div', {class: 'tip', role: 'status'});
  const legend = element(figure, 'div', {class: 'legend'});
  if (chart.note) element(figure, 'p', {class: 'note'}, chart.note);
  let scale;

  function redraw() {
    svg.replaceChildren();
    const shown = chart.series.filter((one) => !hidden.has(one));
    const heights = shown.flatMap((one) => one.y.flatMap((y, i) => {
      const error = one.error?.[i] ?? 0;
      return y === null ? [] : [y - error, y + error];
    }));
    const [x0, x1] = range(chart.series.flatMap((one) => one.x));
    const [y0, y1] = range(heights);
    const inner = [WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM];
    scale = {
      x: (x) => LEFT + inner[0] * (x - x0) / (x1 - x0),
      y: (y) => TOP + inner[1] * (1 - (y - y0) / (y1 - y0)),
    };
    for (const x of ticks(x0, x1)) {
      element(svg, 'line', {class: 'grid', x1: scale.x(x), x2: scale.x(x),
        y1: TOP, y2: HEIGHT - BOTTOM});
      element(svg, 'text', {x: scale.x(x), y: HEIGHT - BOTTOM + 14,
        'text-anchor': 'middle'}, short(x));
    }
    for (const y of ticks(y0, y1)) {
      element(svg, 'line', {class: 'grid', x1: LEFT, x2: WIDTH - RIGHT,
        y1: scale.y(y), y2: scale.y(y)});
      element(svg, 'text', {x: LEFT - 6, y: scale.y(y) + 4,
        'text-anchor': 'end'}, short(y));
    }
    element(svg, 'text', {x: LEFT + inner[0] / 2, y: HEIGHT - 6,
      'text-anchor': 'middle'}, chart.xLabel);
    element(svg, 'text', {transform: `translate(11 ${TOP + inner[1] / 2}) ` +
      'rotate(-90)', 'text-anchor': 'middle'}, chart.yLabel);
    const path = (points) => points.map(
      ([x, y]) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`).join('L');
    for (const one of shown) {
      if (one.error) {
        const edges = one.x.map((x, i) => [x, one.y[i], one.error[i]]);
        for (const part of parts(edges)) {
          const upper = part.map(([x, y, e]) => [x, y + e]);
          const lower = part.map(([x, y, e]) => [x, y - e]).reverse();
          element(svg, 'path', {d: `M${path([...upper, ...lower])}Z`,
            fill: one.color, opacity: 0.15});
        }
      }
      for (const part of parts(one.x.map((x, i) => [x, one.y[i]]))) {
        element(svg, 'path', {class: 'curve', d: `M${path(part)}`,
          fill: 'none', stroke: one.color, 'stroke-width': 1.8,
          'stroke-dasharray': one.dash});
      }
    }
  }

  for (const one of chart.series) {
    const button = element(legend, 'button', {'aria-pressed': 'true'});
    element(button, 'i', {style: `background:${one.color}`});
    button.append(one.name);
    button.addEventListener('click', () => {
      if (!hidden.delete(one)) hidden.add(one);
      button.setAttribute('aria-pressed', String(!hidden.has(one)));
      redraw();
    });
  }
  svg.addEventListener('mousemove', (event) => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * WIDTH / box.width;
    const lines = [];
    let nearest = null;
    for (const one of chart.series) {
      if (hidden.has(one) || !one.x.length) continue;
      const gaps = one.x.map((x) => Math.abs(scale.x(x) - at));
      const i = gaps.indexOf(Math.min(...gaps));
      if (nearest === null) nearest = one.x[i];
      if (one.y[i] === null) continue;
      const error = one.error?.[i];
      lines.push(`${one.name}: ${short(one.y[i])}` +
        (error === null || error === undefined ? '' : ` ± ${short(error)}`));
    }
    if (nearest === null) return;
    svg.querySelector('.cursor')?.remove();
    element(svg, 'line', {class: 'cursor', x1: scale.x(nearest),
      x2: scale.x(nearest), y1: TOP, y2: HEIGHT - BOTTOM});
    tip.textContent = [`${chart.xLabel} ${short(nearest)}`, ...lines].join('\n');
    tip.style.display = 'block';
    const x = scale.x(nearest) * box.width / WIDTH;
    tip.style.left = `${Math.min(x + 8, box.width - tip.offsetWidth)}px`;
    tip.style.top = '2rem';
  });
  svg.addEventListener('mouseleave', () => {
    tip.style.display = 'none';
    svg.querySelector('.cursor')?.remove();
  });
  redraw();
}

for (const chart of JSON.parse(document.getElementById('data').textContent)) {
  draw(chart, document.getElementById('charts'));
}
