"""Queries kept in the project by name: keep, ask again, rename, delete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medssl.explore.query import (
    Query,
    delete_query,
    load_query,
    query_names,
    rename_query,
    save_query,
)
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.project import Project
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.session import Session

__all__ = ["KeptQueries"]


class KeptQueries(QWidget):
    """A name, chosen from the list or typed, and what can be done with it.

    Parameters
    ----------
    session : Session
        In whose project they are kept.
    explorer : Explorer
        Whose query is kept, and which asks those that are chosen.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = explorer
        self._project: Project | None = None
        self._names: tuple[str, ...] = ()
        self._chosen = ""
        self.name = QComboBox()
        self.name.setEditable(True)
        self.name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.name.setAccessibleName("Name of the query")
        self.name.setToolTip(
            "Choose one to ask it again, of any image and run; type a name to keep one."
        )
        edit = self.name.lineEdit()
        if edit is not None:
            edit.setPlaceholderText("type a name, or choose one")
        self.keep = QPushButton("Keep")
        self.keep.setToolTip("Keep the examples that are asked now, in the project, by this name.")
        self.rename = QPushButton("Rename")
        self.rename.setToolTip("Choose a query, type its new name, press this.")
        self.delete = QPushButton("Delete")
        self.delete.setToolTip("Forget the query of this name.")
        self.said = QLabel()
        self.said.setWordWrap(True)
        set_role(self.said, "hint")
        row = QHBoxLayout()
        for button in (self.keep, self.rename, self.delete):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.name)
        column.addLayout(row)
        column.addWidget(self.said)
        self.name.activated.connect(self._on_chosen)
        self.name.editTextChanged.connect(self.refresh)
        self.keep.clicked.connect(self._on_keep)
        self.rename.clicked.connect(self._on_rename)
        self.delete.clicked.connect(self._on_delete)
        explorer.query_changed.connect(self.refresh)
        session.project_changed.connect(self._on_project)
        self._on_project()

    @property
    def text(self) -> str:
        """The name that is chosen or typed."""
        return str(self.name.currentText()).strip()

    def refresh(self) -> None:
        """Bring the buttons up to date."""
        known = self.text in self._names
        self.keep.setText("Replace" if known else "Keep")
        self.keep.setEnabled(bool(self.text) and self._explorer.query is not None)
        self.rename.setEnabled(bool(self.text) and self._chosen in self._names and not known)
        self.delete.setEnabled(known)
        self.said.setVisible(bool(self.said.text()))

    def _on_project(self) -> None:
        project = self._session.project
        if project is not self._project:
            self._project, self._chosen = project, ""
            self._show((), "")
            self.said.clear()
            self._read("")
        self.refresh()

    def _read(self, current: str) -> None:
        project = self._project
        if project is None:
            return

        def show(names: tuple[str, ...]) -> None:
            if project is self._project:
                self._show(names, current)

        self._session.background(
            partial(query_names, project), on_result=show, doing="listing the kept queries"
        )

    def _show(self, names: tuple[str, ...], current: str) -> None:
        self._names = names
        self.name.clear()
        self.name.addItems(names)
        self.name.setCurrentIndex(-1)
        self.name.setEditText(current)
        self.refresh()

    def _change(self, work: Callable[[Project], object], *, then: str, said: str) -> None:
        project = self._project
        if project is None:
            return

        def done(_: object) -> None:
            if project is not self._project:
                return
            self._chosen = then
            self.said.setText(said)
            self._read(then)

        self._session.background(
            partial(work, project), on_result=done, doing="changing the kept queries"
        )

    def _on_keep(self) -> None:
        name, query = self.text, self._explorer.query
        if query is not None:
            self._change(
                lambda project: save_query(project, name, query),
                then=name,
                said=f"Kept as {name}: other images and runs can be asked the same.",
            )

    def _on_rename(self) -> None:
        old, new = self._chosen, self.text
        self._change(
            lambda project: rename_query(project, old, new), then=new, said=f"{old} is now {new}."
        )

    def _on_delete(self) -> None:
        name = self.text
        self._change(
            lambda project: delete_query(project, name), then="", said=f"{name} is deleted."
        )

    def _on_chosen(self) -> None:
        project, name = self._project, self.text
        if project is None or name not in self._names:
            return
        self._chosen = name

        def ask(query: Query) -> None:
            if project is self._project:
                self.said.setText(f"{name} is asked now.")
                self._explorer.set_query(query)
                self._explorer.set_active(True)
                self.refresh()

        self._session.background(
            partial(load_query, project, name), on_result=ask, doing=f"reading the query {name}"
        )
