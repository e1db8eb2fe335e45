"""One field of a form: a magicgui widget for one property of a JSON Schema.

Every field gives back exactly the value it was set to (magicgui's own choice of widget from a type turns
4.7e-4 into 0.0 and None into 0.0, and cuts integers at 999).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_medssl.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from magicgui.widgets.bases import ValueWidget

    Resolve = Callable[[Mapping[str, Any]], dict[str, Any]]

__all__ = ["Field", "make_field"]

_ABSENT = object()
_INT_MAX = 2**31 - 1  # what Qt's spin box can hold


class Field(QObject):
    """A widget with a value.

    Parameters
    ----------
    title : str
        Names the field in messages.
    """

    changed = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.widget = QWidget()

    def value(self) -> Any:
        """Return the value; raises `ConfigError` for text that is none."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value."""
        raise NotImplementedError


class _Direct(Field):
    """A magicgui widget that holds the value as it is."""

    def __init__(self, title: str, widget: ValueWidget[Any] | FileEdit) -> None:
        super().__init__(title)
        self.magic: Any = widget
        self.widget = widget.native
        widget.changed.connect(self._on_changed)

    def _on_changed(self, _: Any) -> None:
        self.changed.emit()

    def value(self) -> Any:
        return self.magic.value

    def set_value(self, value: Any) -> None:
        self.magic.value = value


class _Choice(_Direct):
    """One of several values, with words for some of them."""

    def __init__(self, title: str, values: Sequence[Any], labels: Mapping[Any, str]) -> None:
        choices = [(labels.get(value, str(value)), value) for value in values]
        super().__init__(title, ComboBox(choices=choices))
        self.magic.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )


class _File(_Direct):
    """A path, as text."""

    def value(self) -> Any:
        return str(self.magic.value)


class _Text(_Direct):
    """A line of text that stands for something else."""

    def __init__(
        self, title: str, *, read: Callable[[str], Any], show: Callable[[Any], str], hint: str
    ) -> None:
        super().__init__(title, LineEdit())
        self._read = read
        self._show = show
        self._hint = hint
        self.magic.native.setPlaceholderText(hint)

    def value(self) -> Any:
        text = self.magic.value.strip()
        try:
            return self._read(text)
        except ValueError as error:
            raise ConfigError(
                f"{self.title} = {text!r} cannot be read.", advice=f"Give {self._hint}."
            ) from error

    def set_value(self, value: Any) -> None:
        self.magic.value = self._show(value)


class _Optional(Field):
    """A check box, and the field when it is ticked; None otherwise."""

    def __init__(self, title: str, inner: Field) -> None:
        super().__init__(title)
        self.inner = inner
        self.box = CheckBox()
        self.box.native.setText("")
        self.box.native.setAccessibleName(f"Use {title}")
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.box.native)
        row.addWidget(inner.widget, 1)
        self.widget.setFocusProxy(self.box.native)
        inner.widget.setAccessibleName(title)
        inner.widget.setEnabled(False)
        self.box.changed.connect(self._on_ticked)
        inner.changed.connect(self.changed)

    def _on_ticked(self, on: bool) -> None:
        self.inner.widget.setEnabled(on)
        self.changed.emit()

    def value(self) -> Any:
        return self.inner.value() if self.box.value else None

    def set_value(self, value: Any) -> None:
        self.box.value = value is not None
        self.inner.widget.setEnabled(value is not None)
        if value is not None:
            self.inner.set_value(value)


class _Automatic(Field):
    """A check box "automatic", which stands for None, and the field below it while that is not ticked."""

    def __init__(self, title: str, inner: Field) -> None:
        super().__init__(title)
        self.inner = inner
        self.box = CheckBox(value=True, text="automatic")
        self.box.native.setAccessibleName(f"{title}: automatic")
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.box.native)
        column.addWidget(inner.widget)
        self.widget.setFocusProxy(self.box.native)
        inner.widget.setVisible(False)
        self.box.changed.connect(self._on_ticked)
        inner.changed.connect(self.changed)

    def _on_ticked(self, on: bool) -> None:
        self.inner.widget.setVisible(not on)
        self.changed.emit()

    def value(self) -> Any:
        return None if self.box.value else self.inner.value()

    def set_value(self, value: Any) -> None:
        self.box.value = value is None
        if value is not None:
            self.inner.set_value(value)


class _Group(Field):
    """The settings of an object side by side."""

    def __init__(self, title: str, fields: dict[str, Field]) -> None:
        super().__init__(title)
        self.fields = fields
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for name, field in fields.items():
            field.widget.setAccessibleName(f"{title}: {name}")
            field.changed.connect(self.changed)
            row.addWidget(field.widget, 2 if isinstance(field, _Choice) else 1)

    def value(self) -> dict[str, Any]:
        return {name: field.value() for name, field in self.fields.items()}

    def set_value(self, value: Any) -> None:
        for name in self.fields.keys() & value.keys():
            self.fields[name].set_value(value[name])


class _Row(Field):
    """Several fields side by side: a tuple of fixed length."""

    def __init__(self, title: str, fields: list[Field]) -> None:
        super().__init__(title)
        self.fields = fields
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for number, field in enumerate(fields, start=1):
            field.widget.setAccessibleName(f"{title} {number}")
            field.changed.connect(self.changed)
            row.addWidget(field.widget, 1)
        if fields:
            self.widget.setFocusProxy(fields[0].widget)

    def value(self) -> list[Any]:
        return [field.value() for field in self.fields]

    def set_value(self, value: Any) -> None:
        for field, item in zip(self.fields, value, strict=True):
            field.set_value(item)


