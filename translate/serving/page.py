"""What is on the page, what its controls do, and the endpoints of the API."""

import html
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import msgspec
from gradio.data_classes import FileData
from gradio.events import api

from translate.errors import TranslateError
from translate.inference.card import SEEDS
from translate.serving import about
from translate.serving.service import KEPT, Model, Result, Service
from translate.serving.zips import translate_zip

VARIANTS, STEPS = 8, 32  # at most
HERE = Path(__file__).parent

# What is in sight is sent: the picture, or the drawing as a data URL.
_CHOOSE = """(model, picture, pad, ...rest) => {
  const canvas = document.querySelector("#pad canvas");
  return [model, picture, canvas && canvas.offsetParent ? canvas.toDataURL("image/png") : null, ...rest];
}"""

# Components that depend on the model, and what becomes of them.
Dependent = tuple[list[Any], Callable[[Model], list[Any]]]


def build(service: Service, examples: Sequence[Path], concurrency: int) -> gr.Blocks:
    """`examples` are pictures to try; `concurrency` requests are at work at a time."""
    page: gr.Blocks
    names = list(service.models)
    first = service.models[names[0]]
    cards = [model.card for model in service.models.values()]
    title = first.card.name if len({card.name for card in cards}) == 1 else "Translate"
    work: dict[str, Any] = {"concurrency_limit": concurrency, "concurrency_id": "work"}
    ours: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}  # decoding is the service's business
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(60, KEPT)) as page:
        purpose = "Give it a picture and see what becomes of it." if first.card.source else "Pictures out of numbers."
        gr.HTML(f"<h1>{html.escape(title)}</h1><p>{purpose}</p>", elem_id="title")
        choice = gr.Radio if len(names) <= 4 else gr.Dropdown
        model = choice(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
        parts = []
        with gr.Tabs():
            with gr.Tab("Try it"):
                if any(card.source for card in cards):
                    parts.append(_translation(service, model, first, examples, ours | work))
                if not all(card.source for card in cards):
                    parts.append(_walk(service, model, first, ours | work))
            if any(card.source for card in cards):
                with gr.Tab("Folder"):
                    _folder(service, model, ours | work)
            with gr.Tab("About"):
                parts.append(_about(first))

        def switch(name: str) -> list[Any]:
            return [update for _, updates in parts for update in updates(service.models.get(name, first))]

        dependent = [component for components, _ in parts for component in components]
        model.change(switch, model, dependent, queue=False, show_progress="hidden", **ours)
        _endpoints(service, work)
    return page


def theme() -> gr.themes.Base:
    """Fonts of the visitor's system, so that none is fetched."""
    font = [gr.themes.Font(name) for name in ("system-ui", "sans-serif")]
    return gr.themes.Soft(primary_hue="indigo", font=font, font_mono=[gr.themes.Font("monospace")])


def _translation(
    service: Service, model: Any, first: Model, examples: Sequence[Path], ours: dict[str, Any]
) -> Dependent:
    with gr.Row(visible=first.card.source is not None) as row:
        with gr.Column():
            with gr.Tabs():
                with gr.Tab("Picture"):
                    picture = gr.Image(height=340, show_label=False, buttons=[], elem_id="picture")
                with gr.Tab("Draw"):
                    template, script = (HERE / name for name in ("pad.html", "pad.js"))
                    pad = gr.HTML(
                        _side(first),
                        html_template=template.read_text("utf-8"),
                        js_on_load=script.read_text("utf-8"),
                        elem_id="pad",
                    )
            with gr.Row(visible=first.card.noise) as noise:
                count = gr.Slider(1, VARIANTS, value=4, step=1, label="Variants", elem_id="variants")
                seed = _seed("Seed", 0)
            button = gr.Button("Translate", variant="primary", size="lg", elem_id="go")
            if examples:
                gr.Examples([[str(path)] for path in examples], [picture], label="Or try one of these")
        with gr.Column():
            slider = gr.ImageSlider(
                interactive=False, max_height=420, show_label=False, buttons=["fullscreen"], elem_id="result"
            )
            download = gr.DownloadButton("Download", visible=False, elem_id="download")
            gallery = gr.Gallery(
                visible=False, show_label=False, columns=4, allow_preview=False, buttons=[], elem_id="gallery"
            )
            spread = gr.Image(visible=False, interactive=False, height=300, buttons=["fullscreen"], elem_id="spread")
            shown = gr.State(("", []))

    def show(name: str, upload: Any, drawing: Any, count: Any, seed: Any) -> list[Any]:
        if not (drawing or upload):
            return [None, *[gr.update(value=None, visible=False)] * 3, ("", [])]
        with told():
            source, results, map, largest = service.variants(
                drawing or upload, name, _number(seed), _number(count, 1, VARIANTS)
            )
        several = len(results) > 1
        return [
            (source, results[0].preview),
            gr.update(value=results[0].file, visible=True),
            gr.update(value=[(result.preview, f"seed {result.seed}") for result in results], visible=several),
            gr.update(value=map, visible=several, label=f"Where they differ, by up to ±{largest:.0f} of 255"),
            (source, results),
        ]

    def select(shown: tuple[str, list[Result]], chosen: gr.SelectData) -> list[Any]:
        source, results = shown
        return [(source, results[chosen.index].preview), results[chosen.index].file]

    inputs, outputs = [model, picture, pad, count, seed], [slider, download, gallery, spread, shown]
    # Gradio would drop, for the sake of the button, a picture that comes while another is at work.
    gr.on(
        [button.click, picture.change],
        show,
        inputs,
        outputs,
        js=_CHOOSE,
        show_progress_on=[slider],
        trigger_mode="always_last",
        **ours,
    )
    gallery.select(select, shown, [slider, download], queue=False, show_progress="hidden", api_visibility="private")

    def updates(model: Model) -> list[Any]:
        return [gr.update(visible=model.card.source is not None), gr.update(visible=model.card.noise), _side(model)]

    return [row, noise, pad], updates


def _walk(service: Service, model: Any, first: Model, ours: dict[str, Any]) -> Dependent:
    def updates(model: Model) -> list[Any]:
        labels = list(model.card.labels)
        classes = gr.update(choices=labels, value=next(iter(labels), None), visible=bool(labels))
        return [gr.update(visible=model.card.source is None), classes]

    labels = list(first.card.labels)
    with gr.Row(visible=first.card.source is None) as row:
        with gr.Column():
            label = gr.Dropdown(
                labels, value=next(iter(labels), None), label="Class", visible=bool(labels), elem_id="class"
            )
            with gr.Row():
                start, end = _seed("From seed", 0), _seed("To seed", 1)
            steps = gr.Slider(2, STEPS, value=11, step=1, label="Steps")
            button = gr.Button("Walk", variant="primary", size="lg", elem_id="go-walk")
            film = gr.Image(interactive=False, show_label=False, height=300, buttons=["download"], elem_id="film")
        frames = gr.Gallery(show_label=False, columns=4, buttons=[], elem_id="frames")

    def walk(name: str, label: str | None, start: Any, end: Any, steps: Any) -> tuple[str, list[str]]:
        with told():
            return service.walk(name, label, _number(start), _number(end), _number(steps, 2, STEPS))

    button.click(walk, [model, label, start, end, steps], [film, frames], **ours)
    return [row, label], updates


def _folder(service: Service, model: Any, ours: dict[str, Any]) -> None:
    tracker = gr.Progress()
    with gr.Row():
        archive = gr.File(file_types=[".zip"], label="A folder of pictures, as .zip", height=200, elem_id="zip")
        result = gr.File(label="The results, with report.csv", interactive=False, height=200, elem_id="zipped")
    button = gr.Button("Translate all", variant="primary", size="lg", elem_id="go-zip")

    def translate_all(name: str, upload: Any, progress: gr.Progress = tracker) -> str:
        with told():
            return translate_zip(service, upload, name, 0, lambda done, file: progress(done, desc=file))

    button.click(translate_all, [model, archive], result, **ours)


def _about(first: Model) -> Dependent:
    def updates(model: Model) -> list[Any]:
        grid = about.samples(model.path)
        return [
            about.table(model.card, model.translator.session.backend),
            gr.update(value=grid, visible=grid is not None),
        ]

    grid = about.samples(first.path)
    table = gr.HTML(about.table(first.card, first.translator.session.backend), elem_id="card")
    samples = gr.Image(
        grid,
        visible=grid is not None,
        interactive=False,
        label="Samples of its training",
        buttons=[],
        elem_id="samples",
    )
    return [table, samples], updates


def _endpoints(service: Service, work: dict[str, Any]) -> None:
    def translate(image: FileData, model: str = "", seed: int = 0) -> FileData:
        """One picture; the answer has its size and depth. `model` is one of /models, by default the first."""
        with told():
            return FileData(path=str(service.translate(image, model, _number(seed))))

    def translate_folder(archive: FileData, model: str = "", seed: int = 0) -> FileData:
        """A zip of pictures; the answer is a zip of the results, with report.csv."""
        with told():
            return FileData(path=translate_zip(service, archive, model, _number(seed)))

    def models() -> list[dict[str, Any]]:
        """The name and the card of each model."""
        return [{"name": name, "card": msgspec.to_builtins(model.card)} for name, model in service.models.items()]

    api(translate, api_name="translate", **work)
    api(translate_folder, api_name="translate_zip", **work)
    api(models, api_name="models", queue=False)


@contextmanager
def told() -> Iterator[None]:
    """A visitor is told what was wrong with the input, and of our own mistakes that there was one."""
    try:
        yield
    except TranslateError as error:
        raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from None
    except Exception:
        traceback.print_exc()
        raise gr.Error("Something went wrong on the server; its log says what.", print_exception=False) from None


def _seed(label: str, value: int) -> gr.Number:
    return gr.Number(value, precision=0, minimum=0, maximum=SEEDS - 1, label=label)


def _number(value: Any, least: int = 0, most: int = SEEDS - 1) -> int:
    return min(max(int(value), least), most) if isinstance(value, int | float) else least


def _side(model: Model) -> int:
    """Of the drawing pad, pixels: lines are then as wide as in training."""
    return min(max(model.card.trained_size or (256,)), 512)
