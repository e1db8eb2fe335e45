"""A form gives back exactly the defaults of the model it was made for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from qtpy.QtWidgets import QAbstractSpinBox

from napari_medssl.config import Config, ConfigError, advanced
from napari_medssl.engine.protocol import Description
from napari_medssl.project.working_scale import ScaleRule
from napari_medssl.widgets.form import Form, resolve
from napari_medssl.widgets.job_schema import job_schema


class Inner(Config):
    depth: int = 3
    rate: float = 4.7e-4
    """How fast."""


RECIPES: dict[str, Any] = {
    "inner": {"usual": {}, "deep": {"depth": 8}, "fast": {"rate": 0.5, "depth": 2}}
}


class Everything(Config):
    kind: Literal["everything"] = "everything"
    small: float = 4.7e-4
    tiny: float = 1e-30
    third: float = 1 / 3
    negative: float = -2.5
    share: Annotated[float, Field(gt=0, lt=1)] = 0.07
    bounded: Annotated[float, Field(ge=0, le=10)] = 0.75
    large: int = 10_000_000
    huge: int = 2**40
    below: Annotated[int, Field(le=5)] = -3
    stepped: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 128
    flag: bool = True
    word: str = "mobilenet_v2"
    empty: str = ""
    choice: Literal["a", "b", "c"] = "b"
    numbers: Literal[1, 2, 4] = 2
    maybe_float: float | None = None
    maybe_rate: float | None = 3e-5
    maybe_int: int | None = 7
    maybe_word: str | None = None
    number_or_word: int | str = "auto"
    number_like: int | str = "12"
    pair: tuple[int, float] = (3, 1e-7)
    several: tuple[str, ...] = ("grey", "red")
    table: dict[str, Any] = Field(default_factory=dict)
    file: Path | None = None
    hidden: float = advanced(1e-5)
    inner: Inner = Inner()
    hidden_inner: Inner = advanced(Inner(depth=4))
    maybe_choice: Literal["a", "b"] | None = None
    maybe_inner: Inner | None = None
    maybe_scale: ScaleRule | None = Field(None, title="Working scale")
    recipe: Literal["usual", "deep", "fast"] = Field("usual", json_schema_extra={"fills": RECIPES})


def test_defaults_come_back_exactly(qtbot):
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    assert form.values() == Everything().model_dump(mode="json")


def test_values_are_shown_and_come_back(qtbot):
    other = Everything(
        small=1e-6,
        stepped=256,
        choice="c",
        maybe_float=0.1,
        maybe_int=None,
        number_or_word=3,
        inner=Inner(depth=9, rate=0.5),
        several=(),
        maybe_choice="b",
        maybe_inner=Inner(depth=1, rate=1e-9),
        maybe_scale=ScaleRule(rule="fit", value=256),
    )
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    form.set_values(other.model_dump(mode="json"))
    assert Everything.model_validate(form.values()) == other


def test_text_that_is_no_number_is_refused_in_a_sentence(qtbot):
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    form.field("small").magic.value = "fast"
    with pytest.raises(ConfigError, match="Small = 'fast' cannot be read"):
        form.values()


def test_limits_and_descriptions_reach_the_widgets(qtbot):
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    box = form.field("stepped").widget
    assert isinstance(box, QAbstractSpinBox)
    assert (box.minimum(), box.maximum(), box.singleStep()) == (32, 2048, 32)
    assert "How fast." in form.field("inner", "rate").widget.toolTip()
    assert form.field("inner", "rate").widget.accessibleName() == "Rate"


def test_advanced_settings_are_folded(qtbot):
    form = Form(Everything.model_json_schema(), key=("hidden_inner.depth",))
    qtbot.addWidget(form)
    form.show()
    assert not form.field("hidden").widget.isVisible()
    assert form.field("hidden_inner", "depth").widget.isVisible()
    form.advanced.set_open(True)
    assert form.field("hidden").widget.isVisible()


def test_an_object_that_may_be_none_is_chosen_automatically(qtbot):
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    form.show()
    field = form.field("maybe_scale")
    rule, value = field.inner.fields["rule"], field.inner.fields["value"]
    assert field.widget.accessibleName() == "Working scale"
    assert field.box.value
    assert not rule.widget.isVisible()
    field.box.value = False
    assert rule.widget.isVisible()
    assert form.values()["maybe_scale"] == {"rule": "fixed", "value": 1.0}
    assert rule.widget.itemText(2) == "longer side in px"
    rule.set_value("fit")
    value.set_value(512)
    assert form.values()["maybe_scale"] == {"rule": "fit", "value": 512}
    value.magic.value = "wide"
    with pytest.raises(ConfigError, match="'wide' cannot be read"):
        form.values()
    field.box.value = True
    assert form.values()["maybe_scale"] is None


def test_a_recipe_shows_its_settings(qtbot):
    form = Form(Everything.model_json_schema())
    qtbot.addWidget(form)
    form.field("recipe").set_value("fast")
    assert form.values()["inner"] == {"depth": 2, "rate": 0.5}
    form.field("recipe").set_value("deep")
    assert form.values()["inner"] == {"depth": 8, "rate": 4.7e-4}
    form.set_values({"recipe": "usual", "inner": {"depth": 5}})
    assert form.values()["inner"] == {"depth": 5, "rate": 4.7e-4}


def test_only_and_skip(qtbot):
    form = Form(Everything.model_json_schema(), only=("inner", "flag"), skip=("inner.depth",))
    qtbot.addWidget(form)
    assert form.values() == {"inner": {"rate": 4.7e-4}, "flag": True}


_SKIPPED = ("encoder_weights", "weights_file")  # a combo of its own says these


def test_the_engines_own_schemas_come_back_exactly(qtbot):
    """The real ``describe``, from a process of its own: torch must not come into this one."""
    answer = subprocess.run(
        [sys.executable, "-m", "napari_medssl.engine", "describe"],
        capture_output=True,
        check=True,
        timeout=240,
    )
    description = Description.model_validate_json(answer.stdout)
    assert {method.key for method in description.methods} >= {"medsass"}
    for method in description.methods:
        form = Form(method.config_schema)
        qtbot.addWidget(form)
        properties = method.config_schema["properties"]
        assert form.values() == {name: item["default"] for name, item in properties.items()}
    for kind in ("pretrain", "finetune"):
        schema = job_schema(description, kind)
        names = ("scale", "preset", "answer", "estimate", "network", "training", "threads", "seed")
        form = Form(schema, only=names, skip=[f"network.{name}" for name in _SKIPPED])
        qtbot.addWidget(form)
        original = description.jobs[kind]
        for name, value in form.values().items():
            item = original["properties"][name]
            model = resolve(item, original["$defs"])
            expected = {
                key: inner.get("default") for key, inner in model.get("properties", {}).items()
            }
            if "default" in item:
                given = item["default"]
                expected = {**expected, **given} if isinstance(given, dict) else given
            if isinstance(value, dict):
                expected = {key: expected[key] for key in expected if key not in _SKIPPED}
            assert value == expected, (kind, name)
