"use strict";
// Tables sort by the column whose heading is pressed: numbers by data-v, words by their text.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent;
      };
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y));
        return x - y;
      };
      const rows = [...body.rows].sort((a, b) => (falling ? order(b, a) : order(a, b)));
      body.append(...rows);
    });
  });
}
