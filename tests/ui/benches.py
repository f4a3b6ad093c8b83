"""The denoising tab without a browser: one tool on a bench, what the page holds, what it is told."""

import secrets
from dataclasses import replace

import gradio as gr
import pytest

from ldm.ui.shared import App
from ldm.ui.tabs import prompt
from ldm.ui.tabs.denoising.bench import build_bench
from ldm.ui.tabs.denoising.row import build_row
from ldm.ui.tabs.denoising.tree import build

from .pages import holding


def bench_of(engine, module, name):
    """The tool of that class name, laid out by its module on a bench of its own."""
    made = []
    kind = getattr(module, name)
    with pytest.MonkeyPatch.context() as patched, gr.Blocks() as blocks:
        patched.setattr(module, name, lambda *given, **more: made.append(kind(*given, **more)) or made[-1])
        owner, run, saver = gr.BrowserState(None), gr.State(None), gr.HTML()
        with gr.Tabs() as tabs:
            app = prompt.build(App(engine, blocks, owner, run, saver, tabs))
            with gr.Tab("Denoising steps"):
                module.build(build_bench(app, build_row(engine.model), build))
    return made[0]


def held(bench, owner, settings, **changes):
    """What the page holds when it asks for these settings."""
    app = bench.app
    settings = replace(settings, **changes)
    return {
        **dict.fromkeys((app.run, bench.shown, bench.other)),
        **holding(app.asks, settings),
        app.owner: owner,
        app.switch.box: False,
        bench.row.prompt: settings.prompt,
        bench.picture: 0,
        bench.exact: False,
    }


def somebody():
    """A browser's own secret; the engine is shared by all tests."""
    return secrets.token_urlsafe(16)


def event(**data):
    """What one of our own components sent."""
    return gr.EventData(None, data)
