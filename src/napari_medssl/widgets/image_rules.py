"""Groups and classes of whole images: a pattern on their names or a table, with what it gives shown at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.project import (
    PatternRule,
    TableRule,
    check_rule,
    table_columns,
    table_rule,
)
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.project import ImageRule, Project, RuleReport
    from napari_medssl.widgets.session import Session

__all__ = ["ColumnDialog", "ImageRules", "RuleRow"]

_PAUSE_MS = 300
"""So long nobody may have typed before a pattern is tried."""


class ImageRules(Fold):
    """Folded away until somebody needs it: which images belong together, and the class of each.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Groups and image labels", parent)
        self._session = session
        self.groups = RuleRow(
            session,
            "groups",
            "Groups",
            "Images that belong together, such as a patient's: never parted between training and test",
        )
        self.labels = RuleRow(
            session, "image_labels", "Image labels", "The class of each image as a whole"
        )
        inside = QVBoxLayout()
        inside.setSpacing(8)
        inside.addWidget(self.groups)
        inside.addWidget(self.labels)
        self.set_content_layout(inside)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        self.toggled.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what the project has; nothing is counted while this is folded."""
        self.setVisible(self._session.project is not None)
        if self.is_open():
            self.groups.refresh()
            self.labels.refresh()


class RuleRow(QWidget):
    """One rule: a field for a pattern, a button for a table, what it gives, and what keeps or forgets it.

    Parameters
    ----------
    session : Session
        Whose project this is.
    setting : {"groups", "image_labels"}
        Which of the project's rules.
    title, tip : str
        What it is called, and what it is good for.
    """

    def __init__(
        self,
        session: Session,
        setting: Literal["groups", "image_labels"],
        title: str,
        tip: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self.setting = setting
        self.dialog: ColumnDialog | None = None
        self._project: Project | None = None
        self._stored: ImageRule | None = None
        self._shown: ImageRule | None = None
        """The rule that is told about, kept or not."""
        label = QLabel(title)
        label.setToolTip(tip)
        self.pattern = QLineEdit()
        self.pattern.setAccessibleName(f"Pattern for {title.lower()}")
        self.pattern.setPlaceholderText("pattern in the names, e.g. patient([0-9]+)")
        self.pattern.setToolTip(
            "A regular expression, looked for in each image's name: its first group (or all that it matches)"
            " is the value"
        )
        label.setBuddy(self.pattern)
        self.table = QPushButton("From a table ...")
        self.table.setToolTip("A CSV or TSV file with a row for each image")
        self.keep = QPushButton("Keep")
        self.keep.setToolTip("Store this in the project")
        self.forget = QPushButton("Forget")
        self.forget.setToolTip(f"The project has no {title.lower()} then")
        self.told = QLabel()
        self.told.setWordWrap(True)
        set_role(self.told, "hint")
        head = QHBoxLayout()
        head.addWidget(label, 1)
        head.addWidget(self.table)
        head.addWidget(self.keep)
        head.addWidget(self.forget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self.pattern)
        column.addWidget(self.told)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._try_pattern)
        self.pattern.textEdited.connect(self._on_edited)
        self.pattern.returnPressed.connect(self._on_keep)
        self.table.clicked.connect(self._on_table)
        self.keep.clicked.connect(self._on_keep)
        self.forget.clicked.connect(lambda: self._store(None))

    def refresh(self) -> None:
        """Show the rule that the project has, unless another one is being typed."""
        project = self._session.project
        stored = getattr(project.settings, self.setting) if project is not None else None
        same = project is self._project and stored == self._stored
        if same and self.pattern.isModified():
            return
        self._project, self._stored = project, stored
        self.pattern.setText(stored.pattern if isinstance(stored, PatternRule) else "")
        self._try(stored)

    def use_table(self, file: Path) -> None:
        """Ask which column of a table holds the values."""
        try:
            self.dialog = ColumnDialog(file, table_columns(file), self)
        except MedsslError as error:
            self._session.show_error(error)
            return
        self.dialog.accepted.connect(self._on_column)
        self.dialog.open()

    def _on_column(self) -> None:
        if self.dialog is not None:
            self._store(table_rule(self.dialog.file, self.dialog.column.currentText()))

    def _on_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose a table", "", "Tables (*.csv *.tsv *.txt);;All files (*)"
        )
        if name:
            self.use_table(Path(name))

    def _on_edited(self) -> None:
        self._show(None, None, "")
        self._soon.start()

    def _try_pattern(self) -> None:
        text = self.pattern.text()
        if not text:
            self._try(self._stored if isinstance(self._stored, TableRule) else None)
            return
        try:
            self._try(PatternRule.parse({"pattern": text}))
        except ConfigError:
            self._show(None, None, "This is no regular expression yet.")

    def _try(self, rule: ImageRule | None) -> None:
        """See in the background what a rule gives."""
        project = self._session.project
        if rule is None or project is None:
            self._show(None, None, "")
            return

        def work() -> RuleReport:
            return check_rule(rule, project.images, folder=project.path)

        self._shown = rule
        self._session.background(
            work,
            on_result=lambda report: self._on_tried(rule, report, ""),
            on_failed=lambda error: self._on_tried(rule, None, Problem.of(error).text),
        )

    def _on_tried(self, rule: ImageRule, report: RuleReport | None, trouble: str) -> None:
        if rule == self._shown:
            self._show(rule, report, trouble)

    def _show(self, rule: ImageRule | None, report: RuleReport | None, trouble: str) -> None:
        self._shown = rule
        text = report.text() if report is not None else trouble
        if report is not None and isinstance(rule, TableRule):
            text = f"Column {rule.column} of {Path(rule.table).name}.\n{text}"
        self.told.setText(text)
        self.told.setVisible(bool(text))
        self.keep.setEnabled(report is not None and rule != self._stored)
        self.forget.setEnabled(self._stored is not None)

    def _on_keep(self) -> None:
        try:
            self._store(PatternRule.parse({"pattern": self.pattern.text()}))
        except ConfigError as error:
            self._session.show_error(error)

    def _store(self, rule: ImageRule | None) -> None:
        project, session = self._session.project, self._session
        if project is None:
            return
        self.keep.setEnabled(False)

        def stored(_: object) -> None:
            self.pattern.setModified(False)
            if session.project is project:
                session.project_changed.emit()

        def failed(error: BaseException) -> None:
            self._try_pattern()
            session.show_error(error, doing=f"keeping the {self.setting.replace('_', ' ')}")

        session.background(
            lambda: project.update(**{self.setting: rule}), on_result=stored, on_failed=failed
        )


class ColumnDialog(QDialog):
    """Asks which column of a table holds the values; that of the image names is found by itself.

    Parameters
    ----------
    file : Path
        The table.
    columns : tuple of str
        Its columns.
    """

    def __init__(self, file: Path, columns: tuple[str, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.file = file
        self.setWindowTitle("Column of the table")
        words = QLabel(
            f"Which column of {file.name} says it? The images are found by their names in another column."
        )
        words.setWordWrap(True)
        self.column = QComboBox()
        self.column.setAccessibleName("Column")
        self.column.addItems(columns)
        self.column.setCurrentIndex(len(columns) - 1)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(words)
        column.addWidget(self.column)
        column.addWidget(buttons)
        self.resize(360, self.sizeHint().height())