def make_field(title: str, schema: dict[str, Any], resolve: Resolve) -> Field:
    """Choose a field for a property and show the property's default in it.

    Parameters
    ----------
    title : str
        Names the field in messages.
    schema : dict
        The property's schema, references resolved at its top level.
    resolve : callable
        Resolves the references inside.
    """
    field = _choose(title, schema, resolve)
    default = schema.get(
        "default", {"object": {}, "array": []}.get(schema.get("type", ""), _ABSENT)
    )
    if default is not _ABSENT and not (default == [] and schema.get("prefixItems")):
        field.set_value(default)
    return field


def _choose(title: str, schema: dict[str, Any], resolve: Resolve) -> Field:
    if "anyOf" in schema:
        return _union(title, schema, resolve)
    if "enum" in schema:
        return _Choice(title, schema["enum"], schema.get("labels", {}))
    kind = schema.get("type")
    if kind == "boolean":
        box = CheckBox()
        box.native.setText("")
        return _Direct(title, box)
    if kind == "integer":
        return _integer(title, schema)
    if kind == "number":
        return _number(title, schema)
    if kind == "string" and schema.get("format") in ("path", "file-path", "directory-path"):
        folder = schema["format"] == "directory-path"
        mode = FileDialogMode.EXISTING_DIRECTORY if folder else FileDialogMode.EXISTING_FILE
        return _File(title, FileEdit(mode=mode))
    if kind == "string":
        return _Direct(title, LineEdit())
    if kind == "array" and schema.get("prefixItems"):
        items = [resolve(item) for item in schema["prefixItems"]]
        return _Row(title, [make_field(title, item, resolve) for item in items])
    if schema.get("properties"):
        fields = {}
        for name, item in schema["properties"].items():
            part = resolve(item)
            fields[name] = make_field(name, part, resolve)
            fields[name].widget.setToolTip(" ".join(part.get("description", "").split()))
        return _Group(title, fields)
    return _Text(title, read=json.loads, show=json.dumps, hint="JSON, for example [1, 2]")


def _union(title: str, schema: dict[str, Any], resolve: Resolve) -> Field:
    parts = [resolve(part) for part in schema["anyOf"]]
    rest = [part for part in parts if part.get("type") != "null"]
    if len(rest) == 1:
        inner = {key: schema[key] for key in schema if key not in ("anyOf", "default")} | rest[0]
        if "enum" in inner and len(parts) > 1:
            return _Choice(
                title, [None, *inner["enum"]], {None: "automatic"} | inner.get("labels", {})
            )
        field = make_field(title, inner, resolve)
        if "properties" in inner and len(parts) > 1:
            return _Automatic(title, field)
    else:
        field = _Text(title, read=_json_or_text, show=_text_or_json, hint="a number or a word")
    return _Optional(title, field) if len(rest) < len(parts) else field


def _integer(title: str, schema: dict[str, Any]) -> Field:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -_INT_MAX - 2) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", _INT_MAX + 1) - 1)
    wanted = schema.get("default", low)
    if not isinstance(wanted, int) or not (-_INT_MAX <= wanted <= _INT_MAX):
        return _Text(title, read=int, show=str, hint="a whole number")
    step = int(schema.get("multipleOf", 1))
    low, high = max(low, -_INT_MAX), min(high, _INT_MAX)
    low = math.ceil(low / step) * step
    return _Direct(title, SpinBox(min=low, max=high, step=step, value=max(low, min(high, wanted))))


def _number(title: str, schema: dict[str, Any]) -> Field:
    """Give a spin box to plain numbers within narrow limits, else text: 4.7e-4 must stay 4.7e-4."""
    low: Any = schema.get("minimum")  # above an excluded one, any power of ten may be wanted
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum"))
    default: Any = schema.get("default")
    narrow = low is not None and high is not None and high - low <= 1000
    if not narrow or not isinstance(default, int | float) or default != round(default, 3):
        return _Text(title, read=_float, show=_show_float, hint="a number such as 3.6e-4")
    decimals = 1 if default == round(default, 1) and high - low > 10 else 3
    tiny = 10.0**-decimals
    high = float(high) - (tiny if "exclusiveMaximum" in schema else 0.0)
    box = FloatSpinBox(
        min=float(low), max=high, step=tiny, value=max(low, min(high, float(default)))
    )
    box.native.setDecimals(decimals)
    box.native.setSingleStep(10 * tiny)
    return _Direct(title, box)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _show_float(value: float) -> str:
    """Write a float so that it reads back exactly, in the shorter of both notations."""
    plain = repr(float(value)).removesuffix(".0")
    if 1e-3 <= abs(value) < 1e6 or value == 0:
        return plain
    mantissa, _, exponent = f"{value:.17e}".partition("e")
    for digits in range(17):
        mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
        if float(f"{mantissa}e{exponent}") == value:
            break
    return f"{mantissa}e{int(exponent)}"


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _text_or_json(value: Any) -> str:
    if isinstance(value, str) and not isinstance(_json_or_text(value), str):
        return json.dumps(
            value
        )  # the word "12" keeps its quotes, or it would come back as a number
    return value if isinstance(value, str) else json.dumps(value)
