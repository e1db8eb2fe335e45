"""The pieces of the command line that need no training."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_medssl.cli.display import Human, Json, duration, progress_line, stop_on_signal
from napari_medssl.cli.heat import extremes, write_heat
from napari_medssl.cli.parser import COMMANDS, build_parser
from napari_medssl.cli.settings import assign, fields, read_config
from napari_medssl.config import ConfigError
from napari_medssl.events import Device, Done, Note, Progress, Started, parse_event

SCHEMA = {
    "$defs": {
        "Training": {"properties": {"steps": {"type": "integer"}, "rate": {"type": "number"}}},
        "Network": {"properties": {"encoder": {"type": "string"}, "rate": {"type": "number"}}},
    },
    "properties": {
        "seed": {"type": "integer"},
        "training": {"$ref": "#/$defs/Training", "default": {}},
        "network": {"$ref": "#/$defs/Network"},
    },
}
KNOWN = fields(SCHEMA)


def test_fields_are_dotted() -> None:
    assert list(KNOWN) == [
        "seed",
        "training.steps",
        "training.rate",
        "network.encoder",
        "network.rate",
    ]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.steps=300", {"training": {"steps": 300, "rate": 1}}),
        ("steps=300", {"training": {"steps": 300, "rate": 1}}),
        ("seed=3", {"seed": 3, "training": {"rate": 1}}),
        ("network.rate=1e-3", {"network": {"rate": 1e-3}, "training": {"rate": 1}}),
        ("encoder=a=b", {"network": {"encoder": "a=b"}, "training": {"rate": 1}}),
        ("encoder=null", {"network": {"encoder": None}, "training": {"rate": 1}}),
        ("encoder=[a, 2]", {"network": {"encoder": ["a", 2]}, "training": {"rate": 1}}),
        ("encoder=nan_net", {"network": {"encoder": "nan_net"}, "training": {"rate": 1}}),
    ],
)
def test_set(setting: str, expected: dict[str, object]) -> None:
    job: dict[str, object] = {"training": {"rate": 1}}
    assign(job, [setting], KNOWN)
    assert job == expected


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("rate=1", r"several settings.*training\.rate, network\.rate"),
        ("stepz=1", r"no such setting.*known: seed, .*Did you mean training\.steps"),
        ("steps", r"key=value"),
        ("steps=[1", r"not a YAML value"),
    ],
)
def test_set_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assign({}, [setting], KNOWN)
    assert re.search(said, str(caught.value)), str(caught.value)


def test_config_files(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("training: {steps: 3}\n")
    assert read_config(file) == {"training": {"steps": 3}}
    file.write_text("")
    assert read_config(file) == {}
    for text, said in (("- 1", "holds list"), ("a: [", "not valid YAML")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_config(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_progress_says_where_how_fast_and_how_long() -> None:
    event = Progress(step=30, total=120, rate=2.5, eta=200, metrics={"loss": 0.51234})
    assert progress_line(event, bar=False) == " 25%  30/120  2.5/s  3:20 min left  loss 0.5123"
    assert progress_line(event).startswith("[######..................]  30/120")
    fold = Progress(step=3, total=12, rate=1, eta=9, doing="Estimating quality")
    assert progress_line(fold, bar=False).startswith("Estimating quality   25%  3/12")
    end = Progress(step=3, total=3, rate=1, eta=0)
    assert progress_line(end, bar=False) == "100%  3/3  1.0/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (8.4, "8 s"), (59.6, "1:00 min"), (7500, "2:05 h"), (float("inf"), "?")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


DEVICE = Device(name="cpu", label="CPU, 2 threads", reason="no GPU was found")
EVENTS = (
    Started(kind="pretrain", title="Learning", run="r", total=2, device=DEVICE),
    Note(level="warning", text="a.png is empty"),
    *(Progress(step=k, total=1000, rate=9, eta=1, metrics={"loss": 1}) for k in range(1000)),
    Done(run="r", summary="Done.", stopped=True),
)


def test_human_output_of_a_pipe_is_few_lines() -> None:
    error, out = io.StringIO(), io.StringIO()
    sink = Human(error, out)
    for event in EVENTS:
        sink(event)
    lines = error.getvalue().splitlines()
    assert lines[:3] == [
        "Learning",
        "  on CPU, 2 threads: no GPU was found",
        "  warning: a.png is empty",
    ]
    assert len(lines) < 8
    assert "Stopped; what was learned so far is kept." in lines
    assert out.getvalue() == "Done.\nrun: r\n"


def test_human_output_of_a_terminal_redraws_one_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    error = Terminal()
    sink = Human(error, io.StringIO())
    sink(Progress(step=1, total=2, rate=1, eta=1))
    sink(Note(text="hello"))
    assert error.getvalue().startswith("\r\x1b[K[")
    assert error.getvalue().endswith("left\n  note: hello\n")


def test_json_output_is_events_alone() -> None:
    out = io.StringIO()
    sink = Json(out)
    for event in EVENTS[:3]:
        sink(event)
    sink.result({"a": 1}, "for people")
    kinds = [parse_event(line).event for line in out.getvalue().splitlines()]
    assert kinds == ["started", "note", "progress", "result"]
    assert json.loads(out.getvalue().splitlines()[-1])["data"] == {"a": 1}


def test_first_signal_stops_and_second_aborts() -> None:
    calls: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def interrupted() -> None:
        with stop_on_signal(lambda: calls.append(1)):
            signal.raise_signal(signal.SIGTERM)
            assert calls == [1]
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert calls == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_heat_files_and_words(tmp_path: Path) -> None:
    heat = np.full((40, 60), 0.1, np.float32)
    heat[10, 10], heat[11, 11], heat[30, 50], heat[35, 5] = 1.0, 0.99, 0.8, -0.5
    data, text = extremes(heat, [(10, 10)])
    assert data["most"] == {"at": [30, 50], "similarity": pytest.approx(0.8)}
    assert data["least"] == {"at": [35, 5], "similarity": pytest.approx(-0.5)}
    assert "30,50 (0.800)" in text
    write_heat(heat, tmp_path / "new" / "heat.tif")
    stored = tifffile.imread(tmp_path / "new" / "heat.tif")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, heat)


def test_every_command_has_help_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args([name, "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert f"medssl {name}" in text
        assert "examples:" in text
        assert "--json" in text


def test_reference_page_is_up_to_date() -> None:
    script = Path(__file__).parents[2] / "scripts" / "command_reference.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True, timeout=60)


def test_light_commands_load_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from napari_medssl.cli import main
assert main(["--help"]) == 0
assert "numpy" not in sys.modules
from napari_medssl import _sample_data
layers = _sample_data.nuclei() + _sample_data.bundled_cells()
assert len(layers) == 5 and all(len(layer) == 3 for layer in layers)
import tifffile
tifffile.imwrite({str(tmp_path / "a.tif")!r}, layers[0][0])
assert main(["init", {str(tmp_path)!r}, "--project", {str(tmp_path / "p")!r}]) == 0
assert main(["runs", {str(tmp_path / "p")!r}]) == 0
heavy = [name for name in ("torch", "napari", "qtpy", "matplotlib") if name in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
