"""The web page and API: `translate serve`. Gradio is imported only by `app.serve` and the modules that it opens."""
