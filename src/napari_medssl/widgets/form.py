"""A form for a JSON Schema: few fields first, the rest folded under "Advanced"; gives back a plain dict.

The schemas are those of pydantic models as ``engine describe`` prints them, so a new method or a new
setting needs no line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_medssl.widgets.fields import Field, make_field
from napari_medssl.widgets.fold import Fold

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["LABEL_WIDTH", "Form", "resolve"]

LABEL_WIDTH = 105
"""Forms under each other line up."""


def resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow ``$ref`` (also inside a lone ``allOf``); keys beside the reference win.

    Parameters
    ----------
    schema : mapping
        A property's schema.
    definitions : mapping
        ``$defs`` of the whole document.
    """
    merged = dict(schema)
    while True:
        if "$ref" in merged:
            name = merged.pop("$ref").rpartition("/")[2]
            merged = {**definitions[name], **merged}
        elif len(merged.get("allOf", ())) == 1:
            merged = {**merged.pop("allOf")[0], **merged}
        else:
            return merged


class Form(QWidget):
    """Widgets for the properties of an object schema.

    Parameters
    ----------
    schema : mapping
        JSON Schema of an object, with ``$defs``.
    only : collection of str, optional
        Show these properties only, in this order.
    skip : collection of str
        Show all but these; dotted names reach into nested objects.
    key : collection of str
        Never fold these away, even if they are marked as advanced.
    """

    changed = Signal()

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        only: Collection[str] | None = None,
        skip: Collection[str] = (),
        key: Collection[str] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._fields: dict[tuple[str, ...], Field] = {}
        self._fills: set[tuple[str, ...]] = set()
        """Choices that set other fields: in `set_values` they come first."""
        self._defaults: dict[tuple[str, ...], Any] = {}
        self._labels: dict[tuple[str, ...], QLabel] = {}
        self._constants: dict[tuple[str, ...], Any] = {}
        self._plain = _rows()
        self._folded = _rows()
        self._only = None if only is None else tuple(only)
        self._skip = frozenset(skip)
        self._key = frozenset(key)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._plain)
        self.advanced = Fold("Advanced")
        self.advanced.set_content_layout(self._folded)
        column.addWidget(self.advanced)
        self._add(schema, schema.get("$defs", {}), (), folded=False)
        self.advanced.setVisible(self._folded.rowCount() > 0)

    def values(self) -> dict[str, Any]:
        """Return what the form says, in the shape of the schema.

        Raises
        ------
        napari_medssl.config.ConfigError
            If a text field holds what its type does not allow; names the field and the reason.
        """
        found: dict[str, Any] = {}
        for path, value in self._constants.items():
            _put(found, path, value)
        for path, field in self._fields.items():
            _put(found, path, field.value())
        return found

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values; what is not given or not in the form stays as it is."""
        self._show((), values)

    def _show(self, above: tuple[str, ...], values: Mapping[str, Any]) -> None:
        for path, field in sorted(
            self._fields.items(), key=lambda item: item[0] not in self._fills
        ):
            if path[: len(above)] != above:
                continue
            inner: Any = values
            for part in path[len(above) :]:
                inner = inner[part] if isinstance(inner, dict) and part in inner else _ABSENT
            if inner is not _ABSENT:
                field.set_value(inner)

    def _fill(self, fills: Mapping[str, Mapping[str, Mapping[str, Any]]], chosen: str) -> None:
        """Show what a choice says of other settings, and the defaults of those that only other choices speak of.

        Parameters
        ----------
        fills : mapping
            Property with settings -> choice -> setting -> value.
        chosen : str
            The choice.
        """
        for name, choices in fills.items():
            usual = {key: self._defaults[name, key] for key in set().union(*choices.values())}
            self.set_values({name: usual | dict(choices[chosen])})

    def is_default(self, *path: str) -> bool:
        """Whether a property has the default of its schema."""
        return bool(self._fields[path].value() == self._defaults[path])

    def field(self, *path: str) -> Field:
        """Return the field of a property, for tests and for special wiring."""
        return self._fields[path]

    def __contains__(self, path: object) -> bool:
        return (path if isinstance(path, tuple) else (path,)) in self._fields

    def _add(
        self,
        schema: Mapping[str, Any],
        definitions: Mapping[str, Any],
        above: tuple[str, ...],
        *,
        folded: bool,
    ) -> None:
        properties: Mapping[str, Any] = schema.get("properties", {})
        names = list(properties)
        if not above and self._only is not None:
            names = [name for name in self._only if name in properties]
        for name in names:
            path = (*above, name)
            dotted = ".".join(path)
            if dotted in self._skip:
                continue
            item = resolve(properties[name], definitions)
            hidden = (folded or bool(item.get("advanced"))) and dotted not in self._key
            if "const" in item:
                self._constants[path] = item["const"]
            elif "properties" in item:
                self._add(item, definitions, path, folded=hidden)
                self._show(
                    path, item.get("default", {})
                )  # a job may want others than the model's own
            else:
                self._add_field(path, item, definitions, folded=hidden)

    def _add_field(
        self,
        path: tuple[str, ...],
        schema: dict[str, Any],
        definitions: Mapping[str, Any],
        *,
        folded: bool,
    ) -> None:
        title = path[-1].replace("_", " ")
        title = title[:1].upper() + title[1:]
        if (
            schema.get("title", title).lower() != title.lower()
        ):  # pydantic's own is made of the name
            title = schema["title"]
        field = make_field(title, schema, lambda item: resolve(item, definitions))
        tip = _tip(schema)
        label = QLabel(title)
        label.setToolTip(tip)
        label.setMinimumWidth(LABEL_WIDTH)
        label.setBuddy(field.widget)
        field.widget.setToolTip(tip)
        field.widget.setAccessibleName(title)
        field.widget.setAccessibleDescription(schema.get("description", ""))
        field.changed.connect(self.changed)
        if "fills" in schema:
            self._fills.add(path)
            field.changed.connect(lambda: self._fill(schema["fills"], field.value()))
        (self._folded if folded else self._plain).addRow(label, field.widget)
        self._fields[path] = field
        self._defaults[path] = schema.get("default", _ABSENT)
        self._labels[path] = label


_ABSENT = object()


def _rows() -> QFormLayout:
    rows = QFormLayout()
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setHorizontalSpacing(8)
    rows.setVerticalSpacing(4)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return rows


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value


def _tip(schema: Mapping[str, Any]) -> str:
    """Say what the setting means and what is allowed."""
    lines = [" ".join(str(schema.get("description", "")).split())]
    limits = []
    for key, sign in (
        ("minimum", ">="),
        ("exclusiveMinimum", ">"),
        ("maximum", "<="),
        ("exclusiveMaximum", "<"),
    ):
        if key in schema:
            limits.append(f"{sign} {schema[key]:g}")
    if limits:
        lines.append(f"Allowed: {', '.join(limits)}.")
    if schema.get("default") is not None:
        lines.append(f"Default: {schema['default']}.")
    return "\n".join(line for line in lines if line)
