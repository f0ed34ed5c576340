// A drawing pad of `value` pixels a side; the page reads its canvas when Translate is pressed.
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
const [colour, width] = element.querySelectorAll("input");
const eraser = element.querySelector("[data-do=erase]");
const past = [];
let last = null;

const clear = () => { pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height); };
const keep = () => { past.push(pen.getImageData(0, 0, canvas.width, canvas.height)); if (past.length > 30) past.shift(); };
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
};
const stroke = (event) => {
  const [x, y] = place(event);
  pen.strokeStyle = eraser.classList.contains("on") ? "#fff" : colour.value;
  pen.lineWidth = +width.value;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(x, y);
  pen.stroke();
  last = [x, y];
};
const fit = () => { canvas.width = canvas.height = props.value; past.length = 0; clear(); };
fit();
watch("value", fit);
canvas.addEventListener("pointerdown", (event) => {
  keep();
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => { if (last) stroke(event); });
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
colour.addEventListener("input", () => eraser.classList.remove("on"));
const actions = {
  erase: () => eraser.classList.toggle("on"),
  undo: () => { if (past.length) pen.putImageData(past.pop(), 0, 0); },
  clear: () => { keep(); clear(); },
  picture: () => {
    const image = document.querySelector("#picture img");
    if (image) { keep(); pen.drawImage(image, 0, 0, canvas.width, canvas.height); }
  },
};
for (const button of element.querySelectorAll("button")) button.addEventListener("click", actions[button.dataset.do]);
