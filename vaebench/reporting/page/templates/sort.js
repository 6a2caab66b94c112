// Headings become buttons that sort; without this script the tables stand as they were written.
// What a link leads to is unfolded, and so is everything before it is printed.
(() => {
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details");
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  const text = (row, i) => row.cells[i].firstChild ? row.cells[i].firstChild.textContent.trim() : "";
  const number = (s) => /^[-+]?[\d.]+(e[-+]?\d+)?$/i.test(s) ? parseFloat(s) : NaN;
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const blank = (s) => s === "" || s === "–";
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(heading.firstChild);
      heading.prepend(button);
      button.addEventListener("click", () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((h) => h.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((r, s) => {
          const [a, b] = [text(r, i), text(s, i)];
          if (blank(a) || blank(b)) return blank(a) - blank(b);
          return down ? compare(b, a) : compare(a, b);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
