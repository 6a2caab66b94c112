// Charts answer: the values of the point nearest to the pointer or chosen by arrow keys, and one series of many.
// A heading of a table says what it means, as the glossary of the page has it. Without this script nothing is lost.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  let about = null;
  const hide = () => { tip.hidden = true; };
  const place = () => {
    if (tip.hidden) return;
    const box = about.getBoundingClientRect();
    const left = Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 4);
    const above = box.top - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 12}px`;
  };
  const show = (text, element) => {
    about = element;
    tip.textContent = text;
    tip.hidden = false;
    place();
  };
  addEventListener("scroll", place, { passive: true, capture: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  const meanings = new Map([...document.querySelectorAll(".glossary dt")].map((dt) => [
    dt.textContent.trim(), dt.parentElement.querySelector("dd").textContent.trim()]));
  for (const button of document.querySelectorAll("thead button")) {
    const meaning = meanings.get(button.textContent.trim());
    if (!meaning) continue;
    const tell = () => show(meaning, button);
    button.classList.add("told");
    button.addEventListener("pointerenter", tell);
    button.addEventListener("focus", tell);
    button.addEventListener("pointerleave", hide);
    button.addEventListener("blur", hide);
  }

  const colour = (e) => (/var\(--([cr]\d|accent)\)/.exec(e.getAttribute("style")) || [])[1];
  const pairs = (path) => {
    const numbers = path.getAttribute("d").match(/-?[\d.]+/g).map(Number);
    return numbers.filter((_, i) => i % 2 === 0).map((x, i) => [x, numbers[2 * i + 1]]);
  };
  const scale = (text) => {
    const [kind, label, ...ends] = text.split(";");
    const [p, a, q, b] = ends.map(Number);
    const log = kind === "log";
    const [u, v] = log ? [Math.log10(a), Math.log10(b)] : [a, b];
    const digits = Math.min(Math.max(1 - Math.floor(Math.log10(Math.abs((b - a) / (q - p)))), 0), 9);
    return { label, said: (at) => {
      const value = u + ((at - p) / (q - p)) * (v - u);
      return String(Number(log ? (10 ** value).toPrecision(3) : value.toFixed(digits))).replace("-", "−");
    } };
  };

  const charts = (section) => {
    const svgs = [...section.querySelectorAll("svg[data-x]")];
    const names = new Map();
    const marks = svgs.flatMap((svg) => [...svg.querySelectorAll("[style]")]).filter(colour);
    const light = (name) => marks.forEach((e) => e.classList.toggle("dim", Boolean(name) && colour(e) !== name));
    let kept = "";
    const restore = () => light(kept);
    for (const item of section.querySelectorAll(".legend li")) {
      const name = item.dataset.series;
      names.set(name, item.textContent.trim());
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(...item.childNodes);
      item.append(button);
      for (const on of ["pointerenter", "focus"]) button.addEventListener(on, () => light(name));
      for (const off of ["pointerleave", "blur"]) button.addEventListener(off, restore);
      button.addEventListener("click", () => {
        kept = kept === name ? "" : name;
        section.querySelectorAll(".legend button").forEach((b) =>
          b.setAttribute("aria-pressed", String(b === button && kept !== "")));
        restore();
      });
    }
    svgs.forEach((svg) => chart(svg, names, light, restore));
  };

  const chart = (svg, names, light, restore) => {
    const [x, y] = [scale(svg.dataset.x), scale(svg.dataset.y)];
    const coloured = [...svg.querySelectorAll("[style]")].filter(colour);
    const discs = coloured.filter((e) => e.tagName === "use" && e.hasAttribute("x"));
    const lines = coloured.filter((e) => e.classList.contains("line"));
    const bands = coloured.filter((e) => e.tagName === "path" && /opacity/.test(e.getAttribute("style")));
    const marked = new Set(discs.map(colour));
    const points = [
      ...discs.map((e) => ({ name: colour(e), x: +e.getAttribute("x"), y: +e.getAttribute("y") })),
      ...lines.filter((e) => !marked.has(colour(e))).flatMap((e) =>
        pairs(e).map((at) => ({ name: colour(e), x: at[0], y: at[1] }))),
    ].sort((p, q) => p.name.localeCompare(q.name) || p.x - q.x || p.y - q.y);
    if (!points.length) return;
    const spot = svg.appendChild(document.createElementNS(svg.namespaceURI, "circle"));
    spot.setAttribute("class", "spot");
    spot.setAttribute("r", "4.5");
    let chosen = -1;

    // The interval around a point: a band above and below it, or a bar left and right of it.
    const within = (p, elements, along) => {
      const across = 1 - along;
      for (const e of elements.filter((e) => colour(e) === p.name)) {
        const at = pairs(e).filter((q) => Math.abs(q[across] - [p.x, p.y][across]) < 0.02).map((q) => q[along]);
        const [low, high] = [Math.min(...at), Math.max(...at)];
        if (low < high && low <= [p.x, p.y][along] && [p.x, p.y][along] <= high) return along ? [high, low] : [low, high];
      }
      return null;
    };
    const told = (axis, at, interval) =>
      `${axis.label} ${axis.said(at)}${interval ? ` [${interval.map(axis.said).join(", ")}]` : ""}`;
    const row = (p) => [...svg.querySelectorAll("text.end")].find((t) => Math.abs(t.getAttribute("y") - p.y - 3.2) < 2);
    const choose = (i) => {
      chosen = i;
      const p = points[i];
      light(names.has(p.name) ? p.name : "");
      spot.setAttribute("cx", p.x);
      spot.setAttribute("cy", p.y);
      svg.classList.add("asked");
      const name = names.get(p.name) || (y.label ? "" : (row(p) || {}).textContent);
      const parts = [told(x, p.x, y.label ? null : within(p, lines, 0))];
      if (y.label) parts.push(told(y, p.y, within(p, bands, 1)));
      show([name, parts.join(", ")].filter(Boolean).join(": "), spot);
    };
    const leave = () => {
      svg.classList.remove("asked");
      hide();
      restore();
    };
    svg.tabIndex = 0;
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const far = points.map((p) => Math.hypot(p.x - at.x, p.y - at.y));
      const nearest = far.indexOf(Math.min(...far));
      if (far[nearest] < 30) choose(nearest); else leave();
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) choose(Math.max(chosen, 0)); });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!step && !turn) return;
      event.preventDefault();
      const i = Math.max(chosen, 0);
      if (step) return choose((i + step + points.length) % points.length);
      const series = [...new Set(points.map((p) => p.name))];
      const next = series[(series.indexOf(points[i].name) + turn + series.length) % series.length];
      const same = points.map((p, j) => [p.name === next ? Math.abs(p.x - points[i].x) : Infinity, j]);
      choose(same.reduce((best, each) => (each[0] < best[0] ? each : best))[1]);
    });
  };

  document.querySelectorAll("section").forEach((section) => {
    if (section.querySelector("section")) return;
    charts(section);
  });
})();
