// Sentences are mended in place.
import { ask, element } from "./common.js";

export function mending(root, sentences) {
  for (const { row } of sentences) {
    const button = row.querySelector(".mend");
    if (!button) continue;
    button.hidden = false;
    button.addEventListener("click", () => edit(root, row, button));
  }
}

function edit(root, row, button) {
  const link = row.querySelector("a");
  const text = row.querySelector(".text");
  const form = element("form");
  const field = element("textarea", "", { rows: "2", dir: "auto", maxlength: "2000", "aria-label": "The sentence as it was said" });
  field.value = text.textContent;
  const said = element("p", "", { class: "small", role: "status" });
  const cancel = element("button", "Cancel", { type: "button" });
  const buttons = element("p");
  buttons.append(element("button", "Mend", { type: "submit", class: "main" }), " ", cancel);
  form.append(field, buttons, said);
  const close = () => {
    form.remove();
    link.hidden = button.hidden = false;
    button.focus();
  };
  cancel.addEventListener("click", close);
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "…";
    try {
      const body = JSON.stringify({ was: text.textContent, text: field.value });
      await ask(`/api/videos/${root.dataset.video}/sentences/${row.dataset.number}`, { method: "PUT", body, headers: { "content-type": "application/json" } });
      text.textContent = field.value.trim();
      close();
    } catch (error) {
      said.textContent = error.message;
    }
  });
  link.hidden = button.hidden = true;
  row.append(form);
  field.focus();
}
