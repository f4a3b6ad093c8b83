import subprocess
import sys
import threading
from pathlib import Path

import torch

from ldm import speed
from ldm.speed import MAX_GRAPHS, Graphs, keep_own_threads, preferred_dtype, use_one_thread
from tests.conftest import tiny_model


def test_a_cpu_runs_in_bfloat16_only_with_instructions_for_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(speed, "has_bfloat16", lambda: True)
    assert preferred_dtype(cpu) == torch.bfloat16
    monkeypatch.setattr(speed, "has_bfloat16", lambda: False)
    assert preferred_dtype(cpu) == torch.float32


def test_there_is_one_graph_per_shape_and_never_too_many():
    model = tiny_model()
    graphs = Graphs(model.model.diffusion_model)
    context = torch.randn(1, 12, 32)
    with torch.no_grad():
        for side in range(1, MAX_GRAPHS + 3):
            x = torch.randn(1, 4, 2, 2 * side)
            for _ in range(2):
                (output,) = graphs(x, torch.tensor([5.0]), context, False)
                assert output.shape == x.shape
    assert len(graphs._graphs) == MAX_GRAPHS


def test_a_network_that_cannot_be_traced_runs_as_it_is(monkeypatch, caplog):
    model = tiny_model()

    def refuse(*_):
        raise RuntimeError("no tracing today")

    monkeypatch.setattr(speed, "_as_graph", refuse)
    x, t, context = torch.randn(1, 4, 4, 4), torch.tensor([5.0]), torch.randn(1, 12, 32)
    with torch.no_grad():
        output, *maps = model.graphs(x, t, context, True)
        assert torch.equal(output, model.model(x, t, context))
    assert len(maps) == 2 and "no tracing today" in caplog.text


def test_weights_that_change_are_seen_after_clear():
    model = tiny_model()
    x, t, context = torch.randn(1, 4, 4, 4), torch.tensor([5.0]), torch.randn(1, 12, 32)
    with torch.no_grad():
        before = model.graphs(x, t, context, False)[0]
        model.model.diffusion_model.out[2].bias.add_(1.0)
        model.graphs.clear()
        torch.testing.assert_close(model.graphs(x, t, context, False)[0], before + 1.0)


def test_kept_memory_is_a_setting_of_the_process_and_breaks_nothing():
    code = (
        "from ldm.speed import keep_freed_memory; import sys, torch; done = keep_freed_memory();"
        "x = torch.zeros(2**24); del x; y = torch.ones(2**24); assert y.sum() == 2**24;"
        "sys.exit(0 if done == (sys.platform == 'linux') else 1)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()


def test_a_thread_that_computes_alone_takes_no_other_thread_s_cores():
    found, ready, go = {}, threading.Event(), threading.Event()

    def engine():
        torch.set_num_threads(2)
        keep_own_threads()
        ready.set()
        go.wait()
        found["engine"] = torch.get_num_threads()

    def page():
        use_one_thread()
        found["page"] = torch.get_num_threads()

    before = torch.get_num_threads()
    threads = [threading.Thread(target=each) for each in (engine, page)]
    threads[0].start()
    ready.wait()
    threads[1].start()
    threads[1].join()
    go.set()
    threads[0].join()
    torch.set_num_threads(before)
    assert found == {"engine": 2, "page": 1}
